"""What each command does, for one client. Commands that came together are one turn of the store."""

from collections.abc import Callable
from math import ceil
from typing import NamedTuple

from examples.keyval.store import BusyError, Store
from examples.keyval.wire import Failure, encode

NO_INTEGER = Failure("ERR value is not an integer or out of range")
SYNTAX = Failure("ERR syntax error")
RANGE = 1 << 63
LONGEST = 10**10  # seconds that a key may be kept


class Session:
    """One client: what it has chosen, and whether it is done."""

    def __init__(self, store: Store) -> None:
        self.is_over = False
        self._version = 2
        self._store = store

    def answer(self, commands: list[list[bytes]]) -> bytes:
        """The answers, in the order of the commands; they are given when all of it is in the store."""
        if not commands:
            return b""
        try:
            with self._store.turn(writes=any(words[0].upper() in WRITING for words in commands)):
                return b"".join(self._one(words) for words in commands if not self.is_over)
        except BusyError as error:
            return encode(Failure(f"TRYAGAIN {error}, nothing was done")) * len(commands)

    def _one(self, words: list[bytes]) -> bytes:
        name, *arguments = words
        known = COMMANDS.get(name.upper())
        shown = "".join(filter(str.isprintable, name[:128].decode(errors="replace")))
        if known is None:
            return encode(Failure(f"ERR unknown command '{shown}'"))
        if not known.least <= len(arguments) <= known.most:
            return encode(Failure(f"ERR wrong number of arguments for '{shown.lower()}' command"))
        answer = known.run(self, *arguments)
        return encode(answer, self._version)

    # ── the store ──
    def get(self, key: bytes) -> object:
        return self._store.get(key)

    def set(self, key: bytes, value: bytes, *options: bytes) -> object:
        """SET key value [EX seconds | PX milliseconds] [NX | XX]."""
        seconds, wanted, words = None, None, list(options)
        while words:
            word = words.pop(0).upper()
            if word in (b"EX", b"PX") and words and seconds is None:
                number = _integer(words.pop(0))
                if number is None:
                    return NO_INTEGER
                seconds = number if word == b"EX" else number / 1000
                if not 0 < seconds <= LONGEST:
                    return Failure("ERR invalid expire time in 'set' command")
            elif word in (b"NX", b"XX") and wanted is None:
                wanted = word == b"XX"
            else:
                return SYNTAX
        if wanted is not None and (self._store.get(key) is not None) != wanted:
            return None
        self._store.set(key, value, seconds)
        return "OK"

    def delete(self, *keys: bytes) -> object:
        return sum(self._store.delete(key) for key in keys)

    def exists(self, *keys: bytes) -> object:
        return sum(self._store.get(key) is not None for key in keys)

    def incr(self, key: bytes, by: bytes = b"1") -> object:
        value = self._store.get(key)
        number, more = 0 if value is None else _integer(value), _integer(by)
        if number is None or more is None:
            return NO_INTEGER
        if not -RANGE <= number + more < RANGE:
            return Failure("ERR increment or decrement would overflow")
        self._store.change(key, b"%d" % (number + more))
        return number + more

    def expire(self, key: bytes, text: bytes) -> object:
        seconds = _integer(text)
        if seconds is None:
            return NO_INTEGER
        if seconds > LONGEST:
            return Failure("ERR invalid expire time in 'expire' command")
        return int(self._store.expire(key, seconds) if seconds > 0 else self._store.delete(key))

    def ttl(self, key: bytes) -> object:
        try:
            left = self._store.left(key)
        except KeyError:
            return -2
        return -1 if left is None else ceil(left)

    # ── the connection ──
    def ping(self, text: bytes | None = None) -> object:
        return "PONG" if text is None else text

    def echo(self, text: bytes) -> object:
        return text

    def hello(self, version: bytes | None = None, *_options: bytes) -> object:
        if version not in (None, b"2", b"3"):
            return Failure("NOPROTO unsupported protocol version")
        self._version = self._version if version is None else int(version)
        about: dict[object, object] = {b"server": b"keyval", b"version": b"7.0.0", b"proto": self._version}
        return about | {b"mode": b"standalone", b"modules": []}

    def select(self, number: bytes) -> object:
        return "OK" if number == b"0" else Failure("ERR DB index is out of range")

    def client(self, word: bytes, *_more: bytes) -> object:
        """What clients tell of themselves when they come."""
        if word.upper() in (b"SETINFO", b"SETNAME"):
            return "OK"
        return Failure("ERR unknown subcommand of 'client'")

    def command(self, word: bytes = b"", *_more: bytes) -> object:
        """Which commands there are, in the little that redis-cli wants to know."""
        if word.upper() == b"COUNT":
            return len(COMMANDS)
        if word.upper() == b"DOCS":
            return {}
        return [[name.lower(), _arity(known), [], 0, 0, 0] for name, known in COMMANDS.items()]

    def quit(self) -> object:
        self.is_over = True
        return "OK"


class Command(NamedTuple):
    """How it is run, and how many arguments it takes."""

    run: Callable[..., object]
    least: int
    most: int


MANY = 1 << 30
COMMANDS = {
    b"CLIENT": Command(Session.client, 1, MANY),
    b"COMMAND": Command(Session.command, 0, MANY),
    b"DEL": Command(Session.delete, 1, MANY),
    b"ECHO": Command(Session.echo, 1, 1),
    b"EXISTS": Command(Session.exists, 1, MANY),
    b"EXPIRE": Command(Session.expire, 2, 2),
    b"GET": Command(Session.get, 1, 1),
    b"HELLO": Command(Session.hello, 0, MANY),
    b"INCR": Command(Session.incr, 1, 1),
    b"INCRBY": Command(Session.incr, 2, 2),
    b"PING": Command(Session.ping, 0, 1),
    b"QUIT": Command(Session.quit, 0, 0),
    b"SELECT": Command(Session.select, 1, 1),
    b"SET": Command(Session.set, 2, MANY),
    b"TTL": Command(Session.ttl, 1, 1),
}
WRITING = frozenset({b"DEL", b"EXPIRE", b"INCR", b"INCRBY", b"SET"})


def _arity(known: Command) -> int:
    """As Redis tells it: with the name itself, and negative when there may be more."""
    return known.least + 1 if known.least == known.most else -known.least - 1


def _integer(text: bytes) -> int | None:
    digits = text.removeprefix(b"-")
    if not digits.isdigit() or len(digits) > 19 or (digits[:1] == b"0" and text != b"0"):
        return None
    number = int(text)
    return number if -RANGE <= number < RANGE else None
