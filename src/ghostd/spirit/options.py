"""What a user may choose about how spirits are made and run."""

from __future__ import annotations

from ghostd.options import Kind, check, option
from ghostd.record import Frozen


class SpiritOptions(Frozen, kw_only=True):
    """How spirits are made and run. Checked when made; raises OptionError."""

    event_loop: str = option(
        "auto",
        Kind.CHOICE,
        "Which event loop runs a coroutine spirit; auto is uvloop where it is installed, else asyncio's own.",
        why="who installed uvloop wants it",
        choices=("auto", "asyncio", "uvloop"),
    )
    fork_beside_threads: str = option(
        "refuse",
        Kind.CHOICE,
        "What to do when the manager has a second thread at a fork: refuse the fork, or only warn.",
        why="a lock that a thread holds at that moment is locked for ever in the spirit",
        choices=("refuse", "warn"),
    )
    freeze: bool = option(
        True,
        Kind.FLAG,
        "Collect garbage and freeze what is left before the first fork, so that spirits share it.",
        why="a collection in a spirit would else copy every page that holds an object",
    )
    settle: float = option(
        0.2,
        Kind.SECONDS,
        "How long a function without parameters, which cannot say that it is ready, must have run to count as ready.",
        why="what fails at once, at a connection say, then fails the start or the reload",
        most=1e9,
    )
    max_ticks: int = option(
        0,
        Kind.WHOLE,
        "After how many calls of tick() a spirit is worn, and replaced by a new one; 0: never.",
        why="only who runs code that leaks needs it",
        most=10**18,
    )
    max_requests: int = option(
        0,
        Kind.WHOLE,
        "After how many connections or requests that a server in it has answered a spirit is worn; 0: never.",
        why="only who runs code that leaks needs it",
        most=10**18,
    )

    def __post_init__(self) -> None:
        check(self)
