"""The log is the list of actions: one line each with who, why, how much and what comes next. Pure.

The first words are the ancestor's, with the pid that they had; serial, seat and reason follow in brackets.
"""

from __future__ import annotations

import signal

from ghostd.core.actions import Abandon, Announce, Ask, Bury, Halt, Kill, News, Reason, Rouse
from ghostd.errors import ExitCode
from ghostd.hints import TYPE_CHECKING

if TYPE_CHECKING:
    from typing import Final

    from ghostd.exits import Exit

Line = tuple[str, str]  # level, text

NEWS: Final[dict[News, tuple[str, str]]] = {
    News.WHOLE: ("info", "Pool is whole"),
    News.DEGRADED: ("error", "Pool is degraded"),
    News.RELOADING: ("notice", "Reloading"),
    News.RELOADED: ("notice", "Reloaded"),
    News.RELOAD_FAILED: ("error", "Reload failed"),
    News.SCALED: ("notice", "Scaled"),
    News.DRAINING: ("notice", "Draining"),
    News.HELD: ("warn", "Replacement waits"),
    News.FORK_FAILED: ("error", "Spirit could not be made"),
    News.CREDITED: ("warn", "Clock gap"),
}


def started(pid: int, who: str, generation: int, reason: Reason) -> Line:
    """A spirit's process was made."""
    return "info", f"Spirit {pid} started ({who}, generation {generation}: {reason.value})"


def asked(pid: int, who: str, order: Ask) -> Line:
    """A spirit was asked to quit."""
    text = f"Stopping spirit {pid} gracefully ({order.limit:g} seconds) ({who}: {order.reason.value})"
    return "info", text


def roused(pid: int, who: str, order: Rouse) -> Line:
    """A spirit gives no sign of life."""
    what = "has no heartbeat" if order.reason is Reason.SILENT else "is not ready"
    then = f"asked for its stacks and to quit, SIGKILL in {order.limit:g} s"
    return "error", f"Spirit {pid} {what} ({order.silence:.3g} seconds), restarting ({who}: {then})"


def killed(pid: int, who: str, order: Kill) -> Line:
    """A spirit was sent SIGKILL."""
    level = "info" if order.reason is Reason.STOP_AT_ONCE else "warn"
    return level, f"Stopping spirit {pid} immediately ({who}: {order.reason.value}, after {order.after:.3g} s)"


def buried(pid: int, who: str, order: Bury) -> Line:
    """A spirit has ended."""
    expected = order.exit.is_clean or order.reason in (Reason.STOP_AT_ONCE, Reason.SILENT, Reason.SLOW_LEAVE)
    text = f"Spirit {pid} stopped ({who}: {ended(order.exit)} after {order.age:.3g} s, {order.reason.value})"
    return ("info" if expected else "error"), text


def abandoned(pid: int, who: str, order: Abandon) -> Line:
    """A spirit outlived SIGKILL."""
    text = f"Spirit {pid} cannot be killed ({who}: {order.reason.value} by {order.after:.3g} s; going on without it)"
    return "crit", text


def announced(order: Announce) -> Line:
    """The pool as a whole has something to tell."""
    level, text = NEWS[order.news]
    return level, f"{text}: {order.detail}"


def halted(pid: int, order: Halt) -> Line:
    """The pool has ended."""
    if order.code == ExitCode.OK:
        return "info", f"Manager {pid} stopped ({order.detail})"
    if order.reason is Reason.EARLY_DEATH:
        return "fatal", f"Spirit stopped too early, shutting down ({order.detail})"
    return "fatal", f"Manager {pid} stopped ({order.reason.value}: {order.detail})"


def ended(exit: Exit) -> str:  # noqa: A002  the field's word
    """How a process ended, a signal by its name."""
    if exit.signal is None:
        return "nobody knows how it ended" if exit.code is None else f"exit code {exit.code}"
    try:
        name = signal.Signals(exit.signal).name
    except ValueError:
        name = f"signal {exit.signal}"
    return f"killed by {name}{', core dumped' if exit.dumped_core else ''}"
