"""The name that ps shows for this process."""

from __future__ import annotations

import functools
import sys

from ghostd.hints import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from importlib.machinery import ModuleSpec


def set_title(text: str) -> None:
    """Show `text` in ps and top; without setproctitle nothing. The first call loads it: let that be before a fork."""
    setter()(text)


@functools.cache
def setter() -> Callable[[str], object]:
    """What sets the title: made ready before a fork, for a newborn.

    It is the function of setproctitle's C module, loaded without its package, which imports logging and
    threading, whose hooks would run in every newborn: 130 page faults a fork.
    """
    try:
        return _load()
    except (ImportError, OSError):  # not installed, or no descriptor or memory for it: a ghost works without a title
        return lambda _text: None


def _load() -> Callable[[str], object]:
    package = _find("setproctitle")
    places = package.submodule_search_locations if package is not None else None
    spec = _find("setproctitle._setproctitle", places) if places else None
    module = spec.loader.create_module(spec) if spec is not None and spec.loader is not None else None
    if spec is None or spec.loader is None or module is None:
        raise ImportError("setproctitle")
    spec.loader.exec_module(module)
    found: Callable[[str], object] = module.setproctitle
    return found


def _find(name: str, places: Sequence[str] | None = None) -> ModuleSpec | None:
    """Where a module is. To ask Python's finders is what importlib does, which loads warnings: 0.4 ms a start."""
    for finder in sys.meta_path:
        spec = finder.find_spec(name, places)
        if spec is not None:
            return spec
    return None
