"""Pools under measurement: started, watched by the witness, ended; alike for ghostd, the bare manager and the peers."""

from __future__ import annotations

import contextlib
import fcntl
import os
import select
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from bench import procs, witness

if TYPE_CHECKING:
    import random
    from types import TracebackType
    from typing import Self

ROOT = Path(__file__).resolve().parent.parent
MEMORY = Path("/dev/shm")
NANO = 1e9
PIPE_BYTES = 1 << 20  # 65,536 records: more than any pool has spirits
F_SETPIPE_SZ = 1031  # fcntl(2); the fcntl module has no name for it in Python 3.11


class CannotMeasureError(Exception):
    """A figure cannot be had in this run; the message says why."""


@dataclass(frozen=True, slots=True)
class Task:
    """What a pool is to do: how many spirits, which function of bench.work, how often it ticks."""

    spirits: int
    work: str = "steady"
    period: float = 1.0
    limit: float = 55.0  # of silence: the sum of ghostd's defaults
    options: dict[str, object] = field(default_factory=dict)  # of ghostd


class Pool:
    """A manager with its spirits. Entering starts it and waits for the first tick of all; leaving ends all of it."""

    side: ClassVar[str]
    ends_on: ClassVar[int] = signal.SIGTERM

    def __init__(self, task: Task, wait: float = 60.0) -> None:
        self.task = task
        self.lives: dict[int, int] = {}  # by pid: first tick, in monotonic nanoseconds
        self.lives_count = 0
        self.manager = 0
        self.began = 0
        self.whole = 0
        self._wait = wait
        base = MEMORY if MEMORY.is_dir() else None
        self.folder = Path(tempfile.mkdtemp(prefix="ghostd-bench-", dir=base))
        self._pipe = -1
        self._process: subprocess.Popen[bytes] | None = None
        self._sessions: set[int] = set()  # the command's, and the daemon's own

    def command(self) -> list[str]:
        """Return the command that starts the manager."""
        raise NotImplementedError

    def environment(self) -> dict[str, str]:
        """Return the environment of the command."""
        return {**os.environ, "PYTHONPATH": f"{ROOT}{os.pathsep}{ROOT / 'src'}"}

    def inherited(self) -> tuple[int, ...]:
        """Return the descriptors that the command is given."""
        return ()

    def __enter__(self) -> Self:
        try:
            self.prepare()
            self.start()
            self.wait_lives(self.task.spirits, self._wait)
            self.whole = max(self.lives.values(), default=time.monotonic_ns())
            self.settle()
        except BaseException:
            self.close()
            raise
        return self

    def prepare(self) -> None:
        """Make the pipe and the table of the witness, before any clock runs."""
        os.mkfifo(self.folder / "lives")
        witness.make_table(str(self.folder))
        self._pipe = os.open(self.folder / "lives", os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)
        with contextlib.suppress(PermissionError):
            fcntl.fcntl(self._pipe, F_SETPIPE_SZ, PIPE_BYTES)

    def start(self) -> None:
        """Execute the command; note the moment."""
        command, environment = self.command(), self.environment()
        with (self.folder / "output").open("wb") as output:
            self.began = time.monotonic_ns()
            self._process = subprocess.Popen(
                command,
                env=environment,
                cwd=self.folder,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
                pass_fds=self.inherited(),
            )
        self.manager = self._process.pid
        self._sessions.add(self.manager)

    def settle(self) -> None:
        """Do what is left to do when the pool is whole."""

    def wait_lives(self, count: int, limit: float) -> None:
        """Wait until ``count`` lives more have begun."""
        want = self.lives_count + count
        deadline = time.monotonic() + limit
        while self.lives_count < want:
            if not self.read_lives(min(0.2, deadline - time.monotonic())) and time.monotonic() > deadline:
                done = count - want + self.lives_count
                raise CannotMeasureError(f"{self.side}: {done} of {count} first ticks in {limit:g} s; {self.said()}")
            self._check_process()

    def wait_life(self, after: int, limit: float) -> int:
        """Wait for a life that begins after that moment; return its first tick, in monotonic nanoseconds."""
        deadline = time.monotonic() + limit
        while True:
            self.wait_lives(1, deadline - time.monotonic())
            pid = next(reversed(self.lives))
            if self.lives[pid] > after:
                return self.lives[pid]

    def read_lives(self, limit: float) -> bool:
        """Read what the witness tells within ``limit`` seconds; true if it told anything."""
        if not select.select([self._pipe], [], [], max(0.0, limit))[0]:
            return False
        told = os.read(self._pipe, PIPE_BYTES)
        for at in range(0, len(told), witness.RECORD_BYTES):
            record = told[at : at + witness.RECORD_BYTES]
            pid = int.from_bytes(record[:8], "little")
            self.lives.pop(pid, None)  # a pid that is used again goes to the end, where the newest are
            self.lives[pid] = int.from_bytes(record[8:], "little")
            self.lives_count += 1
        return True

    def kill_one(self, chance: random.Random, age: float, limit: float, rest: float = 0.02) -> float:
        """SIGKILL a random spirit older than ``age``; return the seconds to its replacement's first tick.

        Before it the manager has some ``rest``, to end what the one before made it do; no two rests are the same.
        """
        time.sleep(rest * (0.5 + chance.random()))
        while True:
            oldest = time.monotonic_ns() - int(age * NANO)
            ripe = [pid for pid, born in self.lives.items() if born < oldest]
            if ripe:
                break
            time.sleep(0.01)
        pid = chance.choice(ripe)
        del self.lives[pid]
        began = time.monotonic_ns()
        os.kill(pid, signal.SIGKILL)
        return (self.wait_life(began, limit) - began) / NANO

    def forget(self) -> None:
        """Reap the command of a start that was cut short, and what it told, so that another can follow."""
        if self._process is not None:
            try:
                self._process.wait(5.0)
            except subprocess.TimeoutExpired:
                self._process.kill()
            self._process.wait()
            self._process = None
        while self.read_lives(0.0):
            pass
        self.lives.clear()
        self.lives_count = 0

    def said(self) -> str:
        """Return the last words of the command and of the manager's log."""
        texts = []
        for name in ("output", "log"):
            with contextlib.suppress(FileNotFoundError):
                texts.append((self.folder / name).read_text("utf-8", "replace").strip()[-600:])
        return " | ".join(filter(None, texts)) or "it said nothing"

    def _check_process(self) -> None:
        if self._process is not None and self._process.poll() not in (None, 0):
            raise CannotMeasureError(f"{self.side}: ended with {self._process.returncode}: {self.said()}")

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """End the manager, then whatever is left of it; by pid."""
        if self.manager:
            with contextlib.suppress(ProcessLookupError, FileNotFoundError):
                self._sessions.add(procs.look(self.manager).session)
                procs.end(self.manager, self.ends_on, 5.0)
        procs.end_sessions(self._sessions)
        if self._pipe >= 0:
            self.forget()
            os.close(self._pipe)
            self._pipe = -1
        shutil.rmtree(self.folder, ignore_errors=True)


