"""Runs ghosts for the tests of the pool: writes a script, starts it, reads what its processes tell, ends them by pid.

Rule: nothing here looks into the code under test. What a test knows it has from the kernel, from the ghost's log, and
from the **notes**: lines that the processes of the ghost append to one file, each with its moment and its pid.
"""

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final, NamedTuple

from tests.support import PATIENCE, children_of, end_all, is_alive, offspring_of, own_children, reap_zombies, wait_until

# Short enough for a test, and yet so long that a busy machine is not taken for a hung spirit; `young` is off, because
# most tests kill spirits that have just begun.
OPTIONS: Final[dict[str, object]] = {
    "spirits": 2,
    "heartbeat_interval": 0.2,
    "heartbeat_timeout": 30.0,
    "graceful_timeout": 10.0,
    "silent_timeout": 1.0,
    "young": 0.0,
}

# Seconds: what does not wait for `graceful_timeout` above ends sooner, also on a machine that is slow or busy.
AT_ONCE: Final = 8.0

PRELUDE: Final = """\
import os, signal, sys, time
from ghostd import Exit, Ghost, Prefork

def note(*words):
    line = " ".join(map(str, (time.monotonic_ns(), os.getpid(), *words))) + "\\n"
    fd = os.open(NOTES, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o666)
    os.write(fd, line.encode())
    os.close(fd)

"""

WORK: Final = """\
class Subject(Prefork):
    def spirit(self):
        note("begin", self.seat, self.serial, self.generation)
        note("ready", self.generation)
        self.ready()
        while self.tick():
            time.sleep(0.01)
        note("leave", self.generation)
"""

WORK_WITHOUT_PIDFD: Final = WORK.replace("    def spirit", "    use_pidfd = False\n\n    def spirit")

END: Final = """

if __name__ == "__main__":
    sys.exit(Subject(**OPTIONS).ctrl(sys.argv[1:]))
"""


class Note(NamedTuple):
    """What one process of the ghost has told."""

    at: float  # monotonic seconds
    pid: int
    word: str
    more: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Answer:
    """What a command ended with and printed."""

    code: int
    out: str
    err: str


class Subject:
    """One manager with its spirits."""

    def __init__(self, stage: "Stage", pid: int) -> None:
        self.pid = pid
        self._stage = stage

    # ── what it tells ──
    def notes(self, word: str = "") -> list[Note]:
        """The notes so far, all or those of one word, in the order of their moments."""
        return self._stage.notes(word)

    def wait_notes(self, word: str, count: int = 1, timeout: float = PATIENCE) -> list[Note]:
        """Wait until there are so many notes of this word."""
        self._wait(lambda: len(self.notes(word)) >= count, timeout, f"{count} notes {word!r}")
        return self.notes(word)

    def log(self) -> str:
        """All that was logged, and printed to stderr, so far."""
        return self._stage.log()

    def logged(self, pattern: str) -> list[str]:
        """The lines of the log in which this regular expression is found."""
        return [line for line in self.log().splitlines() if re.search(pattern, line)]

    def wait_log(self, pattern: str, count: int = 1, timeout: float = PATIENCE) -> list[str]:
        """Wait until so many lines of the log have this regular expression in them."""
        self._wait(lambda: len(self.logged(pattern)) >= count, timeout, f"{count} x {pattern!r} in the log")
        return self.logged(pattern)

    def report(self) -> str:
        """For the message of a failure."""
        return f"the log:\n{self.log()[-6000:]}"

    # ── what the kernel tells ──
    def spirits(self) -> set[int]:
        """The pids of its living children."""
        return {pid for pid, state in children_of(self.pid).items() if state not in "ZX"}

    def zombies(self) -> set[int]:
        """The pids of its children that ended and are not reaped."""
        return {pid for pid, state in children_of(self.pid).items() if state in "ZX"}

    def is_running(self) -> bool:
        """Whether the manager lives."""
        return is_alive(self.pid)

    def wait_spirits(self, count: int, timeout: float = PATIENCE, without: set[int] | None = None) -> set[int]:
        """Wait until it has exactly so many spirits, and none of those named."""
        unwanted = without or set()
        what = f"{count} spirits without {unwanted}"

        def found() -> bool:
            spirits = self.spirits()
            return len(spirits) == count and not spirits & unwanted

        self._wait(found, timeout, what)
        return self.spirits()

    # ── what is done to it ──
    def send(self, signum: int) -> None:
        """A signal to the manager."""
        os.kill(self.pid, signum)

    def wait_end(self, timeout: float = PATIENCE) -> int:
        """Wait for its end, and that nothing of it is left: its exit code, or the negative number of a signal."""
        try:
            code = self._stage.wait_code(self.pid, timeout)
        except AssertionError as error:
            raise AssertionError(f"{error}\n{self.report()}") from None
        self._stage.assert_nothing_is_left()
        return code

    def quit(self, timeout: float = PATIENCE) -> int:
        """Stop it gracefully: its exit code."""
        self.send(signal.SIGQUIT)
        return self.wait_end(timeout)

    def _wait(self, condition: Callable[[], bool], timeout: float, what: str) -> None:
        try:
            wait_until(condition, timeout, what)
        except AssertionError as error:
            raise AssertionError(f"{error}\n{self.report()}") from None


