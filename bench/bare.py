"""The bare manager: what the kernel and CPython allow, and the baseline of ghostd's figures. It knows no ghostd.

It keeps N forked processes alive: one pidfd a child in one epoll, heartbeats in shared memory, an eventfd for ready,
one timer at the next deadline. Nothing that a promise of ghostd costs is in here: no signals blocked across fork, no
log, no pidfile, no privileges, no process groups, no end of orphans, no retry of what fails. Lean, but not absurd: it
does each thing in the way that a good manager must.

    python -c 'from bench.bare import main; main()' spirits=64 witness=FOLDER work=steady period=1 limit=55
"""

import gc
import mmap
import os
import select
import signal
import sys
import time

from bench import work
from bench.witness import Witness

SLOT_WORDS = 8  # a cache line of its own for each child
NANO = 1e9


class Bare:
    """Forks, waits, replaces. ``job(tick)`` is what each child does."""

    signals_heard: tuple[int, ...] = (signal.SIGTERM, signal.SIGQUIT)

    def __init__(self, spirits: int, limit: float, job: work.Job) -> None:
        self.spirits, self.limit, self.job = spirits, int(limit * NANO), job
        self.slots = memoryview(mmap.mmap(-1, spirits * SLOT_WORDS * 8)).cast("Q")
        self.ready = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
        self.signals, self.wakeup = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        self.epoll = select.epoll()
        self.children: dict[int, tuple[int, int]] = {}  # by pidfd: pid and seat
        self.ready_count = 0
        self.stopping = False
        self.deadline = time.monotonic_ns() + self.limit

    def run(self) -> None:
        """Keep the pool until QUIT (children end by themselves) or TERM (they are killed)."""
        self.epoll.register(self.ready, select.EPOLLIN)
        self.epoll.register(self.signals, select.EPOLLIN)
        for signum in self.signals_heard:
            signal.signal(signum, _ignore)
        signal.set_wakeup_fd(self.wakeup)
        gc.freeze()  # what is there now stays shared with the children
        for seat in range(self.spirits):
            self.spawn(seat)
        while self.children or not self.stopping:
            wait = max(0.0, (self.deadline - time.monotonic_ns()) / NANO)
            for fd, _ in self.epoll.poll(wait):
                if fd == self.ready:
                    self.readied(int.from_bytes(os.read(self.ready, 8), sys.byteorder))
                elif fd == self.signals:
                    self.stop(os.read(self.signals, 64))
                else:
                    self.replace(fd)
            if time.monotonic_ns() >= self.deadline:
                self.judge()

    def spawn(self, seat: int) -> None:
        """Fork a child into its seat."""
        self.slots[seat * SLOT_WORDS] = time.monotonic_ns()
        pid = os.fork()
        if pid == 0:
            self.live(seat)
        pidfd = os.pidfd_open(pid)
        self.children[pidfd] = pid, seat
        self.epoll.register(pidfd, select.EPOLLIN)

    def live(self, seat: int) -> None:
        """Be a child; never returns."""
        code = 1
        try:
            signal.set_wakeup_fd(-1)
            signal.signal(signal.SIGTERM, signal.SIG_DFL)
            signal.signal(signal.SIGQUIT, _leave)
            self.job(self.heart(seat * SLOT_WORDS))
            code = 0
        except SystemExit:
            code = 0
        finally:
            os._exit(code)

    def heart(self, word: int) -> work.Tick:
        """Make the child's tick: one store, and at the first a word to the manager."""
        slots, ready, now, said = self.slots, self.ready, time.monotonic_ns, False

        def tick() -> bool:
            nonlocal said
            slots[word] = now()
            if not said:
                said = True
                os.eventfd_write(ready, 1)
            return True

        return tick

    def readied(self, count: int) -> None:
        """So many children more have had their first tick."""
        self.ready_count += count

    def replace(self, pidfd: int) -> None:
        """Reap the child that has ended and fork another in its seat."""
        pid, seat = self.children.pop(pidfd)
        os.waitpid(pid, 0)
        # By hand: a child forked since holds a copy of the pidfd, so closing ours does not take it out of the epoll.
        self.epoll.unregister(pidfd)
        os.close(pidfd)
        if not self.stopping:
            self.spawn(seat)

    def judge(self) -> None:
        """Kill each child that has not ticked within the limit; find the next deadline."""
        now = time.monotonic_ns()
        oldest = now
        for pidfd, (_, seat) in self.children.items():
            beat = self.slots[seat * SLOT_WORDS]
            if now - beat >= self.limit:
                signal.pidfd_send_signal(pidfd, signal.SIGKILL)
                self.slots[seat * SLOT_WORDS] = beat = now
            oldest = min(oldest, beat)
        self.deadline = oldest + self.limit

    def stop(self, signums: bytes) -> None:
        """Ask the children to leave, or kill them."""
        self.stopping = True
        signum = signal.SIGKILL if signal.SIGTERM in signums else signal.SIGQUIT
        for pidfd in self.children:
            signal.pidfd_send_signal(pidfd, signum)


def _ignore(signum: int, frame: object) -> None:
    """Do nothing: the byte in the wakeup pipe says it."""


def _leave(signum: int, frame: object) -> None:
    del signum, frame
    raise SystemExit(0)


def main() -> None:
    """Run by ``key=value`` arguments; argparse would be a third of the start-up time."""
    options = dict(word.split("=", 1) for word in sys.argv[1:])
    do = getattr(work, options.get("work", "steady"))
    period, witness = float(options.get("period", "1")), Witness(options["witness"])

    def job(tick: work.Tick) -> None:
        do(tick, witness, period)

    Bare(int(options.get("spirits", "4")), float(options.get("limit", "55")), job).run()
