"""Reloads: a new generation takes over without a gap and within its room, or the old one goes on."""

import os
import signal
import subprocess
import sys
from itertools import accumulate

import pytest

from ghostd.errors import ExitCode
from tests.live.harness import AT_ONCE, WORK, WORK_WITHOUT_PIDFD, Stage, Subject, moment
from tests.support import wait_until

pytestmark = pytest.mark.live

HUP = signal.SIGHUP

# Takes a while to boot and a while to leave, so that generations overlap.
SLOW = """\
class Subject(Prefork):
    def spirit(self):
        note("begin", self.generation)
        time.sleep(0.05)
        note("ready", self.generation)
        self.ready()
        while self.tick():
            time.sleep(0.005)
        note("leave", self.generation)
        time.sleep(0.05)
        note("gone", self.generation)
"""


def levels(subject: Subject, up: str, down: str) -> list[int]:
    """How many there were of what begins with one word and ends with the other, from moment to moment."""
    return list(accumulate({up: 1, down: -1}.get(note.word, 0) for note in subject.notes()))


@pytest.mark.parametrize(("spirits", "spare"), [(4, 2), (4, 1), (3, 8), (1, 1)])
def test_a_reload_never_dips_below_the_wanted_number_nor_rises_above_the_spare(
    stage: Stage, spirits: int, spare: int
) -> None:
    subject = stage.run(SLOW, spirits=spirits, spare=spare)
    for count in range(1, 4):
        subject.send(HUP)
        subject.wait_log("Reloaded: ", count)
    subject.wait_log(r"Spirit \d+ stopped.*reload\)", 3 * spirits)
    once_whole = levels(subject, "ready", "leave")
    once_whole = once_whole[once_whole.index(spirits) :]
    assert min(once_whole) >= spirits, once_whole
    assert max(levels(subject, "begin", "gone")) <= spirits + spare
    assert {note.more[0] for note in subject.notes("ready")} == {"1", "2", "3", "4"}
    assert len(subject.notes("begin")) == 4 * spirits, "nobody is made in vain"
    assert not subject.logged("immediately|no heartbeat")
    assert subject.quit() == 0


def test_a_reload_without_spare_replaces_one_after_another(stage: Stage) -> None:
    subject = stage.run(SLOW, spirits=3, spare=0)
    subject.send(HUP)
    subject.wait_log("Reloaded: ")
    once_whole = levels(subject, "ready", "leave")
    assert min(once_whole[once_whole.index(3) :]) == 2
    assert max(levels(subject, "begin", "gone")) == 3
    assert subject.quit() == 0


@pytest.mark.parametrize("body", [WORK, WORK_WITHOUT_PIDFD], ids=["pidfd", "no pidfd"])
def test_the_reload_command_renews_every_spirit_of_a_daemon(stage: Stage, body: str) -> None:
    subject = stage.start(body)
    old = subject.spirits()
    answer = stage.command("reload")
    assert (answer.code, answer.out) == (0, f"Reloading {subject.pid}")
    subject.wait_log("Reloaded: 2 spirits of generation 2 are ready")
    assert not subject.wait_spirits(2) & old
    assert subject.quit() == 0


def test_a_reload_of_a_ghost_that_does_not_run_starts_it(stage: Stage) -> None:
    stage.write(WORK, logfile=True)
    answer = stage.command("reload")
    assert answer.code == 0 and answer.out.startswith("Running ")
    subject = Subject(stage, stage.pid_of(answer))
    subject.wait_spirits(2)
    assert subject.quit() == 0


BREAKS = """\
class Subject(Prefork):
    def spirit(self):
        if os.path.exists("broken") and self.seat >= 0:
            breaks()
        note("ready", self.generation)
        while self.tick():
            time.sleep(0.01)
        note("leave", self.generation)

def breaks():
    HOW
"""


@pytest.mark.parametrize(
    "how",
    ["raise ImportError('no such module')", "sys.exit(3)", "os.kill(os.getpid(), 9)", "time.sleep(1000)"],
    ids=["raises", "exits", "killed", "never ready"],
)
def test_a_reload_that_fails_returns_to_the_old_generation(stage: Stage, how: str) -> None:
    subject = stage.run(
        BREAKS.replace("HOW", how), spirits=3, boot_timeout=1.0, silent_timeout=0.3, graceful_timeout=0.5
    )
    old = subject.spirits()
    (stage.place / "broken").touch()
    subject.send(HUP)
    (failed,) = subject.wait_log(r"\[error\] Reload failed: ")
    assert "generation 2 is given up, generation 1 goes on" in failed
    assert subject.wait_spirits(3) == old, "not one of them was touched"
    assert not subject.notes("leave")
    (stage.place / "broken").unlink()
    subject.send(HUP)
    subject.wait_log("Reloaded: 3 spirits of generation 3 are ready")
    assert not subject.wait_spirits(3) & old
    assert subject.quit() == 0


