"""Control groups of a test's own, in version 1 or 2, where this machine lets root make one; removed at the end."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final

from tests.support import wait_until

ROOT: Final = Path("/sys/fs/cgroup")


class Group:
    """A control group."""

    def __init__(self, path: Path) -> None:
        self.path = path
        path.mkdir()

    @property
    def prefix(self) -> tuple[str, ...]:
        """The command before a command that puts it into the group."""
        return ("bash", "-c", f'echo $$ > {self.path}/cgroup.procs && exec "$@"', "-")

    def take(self, pid: int) -> None:
        self._write("cgroup.procs", pid)

    def close(self) -> None:
        self.thaw()
        wait_until(lambda: not (self.path / "cgroup.procs").read_text(), what="the end of whoever is in the group")
        self.path.rmdir()

    def freeze(self) -> None:
        if (self.path / "freezer.state").exists():
            self._write("freezer.state", "FROZEN")
            wait_until(lambda: (self.path / "freezer.state").read_text() == "FROZEN\n")
        else:
            self._write("cgroup.freeze", 1)
            wait_until(lambda: "frozen 1" in (self.path / "cgroup.events").read_text())

    def thaw(self) -> None:
        for name, word in (("freezer.state", "THAWED"), ("cgroup.freeze", "0")):
            if (self.path / name).exists():
                self._write(name, word)

    def allow_processor(self, part: float) -> None:
        if (self.path / "cpu.cfs_quota_us").exists():
            self._write("cpu.cfs_quota_us", int(part * 100_000))
        else:
            self._write("cpu.max", f"{int(part * 100_000)} 100000")

    def throttled(self) -> int:
        """How many times it was held back."""
        fields = dict(line.split() for line in (self.path / "cpu.stat").read_text().splitlines())
        return int(fields.get("nr_throttled", 0))

    def processes(self) -> int:
        """How many processes and threads are in it."""
        return int((self.path / "pids.current").read_text())

    def allow_processes(self, most: int | None) -> None:
        self._write("pids.max", "max" if most is None else most)

    def memory(self) -> int:
        """How much memory it has taken, in bytes."""
        name = "memory.usage_in_bytes" if self._is_first_memory else "memory.current"
        return int((self.path / name).read_text())

    def allow_memory(self, most_bytes: int | None) -> None:
        if self._is_first_memory:
            self._write("memory.limit_in_bytes", -1 if most_bytes is None else most_bytes)
        else:
            self._write("memory.max", "max" if most_bytes is None else most_bytes)

    @property
    def _is_first_memory(self) -> bool:
        return (self.path / "memory.limit_in_bytes").exists()

    def _write(self, name: str, word: object) -> None:
        (self.path / name).write_text(f"{word}\n")


def home_of(controller: str) -> Path | None:
    """Where groups of that kind are made: a tree of version 1, else version 2 where it is handed on."""
    first = ROOT / controller
    if os.access(first / "cgroup.procs", os.W_OK):
        return first
    for second in (ROOT, ROOT / "unified"):
        handed_on = second / "cgroup.subtree_control"
        if handed_on.exists() and (controller == "freezer" or controller in handed_on.read_text().split()):
            return second if os.access(second / "cgroup.procs", os.W_OK) else None
    return None
