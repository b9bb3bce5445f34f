"""Records: classes that are nothing but their fields, made without code that is written and compiled at run time.

A record is what a dataclass is: made by position and by name, with defaults, compared, shown and matched by its fields;
and a type checker takes it for one. The difference is the cost. A dataclass compiles its methods, half a millisecond a
class, and the module that does so takes longer to load than Python itself; all records share the functions below.

Rule: the fields are read from the annotations as text, so a module with records begins with
``from __future__ import annotations``.
"""

from __future__ import annotations

from ghostd.hints import TYPE_CHECKING, dataclass_transform

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any, ClassVar, TypeVar

    R = TypeVar("R", bound="_Record")


class Described:
    """A default of a field, with what is to be known about the field."""

    __slots__ = ("about", "default")

    def __init__(self, default: object, about: object) -> None:
        self.default = default
        self.about = about


class _Shape:
    """What a class of records consists of."""

    __slots__ = ("about", "by_name", "defaults", "fields", "last")

    def __init__(self, fields: tuple[str, ...], given: dict[str, object], *, by_name: bool) -> None:
        self.fields = fields
        self.by_name = by_name  # fields are given by name only
        self.about = {field: one.about for field, one in given.items() if isinstance(one, Described)}
        self.defaults = {f: one.default if isinstance(one, Described) else one for f, one in given.items()}
        self.last = () if by_name else tuple(self.defaults.values())
        if not by_name and fields[len(fields) - len(given) :] != tuple(given):
            raise TypeError("a field without a default stands behind one that has one")

    def arrange(self, name: str, values: tuple[object, ...], named: dict[str, object]) -> tuple[object, ...]:
        """A value for each field, of what is given by position and by name and of the defaults; else TypeError."""
        missing = len(self.fields) - len(values)
        if missing < 0 or (values and self.by_name):
            most = "names only" if self.by_name else f"at most {len(self.fields)} values"
            raise TypeError(f"{name}() takes {most}, and was given {len(values)} by position")
        if not named and missing <= len(self.last):
            return values + self.last[len(self.last) - missing :]
        given = dict(zip(self.fields, values))  # noqa: B905  the rest is named
        found = self.defaults | given | named
        wrong = [f"{one} twice" for one in named if one in given]
        wrong += [f"{one}, which it does not have" for one in named if one not in self.fields]
        wrong += [f"no {one}" for one in self.fields if one not in found]
        if wrong:
            raise TypeError(f"{name}() was given {', '.join(wrong)}")
        return tuple([found[field] for field in self.fields])


class _Maker(type):
    """Makes the class: fields become slots, and what stands behind their names becomes defaults."""

    def __new__(cls, name: str, bases: tuple[type, ...], body: dict[str, Any], *, kw_only: bool = False) -> _Maker:
        fields = tuple(body.get("__annotations__", ()))
        given = {field: body.pop(field) for field in fields if field in body}
        body["__shape__"] = _Shape(fields, given, by_name=kw_only)
        body["__slots__"] = fields
        body["__match_args__"] = () if kw_only else fields
        if "__post_init__" in body:
            body["__init__"] = _make_and_look
        return super().__new__(cls, name, bases, body)

    def __init__(cls, name: str, bases: tuple[type, ...], body: dict[str, Any], *, kw_only: bool = False) -> None:
        super().__init__(name, bases, body)
        fields: tuple[str, ...] = vars(cls)["__shape__"].fields
        cls._count = -1 if kw_only else len(fields)  # of values given by position that need no second look
        cls._puts = tuple([vars(cls)[field].__set__ for field in fields])  # they set slots, whatever __setattr__ says


class _Record(metaclass=_Maker):
    """What both kinds have in common."""

    if TYPE_CHECKING:
        __shape__: ClassVar[_Shape]
        _count: ClassVar[int]
        _puts: ClassVar[tuple[Callable[[object, object], None], ...]]

    def __init__(self, *values: object, **named: object) -> None:
        if named or len(values) != self._count:
            values = type(self).__shape__.arrange(type(self).__name__, values, named)
        for put, value in zip(self._puts, values):  # noqa: B905  counted above, and made often
            put(self, value)

    def __eq__(self, other: object) -> bool:
        if type(other) is not type(self):
            return NotImplemented
        return _values(self) == _values(other)

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        shown = ", ".join([f"{field}={getattr(self, field)!r}" for field in fields(self)])
        return f"{type(self).__qualname__}({shown})"

    def __reduce__(self) -> tuple[object, ...]:
        return _made, (type(self), dict(zip(fields(self), _values(self), strict=True)))


@dataclass_transform(frozen_default=True)
class Frozen(_Record):
    """A record that never changes once made. ``__post_init__``, where there is one, may refuse it."""

    def __setattr__(self, name: str, value: object) -> None:
        raise AttributeError(f"{type(self).__name__}.{name} cannot be set: it never changes; replace() makes another")

    def __delattr__(self, name: str) -> None:
        raise AttributeError(f"{type(self).__name__}.{name} cannot be deleted: it never changes")

    def __hash__(self) -> int:  # type: ignore[override]  # the other kind has none
        return hash(_values(self))


@dataclass_transform()
class Mutable(_Record):
    """A record whose fields may be set. It has no hash."""


def replace(record: R, **changes: object) -> R:
    """A copy of the record with other values in these fields."""
    return _made(type(record), dict(zip(fields(record), _values(record), strict=True)) | changes)


def fields(record: _Record | type[_Record]) -> tuple[str, ...]:
    """The names of the fields, in the order of their declaration."""
    return record.__shape__.fields


def default(record: _Record | type[_Record], field: str) -> object:
    """The default of a field; KeyError when it has none."""
    return record.__shape__.defaults[field]


def described(record: _Record | type[_Record]) -> dict[str, Any]:
    """What was said about the fields by Described, by name."""
    return record.__shape__.about


def _make_and_look(self: Any, *values: object, **named: object) -> None:  # noqa: ANN401  any with that method
    _Record.__init__(self, *values, **named)
    self.__post_init__()


def _made(kind: type[R], named: dict[str, object]) -> R:
    return kind(**named)


def _values(record: _Record) -> tuple[object, ...]:
    return tuple([getattr(record, field) for field in fields(record)])
