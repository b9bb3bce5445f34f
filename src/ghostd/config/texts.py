"""Texts become values by an option's kind, and values texts. Strict: what is not plainly meant is not guessed."""

from __future__ import annotations

from ghostd.hints import TYPE_CHECKING
from ghostd.options import FLOATS, Kind, Option

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Final

TRUE_TEXTS = ("true", "yes", "on", "1")
FALSE_TEXTS = ("false", "no", "off", "0")
DIGITS_MAX = 18  # so a whole number fits 64 bits
NAMES_MAX = 8  # names that an error message lists, where none is near to the one it is about
SHOWN_MAX = 80  # characters of a value that an error message has room for


def read_text(text: str, opt: Option) -> object:
    """The value that a flag or variable means; None when it means none that the kind has."""
    return _READERS[opt.kind](text)


def _read_whole(text: str) -> int | None:
    digits = text.removeprefix("-")
    return int(text) if digits.isascii() and digits.isdigit() and len(digits) <= DIGITS_MAX else None


def _read_float(text: str) -> float | None:
    if not set(text) <= set("0123456789.eE+-"):  # float() would take inf, nan, 1_0 and the digits of other scripts
        return None
    try:
        return float(text)
    except ValueError:
        return None


def _read_flag(text: str) -> bool | None:
    return True if text.lower() in TRUE_TEXTS else False if text.lower() in FALSE_TEXTS else None


def _read_mode(text: str) -> int | None:
    digits = text.lower().removeprefix("0o")
    return int(digits, 8) if digits and set(digits) <= set("01234567") and len(digits) <= DIGITS_MAX else None


def _read_name(text: str) -> str | int:
    number = _read_whole(text)
    return text if number is None else number


def _read_names(text: str) -> list[str | int]:
    return [_read_name(one.strip()) for one in text.split(",")]


def _read_addresses(text: str) -> list[str]:
    return [one.strip() for one in text.split(",")]  # a comma in a path is written as %2C


def _read_nothing(_text: str) -> None:
    return None  # only a program can give an object, and only a program or a file a table


_READERS: Final[dict[Kind, Callable[[str], object]]] = {
    Kind.SECONDS: _read_float,
    Kind.NUMBER: _read_float,
    Kind.WHOLE: _read_whole,
    Kind.FLAG: _read_flag,
    Kind.TEXT: str,
    Kind.PATH: str,
    Kind.NAME: _read_name,
    Kind.NAMES: _read_names,
    Kind.MODE: _read_mode,
    Kind.ADDRESSES: _read_addresses,
    Kind.TABLE: _read_nothing,
    Kind.CHOICE: str,
    Kind.OBJECT: _read_nothing,
}


def as_text(value: object, opt: Option) -> str:
    """A value as one would write it in a flag or variable."""
    if isinstance(value, bool):
        return str(value).lower()
    if opt.kind is Kind.MODE and isinstance(value, int):
        return f"{value:04o}"
    if opt.kind in FLOATS and isinstance(value, float):
        return f"{value:.15g}"
    if isinstance(value, (list, tuple)):
        return ",".join(str(one) for one in value)
    return "" if value is None else str(value)


def shown(value: object) -> str:
    """A value for an error message: its repr, cut short; a number that Python refuses to print is told by its type."""
    try:
        text = repr(value)
    except (ValueError, RecursionError):
        return f"a {type(value).__name__} too large to show"
    return text if len(text) <= SHOWN_MAX else text[: SHOWN_MAX - 3] + "..."


def nearest(name: str, known: list[str], cutoff: float = 0.6) -> str | None:
    """The known name that looks most like it."""
    import difflib  # noqa: PLC0415  only where something is wrong already

    plain = {one.lower(): one for one in known}
    found = difflib.get_close_matches(name.lower().replace("-", "_"), plain, n=1, cutoff=cutoff)
    return plain[found[0]] if found else None


def hint(name: str, known: list[str]) -> str:
    """How a sentence ends that says a name is unknown: with the name that is near, else with those that there are."""
    near = nearest(name, known)
    if near:
        return f"; did you mean {near}?"
    some = ", ".join(known[:NAMES_MAX])
    return f"; there is {some}{', ...' if len(known) > NAMES_MAX else ''}" if known else "."
