"""Looks at what a manager holds before and after very many lives and reloads: it must be the same.

    python -m tests.faults.flatness --lives 1000000 --reloads 10000

Rule: what it holds is told by the kernel. Once tables and caches have their size, nothing grows any more.
"""

from __future__ import annotations

import argparse
import os
import signal
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Final, NamedTuple

from tests.live.harness import Stage, Subject
from tests.support import adopt_orphans, wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator

SPIRITS: Final = 4
WARM: Final = 300  # lives, after which tables and caches have their size
MOST_KIB: Final = 1024
EVERY: Final = 100  # so many lives are told at once

# Spirits come and go for as long as the file "go" is there.
FLEETING: Final = f"""\
class Subject(Prefork):
    def spirit(self):
        self.ready()
        if self.serial % {EVERY} == 0:
            note("life", self.serial)
        while self.tick():
            if os.path.exists("go"):
                return
            time.sleep(0.01)
"""


class Held(NamedTuple):
    """What a process has."""

    descriptors: int
    sockets: int
    threads: int
    mappings: int
    zombies: int
    rss_kib: int


def held(subject: Subject) -> Held:
    process = Path(f"/proc/{subject.pid}")
    status = dict(line.split(":", 1) for line in (process / "status").read_text().splitlines())
    links = [os.readlink(entry) for entry in (process / "fd").iterdir()]
    return Held(
        descriptors=len(links),
        sockets=sum(link.startswith("socket:") for link in links),
        threads=int(status["Threads"]),
        mappings=(process / "maps").read_text().count("\n"),
        zombies=len(subject.zombies()),
        rss_kib=int(status["VmRSS"].split()[0]),
    )


def growth(before: Held, after: Held) -> list[str]:
    """What is not as it was. The allocator may map a little more, within what is allowed to the memory."""
    told = [
        f"{name}: {getattr(before, name)}, then {getattr(after, name)}"
        for name in ("descriptors", "sockets", "threads", "zombies")
        if getattr(before, name) != getattr(after, name)
    ]
    if after.rss_kib - before.rss_kib >= MOST_KIB or after.mappings - before.mappings > 8:
        told.append(f"{before}, then {after}")
    return told


def begin(stage: Stage) -> Subject:
    """A ghost that has its size."""
    (stage.place / "go").touch()
    subject = stage.run(FLEETING, spirits=SPIRITS, loglevel="notice", whole=False)
    subject.wait_notes("life")
    live(stage, subject, WARM)
    return subject


def live(stage: Stage, subject: Subject, lives: int) -> None:
    """Let so many spirits come and go, and then the last ones stay."""
    wanted = _last_life(stage) + lives
    (stage.place / "go").touch()
    wait_until(lambda: _last_life(stage) >= wanted, 60.0 + lives / 20, f"{lives} lives")
    (stage.place / "go").unlink()
    calm(subject)


def reload(stage: Stage, subject: Subject, times: int) -> None:
    """Reload it so many times, each of which must succeed."""
    for _ in range(times):
        os.truncate(stage.place / "log", 0)  # it is read whole each time
        subject.send(signal.SIGHUP)
        subject.wait_log(r"\] Reload")
        subject.wait_log(r"\] Reloaded: ", timeout=30.0)
    calm(subject)


def calm(subject: Subject) -> None:
    """Wait until the same spirits are there for a moment."""
    seen: list[set[int]] = []

    def is_calm() -> bool:
        seen.append(subject.spirits())
        return len(seen) > 10 and all(one == seen[-1] and len(one) == SPIRITS for one in seen[-10:])

    wait_until(is_calm, 30.0, "a pool that is calm")


def _last_life(stage: Stage) -> int:
    """The newest serial that was noted; only the end of the notes is read, for there are many."""
    with (stage.place / "notes").open("rb") as notes:
        notes.seek(max(0, os.fstat(notes.fileno()).st_size - 300))
        lines = notes.read().split(b"\n")[:-1]
    return int(lines[-1].split()[-1])


def portions(total: int, size: int) -> Iterator[int]:
    """So many in portions of a size."""
    for done in range(0, total, size):
        yield min(size, total - done)


def main(words: list[str]) -> int:
    """Live and reload, tell what is held on the way: 0 when nothing has grown."""
    parser = argparse.ArgumentParser(prog="python -m tests.faults.flatness", description=__doc__)
    parser.add_argument("--lives", type=int, default=1_000_000)
    parser.add_argument("--reloads", type=int, default=10_000)
    said = parser.parse_args(words)
    adopt_orphans()
    begun, lived, reloaded = time.monotonic(), 0, 0
    with tempfile.TemporaryDirectory(prefix="ghostd-flatness-") as place:
        stage = Stage(Path(place))
        try:
            subject = begin(stage)
            before = held(subject)
            _tell("before", before)
            for lives in portions(said.lives, 50_000):
                live(stage, subject, lives)
                lived += lives
                _tell(f"{lived} lives", held(subject))
            for reloads in portions(said.reloads, 500):
                reload(stage, subject, reloads)
                reloaded += reloads
                _tell(f"{reloaded} reloads", held(subject))
            grown = growth(before, held(subject))
            code = subject.quit()
        finally:
            stage.close()
    took = time.monotonic() - begun
    verdict = f"GROWN: {'; '.join(grown)}" if grown else "flat"
    sys.stdout.write(f"{lived} lives and {reloaded} reloads in {took:.0f} s, stopped with {code}: {verdict}\n")
    return int(bool(grown or code))


def _tell(when: str, what: Held) -> None:
    sys.stdout.write(f"{when}: {', '.join(f'{name} {value}' for name, value in what._asdict().items())}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
