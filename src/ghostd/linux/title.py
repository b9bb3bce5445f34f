"""The name that ps shows for this process."""

import functools
from collections.abc import Callable


def set_title(text: str) -> None:
    """Show `text` in ps and top; without setproctitle nothing. The first call loads it: let that be before a fork."""
    _setter()(text)


@functools.cache
def _setter() -> Callable[[str], object]:
    try:
        from setproctitle import setproctitle  # noqa: PLC0415  20 ms, and nobody but the manager needs it
    except ImportError:
        return lambda _text: None
    return setproctitle
