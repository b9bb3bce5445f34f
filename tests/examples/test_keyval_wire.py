"""The protocol and the commands of the keyval example, without a process: bytes in, bytes out."""

from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from examples.keyval import store, wire
from examples.keyval.session import COMMANDS, WRITING, Session

WORDS = st.lists(st.binary(max_size=40), min_size=1, max_size=6)


def packed(*words: bytes) -> bytes:
    """A command as a client sends it."""
    return wire.encode(list(words))


@pytest.fixture
def session(tmp_path: Path) -> Session:
    store.create(tmp_path / "x.db")
    return Session(store.Store(tmp_path / "x.db"))


def say(session: Session, line: str) -> bytes:
    """The answer to one command, typed."""
    return session.answer(wire.Reader().feed(line.encode() + b"\r\n"))


# ── the protocol ──
@given(commands=st.lists(WORDS, max_size=5), cuts=st.lists(st.integers(0, 400), max_size=8))
def test_commands_arrive_whole_however_the_bytes_are_cut(commands: list[list[bytes]], cuts: list[int]) -> None:
    sent = b"".join(packed(*words) for words in commands)
    reader, got = wire.Reader(), []
    edges = [0, *sorted(min(cut, len(sent)) for cut in cuts), len(sent)]
    for begin, end in pairwise(edges):
        got += reader.feed(sent[begin:end])
    assert got == commands
    assert not reader.broken
    assert not reader.is_amid


@given(data=st.binary(max_size=200))
def test_no_bytes_make_the_reader_raise(data: bytes) -> None:
    reader = wire.Reader()
    reader.feed(data)
    if reader.broken:
        assert not reader.is_amid


@pytest.mark.parametrize(
    ("typed", "words"),
    [
        (b"PING\r\n", [b"PING"]),
        (b"  set a  1 \n", [b"set", b"a", b"1"]),
        (b'set a "two words"\r\n', [b"set", b"a", b"two words"]),
        (b"set a '\xff'\r\n", [b"set", b"a", b"\xff"]),
        (b"\r\n\r\nPING\r\n", [b"PING"]),
    ],
)
def test_what_a_person_types_is_a_command(typed: bytes, words: list[bytes]) -> None:
    assert wire.Reader().feed(typed) == [words]


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (b"*x\r\n", "invalid multibulk length"),
        (b"*1025\r\n", "invalid multibulk length"),
        (b"*99999999999999999999\r\n", "invalid multibulk length"),
        (b"*1\r\n$-1\r\n", "invalid bulk length"),
        (b"*1\r\n$8388609\r\n", "invalid bulk length"),
        (b"*1\r\n:1\r\n", "expected '$', got ':'"),
        (b"*1\r\n$1\r\nabc\r\n", "no line ends where the bulk does"),
        (b'set a "\r\n', "unbalanced quotes in request"),
        (b"x" * wire.LINE, "too big inline request"),
    ],
)
def test_what_is_no_command_is_told_after_those_before_it(data: bytes, why: str) -> None:
    reader = wire.Reader()
    assert reader.feed(packed(b"PING") + data) == [[b"PING"]]
    assert reader.broken == why


def test_half_a_command_is_known_to_have_begun() -> None:
    reader = wire.Reader()
    assert reader.feed(b"*2\r\n$4\r\nECHO\r\n$5\r\nhel") == []
    assert reader.is_amid
    assert reader.feed(b"lo\r\n") == [[b"ECHO", b"hello"]]
    assert not reader.is_amid


