"""A machine with a real systemd: this one's file system, or a root of another release, booted in a container.

Nothing that happens in it is kept: what it writes goes into memory, its network is its own, and it ends with the test.
The repository, the interpreter and one folder are the same inside and outside.
"""

from __future__ import annotations

import ctypes
import os
import shutil
import signal
import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Final, NamedTuple

import pytest

from tests.live.traffic import Tally, Traffic
from tests.support import NEEDS, children_of, wait_until

if TYPE_CHECKING:
    from types import TracebackType
    from typing import Self

REPOSITORY: Final = Path(__file__).resolve().parents[2]
TOOLS: Final = ("systemd-nspawn", "nsenter", "unshare")
INIT: Final = "/lib/systemd/systemd"
BOOT_LIMIT: Final = 60.0
END_LIMIT: Final = 20.0
_CLONE_NEWNET: Final = 0x40000000

# Nothing of what this machine has enabled: the log, and what services need before they can begin.
TARGET: Final = """\
[Unit]
Description=Test
Wants=systemd-journald.service
After=systemd-journald.service
DefaultDependencies=no
"""

# Another name for the root, which nspawn does not take as it is; seen in this mount namespace only.
BOOT: Final = """\
set -e
mount --bind {root} {alias}
mount -t tmpfs tmpfs /run
exec systemd-nspawn --quiet --machine=ghostd-test --directory={alias} --volatile=overlay \\
    --register=no --keep-unit --private-network --kill-signal=SIGRTMIN+3 \\
    --link-journal=no --resolv-conf=off --timezone=off --console=pipe \\
    --bind={place} {binds} {init} --unit=ghostd-test.target systemd.log_target=journal
"""


class Done(NamedTuple):
    """How a command ended."""

    code: int
    out: str
    err: str


