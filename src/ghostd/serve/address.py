"""What may be listened on: ``127.0.0.1:8080``, ``unix:/run/x.sock?mode=660``, ``fd:3``, ``systemd:web``. Pure.

Any text becomes an address or an AddressError that shows the place of the mistake; never another exception. ``str`` of
an address is its canonical text, which is read back as the same address.
"""

from __future__ import annotations

from ghostd.errors import OptionError
from ghostd.hints import TYPE_CHECKING
from ghostd.record import Frozen

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from typing import Final, NoReturn

TEXT_MOST: Final = 1024  # characters: no path and no name that the kernel takes needs more
PATH_BYTES_MOST: Final = 107  # sun_path of unix(7) has 108, the last of them a zero
HOST_MOST: Final = 253  # characters of a name in the domain name system, 63 of them between two dots
LABEL_MOST: Final = 63
PORT_MOST: Final = 65535
BACKLOG_MOST: Final = 1_000_000  # the kernel cuts it to net.core.somaxconn anyway
FD_LEAST: Final = 3  # below are stdin, stdout and stderr, which a daemon gives up
FD_MOST: Final = 2**31 - 1
ID_MOST: Final = 2**32 - 2  # of a user or group; the highest number means "leave as it is" to the kernel
NAME_MOST: Final = 255  # of a socket, as systemd has it; and of a user or group

_SHOWN: Final = 72  # characters of a long text that an error message shows around the mistake
_DIGITS: Final = frozenset("0123456789")
_OCTAL: Final = frozenset("01234567")
_HEX: Final = frozenset("0123456789abcdefABCDEF")
_LETTERS: Final = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ")
_IN_HOST: Final = _LETTERS | _DIGITS | frozenset("-_.")
_IN_ZONE: Final = _IN_HOST  # of an interface's name, after the % of a link-local address
_IN_USER: Final = _IN_HOST | frozenset("$")
_ESCAPED: Final = frozenset("%?,")  # in a path: what ends it, and what would end it in a list


class AddressError(OptionError):
    """A text is no address: the message says why, shows the text and points to the place."""

    def __init__(self, what: str, text: str, at: int) -> None:
        super().__init__(f"option listen: {shown(what)}\n{_pointed(text, at)}")
        self.at = at  # the place of the mistake in the text


class Tcp(Frozen):
    """A port on an address or name of this machine; without a host on all of them, IPv4 and IPv6."""

    host: str
    port: int  # 0: any that is free
    v6only: bool = False  # an IPv6 address that is all of them takes IPv4 as well unless this is said
    backlog: int | None = None  # None: as the option of that name

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        scheme = "tcp://" if host in ("unix", "fd", "systemd") else ""
        return f"{scheme}{host}:{self.port}" + _query(v6only=self.v6only, backlog=self.backlog)


class Unix(Frozen):
    """A socket file; one whose path begins with @ has a name in the abstract namespace and no file."""

    path: str
    mode: int | None = None  # None: as the module that opens it has it
    user: str | None = None  # a name or number; None: the ghost's own
    group: str | None = None
    backlog: int | None = None

    def __str__(self) -> str:
        mode = None if self.mode is None else f"{self.mode:03o}"
        return f"unix:{_escape(self.path)}" + _query(mode=mode, user=self.user, group=self.group, backlog=self.backlog)

    @property
    def is_abstract(self) -> bool:
        """Whether it is a name without a file."""
        return self.path.startswith("@")


class Fd(Frozen):
    """A listening socket that whoever started us has left open under this number."""

    number: int

    def __str__(self) -> str:
        return f"fd:{self.number}"


class Systemd(Frozen):
    """The listening sockets that systemd hands over: those of a name, or all that no other address names."""

    name: str | None = None

    def __str__(self) -> str:
        return "systemd" if self.name is None else f"systemd:{_escape(self.name)}"


Address = Tcp | Unix | Fd | Systemd


