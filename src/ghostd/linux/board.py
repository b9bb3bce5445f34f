"""The board: shared memory with one page a seat, written by one process only; and the doorbell, which says only "look".

One writer a page, words of 64 bits, no lock: a word is written and read whole by the hardware, so nothing is ever torn,
and a writer killed in the middle of anything leaves no lock held. A newborn keeps its own page and nothing else.

Moments are floats, as the clock of Python gives them: to make an integer of one would be a fifth of a beat's price.
"""

from __future__ import annotations

import ctypes
import fcntl
import os

from ghostd.hints import TYPE_CHECKING
from ghostd.linux import process
from ghostd.linux.page import BEAT, BUSY_UNTIL, IN_FLIGHT, PAGE, SERVED, STATE, TEXT_BYTES, WORDS

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Final

_TEXT: Final = 512  # where the text begins, in bytes

MOST_SEATS: Final = (1 << 30) // PAGE  # 1 GiB of pages; a bound on what a wrong seat can cost
_CHUNK: Final = 256  # seats mapped at once: a megabyte of addresses, in which memory is taken only by seats in use
_NO_EXEC_SEAL: Final = 0x0008  # MFD_NOEXEC_SEAL, since Linux 6.3, where a setting may refuse a memfd without it

FOR_EVER: Final = 1e10  # a moment three centuries after any boot

Cell = tuple[float, float, int, int]  # beat, busy until, in flight, served


