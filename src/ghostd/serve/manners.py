"""How a server inside a spirit behaves: what the ghost's options say about it, and nothing of the pool."""

from __future__ import annotations

import resource

from ghostd.hints import TYPE_CHECKING
from ghostd.record import Frozen

if TYPE_CHECKING:
    from ghostd.core.policy import Policy
    from ghostd.serve.options import ServeOptions

_DESCRIPTORS_ELSE = 64  # of a spirit's descriptors, those for anything but connections
_NO_LIMIT = 10**9
_MARGIN = 1.0  # seconds before the manager kills in which what is left is cut in order, counted and logged


class Manners(Frozen, kw_only=True):
    """The numbers that a server needs. Seconds are floats."""

    interval: float  # between two beats
    graceful_timeout: float  # after this from the request to leave the manager kills
    connections: int | None = None  # so many in hand at most
    idle_timeout: float | None = None  # how long the other end of a stream may be silent
    silence: float = 0.0  # seconds without a beat after which the spirit is silent

    @classmethod
    def of(cls, policy: Policy, options: ServeOptions) -> Manners:
        """What the ghost's options say."""
        return cls(
            interval=policy.heartbeat_interval,
            silence=policy.silence,
            graceful_timeout=policy.graceful_timeout,
            connections=options.connections,
            idle_timeout=options.idle_timeout,
        )

    @property
    def room(self) -> int:
        """How many connections there may be: as many as was chosen, or as there are descriptors for."""
        soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
        limit = _NO_LIMIT if soft == resource.RLIM_INFINITY else max(soft - _DESCRIPTORS_ELSE, 1)
        return self.connections or limit

    @property
    def patience(self) -> float:
        """Seconds from the request to leave until what is left is cut."""
        return max(self.graceful_timeout - min(_MARGIN, self.graceful_timeout / 10), 0.0)
