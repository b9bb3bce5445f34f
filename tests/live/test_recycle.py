"""The worn are replaced one at a time, the new one ready before the old one leaves; a stop may serve on for a while."""

import os
import re
import signal
from itertools import accumulate
from typing import Any

import pytest

from tests.live.harness import AT_ONCE, Stage, Subject, moment
from tests.live.listening import HELLO, hello, listening_on
from tests.support import wait_until

pytestmark = pytest.mark.live

# Takes a while to boot and a while to leave, so that lives overlap; counts its own ticks.
COUNTS = """\
class Subject(Prefork):
    def spirit(self):
        note("begin", self.serial)
        time.sleep(0.03)
        note("ready", self.serial)
        self.ready()
        ticks = 0
        while self.tick():
            ticks += 1
            if WORN_AFTER and ticks == WORN_AFTER:
                self.worn()
            time.sleep(0.005)
        note("leave", self.serial, ticks)
        time.sleep(0.03)
        note("gone", self.serial)

    def finish(self, graceful):
        note("finish", graceful)
"""
RECYCLED = r"Stopping spirit \d+ gracefully .*: a worn spirit is replaced\)"


def levels(subject: Subject, up: str, down: str) -> list[int]:
    """How many there were of what begins with one word and ends with the other, from moment to moment."""
    return list(accumulate({up: 1, down: -1}.get(note.word, 0) for note in subject.notes()))


@pytest.mark.parametrize(
    ("worn_after", "options"),
    [
        (0, {"max_ticks": 30, "recycle_jitter": 0.0}),
        (0, {"max_lifetime": 0.3}),
        (30, {}),
    ],
    ids=["by its ticks", "by its age", "by its own word"],
)
def test_the_worn_are_replaced_one_after_the_other_and_never_below_the_wanted_number(
    stage: Stage, worn_after: int, options: dict[str, Any]
) -> None:
    subject = stage.run(f"WORN_AFTER = {worn_after}\n{COUNTS}", spirits=3, spare=2, **options)
    subject.wait_log(RECYCLED, 5)
    assert subject.quit() == 0
    asked = {int(serial) for serial in re.findall(r"spirit (\d+), seat \d+: a worn spirit", subject.log())}
    first_stop = subject.notes("finish")[0].at
    before = [note for note in subject.notes() if note.at < first_stop]
    subject.notes = lambda word="": [note for note in before if word in ("", note.word)]  # type: ignore[method-assign]
    once_whole = levels(subject, "ready", "leave")
    once_whole = once_whole[once_whole.index(3) :]
    assert min(once_whole) >= 3, once_whole
    assert max(levels(subject, "begin", "gone")) <= 4, "one is new and one is old"
    assert max(levels(subject, "leave", "gone")) == 1, "one after the other"
    assert {int(note.more[0]) for note in subject.notes("leave")} <= asked
    if "max_ticks" in options:
        assert all(int(note.more[1]) >= 29 for note in subject.notes("leave")), "not before; it works on until then"


def test_without_a_spare_a_worn_one_leaves_before_it_is_replaced(stage: Stage) -> None:
    subject = stage.run(f"WORN_AFTER = 20\n{COUNTS}", spirits=2, spare=0)
    subject.wait_log(RECYCLED, 3)
    assert max(levels(subject, "begin", "gone")) == 2
    assert subject.quit() == 0


FAILS = """\
class Subject(Prefork):
    def spirit(self):
        note("begin", self.serial)
        if os.path.exists("broken"):
            raise ValueError("no luck")
        while self.tick():
            if self.serial == 1 and os.path.exists("worn"):
                self.worn()
            time.sleep(0.01)
        note("leave", self.serial)
"""


def test_a_worn_spirit_serves_on_while_its_replacement_fails_and_is_backed_off(stage: Stage) -> None:
    subject = stage.run(FAILS, spirits=1, spare=1, young=1.0, backoff_first=0.1)
    (old,) = subject.spirits()
    (stage.place / "broken").touch()
    (stage.place / "worn").touch()
    subject.wait_log("Replacement waits.*time in a row", 3)
    assert old in subject.spirits()
    assert not subject.notes("leave")
    (stage.place / "broken").unlink()
    subject.wait_log(RECYCLED)
    subject.wait_spirits(1, without={old})
    assert subject.quit() == 0


ANSWERS = """\
class Subject(Prefork):
    def connection(self, sock, address):
        sock.sendall(b"%d 1" % self.serial)
        sock.close()

    def heartbeat(self, pid):
        note("served", sum(one.served for one in self.snapshot.spirits))
"""


def test_a_server_s_spirit_is_worn_by_what_it_has_answered_and_what_it_has_is_in_the_snapshot(stage: Stage) -> None:
    subject = stage.run(ANSWERS, listen=["127.0.0.1:0"], spirits=1, spare=1, max_requests=7, recycle_jitter=0.0)
    (address,) = listening_on(subject)
    answered = [hello(address).split()[0] for _ in range(6)]
    subject.wait_notes("served")
    wait_until(lambda: subject.notes("served")[-1].more == ("6",))
    assert not subject.logged(RECYCLED)
    answered.append(hello(address).split()[0])
    assert answered == ["1"] * 7
    subject.wait_log(RECYCLED)
    wait_until(lambda: hello(address).split()[0] == "2")
    assert subject.quit() == 0


# ── a stop that serves on ──
def test_asked_to_stop_it_serves_on_for_the_drain_delay_and_stays_whole(stage: Stage) -> None:
    subject = stage.run(f"WORN_AFTER = 0\n{COUNTS}", drain_delay=1.5)
    victim = min(subject.spirits())
    asked = moment()
    subject.send(signal.SIGQUIT)
    subject.wait_log("Draining: spirits serve on, and are asked to leave in 1.5 s")
    os.kill(victim, signal.SIGKILL)
    assert subject.wait_end() == 0
    (third,) = subject.logged(r"Spirit \d+ started \(spirit 3,")
    assert subject.log().index(third) < subject.log().index("gracefully")
    assert [note.more for note in subject.notes("finish")] == [("True",)]
    assert all(1.45 < note.at - asked < AT_ONCE for note in subject.notes("leave"))
    assert len(subject.notes("leave")) == 2


@pytest.mark.parametrize("again", [signal.SIGQUIT, signal.SIGTERM])
def test_a_second_signal_cuts_the_drain_delay_short(stage: Stage, again: signal.Signals) -> None:
    subject = stage.run(f"WORN_AFTER = 0\n{COUNTS}", drain_delay=60.0)
    subject.send(signal.SIGQUIT)
    subject.wait_log("Draining: ")
    begun = moment()
    subject.send(again)
    assert subject.wait_end() == 0
    assert moment() - begun < 30.0
    assert len(subject.notes("leave")) == (2 if again == signal.SIGQUIT else 0)


def test_whoever_comes_during_the_drain_delay_is_served(stage: Stage) -> None:
    subject = stage.run(HELLO, listen=["127.0.0.1:0"], drain_delay=60.0)
    (address,) = listening_on(subject)
    subject.send(signal.SIGQUIT)
    subject.wait_log("Draining: ")
    assert [hello(address).split()[1] for _ in range(10)] == ["1"] * 10
    assert subject.quit() == 0
    with pytest.raises(ConnectionRefusedError):
        hello(address)


def test_a_graceful_stop_without_a_delay_says_nothing_of_draining(stage: Stage) -> None:
    subject = stage.run(f"WORN_AFTER = 0\n{COUNTS}")
    assert subject.quit() == 0
    wait_until(lambda: bool(subject.logged("Manager .* stopped")))
    assert not subject.logged("Draining")
