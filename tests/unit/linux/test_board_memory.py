"""The memory of the board, through a second map of it: where each word lies, what is blanked, what is given back.

Rule: what a newborn does is asked in a newborn; all else in this process, against a map that the board did not make.
"""

import fcntl
import mmap
import os
import subprocess
import sys
from collections.abc import Iterator
from math import inf
from pathlib import Path

import pytest

from ghostd.linux import fds, process
from ghostd.linux.board import _CHUNK, _TEXT, MOST_SEATS, Board, Page
from ghostd.linux.page import BEAT, BUSY_UNTIL, IN_FLIGHT, PAGE, SERVED, STATE, TEXT_BYTES, WORDS
from tests.support import is_open, needs_tool
from tests.unit.linux.forks import in_child

EDGES = [0, 1, _CHUNK - 1, _CHUNK, 2 * _CHUNK - 1, 2 * _CHUNK]  # of the parts that are mapped at once


@pytest.fixture
def board() -> Iterator[Board]:
    one = Board()
    assert one.fileno() >= 0, "these tests need a memfd"
    yield one
    one.close()


class Other:
    """Another map of the page of a seat."""

    def __init__(self, board: Board, seat: int) -> None:
        self.map = mmap.mmap(board.fileno(), PAGE, offset=seat * PAGE)
        self.words: memoryview[int] = memoryview(self.map).cast("Q")
        self.moments: memoryview[float] = memoryview(self.map).cast("d")


def is_mapped(address: int) -> bool:
    with open("/proc/self/maps", encoding="utf-8") as maps:
        ranges = [line.split()[0].split("-") for line in maps]
    return any(int(begin, 16) <= address < int(end, 16) for begin, end in ranges)


# ── where each word lies ──
@pytest.mark.parametrize("seat", EDGES)
def test_what_is_written_through_another_map_is_read_at_its_seat_and_nowhere_else(board: Board, seat: int) -> None:
    board.prepare(seat + 1)
    other = Other(board, seat)
    other.moments[BEAT], other.moments[BUSY_UNTIL] = 1.5, inf
    other.words[STATE], other.words[IN_FLIGHT], other.words[SERVED] = 7, 8, 2**64 - 1
    cell = (1.5, inf, 8, 2**64 - 1)
    assert (board.read_cell(seat), board.read_state(seat)) == (cell, 7)
    assert board.read_cells() == [(0, 0, 0, 0)] * seat + [cell, (0, 0, 0, 0)]
    assert board.read_states() == [0] * seat + [7, 0]


@pytest.mark.parametrize("seat", EDGES)
def test_a_seat_is_blanked_in_its_words_and_its_neighbours_keep_theirs(board: Board, seat: int) -> None:
    board.prepare(seat + 1)
    pages = [Other(board, one) for one in (seat, seat + 1)]
    for page in pages:
        page.words[:] = memoryview(b"\x01" * PAGE).cast("Q")
    board.prepare(seat)
    ours, next_one = ([word for word in range(WORDS) if not page.words[word]] for page in pages)
    assert ours == sorted([BEAT, BUSY_UNTIL, STATE, TEXT_BYTES, IN_FLIGHT, SERVED])
    assert next_one == []


