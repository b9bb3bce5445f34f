"""What a user may choose about serving a web application: which server runs it, and how it is loaded."""

from __future__ import annotations

from ghostd.errors import OptionError
from ghostd.hints import TYPE_CHECKING
from ghostd.options import Kind, check, option
from ghostd.record import Frozen
from ghostd.serve.job import INTERFACES, SERVERS

if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

_PASSED = "Options of {}'s own, passed to it; unknown ones are errors. In a file: the table [serve.{}]."
_PASSED_WHY = "None: the server's own defaults, without an access log"


class WebOptions(Frozen, kw_only=True):
    """How an application is loaded and served. Checked when made; raises OptionError."""

    interface: str = option(
        "auto",
        Kind.CHOICE,
        "What the application is; auto finds it out from how it can be called.",
        why="the object tells, unless it takes anything",
        choices=INTERFACES,
    )
    server: str = option(
        "auto",
        Kind.CHOICE,
        "Which server serves it in each spirit; auto is uvicorn for ASGI and waitress for WSGI.",
        why="both are small, well kept, and lose nothing when they leave",
        choices=("auto", *SERVERS),
    )
    factory: bool = option(
        False, Kind.FLAG, "The target is a function without arguments that returns the application.", why="most are not"
    )
    preload: bool = option(
        False,
        Kind.FLAG,
        "Import the application in the manager before the first fork: less memory, but a reload keeps the old code.",
        why="that a reload renews the code is worth more than the memory",
    )
    keepalive_grace: float = option(
        1.0,
        Kind.SECONDS,
        "How long a connection may be idle once its spirit leaves: its next request is answered, and is its last.",
        why="a request that was sent before the client could know is answered; a second is long on any network",
        most=3600.0,
    )
    uvicorn: Mapping[str, Any] | None = option(None, Kind.TABLE, _PASSED.format("uvicorn", "uvicorn"), why=_PASSED_WHY)
    hypercorn: Mapping[str, Any] | None = option(
        None, Kind.TABLE, _PASSED.format("hypercorn", "hypercorn"), why=_PASSED_WHY
    )
    granian: Mapping[str, Any] | None = option(None, Kind.TABLE, _PASSED.format("granian", "granian"), why=_PASSED_WHY)
    waitress: Mapping[str, Any] | None = option(
        None, Kind.TABLE, _PASSED.format("waitress", "waitress"), why=_PASSED_WHY
    )
    cheroot: Mapping[str, Any] | None = option(None, Kind.TABLE, _PASSED.format("cheroot", "cheroot"), why=_PASSED_WHY)

    def __post_init__(self) -> None:
        check(self)
        for name, kind in SERVERS.items():
            if name == self.server and self.interface.rstrip("2") not in ("auto", *kind.interfaces):
                raise OptionError(
                    f"option server: {name} serves {' and '.join(kind.interfaces)}, and interface is {self.interface}"
                )
