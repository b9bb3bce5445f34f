"""What the tests on a real systemd share: a machine, booted once a file, and services by the units that we ship."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Final

import pytest

from tests.system.machine import REPOSITORY, Machine, require

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT: Final = "GHOSTD_SYSTEM_ROOT"  # a root of another release, as debootstrap makes it; without it this machine's own
LONG: Final = bool(os.environ.get("GHOSTD_LONG"))  # the figures in full instead of a twentieth
DEPLOY: Final = REPOSITORY / "deploy" / "systemd"

# Answers each line with the pid and the line; "slow N" takes N seconds. A spirit takes `slow` seconds to boot, and dies
# at once while there is `poison`.
APP: Final = """\
import os, time
from ghostd import Prefork

def said(name, default):
    try:
        with open("/run/subject/" + name) as file:
            return float(file.read() or 1)
    except FileNotFoundError:
        return default

class Lines(Prefork):
    def spirit(self):
        time.sleep(said("slow", 0.0))
        if said("poison", 0.0):
            os._exit(9)
        return super().spirit()

    def hangup(self):
        while said("hang", 0.0):
            time.sleep(0.1)
        super().hangup()

    def connection(self, sock, address):
        with sock.makefile("rb") as lines:
            for line in lines:
                if line.startswith(b"slow"):
                    time.sleep(float(line.split()[1]))
                sock.sendall(b"%d " % os.getpid() + line)
"""


class Service:
    """One of the units ``ghostd@NAME``, with what it is to do."""

    def __init__(self, machine: Machine, name: str, dropin: str = "", **options: object) -> None:
        self.machine = machine
        self.name = name
        self.unit = f"ghostd@{name}.service"
        chosen = {"target": "app.py:Lines", "spirits": 2, "listen": [f"unix:/run/ghostd/{name}/x.sock"], **options}
        lines = [f"{key} = {_toml(value)}\n" for key, value in chosen.items()]
        self._write(f"/etc/ghostd/{name}.toml", "".join(lines))
        limits = "[Unit]\nStartLimitIntervalSec=0\n"
        old = "" if machine.version() >= 253 else "[Service]\nType=notify\nExecReload=/bin/kill -HUP $MAINPID\n"
        machine.unit(f"{self.unit}.d/test.conf", f"{limits}{old}{dropin}")

    def say(self, name: str, text: str | None = "") -> None:
        """Have the program know something, or, with None, know it no longer."""
        if text is None:
            self.machine.run("rm", "-f", f"/run/subject/{name}")
        else:
            self._write(f"/run/subject/{name}", text)

    def systemctl(self, word: str, timeout: float = 60.0) -> None:
        self.machine.systemctl(word, self.unit, timeout=timeout)

    @property
    def pid(self) -> int:
        """Of its manager."""
        return self.machine.main_pid(self.unit)

    @property
    def address(self) -> str:
        """Of its socket, from here."""
        return f"unix:{self.machine.path(f'/run/ghostd/{self.name}/x.sock')}"

    @property
    def status(self) -> str:
        return self.machine.show(self.unit, "StatusText")

    @property
    def restarts(self) -> int:
        return int(self.machine.show(self.unit, "NRestarts"))

    def journal(self) -> str:
        return self.machine.journal(self.unit)

    def _write(self, inside: str, text: str) -> None:
        path = Path(self.machine.path(inside))
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


def _toml(value: object) -> str:
    if isinstance(value, list):
        return "[" + ", ".join(_toml(one) for one in value) + "]"
    return f'"{value}"' if isinstance(value, str) else str(value)


@pytest.fixture(scope="module")  # no longer: other tests count the children of this process
def machine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Machine]:
    """A machine with the units of this repository, and the program that they run."""
    require()
    root = Path(os.environ.get(ROOT, "/"))
    with Machine(tmp_path_factory.mktemp("machine"), root) as made:
        for unit in DEPLOY.iterdir():
            shutil.copy(unit, made.place / "units")
        commands = Path(made.path("/usr/local/bin"))
        commands.mkdir(parents=True, exist_ok=True)
        (commands / "ghostd").unlink(missing_ok=True)
        (commands / "ghostd").symlink_to(REPOSITORY / ".venv" / "bin" / "ghostd")
        for folder in ("/etc/ghostd", "/run/subject"):
            Path(made.path(folder)).mkdir(parents=True, exist_ok=True)
        Path(made.path("/etc/ghostd/app.py")).write_text(APP)
        made.systemctl("daemon-reload")
        yield made


@pytest.fixture
def rounds() -> int:
    """How often a figure is taken."""
    return 100 if LONG else 5