@pytest.mark.parametrize("seat", EDGES)
def test_a_text_is_read_from_its_place_as_long_as_it_says_and_never_beyond_the_page(board: Board, seat: int) -> None:
    board.prepare(seat + 1)
    other, room = Other(board, seat), PAGE - _TEXT
    other.map[_TEXT:] = bytes(range(97, 97 + 26)) * (room // 26) + b"z" * (room % 26)
    for said, found in [(0, 0), (1, 1), (room - 1, room - 1), (room, room), (room + 1, room), (2**64 - 1, room)]:
        other.words[TEXT_BYTES] = said
        assert board.read_text(seat) == other.map[_TEXT : _TEXT + found].decode()
    assert board.read_text(seat + 1) == ""


def test_a_text_that_is_none_is_read_with_marks_in_its_place(board: Board) -> None:
    board.prepare(0)
    other = Other(board, 0)
    other.map[_TEXT : _TEXT + 3] = b"a\xff\0"
    other.words[TEXT_BYTES] = 3
    assert board.read_text(0) == "a\N{REPLACEMENT CHARACTER}\0"


def test_the_last_seat_of_all_can_be_had_and_none_after_it(board: Board) -> None:
    assert MOST_SEATS * PAGE == 2**30
    for seat in (-1, MOST_SEATS):
        with pytest.raises(AssertionError) as told:
            board.prepare(seat)
        assert str(told.value) == f"seat {seat} is not on the board: 0 to {MOST_SEATS - 1}"


# ── a page ──
@pytest.fixture
def page() -> Iterator[Page]:
    one = Page(process.map_private(PAGE))
    yield one
    one.words.release()
    one.moments.release()
    process.unmap(one.address, PAGE)


@pytest.mark.parametrize("length", [0, 1, PAGE - _TEXT - 1, PAGE - _TEXT, PAGE - _TEXT + 1, 3 * PAGE])
def test_a_text_is_left_behind_the_words_and_of_a_long_one_the_end(page: Page, length: int) -> None:
    text = "".join(chr(97 + number % 26) for number in range(length))
    page.leave_text(text)
    kept = text[-(PAGE - _TEXT) :].encode()
    content = bytes(page.words)
    assert page.words[TEXT_BYTES] == len(kept)
    assert content[_TEXT:] == kept.ljust(PAGE - _TEXT, b"\0")
    assert [word for word in range(_TEXT // 8) if page.words[word]] == ([TEXT_BYTES] if length else [])


def test_what_cannot_be_encoded_is_left_as_a_question_mark(page: Page) -> None:
    page.leave_text("a\udcff\N{LATIN SMALL LETTER A WITH DIAERESIS}")
    assert bytes(page.words)[_TEXT : _TEXT + page.words[TEXT_BYTES]] == b"a?\xc3\xa4"


def test_a_muted_page_keeps_its_content_and_is_heard_by_nobody(board: Board) -> None:
    board.prepare(3)
    page = Page(process.map_shared(board.fileno(), 3 * PAGE, PAGE))
    words, moments = page.words, page.moments
    moments[BEAT] = 5.0
    page.leave_text("so far")
    assert board.read_cell(3)[BEAT] == 5
    page.mute()
    assert (moments[BEAT], words[TEXT_BYTES]) == (5, 6)
    assert bytes(words) == bytes(Other(board, 3).map[:])
    moments[BEAT], words[STATE] = 6.0, 1
    assert (moments[BEAT], words[STATE]) == (6, 1)
    assert (board.read_cell(3)[BEAT], board.read_state(3), board.read_text(3)) == (5, 0, "so far")
    process.unmap(page.address, PAGE)


def test_a_page_has_as_many_words_as_it_has_room_for(page: Page) -> None:
    assert (len(page.words), len(page.moments), page.words.nbytes) == (WORDS, WORDS, PAGE)
    page.words[WORDS - 1] = 1
    assert bytes(page.words)[-8:] == (1).to_bytes(8, "little")


# ── the memory itself ──
def test_the_memory_has_a_name_and_can_be_neither_shortened_nor_inherited_nor_run(board: Board) -> None:
    fd = board.fileno()
    assert os.readlink(f"/proc/self/fd/{fd}") == "/memfd:board (deleted)"
    assert not os.get_inheritable(fd)
    seals = fcntl.fcntl(fd, fcntl.F_GET_SEALS)
    wanted = fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_SEAL
    assert seals & wanted == wanted
    assert not seals & (fcntl.F_SEAL_GROW | fcntl.F_SEAL_WRITE), "it grows, and is written"
    assert bool(os.fstat(fd).st_mode & 0o111) == (_release() < (6, 3)), "a kernel that can forbids to run it"


def _release() -> tuple[int, int]:
    major, minor = os.uname().release.split(".")[:2]
    return int(major), int(minor)


@needs_tool("strace")
def test_memory_is_taken_for_the_seats_in_use_and_addresses_for_whole_parts(tmp_path: Path) -> None:
    """As the kernel is asked for it: how much it takes for a file may be more."""
    program = f"""
import os
from ghostd.linux.board import Board
os.close(0)  # the lowest descriptor that a board can have
board = Board()
for seat in (0, 9, 4, 9, {_CHUNK - 1}, {_CHUNK}):
    board.prepare(seat)
    os.write(1, b"%d %d\\n" % (len(board.read_states()), len(board.read_cells())))
"""
    trace = tmp_path / "trace"
    command = ["strace", "-qq", "-o", str(trace), "-e", "trace=fallocate,ftruncate", sys.executable, "-c", program]
    done = subprocess.run(command, check=True, timeout=30, capture_output=True, text=True)
    assert done.stdout.split() == [str(seats) for seats in (1, 10, 10, 10, _CHUNK, _CHUNK + 1) for _ in range(2)]
    calls = [line.partition(" = ")[0].strip() for line in trace.read_text().splitlines()]
    taken = [(0, 1), (1, 9), (10, _CHUNK - 10), (_CHUNK, 1)]
    wanted = [f"fallocate(0, 0, {begin * PAGE}, {seats * PAGE})" for begin, seats in taken]
    assert [call for call in calls if call.startswith("fallocate")] == wanted
    wanted = [f"ftruncate(0, {parts * _CHUNK * PAGE})" for parts in (1, 2)]
    assert [call for call in calls if call.startswith("ftruncate")] == wanted


@pytest.mark.parametrize("use_memfd", [True, False], ids=["memfd", "nameless"])
def test_a_closed_board_has_given_back_every_map_and_its_descriptor(use_memfd: bool) -> None:
    board = Board(use_memfd=use_memfd)
    board.prepare(_CHUNK)
    fd, addresses = board.fileno(), [*board._addresses, board.cradle.address]
    ends = [address + _CHUNK * PAGE - 1 for address in board._addresses]
    assert all(is_mapped(one) for one in [*addresses, *ends])
    board.close()
    assert not any(is_mapped(one) for one in [*addresses, *ends])
    assert fd < 0 or not is_open(fd)
    assert (board.fileno(), board.cradle.address) == (-1, 0)
    assert (board.read_states(), board.read_cells()) == ([], [])
    board.close()


def test_a_board_can_be_the_first_descriptor_of_all() -> None:
    def work() -> tuple[int, bool, float, bool]:
        def newborn() -> bool:
            _beat(one, _CHUNK, 3.0)
            return any(is_mapped(address) for address in one._addresses)

        os.close(0)
        one = Board()
        fd = one.fileno()
        one.prepare(_CHUNK)
        sees_others, beat = in_child(newborn), one.read_cell(_CHUNK)[BEAT]
        one.close()
        return fd, sees_others, beat, is_open(0)

    assert in_child(work) == (0, False, 3.0, False)


def _beat(board: Board, seat: int, moment: float) -> None:
    board.adopt(seat)
    board.cradle.moments[BEAT] = moment


def test_a_nameless_board_has_no_descriptor() -> None:
    before = fds.census()
    board = Board(use_memfd=False)
    board.prepare(0)
    assert board.fileno() == -1
    assert fds.census() == before
    board.close()


def test_without_any_memfd_the_memory_has_no_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(os, "memfd_create")
    board = Board()
    assert board.fileno() == -1
    board.prepare(_CHUNK + 1)
    in_child(lambda: _beat(board, _CHUNK + 1, 4.0))
    assert board.read_cells() == [(0, 0, 0, 0)] * (_CHUNK + 1) + [(4, 0, 0, 0)]
    board.close()


# ── in a newborn ──
def test_a_newborn_that_cannot_have_its_page_says_which(board: Board) -> None:
    def newborn() -> str:
        os.close(board.fileno())
        with pytest.raises(MemoryError) as told:
            board.adopt(7)
        return str(told.value)

    board.prepare(7)
    assert in_child(newborn) == "the page of seat 7 could not be mapped"


@pytest.mark.parametrize("use_memfd", [True, False], ids=["memfd", "nameless"])
def test_a_newborn_has_no_other_map_of_the_board_than_the_cradle(use_memfd: bool) -> None:
    def newborn() -> tuple[list[bool], bool]:
        board.adopt(_CHUNK)
        return [is_mapped(one) for one in edges], is_mapped(board.cradle.address)

    board = Board(use_memfd=use_memfd)
    board.prepare(_CHUNK)
    edges = [one + end for one in board._addresses for end in (0, _CHUNK * PAGE - 1)]
    assert in_child(newborn) == ([False] * 4, True)
    board.close()


@pytest.mark.parametrize("use_memfd", [True, False], ids=["memfd", "nameless"])
def test_a_fork_before_the_page_was_adopted_leaves_the_cradle_to_be_adopted(use_memfd: bool) -> None:
    """A spirit may be forked by a process that was itself forked from the manager."""

    def between() -> None:
        in_child(lambda: _beat(one, 1, 8.0))

    one = Board(use_memfd=use_memfd)
    one.prepare(1)
    in_child(between)
    assert one.read_cell(1)[BEAT] == 8
    one.close()
