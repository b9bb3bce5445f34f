"""Descriptors: which are open, which stay open, and how many there may be. No call here loops up to a limit."""

from __future__ import annotations

import os
from contextlib import suppress
from functools import partial

from ghostd.hints import TYPE_CHECKING
from ghostd.linux import process

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

_LAST = 2**31 - 1  # the highest number that a descriptor can have


def close_all_but(keep: Iterable[int]) -> None:
    """Close every descriptor that is not in `keep`."""
    for close in closing_all_but(keep):
        close()


def closing_all_but(keep: Iterable[int]) -> list[Callable[[], object]]:
    """The calls that close every descriptor that is not in `keep`: made ready before a fork, for a newborn."""
    gaps = list(_gaps(sorted(set(keep))))
    if process.close_range(_LAST, _LAST):  # there is none so high: this asks whether the kernel can
        return [process.closing_range(first, last) for first, last in gaps]
    return [partial(_close_listed, gaps)]


def census() -> dict[int, str]:
    """Each open descriptor of this process and what it is, in the words of /proc: `pipe:[12]`, `/dev/null`."""
    found = {}
    for name in os.listdir("/proc/self/fd"):
        with suppress(FileNotFoundError):  # the one that listed the folder
            found[int(name)] = os.readlink(f"/proc/self/fd/{name}")
    return found


def peer_of(fd: int) -> str | None:
    """Who is at the other end of a connected socket, for a message; None for anything else."""
    import socket  # noqa: PLC0415  only where a program has opened one before

    try:
        with socket.socket(fileno=os.dup(fd)) as one:
            peer = one.getpeername()
    except OSError:
        return None  # no socket, a listening one, or one that is not connected
    if isinstance(peer, tuple):
        return f"{peer[0]}:{peer[1]}"
    return os.fsdecode(peer) or "a socket without a name"


def ensure_stdio() -> None:
    """Open /dev/null as each of 0, 1 and 2 that is closed: else the next socket would become somebody's stderr."""
    while True:
        fd = os.open(os.devnull, os.O_RDWR | os.O_NOCTTY)
        if fd > 2:
            os.close(fd)
            return
        os.set_inheritable(fd, True)


def redirect_stdio(fd: int | None = None) -> None:
    """Read from /dev/null as stdin, and write stdout and stderr to `fd`, or to /dev/null as well."""
    null = os.open(os.devnull, os.O_RDWR | os.O_NOCTTY)
    os.dup2(null, 0)
    for standard in (1, 2):
        os.dup2(null if fd is None else fd, standard)
    if null > 2:
        os.close(null)


def raise_limit(count: int) -> tuple[int, int] | None:
    """Raise the soft limit on descriptors so that `count` can be open, as far as the hard one allows.

    Gives the limits as they were, for :func:`restore_limit` in a child; None when nothing had to or could be changed.
    """
    most = os.sysconf("SC_OPEN_MAX")
    if most < 0 or count <= most:
        return None
    import resource  # noqa: PLC0415  for large pools only

    before = soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = count if hard == resource.RLIM_INFINITY else min(count, hard)
    if wanted <= soft:
        return None
    resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
    return before


def restore_limit(before: tuple[int, int] | None) -> None:
    """Undo :func:`raise_limit`, in the process itself or in a child of it."""
    if before is not None:
        import resource  # noqa: PLC0415  loaded already, by raise_limit before the fork

        resource.setrlimit(resource.RLIMIT_NOFILE, before)


def pipe_cloexec() -> tuple[int, int]:
    """A reading and a writing end that no exec passes on: a life pipe, whose EOF says that all writers are gone."""
    return os.pipe2(os.O_CLOEXEC)


def _gaps(kept: list[int]) -> Iterable[tuple[int, int]]:
    first = 0
    for fd in kept:
        if fd > first:
            yield first, fd - 1
        first = fd + 1
    yield first, _LAST


def _close_listed(gaps: list[tuple[int, int]]) -> None:
    """For a kernel without close_range: only those that are open, never each number up to the limit."""
    for fd in census():
        if any(first <= fd <= last for first, last in gaps):
            with suppress(OSError):  # it may be gone by now
                os.close(fd)