def test_after_a_failed_reload_a_dead_spirit_is_replaced_by_the_old_generation(stage: Stage) -> None:
    subject = stage.run(BREAKS.replace("HOW", "sys.exit(3)"))
    (stage.place / "broken").touch()
    subject.send(HUP)
    subject.wait_log("Reload failed: ")
    subject.wait_log(r"Spirit \d+ stopped \(spirit [34],", 2)
    (stage.place / "broken").unlink()
    os.kill(min(subject.spirits()), signal.SIGKILL)
    assert subject.wait_notes("ready", 3)[-1].more == ("1",)
    assert subject.quit() == 0


def test_a_hundred_reloads_at_once_build_two_generations_at_most(stage: Stage) -> None:
    held = (
        'while self.generation == 2 and not os.path.exists("go"):\n            time.sleep(0.01)\n        note("ready"'
    )
    slow = SLOW.replace('time.sleep(0.05)\n        note("ready"', held)
    assert slow != SLOW
    subject = stage.run(slow, spirits=2, spare=2)
    subject.send(HUP)
    subject.wait_log("Reloading: ")
    for _ in range(99):
        subject.send(HUP)
    (stage.place / "go").touch()
    subject.wait_log("Reloaded: .* generation 2 ")
    subject.wait_log("Reloaded: .* generation 3 ")
    until = moment() + 0.5
    wait_until(lambda: moment() > until)
    assert len(subject.logged("Reloading: ")) == 2, "one that ran, and one that waited for all the others"
    assert len(subject.notes("begin")) == 6
    assert subject.quit() == 0


def test_a_storm_of_reloads_never_lets_the_pool_dip_and_mixes_at_most_two_generations(stage: Stage) -> None:
    subject = stage.run(SLOW, spirits=3)
    until = moment() + 2.0

    def send() -> bool:
        subject.send(HUP)
        return moment() > until

    wait_until(send)  # every few milliseconds
    wait_until(lambda: len(subject.logged("Reloaded: ")) == len(subject.logged("Reloading: ")))
    once_whole = levels(subject, "ready", "leave")
    assert min(once_whole[once_whole.index(3) :]) >= 3
    assert max(levels(subject, "begin", "gone")) <= 5
    ready: set[tuple[str, ...]] = set()
    counts: dict[tuple[str, ...], int] = {}
    for note in subject.notes():
        counts[note.more] = counts.get(note.more, 0) + {"ready": 1, "leave": -1}.get(note.word, 0)
        ready = {generation for generation, count in counts.items() if count}
        assert len(ready) <= 2
    assert subject.quit() == 0


def test_a_stop_during_a_reload_ends_all_of_both_generations_at_once(stage: Stage) -> None:
    slow = SLOW.replace('time.sleep(0.05)\n        note("ready"', 'time.sleep(0.3)\n        note("ready"')
    subject = stage.run(slow)
    subject.send(HUP)
    subject.wait_notes("begin", 4)
    at = moment()
    assert subject.quit() == 0
    assert moment() - at < AT_ONCE
    assert not subject.logged("immediately")


def test_two_reload_commands_at_once_both_succeed(stage: Stage) -> None:
    subject = stage.start(SLOW)
    words = [sys.executable, str(stage.place / "subject.py"), "reload"]
    both = [subprocess.Popen(words, cwd=stage.place, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    assert [(one.communicate(timeout=20)[0].strip(), one.returncode) for one in both] == [
        (f"Reloading {subject.pid}", ExitCode.OK)
    ] * 2
    wait_until(lambda: len(subject.logged("Reloaded: ")) == len(subject.logged("Reloading: ")) > 0)
    assert subject.quit() == 0


def test_a_reload_and_a_stop_at_once_end_in_a_stop(stage: Stage) -> None:
    subject = stage.start(SLOW)
    subject.send(HUP)
    subject.send(signal.SIGQUIT)
    assert subject.wait_end() == 0


def test_hup_before_the_pool_is_whole_is_kept_until_it_is(stage: Stage) -> None:
    slow = SLOW.replace('time.sleep(0.05)\n        note("ready"', 'time.sleep(0.3)\n        note("ready"')
    subject = stage.run(slow, whole=False)
    subject.wait_notes("begin")
    subject.send(HUP)
    subject.wait_log("Reloaded: 2 spirits of generation 2 are ready")
    assert subject.quit() == 0
