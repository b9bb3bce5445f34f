"""A slice of the chaos soak, another one with each commit; `make soak MINUTES=10` is a whole one.

Rule: the seed is shown, so that what broke can be played again.
"""

import subprocess
import sys
from pathlib import Path
from typing import Final

import pytest

from tests.faults.soak.history import Fault, read
from tests.faults.soak.kinds import GHOSTS
from tests.faults.soak.stage import KINDS_LEAST
from tests.support import needs_root, needs_tool, seed_of_commit

pytestmark = [pytest.mark.live, pytest.mark.slow, pytest.mark.root, pytest.mark.namespace]

MINUTES: Final = 0.6


@needs_root
@needs_tool("unshare")
@pytest.mark.timeout(400)
def test_two_ghosts_keep_their_promises_while_they_are_beaten_in_every_way(tmp_path: Path) -> None:
    history = tmp_path / "history.jsonl"
    words = ["--minutes", str(MINUTES), "--seed", str(seed_of_commit()), "--history", str(history)]
    command = [sys.executable, "-m", "tests.faults.soak", *words]
    done = subprocess.run(command, cwd=Path(__file__).parents[2], capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{' '.join(words)}\n{done.stdout}\n{done.stderr[-3000:]}"
    faults = [fact for fact in read(history) if isinstance(fact, Fault)]
    assert {fault.ghost for fault in faults} == set(GHOSTS)
    assert len({fault.kind for fault in faults}) >= KINDS_LEAST