def parse(text: str) -> Address:
    """The address that a text means; raises AddressError."""
    reader = _Reader(text)
    if not text:
        reader.fail("an address is empty; write 127.0.0.1:8080, unix:/run/x.sock, fd:3 or systemd", 0)
    if len(text) > TEXT_MOST:
        reader.fail(f"an address has {len(text)} characters, at most {TEXT_MOST} are read", TEXT_MOST)
    for at, character in enumerate(text):
        if character < " " or character == "\x7f":
            reader.fail(f"character {ord(character)} has no place in an address; in a path write it as %XX", at)
    for scheme, read in _READERS.items():
        if text.startswith(scheme) and (scheme[-1] in ":/" or text == scheme):
            return read(reader, len(scheme))
    if "://" in text:
        scheme = text.partition("://")[0]
        reader.fail(f"{scheme}:// is not known; write tcp://HOST:PORT, HOST:PORT or unix:/PATH", 0)
    return _read_tcp(reader, 0)


def parse_all(texts: Iterable[str]) -> list[Address]:
    """The addresses of several texts, in their order; one that is there twice is an error."""
    found: list[Address] = []
    for text in texts:
        address = parse(text)
        if address in found and not (isinstance(address, Tcp) and address.port == 0):
            raise AddressError("an address is named twice; leave one out", text, 0)
        found.append(address)
    return found


def anchored(text: str, folder: str) -> str:
    """The text of an address whose socket file is below a folder, unless its path is absolute; any other as it is."""
    path = text.removeprefix("unix:")
    if path == text or path[:1] in ("", "/", "@", "?"):
        return text
    return f"unix:{_escape(folder)}/{path}"


class _Reader:
    """The text, and how to say where in it something is wrong."""

    def __init__(self, text: str) -> None:
        self.text = text

    def fail(self, what: str, at: int) -> NoReturn:
        raise AddressError(what, self.text, at)

    def split_query(self, begin: int, known: tuple[str, ...]) -> tuple[int, dict[str, tuple[str, int]]]:
        """Where the part before the question mark ends, and the settings behind it, each with its place."""
        end = self.text.find("?", begin)
        if end < 0:
            return len(self.text), {}
        found: dict[str, tuple[str, int]] = {}
        at = end + 1
        for part in self.text[at:].split("&"):
            key, equals, value = part.partition("=")
            if key not in known:
                self.fail(f"{key or 'nothing'} is no setting of this address; it takes {', '.join(known)}", at)
            if key in found:
                self.fail(f"{key} is set twice", at)
            if not equals or not value:
                self.fail(f"{key} has no value; write {key}=...", at + len(key))
            found[key] = (value, at + len(key) + 1)
            at += len(part) + 1
        return end, found

    def number(self, digits: str, at: int, what: str, least: int, most: int) -> int:
        if not digits:
            self.fail(f"{what} is missing; it is a number from {least} to {most}", at)
        for offset, character in enumerate(digits):
            if character not in _DIGITS:
                self.fail(f"{what} is a number from {least} to {most}, without {character!r}", at + offset)
        if len(digits) > len(str(most)) or not least <= int(digits) <= most:
            self.fail(f"{what} is a number from {least} to {most}", at)
        return int(digits)

    def word(self, word: str, at: int, what: str, allowed: frozenset[str], most: int) -> str:
        if len(word) > most:
            self.fail(f"{what} has {len(word)} characters, at most {most} are possible", at + most)
        for offset, character in enumerate(word):
            if character not in allowed:
                self.fail(f"{what} has no {character!r}", at + offset)
        return word

    def unescape(self, begin: int, end: int) -> str:
        """The path or name that stands between, with what is written as %XX."""
        data = bytearray()
        at = begin
        while at < end:
            character = self.text[at]
            if character != "%":
                try:
                    data += character.encode("utf-8", "surrogateescape")
                except UnicodeEncodeError:
                    self.fail("a character stands for no byte; write bytes as %XX", at)
                at += 1
                continue
            digits = self.text[at + 1 : min(at + 3, end)]
            if len(digits) != 2 or not set(digits) <= _HEX:
                self.fail("after % two hexadecimal digits follow; write a % itself as %25", at)
            if digits == "00":
                self.fail("a zero byte has no place in a path or name", at)
            data.append(int(digits, 16))
            at += 3
        return data.decode("utf-8", "surrogateescape")


