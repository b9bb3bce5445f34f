"""What a tick costs in a real spirit, and that the kernel has no part in it."""

from __future__ import annotations

import re
import shutil
from typing import TYPE_CHECKING

from bench import work
from bench.pools import ForegroundPool, GhostPool, Task
from bench.report import Figure, Spread, compared, missing

if TYPE_CHECKING:
    from collections.abc import Iterator

    from bench.harness import Bench


def measure(bench: Bench) -> Iterator[Figure]:
    """Time it beside an empty method, in the same process by turns; then trace it."""
    ghostd: list[float] = []
    empty: list[float] = []
    for _ in range(bench.pick(1, 5)):
        with GhostPool(Task(1, work="timing")) as pool:
            for line in (pool.folder / "costs").read_text("ascii").splitlines():
                ours, theirs = map(float, line.split())
                ghostd.append(ours)
                empty.append(theirs)
    yield compared("tick", "ns", ghostd, empty, 5.0, note="the baseline is an empty method of the same object")
    if shutil.which("strace"):
        yield _traced()
    else:
        yield missing("system calls of ticks", "strace is not installed")


class TracedPool(ForegroundPool):
    """A pool whose every system call is written down."""

    def command(self) -> list[str]:
        """Return the command that starts the manager."""
        return ["strace", "-f", "-q", "-o", f"{self.folder}/trace", *super().command()]


def _traced() -> Figure:
    with TracedPool(Task(1, work="traced")) as pool:
        trace = (pool.folder / "trace").read_text("utf-8", "replace")
    calls: list[str] = []
    seen: dict[str, bool] = {}  # by pid: between the marks
    for line in trace.splitlines():
        pid, _, call = line.partition(" ")
        if f"{work.MARK}begin" in call:
            seen[pid] = True
        elif f"{work.MARK}end" in call:
            seen[pid] = False
        elif seen.get(pid) and not call.lstrip().startswith("<..."):  # the end of a call that was counted, or of a mark
            calls.append(re.split(r"\W", call.strip(), maxsplit=1)[0])
    if list(seen.values()) != [False]:
        return missing("system calls of ticks", f"the marks are not in the trace: {seen}")
    return Figure(
        name=f"system calls of {work.TRACED_TICKS} ticks", unit="calls", measured=Spread.of([len(calls)]), goal="= 0",
        met=not calls, note=", ".join(sorted(set(calls))),
    )  # fmt: skip
