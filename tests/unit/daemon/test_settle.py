"""The daemon's place in the world: directory, umask, stdio, and no descriptor that somebody else left open."""

import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, TextIO, cast

import pytest

from ghostd.daemon.detach import settle
from ghostd.errors import DeniedError, OptionError
from ghostd.linux import fds
from tests.support import needs_root
from tests.unit.linux.forks import in_child


def settled(look: Callable[[], Any], **how: Any) -> Any:  # noqa: ANN401  whatever is looked at
    def work() -> Any:  # noqa: ANN401
        settle(**how)
        return look()

    return in_child(work)


def test_the_directory_and_the_umask_are_as_asked(tmp_path: Path) -> None:
    assert settled(os.getcwd) == "/"
    assert settled(os.getcwd, chdir=str(tmp_path)) == str(tmp_path)
    assert settled(lambda: os.umask(0)) == 0o022
    assert settled(lambda: os.umask(0), umask=0o077) == 0o077


def test_no_file_is_writable_for_everybody_by_default(tmp_path: Path) -> None:
    def make() -> int:
        (tmp_path / "made").touch(0o666)
        return (tmp_path / "made").stat().st_mode & 0o777

    assert settled(make) == 0o644


def test_a_directory_that_is_not_there_is_an_error_of_the_option(tmp_path: Path) -> None:
    with pytest.raises(OptionError, match=r"option chdir: .*none' is not allowed; No such file"):
        settle(chdir=str(tmp_path / "none"))


@needs_root
def test_a_directory_without_the_right_to_it_is_denied(tmp_path: Path) -> None:
    (tmp_path / "own").mkdir(mode=0o700)

    def work() -> str:
        os.setresuid(65534, 65534, 65534)
        with pytest.raises(DeniedError) as told:
            settle(chdir=str(tmp_path / "own"))
        return str(told.value)

    assert "Permission denied" in in_child(work)


def test_what_is_printed_goes_to_the_log_line_by_line_and_nothing_is_read(tmp_path: Path) -> None:
    log = tmp_path / "log"
    fd = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)

    def work() -> tuple[str, bytes]:
        sys.stdout = open(1, "w", encoding="utf-8", closefd=False)  # noqa: SIM115  buffers, and what pytest set does not
        settle(stdio=fd)
        sys.stdout.write("line\n")
        os.write(2, b"by number\n")
        return log.read_text(), os.read(0, 10)

    assert in_child(work) == ("line\nby number\n", b"")
    os.close(fd)


def test_streams_that_were_closed_are_made_anew(tmp_path: Path) -> None:
    log = tmp_path / "log"
    fd = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)

    def work() -> str:
        sys.stdout, sys.stderr = cast(
            "tuple[TextIO, TextIO]", (None, None)
        )  # as Python has it when 1 and 2 were closed
        settle(stdio=fd)
        sys.stdout.write("printed\n")
        sys.stderr.write("half \udc80\n")
        return log.read_text()

    assert in_child(work) == "printed\nhalf \\udc80\n"
    os.close(fd)


def test_without_a_log_stdio_goes_nowhere() -> None:
    assert settled(lambda: [os.readlink(f"/proc/self/fd/{fd}") for fd in range(3)]) == ["/dev/null"] * 3


def test_inherited_descriptors_are_closed_but_for_those_named(tmp_path: Path) -> None:
    inherited, named = os.open(tmp_path, os.O_RDONLY), os.open(tmp_path, os.O_RDONLY)
    own = os.open(tmp_path, os.O_RDONLY)
    for fd in (inherited, named):
        os.set_inheritable(fd, True)  # as by an exec
    left = settled(lambda: set(fds.census()), keep=[named])
    assert inherited not in left
    assert {named, own, 0, 1, 2} <= left
    for fd in (inherited, named, own):
        os.close(fd)


def test_what_the_program_opened_itself_still_works(tmp_path: Path) -> None:
    reader, writer = os.pipe()

    def work() -> bytes:
        settle()
        os.write(writer, b"still here")
        return os.read(reader, 10)

    assert in_child(work) == b"still here"
    os.close(reader)
    os.close(writer)
