"""A ghost whose spirits answer streams, in the words of HTTP so that the same client can ask."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING

from bench.serve import KEPT, LAST, apps
from ghostd import Prefork

if TYPE_CHECKING:
    from ghostd.serve.connection import Connection

GRACE = 0.5  # seconds in which a kept connection may ask once more when its spirit leaves


class Stream(Prefork):
    """Answers several connections at once, in threads."""

    connections = 32

    def spirit(self) -> object:
        """Say who serves, and serve."""
        apps.enrol()
        return super().spirit()

    def connection(self, sock: Connection, _address: object) -> object:
        """Answer one, as often as it asks; tell it when the spirit leaves."""
        while sock.wait_readable():
            asked = sock.recv(65536)
            if not asked:
                return None
            apps.marks.begin(asked.split(b" ", 2)[1].decode())
            is_last = b"Connection: close" in asked
            sock.sendall(LAST if is_last else KEPT)
            if is_last:
                return None
        sock.settimeout(GRACE)
        with suppress(TimeoutError):
            if sock.recv(65536):
                sock.sendall(LAST)
        return None
