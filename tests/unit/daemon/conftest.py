"""A place for a pidfile, and who may start a ghost there."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from ghostd.daemon.pidfile import FilePid


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "ghost.pid"


@pytest.fixture
def starter(path: Path) -> Iterator[FilePid]:
    """One that may start the ghost, and has not become the manager."""
    one = FilePid(path)
    assert one.acquire()
    yield one
    one.release()
