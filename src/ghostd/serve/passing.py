"""Options that are passed to a server: known ones of the right type, files that can be read; then the server's word.

Rule: a mistake is found before anything forks, and told in one line with the option, its value and what to do.
"""

from __future__ import annotations

import os

from ghostd.errors import OptionError
from ghostd.hints import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any, Final

    from ghostd.serve.job import ServerModule

_PATH_ENDS: Final = ("file", "_cert", "_key", "_ca", "ca_certs", "log_config")  # how names of options of files end
_KINDS: Final = ((bool, "true or false"), (int, "a whole number"), (float, "a number"), (str, "a text"))
_SHOWN_MAX = 80


def settled(options: Mapping[str, Any], folder: str) -> dict[str, Any]:
    """The options, with relative paths made to mean the same after the ghost has gone to another directory."""
    return {name: os.path.join(folder, value) if _is_path(name, value) else value for name, value in options.items()}


def check(server: str, options: Mapping[str, Any], module: ServerModule) -> None:
    """Raise OptionError for the first of the options that is wrong."""
    known, taken = module.known(), module.taken()
    for name, value in options.items():
        where = f"option {server}.{name}"
        if name in taken:
            raise OptionError(f"{where}: ghostd decides this; use {taken[name]} and take it out of [serve.{server}]")
        if name not in known:
            raise OptionError(f"{where}: {server} has no such option{_hint(name, list(known))}")
        wanted = _unlike(value, known[name])
        if wanted:
            raise OptionError(f"{where}: {_shown(value)} is not allowed; it takes {wanted}")
        if _is_path(name, value):
            _check_readable(where, value)
    try:
        module.try_out(options)
    except (OSError, ValueError, TypeError, KeyError, AssertionError, RuntimeError, ImportError) as error:
        raise OptionError(f"option {server}: {server} does not take these options: {_told(error)}") from error


def _is_path(name: str, value: object) -> bool:
    return isinstance(value, str) and bool(value) and name.endswith(_PATH_ENDS)


def _check_readable(where: str, path: str) -> None:
    try:
        with open(path, "rb"):
            pass
    except OSError as error:
        raise OptionError(f"{where}: {path} cannot be read: {error.strerror}") from error


def _unlike(value: object, default: object) -> str:
    """What the option takes, when the value is plainly of another type than its default."""
    if isinstance(default, bool) or not isinstance(default, (int, float, str)):
        right = isinstance(value, bool) or not isinstance(default, bool)
        return "" if right else _KINDS[0][1]
    if isinstance(default, str):
        return "" if isinstance(value, str) else _KINDS[3][1]
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return _KINDS[1 if isinstance(default, int) else 2][1]
    return ""


def _hint(name: str, known: list[str]) -> str:
    import difflib  # noqa: PLC0415  only where something is wrong already

    near = difflib.get_close_matches(name.lower().replace("-", "_"), known, n=3, cutoff=0.5)
    return f"; did you mean {' or '.join(near)}?" if near else f"; it has {', '.join(sorted(known))}"


def _shown(value: object) -> str:
    text = repr(value)
    return text if len(text) <= _SHOWN_MAX else text[: _SHOWN_MAX - 3] + "..."


def _told(error: BaseException) -> str:
    """What is wrong, in one line."""
    return f"{type(error).__name__}: {error}".splitlines()[0] if str(error) else type(error).__name__