class Machine:
    """One that is running. ``place`` is a folder that it shares with the test."""

    def __init__(self, place: Path, root: Path = Path("/")) -> None:
        self.place = place
        self._units = place / "units"
        self._units.mkdir(parents=True, exist_ok=True)
        (self._units / "ghostd-test.target").write_text(TARGET)
        alias = place / "root"
        alias.mkdir(exist_ok=True)
        interpreter = Path(sys.base_prefix).resolve()
        shared = [f"--bind-ro={path}" for path in (REPOSITORY, interpreter)]
        script = BOOT.format(
            root=root,
            alias=alias,
            place=place,
            init=INIT,
            binds=" ".join([*shared, f"--bind-ro={self._units}:/run/systemd/system"]),
        )
        words = ["unshare", "--mount", "--propagation", "private", "bash", "-c", script]
        with (place / "console").open("wb") as console:
            self._process = subprocess.Popen(words, stdin=subprocess.DEVNULL, stdout=console, stderr=console)
        self._leader = 0

    def __enter__(self) -> Self:
        try:
            self._leader = wait_until(self._find_leader, BOOT_LIMIT, "the first process of the machine")
            wait_until(lambda: self.run("systemctl", "is-active", "ghostd-test.target").code == 0, BOOT_LIMIT, "boot")
        except AssertionError as error:
            told = (self.place / "console").read_text(errors="replace")[-2000:]
            self.__exit__(None, None, None)
            raise AssertionError(f"{error}; the machine said:\n{told}") from None
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        """Power it off; what has not ended by then is killed, and the kernel ends all that runs in it."""
        if self._process.poll() is None:
            self._process.send_signal(signal.SIGTERM)
            try:
                self._process.wait(END_LIMIT)
            except subprocess.TimeoutExpired:
                if self._leader:
                    with suppress(ProcessLookupError):
                        os.kill(self._leader, signal.SIGKILL)
                self._process.kill()
                self._process.wait(END_LIMIT)

    # ── what is done in it ──
    def run(self, *words: str, timeout: float = 60.0) -> Done:
        """Run a command in it and wait for its end."""
        enter = ["nsenter", "--target", str(self._leader), "--mount", "--uts", "--ipc", "--net", "--pid"]
        done = subprocess.run(
            [*enter, "--wd=/", "--", *words],
            check=False,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=timeout,
            env={"PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "LANG": "C.UTF-8"},
        )
        return Done(done.returncode, done.stdout.strip(), done.stderr.strip())

    def systemctl(self, *words: str, timeout: float = 60.0) -> str:
        """A command of systemctl that must succeed: what it printed."""
        done = self.run("systemctl", *words, timeout=timeout)
        assert done.code == 0, f"systemctl {' '.join(words)}: {done.out}{done.err}\n{self.journal()}"
        return done.out

    def unit(self, name: str, text: str) -> None:
        """Write a unit, or a drop-in of one: ``a.service.d/test.conf``."""
        path = self._units / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)
        self.systemctl("daemon-reload")

    # ── what is seen of it ──
    def show(self, unit: str, name: str) -> str:
        """A property of a unit."""
        return self.systemctl("show", "--value", "--property", name, unit)

    def main_pid(self, unit: str) -> int:
        """The pid of its main process, as this machine numbers it; 0 when there is none."""
        inside = self.show(unit, "MainPID")
        return self._outside(inside) if inside != "0" else 0

    def journal(self, unit: str | None = None) -> str:
        """The end of the log."""
        chosen = () if unit is None else ("--unit", unit)
        return self.run("journalctl", "--no-pager", "--output=short-monotonic", "--lines=80", *chosen).out

    def version(self) -> int:
        """Of its systemd."""
        return int(self.run("systemctl", "--version").out.split()[1])

    def path(self, inside: str) -> str:
        """Where a file of the machine is to be found from here."""
        return f"/proc/{self._leader}/root{inside}"

    def traffic(self, address: str, **how: float) -> Traffic:
        """Clients that run in its network."""
        return _Inside(self._leader, address, **how)

    def _outside(self, inside: str) -> int:
        for entry in os.listdir("/proc"):
            if entry.isdigit():
                with suppress(OSError):
                    text = Path(f"/proc/{entry}/status").read_text(encoding="utf-8", errors="replace")
                    line = next((line for line in text.splitlines() if line.startswith("NSpid:")), "")
                    same = os.stat(f"/proc/{entry}/ns/pid").st_ino == os.stat(f"/proc/{self._leader}/ns/pid").st_ino
                    if same and line.split()[-1] == inside:
                        return int(entry)
        raise AssertionError(f"no process {inside} in the machine")

    def _find_leader(self) -> int:
        """Its first process: the one that runs the init program."""
        assert self._process.poll() is None, f"it did not boot: {(self.place / 'console').read_text(errors='replace')}"
        own = os.stat("/proc/self/ns/pid").st_ino
        for pid in children_of(self._process.pid):
            with suppress(OSError):
                if os.stat(f"/proc/{pid}/ns/pid").st_ino != own and "systemd" in os.readlink(f"/proc/{pid}/exe"):
                    return pid
        return 0


class _Inside(Traffic):
    """Clients whose sockets are of another network: each thread enters it by itself."""

    def __init__(self, leader: int, address: str, **how: float) -> None:
        super().__init__(address, **how)  # type: ignore[arg-type]
        self._leader = leader

    def _talk(self, tally: Tally) -> None:
        fd = os.open(f"/proc/{self._leader}/ns/net", os.O_RDONLY | os.O_CLOEXEC)
        try:
            if ctypes.CDLL(None, use_errno=True).setns(fd, _CLONE_NEWNET) != 0:
                tally.lost.append(f"setns: {os.strerror(ctypes.get_errno())}")
                return
        finally:
            os.close(fd)
        super()._talk(tally)


def require() -> None:
    """Skip unless machines can be booted here."""
    missing = [tool for tool in TOOLS if shutil.which(tool) is None]
    if os.geteuid() != 0:
        missing.append("root")
    if missing:
        pytest.skip(f"{NEEDS}{' and '.join(missing)}")
