"""Heads and bodies go out in one write, in order, and nothing waits longer than a turn of the loop."""

import asyncio
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from ghostd.serve.cork import Corked, Turn
from ghostd.serve.exchanges import is_stream_head

HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\n\r\n"


class Wire(asyncio.Transport):
    """A transport that notes what it is told."""

    def __init__(self) -> None:
        super().__init__({"peername": "there"})
        self.told: list[bytes | str] = []

    def write(self, data: bytes | bytearray | memoryview) -> None:
        self.told.append(bytes(data))

    def write_eof(self) -> None:
        self.told.append("eof")

    def close(self) -> None:
        self.told.append("close")

    def is_closing(self) -> bool:
        return "close" in self.told


@pytest.fixture
def loop() -> Iterator[asyncio.AbstractEventLoop]:
    made = asyncio.new_event_loop()
    yield made
    made.close()


@pytest.fixture
def wire() -> Wire:
    return Wire()


@pytest.fixture
def corked(loop: asyncio.AbstractEventLoop, wire: Wire) -> Corked:
    return Corked(wire, Turn(loop))


def turn(loop: asyncio.AbstractEventLoop) -> None:
    """What is due in this turn of the loop."""
    loop.call_soon(loop.stop)
    loop.run_forever()


def test_a_head_goes_with_its_body(corked: Corked, wire: Wire) -> None:
    corked.hold()
    corked.write(HEAD)
    assert wire.told == []
    corked.write(b"hello")
    assert wire.told == [HEAD + b"hello"]
    corked.write(b" more")
    assert wire.told == [HEAD + b"hello", b" more"]


def test_a_head_whose_body_is_late_goes_at_the_end_of_the_turn(
    loop: asyncio.AbstractEventLoop, corked: Corked, wire: Wire
) -> None:
    corked.hold()
    corked.write(HEAD)
    turn(loop)
    assert wire.told == [HEAD]
    corked.write(b"hello")
    assert wire.told == [HEAD, b"hello"]
    turn(loop)
    assert wire.told == [HEAD, b"hello"]


def test_each_that_holds_something_in_a_turn_is_flushed(loop: asyncio.AbstractEventLoop) -> None:
    common, wires = Turn(loop), [Wire() for _ in range(3)]
    for wire in wires:
        one = Corked(wire, common)
        one.hold()
        one.write(HEAD)
    turn(loop)
    assert [wire.told for wire in wires] == [[HEAD]] * 3


def test_what_is_not_to_be_held_goes_at_once(corked: Corked, wire: Wire) -> None:
    corked.write(b"frame")
    assert wire.told == [b"frame"]
    assert corked.head == b""


def test_the_word_to_go_on_is_no_head_and_goes_at_once(corked: Corked, wire: Wire) -> None:
    corked.hold()
    corked.write(b"HTTP/1.1 100 Continue\r\n\r\n")
    assert wire.told == [b"HTTP/1.1 100 Continue\r\n\r\n"]
    corked.write(HEAD)
    corked.write(b"hello")
    assert wire.told[1:] == [HEAD + b"hello"]
    assert corked.head == HEAD


def test_a_body_that_is_large_is_not_copied(corked: Corked, wire: Wire) -> None:
    corked.hold()
    corked.write(HEAD)
    corked.write(b"x" * 65537)
    assert wire.told == [HEAD, b"x" * 65537]


def test_an_answer_a_request_each_with_its_own_head(corked: Corked, wire: Wire) -> None:
    for body in (b"1", b"2"):
        corked.hold()
        assert corked.head == b""
        corked.write(HEAD)
        assert corked.head == HEAD
        corked.write(body)
    assert wire.told == [HEAD + b"1", HEAD + b"2"]


@pytest.mark.parametrize(
    ("after", "told"),
    [
        (lambda one: one.close(), "close"),
        (lambda one: one.write_eof(), "eof"),
        (lambda one: one.writelines([b"a", b"b"]), b"ab"),
    ],
    ids=["close", "eof", "writelines"],
)
def test_what_is_held_goes_before_all_else(
    loop: asyncio.AbstractEventLoop, corked: Corked, wire: Wire, after: Callable[[Any], None], told: object
) -> None:
    corked.hold()
    corked.write(HEAD)
    after(corked)
    turn(loop)
    assert wire.told == [HEAD, told]


def test_a_second_request_does_not_forget_what_the_first_holds(corked: Corked, wire: Wire) -> None:
    corked.hold()
    corked.write(HEAD)
    corked.hold()
    corked.write(b"hello")
    assert wire.told == [HEAD + b"hello"]


def test_all_else_is_the_transports(corked: Corked, wire: Wire) -> None:
    assert corked.get_extra_info("peername") == "there"
    assert not corked.is_closing()
    wire.close()
    assert corked.is_closing()


@pytest.mark.parametrize(
    ("head", "is_stream"),
    [
        (b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream; charset=utf-8\r\n\r\n", True),
        (b"HTTP/1.1 200 OK\r\ndate: now\r\ncontent-type:text/event-stream\r\n\r\n", True),
        (b"HTTP/1.1 200 OK\r\nx-was: text/event-stream\r\ncontent-type: text/plain\r\n\r\n", False),
        (HEAD, False),
        (b"", False),
    ],
)
def test_an_event_stream_is_known_by_its_head(head: bytes, is_stream: bool) -> None:
    assert is_stream_head(head) is is_stream
