"""Opens listeners for tests, sees them refused, and connects to them."""

import os
import socket
from collections.abc import MutableMapping

import pytest

from ghostd.errors import GhostdError
from ghostd.linux import fds
from ghostd.serve.listeners import Heirs, Listeners
from ghostd.serve.options import ServeOptions

MINE = Heirs(os.geteuid(), os.getegid(), 3)


def opened(
    *listen: str, environ: MutableMapping[str, str] | None = None, heirs: Heirs = MINE, **options: object
) -> Listeners:
    made = ServeOptions(listen=listen, **options)  # type: ignore[arg-type]
    return Listeners.open(made, {} if environ is None else environ, heirs)


def refused(*listen: str, environ: MutableMapping[str, str] | None = None) -> GhostdError:
    before = fds.census()
    with pytest.raises(GhostdError) as error:
        opened(*listen, environ=environ)
    assert fds.census().keys() == before.keys()
    assert "\n" not in str(error.value)
    return error.value


def connected(listeners: Listeners, number: int = 0) -> socket.socket:
    listener = listeners.sockets[number]
    sock = socket.socket(listener.family)
    sock.settimeout(5)
    sock.connect(listener.getsockname())
    return sock
