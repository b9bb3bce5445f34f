"""The two ghosts of a soak, the word mill as a daemon and a web pool in the foreground, and who keeps them running.

Rule: when a manager is gone it is started again, as an init system does; everything seen on the way is written down.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from abc import ABC, abstractmethod
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Final

from tests.faults.soak.history import Ended, History, Line, Orphans, Unstarted
from tests.faults.soak.kinds import INTERVAL, MILL, TIMEOUT, WEB
from tests.support import children_of, stat_of, wait_until

if TYPE_CHECKING:
    from tests.live.groups import Group

ROOT: Final = Path(__file__).parents[3]
SPIRITS: Final = 4
PORT: Final = 8080  # in a network of the soak's own
GONE: Final = 2.0  # seconds in which whatever a killed manager leaves behind must have ended
LOOKS: Final = 0.05  # seconds between two looks
OPTIONS: Final = {
    "--spirits": SPIRITS,
    "--heartbeat-interval": INTERVAL,
    "--heartbeat-timeout": TIMEOUT,
    "--silent-timeout": 0.5,
    "--graceful-timeout": 6,
    "--kill-timeout": 2,
    "--boot-timeout": 12,
    "--young": 0.2,
    "--backoff-most": 1,
    "--logformat": "json",
}


class Ghost(ABC):
    """One of them."""

    name: str

    def __init__(self, disk: Path, history: History, groups: dict[str, Group], environ: dict[str, str]) -> None:
        self.log = disk / f"{self.name}.log"
        self.pidfile = disk / f"{self.name}.pid"
        self.ready = disk.with_suffix(".ready")  # not on the small disk, so that it says what is true of the pool
        self.disk = disk  # small, and its own
        self.groups = groups
        self.history = history
        path = os.pathsep.join([str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])])
        self._environ = {**os.environ, "PYTHONPATH": path, **environ}
        self._seen: dict[int, str] = {}  # spirits by pid, with the moment of their start
        self.pid = 0
        self._over = threading.Event()
        self._was_whole = threading.Event()
        self._threads = [threading.Thread(target=one) for one in (self._keep, self._read_log)]

    # ── looking ──
    @property
    def manager(self) -> int:
        """Its pid once it has spirits; before that a signal might end it, as it would end any program."""
        return self.pid if self.pid and self.spirits() else 0

    def spirits(self) -> list[int]:
        """The living ones, the lowest pid first."""
        if not self.pid:
            return []
        found = sorted(pid for pid, state in children_of(self.pid).items() if state not in "ZX")
        for pid in found:
            if pid not in self._seen and (fields := stat_of(pid)):
                self._seen[pid] = fields[19]
        return found

    def is_whole(self) -> bool:
        """Whether it is ready, has as many spirits as it should, all of which run, and nobody who is to be reaped."""
        states = children_of(self.pid) if self.pid else {}
        return len(states) == SPIRITS and not set(states.values()) & set("ZXTt") and self._is_ready()

    def _is_ready(self) -> bool:
        with suppress(FileNotFoundError):
            return self.ready.stat().st_size > 0
        return False

    # ── running ──
    def open(self) -> None:
        """Start it and keep it."""
        for thread in self._threads:
            thread.start()
        wait_until(self._was_whole.is_set, 60.0, f"a whole pool of {self.name}")

    def close(self) -> int | None:
        """Stop it in order: the exit code."""
        self._over.set()
        if self._threads[0].is_alive():
            self._threads[0].join()
        pid = self.pid
        if not pid:
            return None
        os.kill(pid, signal.SIGQUIT)
        codes: list[int] = []
        with suppress(AssertionError):
            wait_until(lambda: self._has_ended(pid, codes), 30.0)
        if not codes:  # it is told as a finding; the rest of the soak must end all the same
            os.kill(pid, signal.SIGKILL)
        return codes[0] if codes else None

    def stop_reading(self) -> None:
        """Read the log to its end."""
        if self._threads[1].is_alive():
            self._threads[1].join()

    def words(self, verb: str, *target: str) -> list[str]:
        """The command that does this, in the ghost's control groups."""
        flags = [str(part) for option in OPTIONS.items() for part in option]
        files = ["--logfile", str(self.log), "--pidfile", str(self.pidfile), "--ready-file", str(self.ready)]
        command = [sys.executable, "-m", "ghostd", verb, *target, *flags, *files]
        for group in {group.path: group for group in self.groups.values()}.values():
            command = [*group.prefix, *command]
        return command

    @abstractmethod
    def start(self) -> int:
        """Start it: the manager's pid, 0 when that was refused."""

    @abstractmethod
    def end_of(self, pid: int) -> int | None:
        """The exit code of the manager, once it has ended."""

    def _keep(self) -> None:
        while not self._over.wait(LOOKS):
            codes: list[int] = []
            if self.pid and not self._has_ended(self.pid, codes):
                self.spirits()
                continue
            old, self._seen = self._seen, {}
            if self.pid:
                self.history.add(Ended(self.name, time.monotonic(), codes[0]))
            began = time.monotonic()
            self.pid = self.start()
            self._wait_gone(old, began)
            if not self.pid:
                self._over.wait(0.5)

    def _has_ended(self, pid: int, codes: list[int]) -> bool:
        code = self.end_of(pid)
        codes += [] if code is None else [code]
        return code is not None

    def _wait_gone(self, old: dict[int, str], began: float) -> None:
        """Whatever has lost its manager comes to this process, the first of its namespace."""
        while True:
            for pid in old:
                with suppress(ChildProcessError):
                    os.waitpid(pid, os.WNOHANG)
            left = tuple(pid for pid, start in old.items() if (fields := stat_of(pid)) and fields[19] == start)
            after = time.monotonic() - began
            if not left or after > GONE:
                break
            self._over.wait(LOOKS)
        if left:
            self.history.add(Orphans(self.name, time.monotonic(), round(after, 3), left))

    # ── its log ──
    def _read_log(self) -> None:
        """Follow the log through its rotations."""
        file, inode, rest = None, 0, b""
        while True:
            is_last = self._over.is_set() and not self._pid_lives()
            with suppress(FileNotFoundError):
                if file is None:
                    file = self.log.open("rb")
                    inode = os.fstat(file.fileno()).st_ino
                is_rotated = self.log.stat().st_ino != inode
                rest = self._told(rest + file.read())
                if is_rotated and not self._over.wait(
                    1.0
                ):  # the manager writes to the old one until it has heard of it
                    rest = self._told(rest + file.read())
                    file.close()
                    file = None
            if is_last:
                break
            time.sleep(LOOKS)
        if file:
            file.close()

    def _pid_lives(self) -> bool:
        fields = stat_of(self.pid) if self.pid else None
        return fields is not None and fields[0] not in "ZX"

    def _told(self, text: bytes) -> bytes:
        *lines, rest = text.split(b"\n")
        for line in lines:
            try:
                record = json.loads(line)
                level, message = record["level"], record["message"]
            except ValueError:  # torn, on a full disk
                level, message = "torn", line.decode(errors="replace")
            if message.startswith("Pool is whole"):
                self._was_whole.set()
            self.history.add(Line(self.name, time.monotonic(), level, message))
        return rest