class Board:
    """The shared memory of all seats, as the manager sees it.

    It is one memfd that only grows, sealed so that nobody can cut memory off from under a reader; its maps are kept
    from every child. Without memfd it is nameless shared memory, of which a newborn unmaps what is not its own.
    """

    def __init__(self, *, use_memfd: bool = True) -> None:
        process.load()
        self._fd = _memfd() if use_memfd else -1
        self._chunks: list[memoryview] = []
        self._moments: list[memoryview[float]] = []  # the same memory, its words as floats
        self._addresses: list[int] = []
        self._backed = 0  # seats whose memory is there for sure
        # Where each newborn finds its page, at the same addresses: so its voice can be made before the fork, in memory
        # that all spirits share. In the manager it is nobody's.
        self.cradle = Page(process.map_private(PAGE))
        self.adopt = self._adopting()

    def fileno(self) -> int:
        """The memfd, which a newborn needs until it has adopted its page; -1 without one."""
        return self._fd

    def prepare(self, seat: int) -> None:
        """Make the seat's page exist, and blank it; right before the fork. OSError when there is no memory for it."""
        assert 0 <= seat < MOST_SEATS, f"seat {seat} is not on the board: 0 to {MOST_SEATS - 1}"
        while seat >= len(self._chunks) * _CHUNK:
            self._grow()
        if seat >= self._backed:
            self._back(seat + 1)
        words, at = self._chunks[seat // _CHUNK], seat % _CHUNK * WORDS
        words[at + BEAT] = words[at + BUSY_UNTIL] = words[at + STATE] = words[at + TEXT_BYTES] = 0
        words[at + IN_FLIGHT] = words[at + SERVED] = 0

    def read_state(self, seat: int) -> int:
        """The seat's state: whatever its spirit wrote there, which may be anything. So is all that is read below."""
        return self._chunks[seat // _CHUNK][seat % _CHUNK * WORDS + STATE]

    def read_states(self) -> list[int]:
        """The state of each seat from 0 to the highest ever prepared: what is read most often."""
        states = [state for words in self._chunks for state in words[STATE::WORDS].tolist()]
        del states[self._backed :]
        return states

    def read_cell(self, seat: int) -> Cell:
        """The seat's beat, until when it is busy, what is in flight, and what was served."""
        chunk, at = seat // _CHUNK, seat % _CHUNK * WORDS
        moments, words = self._moments[chunk], self._chunks[chunk]
        return moments[at + BEAT], moments[at + BUSY_UNTIL], words[at + IN_FLIGHT], words[at + SERVED]

    def read_cells(self) -> list[Cell]:
        """What :meth:`read_cell` gives, for each seat: the quick way to read many."""
        cells: list[Cell] = []
        for chunk, words in enumerate(self._chunks):
            whens = [self._moments[chunk][word::WORDS].tolist() for word in (BEAT, BUSY_UNTIL)]
            counts = [words[word::WORDS].tolist() for word in (IN_FLIGHT, SERVED)]
            cells += zip(*whens, *counts, strict=True)
        del cells[self._backed :]
        return cells

    def read_text(self, seat: int) -> str:
        """The text that the seat's spirit has left, which may be anything; empty when there is none."""
        words = self._chunks[seat // _CHUNK]
        at = seat % _CHUNK * WORDS
        length = min(words[at + TEXT_BYTES], PAGE - _TEXT)
        if not length:
            return ""
        return ctypes.string_at(self._address(seat) + _TEXT, length).decode(errors="replace")

    def close(self) -> None:
        """Give the memory back; a second time does nothing. Pages that spirits hold live on until they end."""
        self._chunks.clear()
        self._moments.clear()
        for address in self._addresses:
            process.unmap(address, _CHUNK * PAGE)
        self._addresses.clear()
        if self.cradle.address:
            process.unmap(self.cradle.address, PAGE)
            self.cradle.address = 0
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def _grow(self) -> None:
        begin, length = len(self._chunks) * _CHUNK * PAGE, _CHUNK * PAGE
        if self._fd >= 0:
            os.ftruncate(self._fd, begin + length)
        address = process.map_shared(self._fd, begin, length)
        if self._fd >= 0:
            process.keep_from_children(address, length)
        self._addresses.append(address)
        self._chunks.append(_words(address, _CHUNK))
        self._moments.append(_moments(self._chunks[-1]))

    def _adopting(self) -> Callable[[int], None]:
        """What puts the page of a seat into the cradle, for ever: made ready before the fork, called in the newborn.

        No other map of the board is there then; the memfd is left to the newborn to close. What the newborn forks finds
        a page of its own in the cradle, with the same content: it cannot beat for the spirit.
        """
        put = process.mapping_shared(self._fd, PAGE, self.cradle.address) if self._fd >= 0 else self._put_nameless
        cradle, is_born = self.cradle, False

        def adopt(seat: int) -> None:
            nonlocal is_born
            if put(seat * PAGE) == -1:
                raise MemoryError(f"the page of seat {seat} could not be mapped")
            is_born = True

        def mute() -> None:
            if is_born:
                cradle.mute()

        # In the manager, once: to do so in the newborn would cost it ten page faults.
        os.register_at_fork(after_in_child=mute)
        return adopt

    def _put_nameless(self, offset: int) -> int:
        process.map_again(self._address(offset // PAGE), PAGE, self.cradle.address)
        for address in self._addresses:
            process.unmap(address, _CHUNK * PAGE)
        return 0

    def _back(self, seats: int) -> None:
        # Where memory is short this fails; a write to the map would be a SIGBUS instead.
        if self._fd >= 0:
            os.posix_fallocate(self._fd, self._backed * PAGE, (seats - self._backed) * PAGE)
        self._backed = seats

    def _address(self, seat: int) -> int:
        return self._addresses[seat // _CHUNK] + seat % _CHUNK * PAGE


class Page:
    """The one page of the board that a spirit has."""

    __slots__ = ("address", "moments", "words")

    def __init__(self, address: int) -> None:
        self.address = address
        self.words: memoryview[int] = _words(address, 1)
        self.moments: memoryview[float] = _moments(self.words)

    def leave_text(self, text: str) -> None:
        """Leave a text for the manager to read; of a long one the end."""
        data = text.encode(errors="replace")[-(PAGE - _TEXT) :]
        self.words.cast("B")[_TEXT : _TEXT + len(data)] = data
        self.words[TEXT_BYTES] = len(data)

    def mute(self) -> None:
        """Make the page private to this process, in its place: for a process that a spirit forked.

        The same `words` go on working and keep their content, but nobody else sees what is written there from now on.
        """
        content = bytes(self.words)
        process.map_private_over(self.address, PAGE)
        self.words.cast("B")[:] = content


class Doorbell:
    """Wakes the manager; carries nothing. Anybody may ring, only the manager answers.

    A pipe and no eventfd: the manager's end is a description of its own, so that nobody who holds the other end can
    make the manager's read block.
    """

    def __init__(self) -> None:
        self._reader, self._writer = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)

    def fileno(self) -> int:
        """Readable when somebody has rung."""
        return self._reader

    def ring_fileno(self) -> int:
        """The end that a spirit keeps."""
        return self._writer

    def ringing(self) -> Callable[[], None]:
        """What has the manager look: made ready before the fork, for a newborn.

        It never blocks, and does nothing when the bell rings already, or when nobody is there to hear.
        """
        write, writer = os.write, self._writer

        def ring() -> None:
            try:  # noqa: SIM105  to make an object that suppresses would cost a newborn page faults
                write(writer, b"\0")
            except (BlockingIOError, BrokenPipeError):
                pass

        return ring

    def drain(self) -> bool:
        """Stop the ringing; whether it rang. What rings from now on is heard the next time."""
        try:
            return bool(os.read(self._reader, 65536))
        except BlockingIOError:
            return False

    def adopt(self) -> None:
        """Called in the newborn: keep the ringing end only."""
        if self._reader >= 0:
            os.close(self._reader)
            self._reader = -1

    def close(self) -> None:
        """Close both ends; a second time does nothing."""
        self.adopt()
        if self._writer >= 0:
            os.close(self._writer)
            self._writer = -1


def _memfd() -> int:
    for more in (_NO_EXEC_SEAL, 0):
        try:
            fd = os.memfd_create("board", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING | more)
        except (AttributeError, OSError):
            continue  # a kernel that does not know the flag, or has no memfd at all
        fcntl.fcntl(fd, fcntl.F_ADD_SEALS, fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_SEAL)
        return fd
    return -1


def _words(address: int, pages: int) -> memoryview[int]:
    # No owner: nothing unmaps these addresses but the board itself, in the process that mapped them.
    return memoryview((ctypes.c_uint8 * (pages * PAGE)).from_address(address)).cast("B").cast("Q")


def _moments(words: memoryview[int]) -> memoryview[float]:
    return words.cast("B").cast("d")