# ── the kinds ──
def _read_tcp(reader: _Reader, begin: int) -> Tcp:
    end, settings = reader.split_query(begin, ("v6only", "backlog"))
    text = reader.text[begin:end]
    if text.startswith("["):
        close = text.find("]")
        if close < 0:
            reader.fail("the bracket of an IPv6 address is not closed", begin)
        host, colon = _v6(reader, begin + 1, begin + close), begin + close + 1
        if text[close + 1 : close + 2] != ":":
            reader.fail("after the bracket a colon and the port follow, as in [::1]:8080", colon)
    else:
        if ":" not in text:
            reader.fail("no colon and port: write HOST:PORT, or :PORT for all addresses of this machine", end)
        if text.count(":") > 1:
            reader.fail("an IPv6 address stands in brackets, as in [::1]:8080", begin)
        colon = begin + text.index(":")
        host = _host(reader, begin, colon)
    port = reader.number(reader.text[colon + 1 : end], colon + 1, "the port", 0, PORT_MOST)
    return Tcp(host, port, v6only=_v6only(reader, settings, host), backlog=_backlog(reader, settings))


def _host(reader: _Reader, begin: int, end: int) -> str:
    host = reader.text[begin:end].lower()
    if host in ("", "*"):
        return ""
    reader.word(host, begin, "a host", _IN_HOST, HOST_MOST)
    at = begin
    labels = host.split(".")
    for label in labels:
        if not label or len(label) > LABEL_MOST:
            reader.fail(f"between the dots of a host stand 1 to {LABEL_MOST} characters", at)
        at += len(label) + 1
    # What ends in a number is no name (RFC 3696, section 2), and what is short of four numbers is not guessed at.
    if set(labels[-1]) <= _DIGITS and not _is_v4(host):
        reader.fail("an IPv4 address has four numbers from 0 to 255, as in 127.0.0.1", begin)
    return host


def _is_v4(text: str) -> bool:
    parts = text.split(".")
    return len(parts) == 4 and all(
        set(part) <= _DIGITS and 1 <= len(part) <= 3 and int(part) <= 255 and str(int(part)) == part for part in parts
    )


def _v6(reader: _Reader, begin: int, end: int) -> str:
    whole = reader.text[begin:end].lower()
    host, percent, zone = whole.partition("%")
    if percent:
        at = begin + len(host) + 1
        if not reader.word(zone, at, "the zone of an address", _IN_ZONE, NAME_MOST):
            reader.fail("after the % of an IPv6 address the name of an interface follows", at)
        whole = f"{host}%{reader.text[at:end]}"  # names of interfaces differ in case
    halves = host.split("::")
    groups = [group for half in halves for group in _groups(half)]
    is_whole = len(groups) == 8 if len(halves) == 1 else len(halves) == 2 and len(groups) <= 7
    if not is_whole or not all(1 <= len(group) <= 4 and set(group) <= _HEX for group in groups):
        reader.fail("this is no IPv6 address; one is written as ::1 or 2001:db8::7", begin)
    return whole


def _groups(half: str) -> list[str]:
    """The groups of 16 bits on one side of the double colon; an IPv4 address at its end counts as two."""
    if not half:
        return []
    head, colon, last = half.rpartition(":")
    if _is_v4(last):
        return [*(head.split(":") if colon else []), "0", "0"]
    return half.split(":")


def _v6only(reader: _Reader, settings: dict[str, tuple[str, int]], host: str) -> bool:
    text, at = settings.get("v6only", ("false", 0))
    if text not in ("true", "false"):
        reader.fail("v6only is true or false", at)
    if "v6only" in settings and ":" not in host:
        reader.fail("v6only is a setting of an IPv6 address, as in [::]:8080?v6only=true", at - len("v6only="))
    return text == "true"


def _backlog(reader: _Reader, settings: dict[str, tuple[str, int]]) -> int | None:
    if "backlog" not in settings:
        return None
    return reader.number(*settings["backlog"], "backlog", 1, BACKLOG_MOST)


