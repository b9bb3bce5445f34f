"""What each command says and ends with: the ancestor's words, LSB's codes."""

import io

import pytest

from ghostd.daemon import lsb
from ghostd.errors import ExitCode


@pytest.mark.parametrize(
    ("reply", "text", "code", "is_error"),
    [
        (lsb.started(7), "Running 7", 0, False),
        (lsb.already_running(7), "Already running 7", 0, False),
        (lsb.already_running(None), "Already running", 0, False),
        (lsb.stopped(7), "Stopped 7", 0, False),
        (lsb.not_running(), "Not running", 0, False),
        (lsb.restarted(), "Restart successful", 0, False),
        (lsb.restart_failed(7), "Restart failed 7", 1, True),
        (lsb.restart_failed(7, ExitCode.TIMED_OUT), "Restart failed 7", 75, True),
        (lsb.reloading(7), "Reloading 7", 0, False),
        (lsb.status(7, has_pidfile=True), "Running 7", 0, False),
        (lsb.status(7, has_pidfile=False), "Running 7", 0, False),
        (lsb.status(None, has_pidfile=True), "Not running", 1, False),
        (lsb.status(None, has_pidfile=False), "Not running", 3, False),
    ],
    ids=repr,
)
def test_words_and_codes_are_those_of_the_ancestor_and_of_lsb(
    reply: lsb.Reply, text: str, code: int, is_error: bool
) -> None:
    assert (reply.text, reply.code, reply.is_error) == (text, code, is_error)


def test_failures_say_what_is_the_matter() -> None:
    assert "7" in lsb.still_there(7).text
    assert (lsb.still_there(7).code, lsb.still_there(7).is_error) == (1, True)
    wrong = lsb.incorrect("sttart")
    assert wrong.text.startswith("Command incorrect")
    assert "'sttart'" in wrong.text
    assert all(command in wrong.text for command in lsb.COMMANDS)
    assert (wrong.code, wrong.is_error) == (2, True)


class Broken(io.StringIO):
    """A stream whose other end is a full disk."""

    def write(self, text: str, /) -> int:
        raise OSError(28, "No space left on device")


def test_who_cannot_be_told_keeps_nobody_from_going_on() -> None:
    told = io.StringIO()
    for stream in (told, Broken(), None):
        lsb.say(stream, "stopped")
    assert told.getvalue() == "stopped\n"
