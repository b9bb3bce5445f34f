"""What tests share: waiting with a deadline, looking at processes, and saying what a test needs.

Rule: no sleep for luck. A test waits for a condition and says what it waited for when that does not come.
"""

import ctypes
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final, TypeVar

import pytest

T = TypeVar("T")

NEEDS: Final = "needs "  # how the reason of a skip begins that must not happen where GHOSTD_NO_SKIP is set
PATIENCE: Final = 30.0  # seconds: nothing that is waited for takes so long, however busy the machine is
_PR_SET_CHILD_SUBREAPER: Final = 36  # linux/prctl.h


# ── waiting ──
def wait_until(condition: Callable[[], T], timeout: float = PATIENCE, what: str = "") -> T:
    """Wait until the condition is true and return its value; AssertionError with ``what`` after ``timeout`` seconds."""
    deadline = time.monotonic() + timeout
    pause = 0.001
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() >= deadline:
            wanted = what or getattr(condition, "__qualname__", "the condition")
            raise AssertionError(f"waited {timeout:g} s for: {wanted}; last seen: {value!r}")
        time.sleep(pause)
        pause = min(pause * 1.5, 0.02)


def wait_gone(*pids: int, timeout: float = PATIENCE) -> None:
    """Wait until none of these processes runs any more; a zombie has ended."""
    wait_until(lambda: not any(is_alive(pid) for pid in pids), timeout, f"the end of {pids}")


@contextmanager
def deadline(limit: float, what: str = "the block") -> Iterator[None]:
    """Fail when the block took longer than ``limit`` seconds; it is measured, not interrupted."""
    begun = time.monotonic()
    yield
    took = time.monotonic() - begun
    assert took <= limit, f"{what} took {took:.3f} s, at most {limit:g} s are allowed"


# ── looking at descriptors and files ──
def is_open(fd: int) -> bool:
    """This process has such a descriptor."""
    try:
        os.fstat(fd)
    except OSError:
        return False
    return True


def left_in(path: Path) -> list[str]:
    """The names in the folder of a file, sorted."""
    return sorted(one.name for one in path.parent.iterdir())


# ── looking at processes (by /proc, and not by the code under test) ──
def stat_of(pid: int) -> list[str] | None:
    """The fields of /proc/PID/stat from the third on (state, ppid, ...); None when there is no such process."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except (FileNotFoundError, ProcessLookupError):
        return None
    return text[text.rindex(")") + 2 :].split()


def is_alive(pid: int) -> bool:
    """There is such a process, and it is no zombie."""
    fields = stat_of(pid)
    return fields is not None and fields[0] not in "ZX"


def is_dead(pid: int) -> bool:
    """There is no such process, or nothing but its zombie."""
    return not is_alive(pid)


def children_of(pid: int) -> dict[int, str]:
    """The state letter of each child of a process, zombies included."""
    found = {}
    for entry in os.listdir("/proc"):
        if entry.isdigit() and (fields := stat_of(int(entry))) and int(fields[1]) == pid:
            found[int(entry)] = fields[0]
    return found


def offspring_of(pid: int) -> list[int]:
    """All living descendants of a process, parents first."""
    found: list[int] = []
    for child, state in children_of(pid).items():
        if state not in "ZX":
            found += [child, *offspring_of(child)]
    return found


def command_of(pid: int) -> str:
    """What a process runs, for a message."""
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace").strip()[:200]
    except OSError:
        return "?"


# ── what a test leaves behind ──
def adopt_orphans() -> None:
    """Have every orphan of a test become a child of this process, so that a daemon left behind is seen."""
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "prctl(PR_SET_CHILD_SUBREAPER)")


def own_children() -> dict[int, str]:
    """The state letter of each child of this process; first asks the kernel whether there is one: /proc is slow."""
    try:
        os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
    except ChildProcessError:
        return {}
    return children_of(os.getpid())


def reap_zombies(before: set[int]) -> set[int]:
    """Reap each ended child that is not one of ``before``; returns the new ones that still run."""
    running = set()
    for pid, state in own_children().items():
        if pid in before:
            continue
        if state in "ZX":
            _reap(pid)
        else:
            running.add(pid)
    return running


def end_all(pids: set[int]) -> None:
    """End these children and their offspring, and reap them."""
    for pid in pids:
        for one in [*offspring_of(pid), pid]:
            with suppress(ChildProcessError, ProcessLookupError):
                os.kill(one, signal.SIGKILL)
    wait_gone(*pids)
    reap_zombies(set(own_children()) - pids)


def _reap(pid: int) -> None:
    with suppress(ChildProcessError, ProcessLookupError):
        os.waitpid(pid, os.WNOHANG)


# ── chance that can be played again ──
def seed_of_commit() -> int:
    """A number that changes with each commit, to choose a slice by; 1 where there is no history."""
    words = ["git", "rev-parse", "--short=8", "HEAD"]
    try:
        done = subprocess.run(words, cwd=Path(__file__).parent, capture_output=True, text=True, check=False)
    except OSError:
        return 1
    return int(done.stdout, 16) if done.returncode == 0 else 1


# ── what a test needs ──
needs_root = pytest.mark.skipif(os.geteuid() != 0, reason=f"{NEEDS}root")


def needs_tool(*names: str) -> pytest.MarkDecorator:
    """Skip unless one of these programs is on the PATH."""
    found = any(shutil.which(name) for name in names)
    return pytest.mark.skipif(not found, reason=f"{NEEDS}{' or '.join(names)}")


def needs(condition: object, what: str) -> pytest.MarkDecorator:
    """Skip unless the condition holds; ``what`` completes "needs ..."."""
    return pytest.mark.skipif(not condition, reason=f"{NEEDS}{what}")