class Stage:
    """The directory of one test, and the processes that it has started."""

    def __init__(self, place: Path) -> None:
        self.place = place
        self.inherited: tuple[int, ...] = ()  # descriptors that what is run next gets beside stdio
        self._before = set(own_children())
        self._processes: dict[int, subprocess.Popen[bytes]] = {}
        self._codes: dict[int, int] = {}

    # ── starting ──
    def write(self, body: str, *, logfile: bool, **options: object) -> Path:
        """Write the ghost's script."""
        chosen = OPTIONS | {"name": "subject", "pidfile": str(self.place / "subject.pid")} | options
        if logfile:
            chosen["logfile"] = str(self.place / "log")
        script = self.place / "subject.py"
        head = f"NOTES = {str(self.place / 'notes')!r}\nOPTIONS = {chosen!r}\n"
        script.write_text(f"{PRELUDE}{head}\n{body}{END}", encoding="utf-8")
        return script

    def run(
        self,
        body: str = WORK,
        *,
        prefix: Sequence[str] = (),
        environ: Mapping[str, str] | None = None,
        whole: bool = True,
        **options: object,
    ) -> Subject:
        """Run it in the foreground, its log and stderr in one file; ``whole``: return when the pool is."""
        script = self.write(body, logfile=False, **options)
        with (self.place / "log").open("ab") as log:
            process = subprocess.Popen(
                [*prefix, sys.executable, str(script), "run"],
                cwd=self.place,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=own_environ(environ),
                pass_fds=self.inherited,
            )
        self._processes[process.pid] = process
        subject = Subject(self, process.pid)
        if whole:
            subject.wait_log("Pool is whole")
        return subject

    def start(self, body: str = WORK, **options: object) -> Subject:
        """Start it as a daemon, which must succeed."""
        self.write(body, logfile=True, **options)
        answer = self.command("start")
        assert answer.code == 0, f"{answer}\n{self.log()}"
        return Subject(self, self.pid_of(answer))

    def command(self, word: str, timeout: float = 30.0) -> Answer:
        """Give a command to the ghost whose script was written last."""
        words = [sys.executable, str(self.place / "subject.py"), word]
        done = subprocess.run(
            words, check=False, cwd=self.place, capture_output=True, text=True, timeout=timeout, env=own_environ()
        )
        return Answer(done.returncode, done.stdout.strip(), done.stderr.strip())

    def pid_of(self, answer: Answer) -> int:
        """The pid in the text of an answer."""
        return int(answer.out.splitlines()[0].split()[-1])

    def launch(self, words: Sequence[str]) -> int:
        """Run another program beside the ghost, ended with the test at the latest: its pid."""
        process = subprocess.Popen(
            words, cwd=self.place, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        self._processes[process.pid] = process
        return process.pid

    # ── what is told ──
    def notes(self, word: str = "") -> list[Note]:
        """All notes so far, or those of one word."""
        try:
            lines = (self.place / "notes").read_text(encoding="utf-8").splitlines()
        except FileNotFoundError:
            return []
        notes = []
        for line in lines:
            at, pid, kind, *more = line.split(" ")
            if word in ("", kind):
                notes.append(Note(int(at) / 1e9, int(pid), kind, tuple(more)))
        return sorted(notes)

    def log(self) -> str:
        """The log so far."""
        try:
            return (self.place / "log").read_text(encoding="utf-8", errors="replace")
        except FileNotFoundError:
            return ""

    # ── ending ──
    def wait_code(self, pid: int, timeout: float = PATIENCE) -> int:
        """Wait for the end of a process that was started here, or of a daemon that was orphaned: its exit code."""
        process = self._processes.get(pid)
        if process is not None:
            ended: Callable[[], bool] = lambda: process.poll() is not None  # noqa: E731  one condition of two
        else:
            ended = lambda: self._reaped(pid)  # noqa: E731
        wait_until(ended, timeout, f"the end of {pid}")
        return self._codes[pid] if process is None else process.returncode

    def assert_nothing_is_left(self, limit: float = 10.0) -> None:
        """No process of a ghost that has ended lives on; orphans have come to this process."""
        others = {pid for pid, process in self._processes.items() if process.poll() is None}
        try:
            wait_until(lambda: not reap_zombies(self._before | set(self._processes)), limit, "no orphan")
        except AssertionError:
            left = reap_zombies(self._before | set(self._processes)) - others
            assert not left, f"left behind: {left}; the log:\n{self.log()[-6000:]}"

    def close(self) -> None:
        """End whatever still runs, by pid."""
        for process in self._processes.values():
            if process.poll() is None:
                family = [process.pid, *offspring_of(process.pid)]
                for pid in family:
                    with suppress(ProcessLookupError):
                        os.kill(pid, signal.SIGKILL)
                process.wait(PATIENCE)
        left = reap_zombies(self._before)
        if left:
            end_all(left)

    def _reaped(self, pid: int) -> bool:
        found, status = os.waitpid(pid, os.WNOHANG)
        if found:
            self._codes[pid] = os.waitstatus_to_exitcode(status)
        return bool(found)


def moment() -> float:
    """Now, on the clock of the notes."""
    return time.monotonic()


def own_environ(more: Mapping[str, str] | None = None) -> dict[str, str]:
    """This process's environment without options of ghosts."""
    own = {name: value for name, value in os.environ.items() if not name.startswith("GHOSTD_")}
    return {**own, **(more or {})}
