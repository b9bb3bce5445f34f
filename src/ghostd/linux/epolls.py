"""The epolls of this process, whoever has made them, as the kernel lists them."""

from __future__ import annotations

import os
import select
from contextlib import suppress


def withdraw(fd: int) -> bool:
    """Take a descriptor out of every epoll of this process, so that nobody is woken for it; whether it was in one."""
    found = False
    for epoll in _all():
        if fd in _watched(epoll):
            handle = select.epoll.fromfd(os.dup(epoll))  # a copy, because its end would close it
            try:
                with suppress(FileNotFoundError):  # its owner was quicker
                    handle.unregister(fd)
                    found = True
            finally:
                handle.close()
    return found


def _all() -> list[int]:
    found = []
    for name in os.listdir("/proc/self/fd"):
        with suppress(FileNotFoundError):  # the one that listed the folder
            if os.readlink(f"/proc/self/fd/{name}").endswith("[eventpoll]"):
                found.append(int(name))
    return found


def _watched(epoll: int) -> set[int]:
    """What an epoll waits for: lines such as ``tfd: 16 events: 19 ...`` (proc(5))."""
    try:
        with open(f"/proc/self/fdinfo/{epoll}", encoding="ascii") as file:
            lines = [line.split() for line in file]
    except FileNotFoundError:
        return set()
    return {int(words[1]) for words in lines if words[:1] == ["tfd:"]}
