"""Sockets that somebody else has opened: by number, or handed over by systemd (sd_listen_fds(3)). Never unlinked."""

from __future__ import annotations

import errno
import os
import socket
import stat
from contextlib import suppress

from ghostd.errors import OptionError
from ghostd.hints import TYPE_CHECKING
from ghostd.linux import listening
from ghostd.record import Frozen
from ghostd.serve.address import shown

if TYPE_CHECKING:
    from collections.abc import Mapping, MutableMapping
    from typing import Final

    from ghostd.serve.address import Fd, Systemd

OURS: Final = "ghostd="  # how the name of a socket begins that a ghost has opened itself (stored.py)
FIRST: Final = 3  # SD_LISTEN_FDS_START
MOST: Final = 4096  # a number that is higher was not meant
VARIABLES: Final = ("LISTEN_FDS", "LISTEN_PID", "LISTEN_FDNAMES", "LISTEN_PIDFDID")
STORE: Final = "FDSTORE"  # how many descriptors of a unit systemd keeps, from version 254 on


class Passed(Frozen):
    """A descriptor that systemd has handed over, and the name that it gave it."""

    fd: int
    name: str


def has_store(environ: MutableMapping[str, str]) -> bool:
    """Whether the init system says that it keeps descriptors for its unit."""
    said = environ.pop(STORE, "")
    return said.isascii() and said.isdecimal() and said.strip("0") != ""


def take(environ: MutableMapping[str, str]) -> list[Passed]:
    """What systemd has handed over; taken out of the environment, so that no spirit's command believes it is meant."""
    said = {name: environ.pop(name) for name in VARIABLES if name in environ}
    return _read(said)


def _read(said: Mapping[str, str]) -> list[Passed]:
    count, pid = said.get("LISTEN_FDS", ""), said.get("LISTEN_PID", "")
    if not count and not pid:
        raise OptionError(
            "cannot listen on systemd: LISTEN_FDS is not set, so nothing was handed over; start it by its .socket unit"
        )
    if pid != str(os.getpid()):
        whose = shown(pid[:20]) or "not set"
        raise OptionError(
            f"cannot listen on systemd: LISTEN_PID is {whose}, this process is {os.getpid()}: the sockets "
            "were handed to another process; have systemd start this one itself, without a shell between them"
        )
    if not (count.isascii() and count.isdigit() and len(count) <= 4 and 0 < int(count) <= MOST):
        raise OptionError(f"cannot listen on systemd: LISTEN_FDS is {count[:20]!r}, not a number from 1 to {MOST}")
    names = said.get("LISTEN_FDNAMES", "").split(":")
    names += ["unknown"] * (int(count) - len(names))  # as systemd calls those without a name
    return [Passed(FIRST + number, names[number] or "unknown") for number in range(int(count))]


def chosen(address: Systemd, passed: list[Passed], named: set[str]) -> list[Passed]:
    """Those that an address means; ``named`` are the names that other addresses ask for."""
    if address.name is None:
        found = [one for one in passed if one.name not in named and not one.name.startswith(OURS)]
    else:
        found = [one for one in passed if one.name == address.name]
    if not found:
        names = ", ".join(sorted({one.name for one in passed}))
        raise OptionError(
            f"cannot listen on {address}: systemd has handed over no such socket, but {shown(names)}; "
            "FileDescriptorName= of the .socket unit says how one is called"
        )
    return found


def adopt(address: Fd | Systemd, fd: int) -> socket.socket:
    """The listening socket that is open under this number, from now on closed by an exec."""
    what = fault(fd)
    if what:
        raise OptionError(f"cannot listen on {address}: descriptor {fd} {what}")
    os.set_inheritable(fd, False)
    sock = socket.socket(fileno=fd)
    sock.setblocking(False)
    if sock.family != socket.AF_UNIX:
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)  # as opening.py has it
    return sock


def fault(fd: int) -> str:
    """What stands against accepting connections from a descriptor, or nothing."""
    try:
        found = os.fstat(fd)
    except OSError as error:
        why = "" if error.errno == errno.EBADF else f" ({error.strerror})"
        return f"is not open{why}; whoever starts the ghost has to pass it on"
    if not stat.S_ISSOCK(found.st_mode):
        what = f"fd {fd}"
        with suppress(OSError):
            what = os.readlink(f"/proc/self/fd/{fd}")
        return f"is no socket, but {what}"
    probe = socket.socket(fileno=os.dup(fd))
    try:
        if probe.type != socket.SOCK_STREAM or probe.family not in (socket.AF_INET, socket.AF_INET6, socket.AF_UNIX):
            return f"is a socket of {probe.family.name} and {probe.type.name}; a stream of TCP or unix is needed"
        if not listening.is_listening(probe):
            return "is a socket that does not listen; with systemd, that is one of Accept=yes: say Accept=no"
    finally:
        probe.close()
    return ""
