"""What the spirits of the benchmark do: the same functions under ghostd, the bare manager and the peers.

``tick`` is the manager's heartbeat: it returns false once the spirit is to leave. Loaded at start-up on each side, as
bench.witness is.
"""

import gc
import mmap
import os
import signal
import time
from collections.abc import Callable

from bench.witness import Order, Witness

TYPE_CHECKING = False  # as bench.witness: nothing heavy is loaded beside what is measured
if TYPE_CHECKING:
    import socket

Tick = Callable[[], object]
Job = Callable[[Tick], None]
TRACED_TICKS = 10_000
MARK = "/ghostd-bench-mark-"  # a file that is not there


def always() -> bool:
    """Tick for a manager that wants no heartbeat."""
    return True


def steady(tick: Tick, witness: Witness, period: float) -> None:
    """Tick once each period, as an honest spirit does."""
    if tick():
        witness.tell()
    while tick():
        time.sleep(period)


def waiting(tick: Tick, witness: Witness, period: float) -> None:
    """Wait for the signal that ends it: a spirit that finishes at once."""
    del period
    if tick():
        witness.tell()
    while True:
        signal.pause()


def obedient(tick: Tick, witness: Witness, period: float) -> None:
    """Stamp each tick on the table and do what it orders: leave, or hang in one of the ways that a spirit can."""
    words = witness.open_table()
    words[1] = Order.NONE  # a former process of this pid may have had orders
    if tick():
        words[0] = time.monotonic_ns()
        witness.tell()
    while tick():
        words[0] = time.monotonic_ns()
        if words[1] == Order.LEAVE:
            return
        if words[1] == Order.GO_DEAF:
            signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
        while words[1] in (Order.LOOP, Order.GO_DEAF):
            pass
        time.sleep(period)


def load(megabytes: float) -> dict[str, dict[str, object]]:
    """Return so much of what a program holds: dictionaries of texts, numbers and lists."""
    model: dict[str, dict[str, object]] = {}
    most = resident_bytes() + megabytes * (1 << 20)
    while len(model) % 2000 or resident_bytes() < most:
        number = len(model)
        near = [f"word{number - 1}", f"word{number + 1}"]
        model[f"word{number}"] = {"rank": number, "score": number * 0.5, "near": near}
    return model


def resident_bytes() -> int:
    """Memory of this process that is there, shared or not."""
    with open("/proc/self/statm", "rb") as file:
        return int(file.read().split()[1]) * mmap.PAGESIZE


def collecting(tick: Tick, witness: Witness, period: float) -> None:
    """Tick, and collect all garbage three times when the table orders it; say so."""
    words = witness.open_table()
    words[1] = Order.NONE  # a former process of this pid may have had orders
    if tick():
        witness.tell()
    while tick():
        if words[1] == Order.COLLECT:
            words[1] = Order.NONE
            for _ in range(3):
                gc.collect()
            witness.tell()
        time.sleep(period)


def brief(tick: Tick, witness: Witness, period: float) -> None:
    """Leave after the first tick: a life of no length, for the count of lives."""
    del period
    if tick():
        witness.tell()


def stubborn(tick: Tick, witness: Witness, period: float) -> None:
    """Tick, and go on whatever the manager asks."""
    tick()
    witness.tell()
    while True:
        tick()
        time.sleep(period)


def unready(tick: Tick, witness: Witness, period: float) -> None:
    """Never have a first tick; tell the benchmark that it is there, and sleep."""
    del tick
    witness.tell()
    while True:
        time.sleep(period)


def traced(tick: Tick, witness: Witness) -> None:
    """Tick many times between two marks that strace shows."""
    tick()  # the first may say that the spirit is ready
    _mark("begin")
    for _ in range(TRACED_TICKS):
        tick()
    _mark("end")
    witness.tell()
    while tick():
        time.sleep(0.05)


def answer(connection: "socket.socket", marks: memoryview) -> None:
    """Say which process answers, and leave marks on the table: how many it has begun and ended."""
    marks[0] += 1
    connection.recv(100)
    connection.sendall(b"%d" % os.getpid())
    marks[1] += 1


def _mark(name: str) -> None:
    try:
        os.stat(MARK + name)
    except FileNotFoundError:  # as it should be: strace has seen the name
        return
