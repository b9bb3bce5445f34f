"""What reads bytes of others, one function each: it takes any bytes, and raises only where ghostd is wrong.

The same functions are fed by a fuzzer (``make fuzz``), by Hypothesis, and with the corpus, on every run of the tests.
Rule: a target starts nothing, writes nothing, and ends within LONGEST seconds whatever it is given.
"""

import argparse
import json
import os
import re
import tomllib
from collections.abc import Callable
from contextlib import suppress
from typing import Final

from ghostd import config
from ghostd.cli import quick
from ghostd.config.flags import flag_layer
from ghostd.daemon import inscription
from ghostd.daemon.notify import Notifier
from ghostd.errors import ConfigError, UserError
from ghostd.log.lines import JsonLines, TextLines, escape
from ghostd.serve.address import AddressError, parse

LONGEST: Final = 0.010  # seconds for one input

Target = Callable[[bytes], None]


def toml(data: bytes) -> None:
    """Any file is a configuration, or an error that names it."""
    fd = os.memfd_create("ghostd.toml")
    try:
        os.fchmod(fd, 0o600)
        os.write(fd, data)
        path = f"/proc/self/fd/{fd}"
        said = _refusal(ConfigError, lambda: config.gather(config.toml_layer(path)))
        assert said is None or (path in said and "\n" not in said.replace("\n  ", "")), said  # but for a caret's line
    finally:
        os.close(fd)


def toml_in_short(data: bytes) -> None:
    """What the short way of the command reads in a file is what tomllib reads in it."""
    with suppress(UnicodeDecodeError):
        text = data.decode()
        found = quick.parse_plain(text)
        if found is not None:
            meant = tomllib.loads(text)
            for key in quick.READ:
                assert found.get(key) == meant.get(key), key


def words(data: bytes) -> None:
    """Any words are a plain form of the command, or left to the long way."""
    wanted = quick.parse(data.decode(errors="surrogateescape").split("\n"))
    assert wanted is None or wanted.command in quick.COMMANDS


def environ(data: bytes) -> None:
    """Any environment is a configuration, or an error that names the variable."""
    pairs = (line.partition("=") for line in data.decode(errors="surrogateescape").split("\n"))
    variables = {name: text for name, _, text in pairs}
    said = _refusal(UserError, lambda: config.gather(config.environ_layer(variables)))
    assert said is None or any(name in said for name in variables if name.startswith("GHOSTD_")), said


def flags(data: bytes) -> None:
    """Any value of any flag is an option's, or an error that names the flag."""
    pairs = (line.partition("=") for line in data.decode(errors="surrogateescape").split("\n"))
    given = argparse.Namespace(**{name: text for name, _, text in pairs if name})
    said = _refusal(UserError, lambda: config.gather(flag_layer(given)))
    assert said is None or "--" in said, said


def address(data: bytes) -> None:
    """Any text is an address that is read back from its own text, or an error that points into it."""
    text = data.decode(errors="surrogateescape")
    try:
        found = parse(text)
    except AddressError as error:
        assert 0 <= error.at <= len(text)  # noqa: PT017  what is right of one is not of another
        return
    assert parse(str(found)) == found
    assert "," not in str(found)


def pidfile_text(data: bytes) -> None:
    """Any text of a pidfile names a process that can be, or nobody."""
    told = inscription.parsed(data)
    if told is not None:
        pid, ticks, boot = told
        assert 0 < pid < 2**31
        assert ticks >= 0
        assert isinstance(boot, str)


def notify_socket(data: bytes) -> None:
    """Any address of an init system is one that the manual page has, or is not spoken to."""
    variables = {"NOTIFY_SOCKET": data.decode(errors="surrogateescape")}
    Notifier.from_environ(variables)
    assert not variables, "spirits must not have it"


_CONTROL: Final = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029]")


def log_text(data: bytes) -> None:
    """Any text makes one line that has no control in it."""
    text, _, value = data.decode(errors="surrogateescape").partition("\0")
    line = TextLines()("info", text, {"field": value}).decode()
    assert line.endswith("\n")
    assert not _CONTROL.search(line[:-1]), line
    assert escape(escape(text)) == escape(text)


def log_json(data: bytes) -> None:
    """Any text makes one line that a strict reader of JSON takes."""
    text, _, value = data.decode(errors="surrogateescape").partition("\0")
    line = JsonLines()("info", text, {"field": value, "message": value, "number": float(len(data))}).decode()
    assert line.count("\n") == 1
    record = json.loads(line)
    assert record["level"] == "info"


def _refusal(family: type[UserError], action: Callable[[], object]) -> str | None:
    """What an action says of its input when it refuses it; any other exception is a bug."""
    try:
        action()
    except family as error:
        return str(error)
    return None


TARGETS: Final[dict[str, Target]] = {
    one.__name__: one
    for one in (toml, toml_in_short, words, environ, flags, address, pidfile_text, notify_socket, log_text, log_json)
}