class BarePool(Pool):
    """A pool of the bare manager."""

    side = "bare"

    def command(self) -> list[str]:
        """Return the command that starts the manager."""
        task = self.task
        return [
            sys.executable, "-c", "from bench.bare import main; main()", f"spirits={task.spirits}", f"work={task.work}",
            f"period={task.period}", f"limit={task.limit}", f"witness={self.folder}",
        ]  # fmt: skip


SCRIPT = """\
import sys
from bench.ghosts import {work} as Base

class Ghost(Base):
    witness_folder = {folder!r}
    period = {period!r}

if __name__ == "__main__":
    sys.exit(Ghost({options}).ctrl(sys.argv[1:]))
"""


class GhostPool(Pool):
    """A pool of ghostd: a script as a user writes it, started as a daemon that detaches."""

    side = "ghostd"
    verb: ClassVar[str] = "start"

    def prepare(self) -> None:
        """Write the script, too."""
        super().prepare()
        options = {"spirits": self.task.spirits, "pidfile": f"{self.folder}/pid", "logfile": f"{self.folder}/log"}
        words = ", ".join(f"{name}={value!r}" for name, value in {**options, **self.task.options}.items())
        text = SCRIPT.format(
            work=self.task.work.capitalize(), folder=str(self.folder), period=self.task.period, options=words
        )
        (self.folder / "pool.py").write_text(text, "utf-8")

    def command(self) -> list[str]:
        """Return the command that starts the manager."""
        return [sys.executable, f"{self.folder}/pool.py", self.verb]

    def settle(self) -> None:
        """Wait for the command that started the daemon, and learn the daemon's pid."""
        if self._process is None:
            return
        if self._process.wait(30.0) != 0:
            self._check_process()
        self.manager = self.daemon()

    def wait_daemon(self, limit: float) -> int:
        """Wait until the pidfile names the daemon."""
        deadline = time.monotonic() + limit
        while time.monotonic() < deadline:
            with contextlib.suppress(FileNotFoundError, ValueError):
                return self.daemon()
            time.sleep(0.001)
        raise CannotMeasureError(f"ghostd: no pidfile in {limit:g} s; {self.said()}")

    def daemon(self) -> int:
        """Return the pid in the pidfile; FileNotFoundError or ValueError when there is none yet."""
        return int((self.folder / "pid").read_text("ascii").partition("\n")[0])

    def close(self) -> None:
        """End the daemon, also when the start was cut short and only the pidfile knows it."""
        with contextlib.suppress(FileNotFoundError, ValueError):
            self.manager = self.daemon()
        super().close()


class ForegroundPool(GhostPool):
    """A pool of ghostd by ``run``: the command is the manager."""

    side = "ghostd"
    verb = "run"

    def settle(self) -> None:
        """Nothing is left to do."""