class Mill(Ghost):
    """The word mill, detached."""

    name = MILL

    def start(self) -> int:
        words = self.words("start", "examples.wordmill.mill:Mill")
        done = subprocess.run(words, cwd=ROOT, env=self._environ, capture_output=True, text=True, check=False)
        if done.returncode:
            self.history.add(Unstarted(self.name, time.monotonic(), f"{done.returncode}: {done.stderr.strip()}"))
            return 0
        return int(done.stdout.split()[-1])

    def end_of(self, pid: int) -> int | None:
        try:
            found, status = os.waitpid(pid, os.WNOHANG)
        except ChildProcessError:
            return None  # not an orphan yet: `start` is about to end
        return os.waitstatus_to_exitcode(status) if found else None


class Web(Ghost):
    """The application under `ghostd serve`."""

    name = WEB
    _process: subprocess.Popen[bytes] | None = None

    def start(self) -> int:
        words = self.words("serve", "tests.faults.soak.app:app", "--server", "uvicorn", "--listen", f"127.0.0.1:{PORT}")
        with self.history.path.with_suffix(".stderr").open("ab") as errors:
            self._process = subprocess.Popen(
                words, cwd=ROOT, env=self._environ, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=errors
            )
        return self._process.pid

    def end_of(self, pid: int) -> int | None:
        assert self._process
        assert self._process.pid == pid
        return self._process.poll()
