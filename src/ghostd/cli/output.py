"""What the commands print: one line for a person, or JSON for a program. Texts of the ancestor come from daemon.lsb.

Rule: an answer goes to stdout, a failure to stderr; what a terminal cannot show is escaped rather than lost.
"""

from __future__ import annotations

import os
import sys

from ghostd.errors import ExitCode
from ghostd.hints import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ghostd.daemon import lsb

JIFFY = 1 / os.sysconf("SC_CLK_TCK")  # seconds in a clock tick of /proc


def tell(reply: lsb.Reply) -> int:
    """Print an answer where it belongs; its exit code."""
    (complain if reply.is_error else say)(reply.text)
    return reply.code


def say(text: str) -> None:
    """Print to stdout."""
    print(_printable(text))


def complain(text: str) -> None:
    """Print to stderr, with the name of who complains."""
    print(f"ghostd: {text}", file=sys.stderr)  # Python itself escapes what stderr cannot show


def say_json(value: object) -> None:
    """Print as JSON that any encoding of stdout can hold."""
    import json  # noqa: PLC0415  it takes longer to load than the rest of `status`

    print(json.dumps(value, indent=2, default=str))


def incorrect(command: str, commands: list[str]) -> int:
    """Tell that there is no such command, or none at all, and which there are."""
    what = f"Command incorrect: {command!r}" if command else "Command missing"
    complain(f"{what}; it takes one of {', '.join(commands)}; ghostd --help tells more")
    return ExitCode.USAGE


def status(reply: lsb.Reply, pidfile: str, pid: int | None) -> int:
    """Tell as JSON whether the ghost of a pidfile runs, and what runs under it; the exit code."""
    answer = {
        "name": os.path.basename(pidfile).removesuffix(".pid"),
        "running": pid is not None,
        "pid": pid,
        "pidfile": pidfile,
        "code": int(reply.code),
        "spirits": _spirits(pid) if pid else [],
    }
    say_json(answer)
    return reply.code


def table(rows: Sequence[tuple[str, ...]]) -> None:
    """Print rows of texts as columns."""
    wide = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        say("  ".join(f"{cell:<{width}}" for cell, width in zip(row, wide, strict=True)).rstrip())


def _spirits(manager: int) -> list[dict[str, object]]:
    """What the kernel tells of the processes under a manager; one that ends meanwhile is left out."""
    import time  # noqa: PLC0415

    from ghostd.linux import onlooker, procfs  # noqa: PLC0415

    with open("/proc/stat", "rb") as stat:
        booted = next((int(line.split()[1]) for line in stat if line.startswith(b"btime ")), 0)
    found: list[dict[str, object]] = []
    pids = procfs.children(manager)
    counts = onlooker.counts(manager, pids)
    for pid in pids:
        ticks = procfs.start_ticks(pid)
        if ticks is not None and not procfs.is_zombie(pid):
            since = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(booted + ticks * JIFFY))
            seat, in_hand, served = counts.get(pid, (None, None, None))
            about = {"pid": pid, "since": since, "title": _title(pid)}
            found.append({**about, "seat": seat, "in_flight": in_hand, "served": served})
    return found


def _title(pid: int) -> str:
    try:
        with open(f"/proc/{pid}/cmdline", "rb") as file:
            return file.read().replace(b"\0", b" ").decode(errors="replace").strip()
    except OSError:
        return ""


def _printable(text: str) -> str:
    """The text with what stdout cannot show escaped, where Python would raise: a path may hold any byte."""
    encoding = getattr(sys.stdout, "encoding", None) or "ascii"
    return text.encode(encoding, "backslashreplace").decode(encoding)