# ── the commands ──
@pytest.mark.parametrize(
    ("lines", "answer"),
    [
        (["ping"], b"+PONG\r\n"),
        (["ping hello"], b"$5\r\nhello\r\n"),
        (["echo 'a b'"], b"$3\r\na b\r\n"),
        (["get a"], b"$-1\r\n"),
        (["set a 1", "get a"], b"$1\r\n1\r\n"),
        (["set a 1 nx", "set a 2 nx"], b"$-1\r\n"),
        (["set a 1 xx"], b"$-1\r\n"),
        (["set a 1", "set a 2 xx", "get a"], b"$1\r\n2\r\n"),
        (["set a 1 ex"], b"-ERR syntax error\r\n"),
        (["set a 1 ex 1 px 1"], b"-ERR syntax error\r\n"),
        (["set a 1 nx xx"], b"-ERR syntax error\r\n"),
        (["set a 1 ex 0"], b"-ERR invalid expire time in 'set' command\r\n"),
        (["set a 1 ex x"], b"-ERR value is not an integer or out of range\r\n"),
        (["set a 1", "set b 1", "del a b c"], b":2\r\n"),
        (["set a 1", "exists a a b"], b":2\r\n"),
        (["incr a", "incr a"], b":2\r\n"),
        (["incrby a 40", "incrby a -41"], b":-1\r\n"),
        (["set a x", "incr a"], b"-ERR value is not an integer or out of range\r\n"),
        (["set a ''", "incr a"], b"-ERR value is not an integer or out of range\r\n"),
        (["set a 9223372036854775807", "incr a"], b"-ERR increment or decrement would overflow\r\n"),
        (["ttl a"], b":-2\r\n"),
        (["set a 1", "ttl a"], b":-1\r\n"),
        (["set a 1 ex 50", "ttl a"], b":50\r\n"),
        (["set a 1 ex 50", "incr a", "ttl a"], b":50\r\n"),
        (["set a 1 ex 50", "set a 2", "ttl a"], b":-1\r\n"),
        (["expire a 5"], b":0\r\n"),
        (["set a 1", "expire a 50", "ttl a"], b":50\r\n"),
        (["set a 1", "expire a 0", "get a"], b"$-1\r\n"),
        (["select 0"], b"+OK\r\n"),
        (["select 1"], b"-ERR DB index is out of range\r\n"),
        (["hello 4"], b"-NOPROTO unsupported protocol version\r\n"),
        (["hello 3", "get a"], b"_\r\n"),
        (["client setinfo lib-name x"], b"+OK\r\n"),
        (["dance"], b"-ERR unknown command 'dance'\r\n"),
        (["get"], b"-ERR wrong number of arguments for 'get' command\r\n"),
        (["command count"], b":%d\r\n" % len(COMMANDS)),
    ],
)
def test_each_command_answers_as_redis_does(session: Session, lines: list[str], answer: bytes) -> None:
    assert [say(session, line) for line in lines][-1] == answer


def test_a_key_is_gone_when_its_time_is_over(tmp_path: Path) -> None:
    now = 1000.0
    store.create(tmp_path / "x.db")
    session = Session(store.Store(tmp_path / "x.db", clock=lambda: now))
    say(session, "set a 1 px 1500")
    assert say(session, "ttl a") == b":2\r\n"
    now += 1.4
    assert say(session, "get a") == b"$1\r\n1\r\n"
    now += 0.1
    assert say(session, "get a") == b"$-1\r\n"
    assert say(session, "set a 2 nx") == b"+OK\r\n"


def test_nothing_is_done_after_the_client_has_said_goodbye(session: Session) -> None:
    assert session.answer([[b"SET", b"a", b"1"], [b"QUIT"], [b"DEL", b"a"]]) == b"+OK\r\n+OK\r\n"
    assert say(Session(session._store), "get a") == b"$1\r\n1\r\n"


def test_commands_that_came_together_are_answered_in_order(session: Session) -> None:
    assert session.answer([[b"INCR", b"n"]] * 3 + [[b"GET", b"n"]]) == b":1\r\n:2\r\n:3\r\n$1\r\n3\r\n"


def test_where_another_has_the_store_for_too_long_nothing_is_done_and_that_is_told(
    session: Session, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(store, "PATIENCE", 0.05)
    other = Session(store.Store(tmp_path / "x.db"))
    with session._store.turn(writes=True):
        assert other.answer([[b"INCR", b"n"], [b"INCR", b"n"]]).count(b"-TRYAGAIN ") == 2
        assert say(other, "get n") == b"$-1\r\n", "who reads does not wait"
    assert say(other, "incr n") == b":1\r\n"


def test_what_changes_the_store_is_known_to_do_so() -> None:
    assert set(COMMANDS) >= WRITING
