"""TTIN and TTOU: one spirit more, one fewer; the newest idle one goes."""

import signal

import pytest

from tests.live.harness import AT_ONCE, WORK, WORK_WITHOUT_PIDFD, Stage
from tests.support import wait_until

pytestmark = pytest.mark.live

MORE, FEWER = signal.SIGTTIN, signal.SIGTTOU


@pytest.mark.parametrize("body", [WORK, WORK_WITHOUT_PIDFD], ids=["pidfd", "no pidfd"])
def test_ttin_makes_one_more_and_ttou_asks_the_newest_to_leave(stage: Stage, body: str) -> None:
    subject = stage.run(body)
    old = subject.spirits()
    subject.send(MORE)
    (newest,) = subject.wait_spirits(3) - old
    subject.wait_notes("ready", 3)
    subject.send(FEWER)
    assert subject.wait_spirits(2, without={newest}) == old
    assert [note.pid for note in subject.notes("leave")] == [newest]
    assert subject.logged("Scaled: from 2 to 3 spirits") and subject.logged("Scaled: from 3 to 2 spirits")
    assert subject.quit() == 0


def test_the_number_of_spirits_never_falls_below_zero_and_rises_again_from_there(stage: Stage) -> None:
    subject = stage.run(spirits=1)
    for _ in range(5):
        subject.send(FEWER)
    subject.wait_spirits(0)
    wait_until(lambda: not subject.spirits() and subject.is_running())
    subject.send(MORE)
    subject.wait_spirits(1)
    assert not subject.logged("to -1")
    assert subject.quit() == 0


def test_a_ghost_may_start_with_no_spirits_at_all(stage: Stage) -> None:
    subject = stage.start(spirits=0)
    assert not subject.spirits()
    subject.send(MORE)
    subject.wait_notes("ready")
    assert subject.quit() == 0


BUSY = """\
class Subject(Prefork):
    def spirit(self):
        note("begin", self.serial)
        self.ready()
        while not os.path.exists("go"):
            self.tick()
            time.sleep(0.01)
        if self.serial > 1:
            with self.busy(20):
                note("busy", self.serial)
                while not os.path.exists("done"):
                    time.sleep(0.01)
        while self.tick():
            time.sleep(0.01)
        note("leave", self.serial)
"""


def test_of_several_the_idle_one_goes_even_if_it_is_the_oldest(stage: Stage) -> None:
    subject = stage.run(BUSY, spirits=3)
    (stage.place / "go").touch()
    subject.wait_notes("busy", 2)
    subject.send(FEWER)
    (left,) = subject.wait_notes("leave")
    assert left.more == ("1",)
    subject.wait_spirits(2)
    (stage.place / "done").touch()
    assert subject.quit() == 0


def test_when_all_are_busy_the_newest_goes_once_it_is_done(stage: Stage) -> None:
    subject = stage.run(BUSY.replace("> 1", "> 0"), spirits=3)
    (stage.place / "go").touch()
    subject.wait_notes("busy", 3)
    subject.send(FEWER)
    subject.wait_log(r"gracefully.*\(spirit 3")
    assert len(subject.spirits()) == 3, "what it has in hand is finished"
    (stage.place / "done").touch()
    subject.wait_spirits(2)
    assert [note.more for note in subject.notes("leave")] == [("3",)]
    assert subject.quit() == 0


def test_many_signals_at_once_are_each_counted_or_taken_together_but_the_pool_is_calm_after_them(stage: Stage) -> None:
    subject = stage.run()
    for _ in range(20):
        subject.send(MORE)
    for _ in range(20):
        subject.send(FEWER)
    subject.send(MORE)
    steps = wait_until(lambda: subject.logged("Scaled: from"))
    until = len(steps) + 1
    wait_until(lambda: len(subject.logged("Scaled: from")) < until)
    wanted = int(subject.logged("Scaled: from")[-1].split(" to ")[1].split()[0])
    subject.wait_spirits(wanted)
    assert subject.quit() == 0


SCALES_ITSELF = """\
class Subject(Prefork):
    def waitup(self):
        if self.healthy == 2:
            self.scale(3)

    def spirit(self):
        while self.tick():
            time.sleep(0.01)
"""


def test_a_number_that_a_hook_asks_for_is_taken_up_at_once(stage: Stage) -> None:
    subject = stage.run(SCALES_ITSELF, heartbeat_interval=20.0)
    subject.wait_spirits(3, timeout=AT_ONCE)
    assert subject.logged("Scaled: from 2 to 3 spirits")
    assert subject.quit() == 0
