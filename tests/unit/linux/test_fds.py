"""Descriptors: what is closed and what is not, in children whose table may be spoiled."""

import os
import resource
import subprocess
import time
from collections.abc import Callable, Iterable
from contextlib import suppress

import pytest

from ghostd.linux import fds
from tests.unit.linux.forks import child, in_child

STDIO = {0, 1, 2}


def by_listing(keep: Iterable[int]) -> None:
    """What close_all_but does on a kernel without close_range."""
    fds._close_listed(list(fds._gaps(sorted(keep))))


@pytest.mark.parametrize("close", [fds.close_all_but, by_listing])
@pytest.mark.parametrize("kept", [set(), {2}, STDIO, {*STDIO, 700}, {0, 699, 700, 702}])
def test_only_what_was_named_stays_open(close: Callable[[Iterable[int]], None], kept: set[int]) -> None:
    def work() -> None:
        null = os.open(os.devnull, os.O_RDONLY)
        for fd in (50, 699, 700, 701, 702, 901):
            os.dup2(null, fd)
        close({*kept, writer, 900})  # one that is not open does no harm
        os.write(writer, str(set(fds.census()) == {*kept, writer}).encode())

    reader, writer = os.pipe()
    with child(work):
        assert os.read(reader, 10) == b"True"
    os.close(reader)
    os.close(writer)


def test_closing_takes_no_time_however_many_there_may_be() -> None:
    def work() -> None:
        hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
        os.dup2(0, hard - 1)
        begun = time.process_time()
        fds.close_all_but(range(64))
        closed = time.process_time()
        for fd in range(64, min(hard, 20_000)):  # the part of them that it is compared with, one by one
            with suppress(OSError):
                os.close(fd)
        assert closed - begun < time.process_time() - closed

    in_child(work)


def test_the_census_names_what_is_open_and_not_itself() -> None:
    def work() -> None:
        reader, writer = os.pipe()
        null = os.open(os.devnull, os.O_RDONLY)
        before = fds.census()
        assert before[reader] == before[writer]
        assert before[reader].startswith("pipe:[")
        assert before[null] == os.devnull
        os.close(null)
        assert fds.census() == {fd: name for fd, name in before.items() if fd != null}

    in_child(work)


# ── stdin, stdout, stderr ──
@pytest.mark.parametrize("closed", [{0}, {1}, {2}, {0, 2}, STDIO])
def test_a_closed_standard_descriptor_is_opened_before_another_takes_its_number(closed: set[int]) -> None:
    def work() -> None:
        before = fds.census()
        for fd in closed:
            os.close(fd)
        fds.ensure_stdio()
        after = fds.census()
        assert {fd: name for fd, name in after.items() if name != before.get(fd)} == {
            fd: os.devnull for fd in closed if before[fd] != os.devnull
        }
        assert set(after) == set(before)
        assert all(os.get_inheritable(fd) for fd in STDIO)
        assert os.open(os.devnull, os.O_RDONLY) > 2

    in_child(work)


def test_open_standard_descriptors_are_left_alone() -> None:
    def work() -> None:
        before = fds.census()
        fds.ensure_stdio()
        assert fds.census() == before

    in_child(work)


def test_stdout_and_stderr_go_where_they_are_sent_in_programs_too() -> None:
    def work() -> tuple[bytes, str]:
        before = set(fds.census())
        fds.redirect_stdio(writer)
        subprocess.run(["sh", "-c", "echo out; echo err >&2"], check=True, timeout=30)
        assert set(fds.census()) == before
        return os.read(reader, 100), fds.census()[0]

    reader, writer = os.pipe()
    assert in_child(work) == (b"out\nerr\n", os.devnull)
    os.close(reader)
    os.close(writer)


def test_stdio_goes_nowhere_when_it_is_sent_nowhere() -> None:
    def work() -> list[str]:
        fds.redirect_stdio()
        census = fds.census()
        return [census[fd] for fd in sorted(STDIO)]

    assert in_child(work) == [os.devnull] * 3


# ── how many ──
def test_the_limit_is_raised_and_given_back() -> None:
    def work() -> None:
        hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
        resource.setrlimit(resource.RLIMIT_NOFILE, (100, hard))
        assert fds.raise_limit(100) is None
        before = fds.raise_limit(300)
        assert before == (100, hard)
        assert resource.getrlimit(resource.RLIMIT_NOFILE) == (300, hard)
        fds.restore_limit(before)
        assert resource.getrlimit(resource.RLIMIT_NOFILE) == (100, hard)
        fds.restore_limit(None)

    in_child(work)


def test_the_limit_is_raised_as_far_as_it_may_be() -> None:
    def work() -> None:
        resource.setrlimit(resource.RLIMIT_NOFILE, (100, 200))
        assert fds.raise_limit(100_000) == (100, 200)
        assert resource.getrlimit(resource.RLIMIT_NOFILE) == (200, 200)
        assert fds.raise_limit(100_000) is None

    in_child(work)


def test_a_life_pipe_ends_when_its_last_writer_does() -> None:
    reader, writer = fds.pipe_cloexec()
    assert not os.get_inheritable(reader)
    assert not os.get_inheritable(writer)
    with child(lambda: 0):
        os.close(writer)
        assert os.read(reader, 1) == b""
    os.close(reader)
