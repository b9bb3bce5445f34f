"""How the benchmark sees what spirits do without asking their manager: a named pipe and a shared table.

The code of a spirit, the same under every manager, tells its first tick itself: so a manager cannot look better than
it is. The time of the fact is taken in the spirit; how long the pipe takes to tell it does not count. Loaded at
start-up on each side, so this file imports nothing heavy.
"""

import mmap
import os
import time

RECORD_BYTES = 16  # pid and monotonic nanoseconds: far below PIPE_BUF, so records never mix
WORDS = 2  # of the table, for each pid: last tick in monotonic nanoseconds, order


class Order:
    """What the benchmark tells a spirit to do, as a word of the table."""

    NONE = 0
    LOOP = 1
    GO_DEAF = 2
    LEAVE = 3
    COLLECT = 4


class Witness:
    """The spirit's end: opened in the newborn, by path, because a daemon closes what it inherits."""

    def __init__(self, folder: str) -> None:
        self._folder = folder
        self._words: memoryview | None = None

    def tell(self) -> None:
        """Say that this process has had its first tick just now."""
        now = time.monotonic_ns()
        pipe = os.open(self._folder + "/lives", os.O_WRONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        os.write(pipe, os.getpid().to_bytes(8, "little") + now.to_bytes(8, "little"))
        os.close(pipe)

    def open_table(self) -> memoryview:
        """Return the two words of this process: where it stamps its ticks, and where it finds its orders."""
        table = open_table(self._folder)
        first = os.getpid() * WORDS
        return table[first : first + WORDS]


def open_table(folder: str) -> memoryview:
    """Map the whole table, by the pid."""
    file = os.open(folder + "/table", os.O_RDWR | os.O_CLOEXEC)
    try:
        return memoryview(mmap.mmap(file, 0)).cast("Q")
    finally:
        os.close(file)


def make_table(folder: str) -> None:
    """Make the table: sparse, so a large pid_max costs nothing."""
    with open("/proc/sys/kernel/pid_max", "rb") as limit, open(folder + "/table", "xb") as table:
        table.truncate((int(limit.read()) + 1) * WORDS * 8)
