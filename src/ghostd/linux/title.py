"""The name that ps shows for this process."""

from __future__ import annotations

import functools
import importlib.machinery
import importlib.util

from ghostd.hints import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable


def set_title(text: str) -> None:
    """Show `text` in ps and top; without setproctitle nothing. The first call loads it: let that be before a fork."""
    _setter()(text)


@functools.cache
def _setter() -> Callable[[str], object]:
    """The function of setproctitle's C module, loaded without its package.

    The package imports logging and threading, whose hooks would run in every newborn: 130 page faults a fork.
    """
    package = importlib.util.find_spec("setproctitle")
    places = package.submodule_search_locations if package is not None else None
    spec = importlib.machinery.PathFinder.find_spec("setproctitle._setproctitle", places) if places else None
    if spec is None or spec.loader is None:
        return lambda _text: None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    found: Callable[[str], object] = module.setproctitle
    return found
