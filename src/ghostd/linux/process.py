"""What a process says about itself to the kernel, and the few calls that Python has no name for.

They go through ctypes. Loading it costs milliseconds and memory, so :func:`load` is called once, before the first fork;
after that a call costs a microsecond, in the manager and in each child alike.

In a newborn even that is dear: whatever is touched there for the first time, be it only to count a reference, is a page
that is copied. What a newborn calls is therefore made before the fork, arguments and all: such a function has a name
that ends in -ing, and gives a :data:`Call`.
"""

from __future__ import annotations

import ctypes
import functools
import os
from functools import partial

from ghostd.hints import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    Call = Callable[[], int]  # made ready before a fork, for a newborn; -1 where it fails

# The numbers of linux/prctl.h, asm-generic/mman.h and linux/capability.h; they are the same on every machine.
_PR_SET_PDEATHSIG = 1
_PR_GET_DUMPABLE = 3
_PR_SET_DUMPABLE = 4
_PR_SET_CHILD_SUBREAPER = 36
_PR_GET_CHILD_SUBREAPER = 37
_PROT_READ_WRITE = 1 | 2
_MAP_SHARED, _MAP_PRIVATE, _MAP_FIXED, _MAP_ANONYMOUS = 0x01, 0x02, 0x10, 0x20
_MREMAP_MAYMOVE, _MREMAP_FIXED = 1, 2
_MADV_DONTFORK = 10
_CLOSE_RANGE = 436
_CAPABILITY_VERSION_3 = 0x20080522

_FAILED = ctypes.c_void_p(-1).value  # what mmap gives when it fails


@functools.cache
def load() -> ctypes.CDLL:
    """Load the C library, once; called before the first fork, so that no child has to."""
    libc = ctypes.CDLL(None, use_errno=True)
    address, length, number = ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int
    libc.mmap.restype = address
    libc.mmap.argtypes = (address, length, number, number, number, ctypes.c_int64)
    libc.mremap.restype = address
    libc.mremap.argtypes = (address, length, length, number, address)
    libc.munmap.argtypes = (address, length)
    libc.madvise.argtypes = (address, length, number)
    libc.prctl.argtypes = (number, *[ctypes.c_ulong] * 4)
    libc.syscall.argtypes = (ctypes.c_long, ctypes.c_uint, ctypes.c_uint, ctypes.c_uint)
    libc.syscall.restype = ctypes.c_long
    return libc


@functools.cache
def bare() -> ctypes.CDLL:
    """The C library for calls in a newborn: nothing is converted, looked up or kept, errno least of all.

    It takes small numbers, bytes where C wants a pointer, and :class:`ctypes.c_void_p`; it gives an int.
    """
    return ctypes.CDLL(None)


def dying_with_parent(signum: int) -> Call:
    """Have the kernel send `signum` to this process when the thread that forked it ends.

    A parent that ended before this call sends nothing: compare os.getppid() with the parent's pid afterwards. A change
    of uid and an exec of a set-user-id program clear it: call it after becoming another user.
    """
    return partial(bare().prctl, _PR_SET_PDEATHSIG, signum, 0, 0, 0)


def closing_range(first: int, last: int) -> Call:
    """Close every descriptor from `first` to `last` in one call."""
    return partial(bare().syscall, _CLOSE_RANGE, first, last, 0)


def mapping_shared(fd: int, length: int, at: int) -> Callable[[int], int]:
    """Put `length` bytes of `fd` in the place of what is mapped at `at`; called with their offset, below 2 GiB."""
    flags = _MAP_SHARED | _MAP_FIXED
    return partial(bare().mmap, ctypes.c_void_p(at), length, _PROT_READ_WRITE, flags, fd)


def become_subreaper(adopt: bool = True) -> None:  # noqa: FBT001, FBT002  one flag, and the name asks for it
    """Become the parent of each descendant that loses its own, or stop being it."""
    _prctl("PR_SET_CHILD_SUBREAPER", _PR_SET_CHILD_SUBREAPER, int(adopt))


def is_subreaper() -> bool:
    """Whether :func:`become_subreaper` was called here, or by the program that this process was before an exec."""
    told = ctypes.c_int()
    done = load().prctl(_PR_GET_CHILD_SUBREAPER, ctypes.addressof(told), 0, 0, 0)
    return bool(done == 0 and told.value)


def set_dumpable(dumpable: bool) -> None:  # noqa: FBT001  one flag, and the name asks for it
    """Allow or forbid core dumps of this process, and that others of its user trace it or read its memory."""
    _prctl("PR_SET_DUMPABLE", _PR_SET_DUMPABLE, int(dumpable))


def is_dumpable() -> bool:
    """Whether :func:`set_dumpable` allows it now."""
    return bool(load().prctl(_PR_GET_DUMPABLE, 0, 0, 0, 0) == 1)


def drop_capabilities() -> None:
    """Give up every capability: effective, permitted, inheritable and, with them, ambient."""
    header = (ctypes.c_uint32 * 2)(_CAPABILITY_VERSION_3, 0)
    nothing = (ctypes.c_uint32 * 6)()
    if load().capset(header, nothing) != 0:
        raise _fault("capset")


def close_range(first: int, last: int) -> bool:
    """Close every descriptor from `first` to `last` in one call; False when this kernel cannot."""
    return bool(load().syscall(_CLOSE_RANGE, first, last, 0) == 0)


def map_shared(fd: int, offset: int, length: int, at: int = 0) -> int:
    """The address of `length` bytes of `fd`, or of fresh shared memory when fd is -1; `at` replaces a map.

    It keeps no descriptor open, unlike Python's own mmap, which holds a duplicate for as long as the map lives.
    """
    flags = (_MAP_SHARED if fd >= 0 else _MAP_SHARED | _MAP_ANONYMOUS) | (_MAP_FIXED if at else 0)
    return _mmap(at, length, flags, fd, offset)


def map_again(address: int, length: int, at: int) -> None:
    """Put shared memory that is mapped at `address` in the place of what is mapped at `at`, too."""
    flags = _MREMAP_MAYMOVE | _MREMAP_FIXED
    if load().mremap(address, 0, length, flags, at) == _FAILED:
        raise _fault("mremap")


def map_private(length: int) -> int:
    """The address of `length` bytes of fresh memory that children get a copy of."""
    return _mmap(0, length, _MAP_PRIVATE | _MAP_ANONYMOUS, -1, 0)


def map_private_over(address: int, length: int) -> None:
    """Put fresh private memory in the place of what is mapped at `address`; pointers into it go on working."""
    _mmap(address, length, _MAP_PRIVATE | _MAP_ANONYMOUS | _MAP_FIXED, -1, 0)


def unmap(address: int, length: int) -> None:
    """Undo a map, or a part of one; nothing may hold a pointer into it any more."""
    if load().munmap(address, length) != 0:
        raise _fault("munmap")


def keep_from_children(address: int, length: int) -> None:
    """Leave a map out of every later child: there its addresses are not mapped at all."""
    if load().madvise(address, length, _MADV_DONTFORK) != 0:
        raise _fault("madvise")


def _mmap(address: int, length: int, flags: int, fd: int, offset: int) -> int:
    found = load().mmap(address, length, _PROT_READ_WRITE, flags, fd, offset)
    if found is None or found == _FAILED:
        raise _fault("mmap")
    return int(found)


def _prctl(name: str, number: int, value: int) -> None:
    if load().prctl(number, value, 0, 0, 0) != 0:
        raise _fault(f"prctl({name})")


def _fault(call: str) -> OSError:
    errno = ctypes.get_errno()
    return OSError(errno, f"{call}: {os.strerror(errno)}")
