"""What reads bytes of others, one function each: it takes any bytes, and raises only where ghostd is wrong.

The same functions are fed by a fuzzer (``make fuzz``), by Hypothesis, and with the corpus, on every run of the tests.
Rule: a target starts nothing, leaves nothing changed, and ends within LONGEST seconds whatever it is given.
"""

import argparse
import json
import os
import re
import tomllib
from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import cache
from math import inf
from typing import TYPE_CHECKING, Final, cast

from ghostd import config
from ghostd.cli import quick
from ghostd.config.flags import flag_layer
from ghostd.core.actions import Halt, Kill, Rouse, Spawn
from ghostd.core.events import BoardRead, Forked, Readied
from ghostd.core.policy import Policy
from ghostd.core.pool import Pool
from ghostd.daemon import inscription, lsb, privileges
from ghostd.daemon.answer import answer
from ghostd.daemon.handle import Handle
from ghostd.daemon.notify import Notifier
from ghostd.engine.crew import _believed_cell
from ghostd.errors import ConfigError, ExitCode, OptionError, UserError
from ghostd.linux import procfs
from ghostd.linux.board import Board
from ghostd.linux.page import PAGE
from ghostd.log.lines import JsonLines, TextLines, escape
from ghostd.serve import passed, stored
from ghostd.serve.address import AddressError, Systemd, parse

if TYPE_CHECKING:
    from ghostd.daemon.answer import Commanded
    from ghostd.linux.identity import Identity
    from ghostd.serve.passed import Passed

LONGEST: Final = 0.010  # seconds for one input
NO_ID: Final = 2**32 - 1  # no user and no group has this number

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


def watchdog(data: bytes) -> None:
    """Any period and pid of a watchdog is a time that can be waited for, or there is no watchdog."""
    period, _, pid = data.decode(errors="surrogateescape").partition("\n")
    variables = {"NOTIFY_SOCKET": "@nobody", "WATCHDOG_USEC": period, "WATCHDOG_PID": _own(pid)}
    assert 0.0 <= Notifier.from_environ(variables).watchdog < inf
    assert not variables, "spirits must not have it"


def listen_fds(data: bytes) -> None:
    """Any word of an init system about sockets is a list of descriptors with names, or an error that tells of it."""
    lines = iter(data.decode(errors="surrogateescape").split("\n"))
    pid = _own(next(lines))
    variables = {"LISTEN_PID": pid, **dict(zip(("LISTEN_FDS", "LISTEN_FDNAMES", "FDSTORE"), lines, strict=False))}
    is_kept = stored.is_there(variables)
    assert isinstance(passed.has_store(variables), bool)
    found: list[Passed] = []
    said = _refusal(OptionError, lambda: found.extend(passed.take(variables)))
    assert not variables, "spirits must not have it"
    assert [one.fd for one in found] == list(range(passed.FIRST, passed.FIRST + len(found)))
    assert len(found) <= passed.MOST
    if said is not None:
        assert "systemd" in said and not _CONTROL.search(said), said
    if found and is_kept:
        assert pid == str(os.getpid())
    if found:
        said = _refusal(OptionError, lambda: passed.chosen(Systemd("another"), found, {"web"}))
    assert not said or not _CONTROL.search(said), said


def board_page(data: bytes) -> None:
    """Any content of a page makes its spirit look alive or silent, and touches nobody else."""
    board = _board()
    page = memoryview(board._chunks[0]).cast("B")
    page[:PAGE] = data[:PAGE].ljust(PAGE, b"\0")
    assert board.read_state(0) == board.read_states()[0]
    assert repr(board.read_cell(0)) == repr(board.read_cells()[0])  # NaN is not NaN
    assert board.read_cells()[1] == (0.0, 0.0, 0, 0)
    text = board.read_text(0)
    assert len(text) <= PAGE
    assert not _CONTROL.search(escape(text))

    now = 1000.0
    pool = Pool(Policy(spirits=2), now)
    spirits = [order.spirit for order in pool.handle([], now) if isinstance(order, Spawn)]
    pool.handle([fact(spirit, now) for fact in (Forked, Readied) for spirit in spirits], now)
    cells = [_believed_cell(cell) for cell in board.read_cells()]
    moment = now + Policy().silence + 1.0
    beats = BoardRead({spirits[0]: cells[0], spirits[1]: (moment, 0.0, 0, 0)}, moment)
    orders = pool.handle([beats], moment)
    assert {order.spirit for order in orders if isinstance(order, Rouse)} <= {spirits[0]}, orders
    assert not [order for order in orders if isinstance(order, Kill | Halt)], orders
    due = pool.deadline(moment)
    assert due is not None and moment < due < inf
    seen = pool.snapshot(moment, {spirit: cells[seat] for seat, spirit in enumerate(spirits)})
    assert all(0.0 <= one.silence <= one.age for one in seen.spirits), seen