def _read_unix(reader: _Reader, begin: int) -> Unix:
    end, settings = reader.split_query(begin, ("mode", "user", "group", "backlog"))
    if reader.text.startswith("//", begin):
        if not reader.text.startswith("///", begin):
            reader.fail("a socket file has no host: write unix:/PATH", begin)
        begin += 2
    path = reader.unescape(begin, end)
    if not path or path == "@":
        reader.fail("the path of the socket is missing, as in unix:/run/x.sock", begin)
    while path.startswith("//"):
        path = path[1:]
    size = len(path.encode("utf-8", "surrogateescape"))
    if size > PATH_BYTES_MOST:
        reader.fail(f"the path has {size} bytes, at most {PATH_BYTES_MOST} are possible: choose a shorter one", begin)
    if not path.startswith("@") and path.rpartition("/")[2] in ("", ".", ".."):
        reader.fail("this is the path of a directory; the name of the socket is missing", end)
    if path.startswith("@") and (no_file := [key for key in ("mode", "user", "group") if key in settings]):
        reader.fail(f"an abstract socket has no file, and so no {no_file[0]}", settings[no_file[0]][1])
    user, group = (_owner(reader, settings, key) for key in ("user", "group"))
    return Unix(path, _mode(reader, settings), user, group, _backlog(reader, settings))


def _mode(reader: _Reader, settings: dict[str, tuple[str, int]]) -> int | None:
    if "mode" not in settings:
        return None
    text, at = settings["mode"]
    if len(text) not in (3, 4) or not set(text) <= _OCTAL or int(text, 8) > 0o777:
        reader.fail("mode is three octal digits, as in mode=660", at)
    return int(text, 8)


def _owner(reader: _Reader, settings: dict[str, tuple[str, int]], key: str) -> str | None:
    if key not in settings:
        return None
    text, at = settings[key]
    if set(text) <= _DIGITS and int(text.lstrip("0")[:11] or "0") > ID_MOST:
        reader.fail(f"the number of a {key} goes from 0 to {ID_MOST}", at)
    return reader.word(text, at, f"a {key}", _IN_USER, NAME_MOST)


def _read_fd(reader: _Reader, begin: int) -> Fd:
    return Fd(reader.number(reader.text[begin:], begin, "a descriptor", FD_LEAST, FD_MOST))


def _read_systemd(reader: _Reader, begin: int) -> Systemd:
    if begin == len(reader.text) and not reader.text.endswith(":"):
        return Systemd()
    name = reader.unescape(begin, len(reader.text))
    if not name or len(name) > NAME_MOST:
        reader.fail(f"the name of a socket has 1 to {NAME_MOST} characters, as in systemd:web", begin)
    if ":" in name:
        reader.fail("the name of a socket has no colon", begin)
    return Systemd(name)


_READERS: Final[dict[str, Callable[[_Reader, int], Address]]] = {
    "unix:": _read_unix,
    "fd:": _read_fd,
    "systemd:": _read_systemd,
    "systemd": _read_systemd,
    "tcp://": _read_tcp,
}


# ── texts ──
def _query(**settings: object) -> str:
    given = {key: str(value).lower() if value is True else value for key, value in settings.items()}
    parts = [f"{key}={value}" for key, value in given.items() if value not in (None, False)]
    return "?" + "&".join(parts) if parts else ""


def _escape(text: str) -> str:
    return "".join(
        one
        if one.isprintable() and one not in _ESCAPED
        else "".join(f"%{byte:02X}" for byte in one.encode("utf-8", "surrogateescape"))
        for one in text
    )


def _pointed(text: str, at: int) -> str:
    """The text, or the part of a long one that has the mistake, and a caret under the place."""
    begin = max(0, min(at, len(text)) - _SHOWN // 2)
    part = text[begin : begin + _SHOWN]
    lead = "..." if begin else ""
    tail = "..." if begin + _SHOWN < len(text) else ""
    return f"  {lead}{shown(part)}{tail}\n  {' ' * (len(lead) + at - begin)}^"


def shown(text: str) -> str:
    """The text with a mark for each character that could break or hide the line of an error."""
    return "".join(one if one.isprintable() else "?" for one in text)
