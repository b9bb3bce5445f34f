"""The board and the doorbell, between real processes: what gets through, what cannot, and what is left to whom."""

import errno
import os
import random
import resource
import subprocess
import sys
import time
from collections.abc import Iterator
from math import inf

import pytest

from ghostd.linux import fds
from ghostd.linux.board import MOST_SEATS, Board, Page
from ghostd.linux.page import BEAT, BUSY_UNTIL, IN_FLIGHT, LEAVING, PAGE, READY, SERVED, STATE, WORDS
from tests.support import needs_tool
from tests.unit.linux.forks import Gate, child, in_child

ONES = 2**64 - 1
MIXED = 1.1945305291614955e103  # the float whose eight bytes are all 0x55


@pytest.fixture(params=[True, False], ids=["memfd", "nameless"])
def board(request: pytest.FixtureRequest) -> Iterator[Board]:
    one = Board(use_memfd=request.param)
    yield one
    one.close()


def adopted(board: Board, seat: int) -> Page:
    """In a newborn: its page."""
    board.adopt(seat)
    return board.cradle


def said(board: Board, seat: int) -> tuple[float, float, int]:
    """Beat, busy until, and state, as the manager reads them."""
    return *board.read_cell(seat)[:2], board.read_state(seat)


def write(board: Board, seat: int, beat: float, busy: float = 0.0, state: int = READY) -> None:
    """Have a newborn adopt the seat and write to it."""

    def newborn() -> None:
        page = adopted(board, seat)
        page.moments[BEAT], page.moments[BUSY_UNTIL], page.words[STATE] = beat, busy, state

    board.prepare(seat)
    in_child(newborn)


# ── what gets through ──
def test_the_manager_reads_what_the_spirit_wrote(board: Board) -> None:
    write(board, 0, time.monotonic(), inf, ONES)
    beat, busy, state = said(board, 0)
    assert 0.0 < beat <= time.monotonic()
    assert (busy, state) == (inf, ONES)


def test_each_seat_has_its_own_page_however_many_there_are(board: Board) -> None:
    seats = [0, 1, 255, 256, 300, 511, 512, 5000]
    for seat in seats:
        write(board, seat, seat + 1)
    everything = board.read_cells()
    assert len(everything) == 5001
    for seat, cell in enumerate(everything):
        assert cell == board.read_cell(seat) == ((seat + 1, 0, 0, 0) if seat in seats else (0, 0, 0, 0))
    assert board.read_states() == [READY * (seat in seats) for seat in range(5001)]


def test_what_is_in_flight_and_what_was_served_is_read_by_seat_and_blank_for_the_next_spirit(board: Board) -> None:
    def newborn() -> None:
        words = adopted(board, 300).words
        words[IN_FLIGHT], words[SERVED] = 3, ONES

    board.prepare(300)
    in_child(newborn)
    cells = board.read_cells()
    assert len(cells) == 301
    assert (cells[300], board.read_cell(300)) == ((0, 0, 3, ONES),) * 2
    assert set(cells[:300]) == {(0, 0, 0, 0)}
    board.prepare(300)
    assert board.read_cells()[300] == (0, 0, 0, 0)


def test_a_prepared_seat_is_blank(board: Board) -> None:
    write(board, 3, 42, 43)
    board.prepare(3)
    assert said(board, 3) == (0, 0, 0)


def test_a_new_board_has_nothing_to_read(board: Board) -> None:
    assert (board.read_cells(), board.read_states()) == ([], [])


def test_seats_may_be_prepared_in_any_order_and_adopted_later(board: Board) -> None:
    for seat in (7, 2, 5):
        board.prepare(seat)
    in_child(lambda: adopted(board, 2).moments.__setitem__(BEAT, 9.0))
    assert [board.read_cell(seat)[BEAT] for seat in (7, 2, 5)] == [0, 9, 0]


