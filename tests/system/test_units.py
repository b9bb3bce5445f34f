"""The units of this repository and those in its pages: systemd has nothing to say against any of their lines."""

from __future__ import annotations

import re
import subprocess
from typing import TYPE_CHECKING, Final

import pytest

from tests.support import needs_tool
from tests.system.conftest import DEPLOY
from tests.system.machine import REPOSITORY

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = [pytest.mark.live, needs_tool("systemd-analyze")]

PROGRAM: Final = re.compile(r"^(Exec\w+=)(?!/bin/kill)\S+", re.MULTILINE)
PAGE: Final = REPOSITORY / "docs" / "howto" / "systemd.md"
BLOCKS: Final = [
    text
    for text in re.findall(r"```ini\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    if "ExecStart=" in text
]


def complaints(path: Path) -> list[str]:
    """What systemd says about a unit; it ends with 0 also when it does not know a key."""
    done = subprocess.run(
        ["systemd-analyze", "verify", str(path)], check=False, capture_output=True, text=True, timeout=30
    )
    # It also reads units of this machine, which are not ours. Releases before 253 do not know this type; the how-to
    # says what to write there.
    ours = [line for line in done.stderr.splitlines() if not line.startswith(("/lib/", "/usr/lib/", "/etc/"))]
    told = [line for line in ours if "ignoring: notify-reload" not in line]
    return told if told or done.returncode == 0 else [f"exit code {done.returncode}"]


def laid(folder: Path, name: str, text: str) -> Path:
    """The unit in a folder, with a program that this machine has."""
    path = folder / name
    path.write_text(PROGRAM.sub(r"\1/bin/true", text), encoding="utf-8")
    return path


@pytest.mark.parametrize("unit", sorted(DEPLOY.iterdir()), ids=lambda unit: str(unit.name))
def test_every_line_of_a_unit_is_understood(unit: Path, tmp_path: Path) -> None:
    for other in DEPLOY.iterdir():
        laid(tmp_path, other.name, other.read_text(encoding="utf-8"))
    assert complaints(tmp_path / unit.name.replace("@", "@mailer")) == []


@pytest.mark.parametrize("block", BLOCKS)
def test_every_line_of_a_unit_in_the_page_is_understood(block: str, tmp_path: Path) -> None:
    assert complaints(laid(tmp_path, "mailer.service", block)) == []


def test_a_line_that_is_not_understood_is_seen(tmp_path: Path) -> None:
    text = (DEPLOY / "ghostd@.service").read_text(encoding="utf-8").replace("WatchdogSec", "WatchdogSeconds")
    (complaint,) = complaints(laid(tmp_path, "ghostd@.service", text))
    assert "Unknown key 'WatchdogSeconds'" in complaint or "Unknown key name 'WatchdogSeconds'" in complaint
