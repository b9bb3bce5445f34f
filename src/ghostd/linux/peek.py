"""A look at what has arrived at a socket, without taking it."""

import fcntl
import sys
import termios


def unread(fd: int) -> int:
    """How many bytes have arrived and were not read yet."""
    return int.from_bytes(fcntl.ioctl(fd, termios.FIONREAD, bytes(4)), sys.byteorder)