def test_no_value_is_ever_torn(board: Board) -> None:
    """A writer alternates between two patterns of bits as fast as it can; a mixture of both would be a torn word."""

    def hammer() -> None:
        moments = adopted(board, 1).moments
        while True:
            moments[BEAT] = MIXED
            moments[BEAT] = 0.0

    board.prepare(0)
    board.prepare(1)
    seen = {0.0: 0, MIXED: 0}
    with child(hammer):
        end = time.monotonic() + 10.0
        while min(seen.values()) < 1000 and time.monotonic() < end:
            for _ in range(1000):
                seen[board.read_cell(1)[BEAT]] += 1  # KeyError: torn
                seen[board.read_cells()[1][BEAT]] += 1
    assert min(seen.values()) >= 1000, "the writer and the reader did not meet"


@pytest.mark.parametrize("text", ["", "why it died: \u00e4\n", "\udcff", "x" * 10_000 + "the end"])
def test_a_text_gets_through_and_of_a_long_one_the_end(board: Board, text: str) -> None:
    board.prepare(1)
    assert board.read_text(1) == ""
    in_child(lambda: adopted(board, 1).leave_text(text))
    found = board.read_text(1)
    assert len(found) == min(len(text), PAGE - 512)
    assert text.encode(errors="replace").decode().endswith(found)
    assert said(board, 1) == (0, 0, 0)
    board.prepare(1)
    assert board.read_text(1) == ""


# ── what cannot ──
def test_a_newborn_keeps_its_own_page_and_nothing_else(board: Board) -> None:
    def shared_maps() -> list[int]:
        with open("/proc/self/maps", encoding="utf-8") as maps:
            lines = [line.split() for line in maps if "memfd:board" in line or "/dev/zero" in line]
        return [int(end, 16) - int(begin, 16) for begin, end in (line[0].split("-") for line in lines)]

    def newborn() -> list[int]:
        adopted(board, 300)
        return shared_maps()

    for seat in (0, 255, 256, 511, 512, 600, 300):
        board.prepare(seat)
    assert in_child(newborn) == [PAGE]


def test_a_spirit_that_writes_anything_disturbs_no_other(board: Board) -> None:
    def rage() -> None:
        words = adopted(board, 1).words
        chance = random.Random(1)
        for _ in range(20):
            for word in range(WORDS):
                words[word] = chance.getrandbits(64)

    for seat in range(3):
        board.prepare(seat)
    board.prepare(1)
    in_child(rage)
    assert said(board, 0) == said(board, 2) == (0, 0, 0)
    assert len(board.read_text(1)) <= PAGE, "a length that is a lie"
    assert board.read_text(2) == ""


def test_memory_cannot_be_cut_off_from_under_a_reader() -> None:
    board = Board()
    board.prepare(0)
    with pytest.raises(PermissionError):
        os.ftruncate(board.fileno(), 0)
    board.close()


def test_without_memory_a_new_seat_is_an_error_and_the_old_ones_stay() -> None:
    def work() -> None:
        board = Board()
        write(board, 0, 5)
        resource.setrlimit(resource.RLIMIT_FSIZE, (256 * PAGE, resource.RLIM_INFINITY))
        for _ in range(3):
            with pytest.raises(OSError) as caught:
                board.prepare(256)
            assert caught.value.errno == errno.EFBIG
        assert board.read_cell(0)[BEAT] == 5
        resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY,) * 2)
        write(board, 256, 6)
        assert board.read_cell(256)[BEAT] == 6

    in_child(work)


@needs_tool("strace")
def test_memory_that_is_not_there_is_an_error_and_no_sudden_death() -> None:
    program = """
import errno, sys
from ghostd.linux.board import Board
board = Board()
try:
    board.prepare(3)
except OSError as error:
    failed = error.errno == errno.ENOSPC
board.prepare(3)
sys.exit(40 if failed and board.read_cells() == [(0, 0, 0, 0)] * 4 else 41)
"""
    trace = ["strace", "-qq", "-o", "/dev/null", "-e", "trace=fallocate", "-e", "inject=fallocate:error=ENOSPC:when=1"]
    assert subprocess.run([*trace, sys.executable, "-c", program], check=False, timeout=30).returncode == 40


