"""What a server inside a spirit is given, whichever server it is; and which servers there are."""

from __future__ import annotations

from ghostd.hints import TYPE_CHECKING, Protocol
from ghostd.record import Frozen

if TYPE_CHECKING:
    import asyncio
    import socket
    from collections.abc import Callable, Mapping, Sequence
    from typing import Any, Final

    from ghostd.serve.manners import Manners
    from ghostd.serve.voice import Voice


class Job(Frozen, kw_only=True):
    """One application, served by one spirit until it is asked to leave."""

    app: Callable[..., Any]
    interface: str  # asgi or wsgi
    sockets: Sequence[socket.socket]
    backlog: int  # of the listeners, for servers that say it again
    voice: Voice
    manners: Manners
    grace: float  # seconds that a connection may be idle once the spirit leaves
    options: Mapping[str, Any]  # the server's own
    loop_factory: Callable[[], asyncio.AbstractEventLoop] | None  # None: asyncio's


class ServerModule(Protocol):
    """A module of ghostd.integrations that runs a server. Importing it loads the server."""

    def serve(self, job: Job) -> None:
        """Serve until the spirit is asked to leave, and leave."""

    def known(self) -> Mapping[str, object]:
        """The server's own options that may be given, with their defaults."""

    def taken(self) -> Mapping[str, str]:
        """Those of its options that ghostd decides itself, each with what to use instead."""

    def try_out(self, options: Mapping[str, Any]) -> None:
        """Raise what is wrong with these options together: OSError, ValueError or an error of the server's."""


class ServerKind(Frozen, kw_only=True):
    """A server that can be chosen."""

    interfaces: tuple[str, ...]
    extra: str  # of this package, that installs it


SERVERS: Final[dict[str, ServerKind]] = {
    "uvicorn": ServerKind(interfaces=("asgi",), extra="asgi"),
    "hypercorn": ServerKind(interfaces=("asgi",), extra="hypercorn"),
    "granian": ServerKind(interfaces=("asgi", "wsgi"), extra="granian"),
    "waitress": ServerKind(interfaces=("wsgi",), extra="wsgi"),
    "cheroot": ServerKind(interfaces=("wsgi",), extra="cheroot"),
}
INTERFACES = ("auto", "asgi", "asgi2", "wsgi")
DEFAULTS: Final[dict[str, str]] = {"asgi": "uvicorn", "wsgi": "waitress"}
