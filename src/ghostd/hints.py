"""The names of typing that code runs, and does not only annotate with: to a type checker the real ones, else stand-ins.

Rule: the manager never loads typing, which costs half as much as Python's own start, and memory in each spirit. What
stands in annotations only is imported from typing under ``if TYPE_CHECKING``; a module that does so begins with
``from __future__ import annotations``.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import NewType, NoReturn, Protocol, assert_never, dataclass_transform
else:
    Protocol = object

    def NewType(_name: str, base: type) -> type:  # noqa: N802  as typing has it
        """The type itself: a type checker alone tells the two apart."""
        return base

    def assert_never(value: object) -> NoReturn:
        """Raise: a type checker has proved that this is never reached."""
        raise AssertionError(f"{value!r} was expected never to come here")

    def dataclass_transform(**_says: object) -> object:
        """Return the class as it is."""
        return lambda cls: cls


__all__ = ["TYPE_CHECKING", "NewType", "Protocol", "assert_never", "dataclass_transform"]