@pytest.mark.parametrize("seat", [-1, MOST_SEATS])
def test_a_seat_that_cannot_be_is_refused(board: Board, seat: int) -> None:
    with pytest.raises(AssertionError, match=f"seat {seat}"):
        board.prepare(seat)


@needs_tool("strace")
@pytest.mark.parametrize(("fault", "kind"), [("error=EINVAL:when=1", "memfd"), ("error=ENOSYS", "nameless")])
def test_an_older_kernel_is_enough(fault: str, kind: str) -> None:
    program = """
import os
from ghostd.linux.board import Board
board = Board()
board.prepare(300)
pid = os.fork()
if pid == 0:
    board.adopt(300)
    board.cradle.moments[0] = 7.0
    os._exit(0)
os.waitpid(pid, 0)
assert board.read_cell(300) == (7, 0, 0, 0)
print("memfd" if board.fileno() >= 0 else "nameless")
"""
    trace = ["strace", "-qq", "-o", "/dev/null", "-e", "trace=memfd_create", "-e", f"inject=memfd_create:{fault}"]
    done = subprocess.run(
        [*trace, sys.executable, "-c", program], check=True, timeout=30, capture_output=True, text=True
    )
    assert done.stdout.strip() == kind


# ── what is left to whom ──
def test_a_page_lives_on_when_the_board_is_closed(board: Board) -> None:
    def newborn() -> int:
        page = adopted(board, 0)
        ready.open()
        gate.wait()
        page.moments[BEAT] = 77.0
        return int(page.moments[BEAT])

    board.prepare(0)
    with Gate() as ready, Gate() as gate, child(newborn) as pid:
        ready.wait()
        board.close()
        board.close()
        gate.open()
        assert os.waitpid(pid, 0)[1] == 77 << 8


def _fork_and_beat(page: Page, beat: float, then: int = 0) -> int:
    """Fork, beat in the grandchild, and give what it reads there afterwards plus `then`."""
    reader, writer = os.pipe()
    pid = os.fork()
    if pid == 0:
        page.moments[BEAT] = beat
        page.words[STATE] = LEAVING
        os.write(writer, b"%d" % (page.moments[BEAT] + page.moments[BUSY_UNTIL]))
        os._exit(0)
    os.waitpid(pid, 0)
    return int(os.read(reader, 32)) + then


def test_what_a_spirit_forks_cannot_speak_for_it(board: Board) -> None:
    """The closure of a tick holds the words themselves, so the memory behind them is what must change."""

    def newborn() -> None:
        page = adopted(board, 0)
        moments = page.moments
        moments[BEAT], moments[BUSY_UNTIL], page.words[STATE] = 11.0, 1000.0, READY
        assert _fork_and_beat(page, 99) == 1099, "the grandchild's own memory works and keeps its content"
        assert moments[BEAT] == 11
        moments[BUSY_UNTIL] = 2000.0  # the spirit itself is still heard

    board.prepare(0)
    in_child(newborn)
    assert said(board, 0) == (11, 2000, READY)


def test_many_lives_of_a_seat_leave_no_descriptor_and_no_map(board: Board) -> None:
    def census() -> tuple[int, int]:
        with open("/proc/self/maps", encoding="utf-8") as maps:
            return len(fds.census()), sum(1 for line in maps if "memfd:board" in line or "/dev/zero" in line)

    def work() -> None:
        write(board, 0, 1)
        before = census()
        for life in range(30):
            write(board, 0, life)
        assert census() == before

    in_child(work)


def maps_of_boards() -> int:
    """How many this process has: other tests may keep theirs."""
    with open("/proc/self/maps", encoding="utf-8") as maps:
        return maps.read().count("memfd:board")


def test_a_closed_board_leaves_nothing() -> None:
    for use_memfd in (True, False):
        before, maps = fds.census(), maps_of_boards()
        board = Board(use_memfd=use_memfd)
        board.prepare(700)
        board.close()
        assert fds.census() == before
        assert maps_of_boards() == maps
