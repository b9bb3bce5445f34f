"""How an option is declared and checked: one place for its default, the reason for it, and what is allowed.

A record of options is a frozen record whose fields are made by :func:`option`. Keyword arguments, the TOML schema,
the command line's flags, the environment and the reference page all come from these declarations.
"""

from __future__ import annotations

from enum import Enum

from ghostd.errors import OptionError
from ghostd.hints import TYPE_CHECKING
from ghostd.record import Described, Frozen, described

if TYPE_CHECKING:
    from typing import Any, Final


UNBOUNDED: Final = float("inf")


class Kind(Enum):
    """What a value of an option is, in the words of its error message."""

    SECONDS = "a number of seconds"
    NUMBER = "a number"
    WHOLE = "a whole number"
    FLAG = "true or false"
    TEXT = "a text"
    PATH = "a path"
    NAME = "a name or a number"
    NAMES = "a name or number, or a list of them"
    MODE = "file permission bits from 0 to 0o777"
    ADDRESSES = "an address, or a list of them"
    TABLE = "a table"
    CHOICE = "a choice"
    OBJECT = "an object"


FLOATS: Final = (Kind.SECONDS, Kind.NUMBER)


class Option(Frozen):
    """The declaration of one option; what is said about its field."""

    kind: Kind
    help: str  # one sentence: what it does
    why: str  # the reason for the default
    least: float = 0.0
    most: float = UNBOUNDED
    choices: tuple[str, ...] = ()
    optional: bool = False  # None is allowed, and means what ``help`` says

    @property
    def allowed(self) -> str:
        """What is allowed, for an error message and the reference page."""
        if self.kind is Kind.CHOICE:
            return "one of " + ", ".join(self.choices)
        if self.kind in (*FLOATS, Kind.WHOLE):
            most = "" if self.most == UNBOUNDED else f" and at most {self.most:g}"
            return f"{self.kind.value}, at least {self.least:g}{most}"
        return str(self.kind.value)


def option(  # noqa: PLR0913  each is a field of Option
    default: Any,  # noqa: ANN401  as dataclasses.field has it
    kind: Kind,
    help: str,  # noqa: A002  the word of argparse and of every reader
    *,
    why: str,
    least: float = 0.0,
    most: float = UNBOUNDED,
    choices: tuple[str, ...] = (),
    optional: bool = False,
) -> Any:  # noqa: ANN401
    """Declare a field of a record of options: default, kind, one sentence of help and the reason for the default."""
    # All by position, the quick way to make a record: each start makes all of them.
    return Described(default, Option(kind, help, why, least, most, choices, optional or default is None))


def declared(record: Any) -> dict[str, Option]:  # noqa: ANN401  a record or its class
    """All options of a record or its class, by name, in the order of declaration."""
    return described(record)


def check(record: Any) -> None:  # noqa: ANN401
    """Raise OptionError, naming option, value and what is allowed, unless each value of the record is allowed."""
    for name, opt in declared(record).items():
        value = getattr(record, name)
        if value is None and opt.optional:
            continue
        if not _fits(value, opt):
            raise OptionError(f"option {name}: {_shown(value)} is not allowed; it takes {opt.allowed}")


def _fits(value: object, opt: Option) -> bool:
    match opt.kind:
        case Kind.SECONDS | Kind.NUMBER | Kind.WHOLE:
            return _is_number(value, opt.kind) and opt.least <= value <= opt.most  # type: ignore[operator]
        case Kind.MODE:
            return isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= 0o777
        case Kind.FLAG:
            return isinstance(value, bool)
        case Kind.CHOICE:
            return value in opt.choices
        case Kind.TEXT | Kind.PATH:
            return isinstance(value, str) and "\0" not in value
        case Kind.NAME:
            return _is_name(value)
        case Kind.NAMES:
            return _is_name(value) or (
                isinstance(value, (list, tuple)) and bool(value) and all(_is_name(one) for one in value)
            )
        case Kind.ADDRESSES:  # what an address is, its own module knows
            listed = value if isinstance(value, (list, tuple)) else (value,)
            return all(isinstance(one, str) and bool(one) and "\0" not in one for one in listed)
        case Kind.TABLE:
            return isinstance(value, dict) and all(isinstance(key, str) for key in value)
        case Kind.OBJECT:
            return True


def _shown(value: object) -> str:
    try:
        return repr(value)
    except ValueError:
        return "a number of thousands of digits"  # Python refuses to print it


def _is_number(value: object, kind: Kind) -> bool:
    if isinstance(value, int):
        return not isinstance(value, bool)
    return kind in FLOATS and isinstance(value, float) and abs(value) < UNBOUNDED


def _is_name(value: object) -> bool:
    if isinstance(value, str):
        return bool(value) and "\0" not in value
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0
