"""The protocol of Redis, RESP 2 and 3: bytes in, commands out; values in, bytes out.

Pure: it reads and writes nothing. Everything has a limit, so that no client makes a spirit collect for ever.
"""

import shlex

LINE = 65_536  # bytes of a line
WORDS = 1_024  # of a command
WORD = 8 << 20  # bytes


class Failure(str):
    """An answer that says what is wrong with a command."""

    __slots__ = ()


class _MalformedError(Exception):
    """What came is no command, and what follows cannot be told from it."""


class Reader:
    """Takes bytes as they come, in parts of any size, and gives the commands that are whole."""

    def __init__(self) -> None:
        self.broken = ""  # why nothing more can be understood
        self._bytes = bytearray()

    @property
    def is_amid(self) -> bool:
        """Whether a command has begun to arrive."""
        return bool(self._bytes)

    def feed(self, data: bytes) -> list[list[bytes]]:
        """The commands that are whole by now."""
        self._bytes += data
        commands, at = [], 0
        try:
            while (found := self._command(at)) is not None:
                words, at = found
                if words:
                    commands.append(words)
        except _MalformedError as error:
            self.broken = str(error)
            at = len(self._bytes)
        del self._bytes[:at]
        return commands

    def _command(self, at: int) -> tuple[list[bytes], int] | None:
        if (found := self._line(at)) is None:
            return None
        line, at = found
        if not line.startswith(b"*"):
            return _inline(line), at
        words = []
        for _ in range(_number(line[1:], WORDS, "multibulk length")):
            if (found := self._word(at)) is None:
                return None
            word, at = found
            words.append(word)
        return words, at

    def _word(self, at: int) -> tuple[bytes, int] | None:
        if (found := self._line(at)) is None:
            return None
        line, at = found
        if not line.startswith(b"$"):
            raise _MalformedError(f"expected '$', got '{line[:1].decode(errors='replace')}'")
        end = at + _number(line[1:], WORD, "bulk length")
        if len(self._bytes) < end + 2:
            return None
        if self._bytes[end : end + 2] != b"\r\n":
            raise _MalformedError("no line ends where the bulk does")
        return bytes(self._bytes[at:end]), end + 2

    def _line(self, at: int) -> tuple[bytes, int] | None:
        end = self._bytes.find(b"\n", at, at + LINE)
        if end < 0:
            if len(self._bytes) - at >= LINE:
                raise _MalformedError("too big inline request")
            return None
        return bytes(self._bytes[at:end]).removesuffix(b"\r"), end + 1


def encode(value: object, version: int = 2) -> bytes:
    """An answer: None, an integer, bytes, a text of one line, a failure, a list, or a dictionary."""
    match value:
        case None:
            return b"_\r\n" if version >= 3 else b"$-1\r\n"
        case int():
            return b":%d\r\n" % value
        case bytes():
            return b"$%d\r\n%b\r\n" % (len(value), value)
        case Failure():
            return f"-{value}\r\n".encode()
        case str():
            return f"+{value}\r\n".encode()
        case list():
            return b"*%d\r\n" % len(value) + b"".join(encode(one, version) for one in value)
        case dict():
            pairs = [encode(one, version) for pair in value.items() for one in pair]
            return (b"%%%d\r\n" % len(value) if version >= 3 else b"*%d\r\n" % len(pairs)) + b"".join(pairs)
    raise TypeError(f"{value!r} is no answer")


def _inline(line: bytes) -> list[bytes]:
    """A command as a person types it: words with spaces between them, in quotes where they have some."""
    try:
        return [word.encode("latin-1") for word in shlex.split(line.decode("latin-1"))]
    except ValueError:
        raise _MalformedError("unbalanced quotes in request") from None


def _number(text: bytes, most: int, what: str) -> int:
    digits = text.removeprefix(b"-")
    if not digits.isdigit() or len(digits) > 10 or (number := int(text)) > most:
        raise _MalformedError(f"invalid {what}")
    if number < 0 and what == "bulk length":
        raise _MalformedError(f"invalid {what}")
    return max(number, 0)
