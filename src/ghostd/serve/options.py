"""What a user may choose about listening: where, and how what comes in is handled."""

from __future__ import annotations

from ghostd.errors import OptionError
from ghostd.hints import TYPE_CHECKING
from ghostd.options import Kind, check, option
from ghostd.record import Frozen

if TYPE_CHECKING:
    from collections.abc import Sequence

MOST_ADDRESSES = 64  # a list that is longer was made by mistake


class ServeOptions(Frozen, kw_only=True):
    """Where the ghost listens. Checked when made; raises OptionError."""

    listen: str | Sequence[str] | None = option(
        None,
        Kind.ADDRESSES,
        "Where to listen: HOST:PORT, :PORT, unix:/PATH, fd:N, systemd. Opened once, before the ghost detaches.",
        why="None: a pool needs no socket",
    )
    backlog: int = option(
        2048,
        Kind.WHOLE,
        "How many connections may wait in the kernel for a spirit; it allows net.core.somaxconn at most.",
        why="what comes in while all spirits are busy or are replaced waits here; a second's worth of a fast server",
        least=1,
        most=1_000_000,
    )
    connections: int | None = option(
        None,
        Kind.WHOLE,
        "How many connections a spirit has in hand at most; others wait, or go to other spirits. None: one for a plain "
        "`connection`, as many as there are descriptors for a coroutine and for the web.",
        why="a plain `connection` with more than one is run in threads, which not every code is made for",
        least=1,
        most=1_000_000,
    )
    idle_timeout: float | None = option(
        None,
        Kind.SECONDS,
        "How long a call on the socket of a plain `connection` waits for the other end: TimeoutError then. "
        "None: for ever.",
        why="how long silence is right is known to the protocol alone",
        least=0.001,
        most=1e9,
    )
    reuse_port: bool = option(
        False,
        Kind.FLAG,
        "Give each spirit a listener of its own on a TCP address (SO_REUSEPORT) instead of the one that all share.",
        why="a connection that waits in one spirit's queue cannot be taken by another that is idle",
    )

    def __post_init__(self) -> None:
        check(self)
        if self.listen:
            if len(self.texts) > MOST_ADDRESSES:
                raise OptionError(f"option listen: {len(self.texts)} addresses, at most {MOST_ADDRESSES} are possible")
            from ghostd.serve.address import parse_all  # noqa: PLC0415  most ghosts do not listen

            parse_all(self.texts)

    @property
    def texts(self) -> tuple[str, ...]:
        """The addresses as they were given."""
        if self.listen is None:
            return ()
        return (self.listen,) if isinstance(self.listen, str) else tuple(self.listen)