def user_name(data: bytes) -> None:
    """Any name is a user or group that there is, or an error of the option; nobody becomes anybody by it."""
    user, _, group = data.decode(errors="surrogateescape").partition("\n")
    before = os.getresuid(), os.getresgid(), os.getgroups()
    found: list[Identity] = []
    said = _refusal(OptionError, lambda: found.append(privileges.found(user, group or None)))
    assert (os.getresuid(), os.getresgid(), os.getgroups()) == before
    if said is not None:
        assert said.startswith("option user") and not _CONTROL.search(said), said
        return
    assert 0 <= found[0].uid < NO_ID and 0 <= found[0].gid < NO_ID
    assert user == found[0].name or (user.isascii() and int(user) == found[0].uid)


def process_name(data: bytes) -> None:
    """Whatever a process calls itself, it is the same process, and runs."""
    pid, start = os.getpid(), procfs.start_ticks(os.getpid())
    with open("/proc/self/comm", "rb+", buffering=0) as comm:
        before = comm.read()
        comm.write(data[:15] or b"-")
        try:
            with Handle(pid, use_pidfd=False) as handle:
                assert not handle.has_ended()
            assert procfs.start_ticks(pid) == start
            assert procfs.parent(pid) == os.getppid()
        finally:
            comm.write(before.rstrip(b"\n"))


def answers(data: bytes) -> None:
    """Any word, with any numbers and addresses behind it, is answered by a text that can be printed."""
    word, *lines = data.decode(errors="surrogateescape").split("\n")
    numbers = [int.from_bytes(line.encode(errors="surrogateescape")[:4], "little") for line in lines]
    ghost = _Ghost(iter(numbers), [line for line in lines if _is_address(line)])
    reply = answer(cast("Commanded", ghost), word, 1)
    assert isinstance(reply.code, ExitCode)
    assert reply.text.encode()
    assert not any(_CONTROL.search(line) for line in reply.text.split("\n")), reply
    assert word in lsb.COMMANDS or reply.code is ExitCode.USAGE


class _Ghost:
    """Answers each question with the next number."""

    def __init__(self, numbers: Iterator[int], texts: list[str]) -> None:
        self._numbers = numbers
        self.addresses = [str(parse(text)) for text in texts]

    @property
    def filepid(self) -> "_Ghost":
        return self

    @property
    def is_left(self) -> bool:
        return bool(self._next() % 2)

    def running(self) -> int | None:
        return self._next() or None

    def start(self) -> int:
        return self._next()

    def stop(self) -> int:
        return self._next() - 2**31

    restart = stop

    def reload(self, signal_number: int) -> int:
        return self._next()

    def _next(self) -> int:
        return next(self._numbers, 0)


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


@cache
def _board() -> Board:
    """One board for all inputs: what a spirit leaves there is overwritten by the next."""
    board = Board()
    for seat in range(2):
        board.prepare(seat)
    return board


def _is_address(text: str) -> bool:
    return _refusal(AddressError, lambda: parse(text)) is None


def _own(pid: str) -> str:
    """The pid of this process where an input says so: it cannot know the number."""
    return str(os.getpid()) if pid == "self" else pid


def _refusal(family: type[UserError], action: Callable[[], object]) -> str | None:
    """What an action says of its input when it refuses it; any other exception is a bug."""
    try:
        action()
    except family as error:
        return str(error)
    return None


TARGETS: Final[dict[str, Target]] = {
    one.__name__: one
    for one in (
        toml, toml_in_short, words, environ, flags, address, pidfile_text, notify_socket, watchdog, listen_fds,
        board_page, user_name, process_name, answers, log_text, log_json,
    )
}  # fmt: skip
