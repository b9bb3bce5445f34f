"""uvloop: used where it is installed; asked for by name and not there, an error before anything forks."""

import sys
from pathlib import Path
from types import ModuleType

import pytest

from ghostd import Prefork
from ghostd.errors import OptionError
from ghostd.integrations import uvloop


@pytest.fixture
def ready_made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A module of that name on the path, which is all that is asked of it."""
    (tmp_path / "uvloop.py").write_text("import asyncio\nnew_event_loop = asyncio.new_event_loop\n")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "uvloop", raising=False)


def work() -> None: ...


def test_asked_for_by_name_and_not_installed_is_an_error_that_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(uvloop, "is_installed", lambda: False)
    with pytest.raises(OptionError, match=r"option event_loop: 'uvloop'.*pip install 'ghostd\[uvloop\]'"):
        Prefork(work, event_loop="uvloop", name="subject")
    assert uvloop.factory("auto") is None


@pytest.mark.usefixtures("ready_made")
def test_where_it_is_installed_each_loop_is_a_fresh_one() -> None:
    assert uvloop.is_installed()
    assert "uvloop" not in sys.modules, "looking does not import it"
    assert Prefork(work, event_loop="uvloop", name="subject").config.spirit.event_loop == "uvloop"
    make = uvloop.factory("auto")
    assert make is not None
    assert make is uvloop.factory("uvloop")
    assert uvloop.factory("asyncio") is None
    loops = [make() for _ in range(2)]
    assert loops[0] is not loops[1]
    for loop in loops:
        loop.close()
    assert isinstance(sys.modules["uvloop"], ModuleType)
