"""What spirits print, into the log: line by line, bounded, and to the last."""

import os
from collections.abc import Iterator

import pytest

from ghostd.engine.echo import _LINE_BYTES, Echo
from ghostd.linux import fds


class Lines:
    """A log that keeps what it is told."""

    def __init__(self) -> None:
        self.texts: list[str] = []

    def write(self, level: str, text: str, /) -> None:
        assert level == "info"
        self.texts.append(text)

    def exception(self, text: str, error: BaseException, /) -> None:
        raise AssertionError(text) from error


@pytest.fixture
def log() -> Lines:
    return Lines()


@pytest.fixture
def echo(log: Lines) -> Iterator[Echo]:
    made = Echo(log)
    yield made
    if made.fileno() in fds.census():
        made.close()


def test_each_line_is_a_record_when_it_is_whole(echo: Echo, log: Lines) -> None:
    os.write(echo.writer, b"one\ntwo\nthr")
    assert list(echo.gather(0.0)) == []
    assert log.texts == ["Printed: one", "Printed: two"]
    os.write(echo.writer, b"ee\n")
    echo.gather(0.0)
    assert log.texts[2:] == ["Printed: three"]


def test_nothing_printed_is_no_record_and_no_wait(echo: Echo, log: Lines) -> None:
    assert list(echo.gather(0.0)) == []
    assert log.texts == []


def test_a_line_without_an_end_is_cut(echo: Echo, log: Lines) -> None:
    os.write(echo.writer, b"x" * (_LINE_BYTES + 1))
    echo.gather(0.0)
    assert log.texts == ["Printed: " + "x" * (_LINE_BYTES + 1)]
    os.write(echo.writer, b"y\n")
    echo.gather(0.0)
    assert log.texts[1:] == ["Printed: y"]


def test_what_is_no_text_is_shown_all_the_same(echo: Echo, log: Lines) -> None:
    os.write(echo.writer, b"\xff\n")
    echo.gather(0.0)
    assert log.texts == ["Printed: \ufffd"]


def test_the_last_words_are_told_at_the_end_and_nothing_stays_open(log: Lines) -> None:
    before = fds.census()
    echo = Echo(log)
    os.write(echo.writer, b"whole\nand no end")
    echo.close()
    assert log.texts == ["Printed: whole", "Printed: and no end"]
    assert fds.census() == before
