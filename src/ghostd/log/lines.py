"""Makes bytes of a record: a line of text, or one of JSON. Nothing here writes.

Rule: whatever a record says, it stays one line and cannot pass for another: controls are written as escapes. The one
exception is a traceback, whose lines each get the whole beginning of a line of their own.
"""

from __future__ import annotations

import os
import time

from ghostd.hints import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Final

LONGEST: Final = 262_144  # characters of one text; a longer one is cut, and says so. A page of a log viewer holds less

_CONTROLS: Final[dict[int, str]] = {
    **{code: f"\\x{code:02x}" for code in (*range(0x20), *range(0x7F, 0xA0))},
    ord("\n"): "\\n",
    ord("\r"): "\\r",
    ord("\t"): "\\t",
}


class Lines(Protocol):
    """Makes the bytes of a record; ``more`` are lines that belong to it, such as a traceback's."""

    def __call__(self, level: str, text: str, fields: Mapping[str, object], more: tuple[str, ...] = ()) -> bytes:
        """All of the record, with the end of its line."""


class TextLines:
    """``[YYYY-MM-DD HH:MM:SS.fffff] [pid] [level] message key=value``, in local time."""

    def __init__(self) -> None:
        self._stamp = (-1, "")

    def __call__(self, level: str, text: str, fields: Mapping[str, object], more: tuple[str, ...] = ()) -> bytes:
        """The lines of one record."""
        second, fraction = divmod(time.time_ns(), 1_000_000_000)
        stamp = self._stamp
        if stamp[0] != second:
            # One tuple, so that a thread never sees the second of one record and the text of another.
            self._stamp = stamp = (second, time.strftime("[%Y-%m-%d %H:%M:%S", time.localtime(second)))
        begin = f"{stamp[1]}.{fraction // 10_000:05d}] [{os.getpid()}] [{level}] "
        line = f"{begin}{plain(text, fields)}\n"
        for one in more:
            line += f"{begin}{plain(one, {})}\n"
        return line.encode()


class JsonLines:
    """``{"time": RFC 3339 in UTC, "level", "pid", "message", ...}``, a line a record; a traceback is a field of it."""

    def __init__(self) -> None:
        import json  # noqa: PLC0415  2 ms that only those pay who want JSON

        self._encode = json.JSONEncoder(allow_nan=False, separators=(",", ":")).encode
        self._spell = json.JSONEncoder(allow_nan=False, ensure_ascii=False).encode
        self._stamp = (-1, "")

    def __call__(self, level: str, text: str, fields: Mapping[str, object], more: tuple[str, ...] = ()) -> bytes:
        """The line of one record."""
        second, fraction = divmod(time.time_ns(), 1_000_000_000)
        stamp = self._stamp
        if stamp[0] != second:
            self._stamp = stamp = (second, time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(second)))
        record: dict[str, object] = {
            "time": f"{stamp[1]}.{fraction // 1_000:06d}Z",
            "level": level,
            "pid": os.getpid(),
            "message": _whole(text),
        }
        for name, value in fields.items():
            record[name if name not in record else f"{name}_"] = self._value(value)
        if more:
            record["traceback"] = _whole("\n".join(more))
        return f"{self._encode(record)}\n".encode()

    def _value(self, value: object) -> object:
        """The value itself where JSON has a form for it, else its text."""
        if isinstance(value, str):
            return _whole(value)
        try:
            self._spell(value).encode()
        except (TypeError, ValueError, RecursionError):  # no such type; no finite number, half a character; in a circle
            return _whole(str(value))
        return value


def plain(text: str, fields: Mapping[str, object]) -> str:
    """The text with its fields as ``key=value`` behind it, in one line and not too long."""
    if fields:
        text += "".join([f" {name}={_quoted(str(value))}" for name, value in fields.items()])
    if len(text) > LONGEST:
        text = f"{text[:LONGEST]}... ({len(text) - LONGEST} more characters)"
    return text if text.isprintable() else escape(text)


def escape(text: str) -> str:
    """The text with every control, line break, direction mark and half character written as an escape."""
    text = text.translate(_CONTROLS)
    if text.isprintable():
        return text
    return "".join([one if one.isprintable() or _is_space(one) else _escaped(one) for one in text])


def _escaped(one: str) -> str:
    return f"\\u{ord(one):04x}" if ord(one) <= 0xFFFF else f"\\U{ord(one):08x}"


def _is_space(one: str) -> bool:
    """Whether it is a mere space, such as the one that does not break; those that end a line are not."""
    return one.isspace() and one not in "\u2028\u2029"


def _quoted(value: str) -> str:
    if value and not any(mark in value for mark in ' "='):
        return value
    return '"' + value.replace('"', '\\"') + '"'


def _whole(text: str) -> str:
    """The text without half characters, which no strict reader of JSON accepts, and not too long."""
    if len(text) > LONGEST:
        text = f"{text[:LONGEST]}... ({len(text) - LONGEST} more characters)"
    return text.encode(errors="backslashreplace").decode()
