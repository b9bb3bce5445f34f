"""What is left in a manager of many lives and reloads: nothing. Rule: what it holds is told by the kernel."""

import os
import signal
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.live.harness import Stage, Subject
from tests.support import wait_until

pytestmark = pytest.mark.live

LONG = bool(os.environ.get("GHOSTD_LONG"))
LIVES = 10_000 if LONG else 1_500
RELOADS = 200 if LONG else 20
WARM = 300  # lives, after which tables and caches have their size
MOST_KIB = 1024

# Spirits come and go for as long as the file "go" is there.
FLEETING = """\
class Subject(Prefork):
    def spirit(self):
        self.ready()
        if self.serial % 100 == 0:
            note("life", self.serial)
        while self.tick():
            if os.path.exists("go"):
                return
            time.sleep(0.01)
"""


class Held(NamedTuple):
    """What a process has."""

    descriptors: int
    threads: int
    rss_kib: int


def held(subject: Subject) -> Held:
    process = Path(f"/proc/{subject.pid}")
    status = dict(line.split(":", 1) for line in (process / "status").read_text().splitlines())
    return Held(len(os.listdir(process / "fd")), int(status["Threads"]), int(status["VmRSS"].split()[0]))


def live(stage: Stage, subject: Subject, lives: int) -> None:
    """Let so many spirits come and go, and then the last ones stay."""
    begun = max((int(note.more[0]) for note in subject.notes("life")), default=0)
    (stage.place / "go").touch()
    wait_until(lambda: int(subject.notes("life")[-1].more[0]) >= begun + lives, 300.0, f"{lives} lives")
    (stage.place / "go").unlink()
    calm(subject)


def calm(subject: Subject) -> None:
    """Wait until the same spirits are there for a moment."""
    seen: list[set[int]] = []

    def is_calm() -> bool:
        seen.append(subject.spirits())
        return len(seen) > 10 and all(one == seen[-1] and len(one) == 4 for one in seen[-10:])

    wait_until(is_calm, 30.0, "a pool that is calm")


def test_many_lives_and_reloads_leave_descriptors_threads_and_memory_as_they_were(stage: Stage) -> None:
    (stage.place / "go").touch()
    subject = stage.run(FLEETING, spirits=4, loglevel="notice", whole=False)
    subject.wait_notes("life", 1)
    live(stage, subject, WARM)
    before = held(subject)
    live(stage, subject, LIVES)
    for done in range(1, RELOADS + 1):
        subject.send(signal.SIGHUP)
        subject.wait_log(r"\] Reloaded: ", done)
    calm(subject)
    after = held(subject)
    assert after.descriptors == before.descriptors
    assert after.threads == before.threads == 1
    assert after.rss_kib - before.rss_kib < MOST_KIB, (before, after)
    assert not subject.zombies()
    assert subject.quit() == 0
