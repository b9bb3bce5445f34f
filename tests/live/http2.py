"""A client of HTTP/2 that counts every loss: several requests at a time on one connection, again and again.

Rule: a request is lost unless it is answered as a whole. Only two words of a server allow to ask it anew elsewhere, as
RFC 9113 has it: GOAWAY with a lower last stream, and REFUSED_STREAM. h2 takes GOAWAY for the end of all, which it is
not; so those frames are kept from it, and read here.
"""

from __future__ import annotations

import socket
import struct
import threading
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.errors import ErrorCodes
from h2.events import DataReceived, ResponseReceived, StreamEnded, StreamReset

from tests.support import wait_until

if TYPE_CHECKING:
    import ssl
    from collections.abc import Iterator
    from types import TracebackType
    from typing import Self

    from h2.events import Event

_HEAD: Final = 9  # bytes before the content of a frame
_GOAWAY: Final = 7
_TIMEOUT: Final = 20.0


@dataclass(slots=True)
class Tally:
    """What became of the requests of one client, or of all."""

    answers: Counter[bytes] = field(default_factory=Counter)
    lost: list[str] = field(default_factory=list)
    told: int = 0  # requests that the server said it has not begun
    goodbyes: int = 0  # connections that the server took leave of by GOAWAY

    @property
    def answered(self) -> int:
        """How many were answered as a whole."""
        return sum(self.answers.values())

    def __add__(self, other: Tally) -> Tally:
        return Tally(
            self.answers + other.answers,
            self.lost + other.lost,
            self.told + other.told,
            self.goodbyes + other.goodbyes,
        )


class Connection:
    """One connection, with requests under way."""

    def __init__(self, address: tuple[str, int], tls: ssl.SSLContext | None, tally: Tally) -> None:
        self._sock = socket.create_connection(address, timeout=_TIMEOUT)
        self._sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if tls is not None:
            self._sock = tls.wrap_socket(self._sock, server_hostname="localhost")
            assert self._sock.selected_alpn_protocol() == "h2"
        self._tally = tally
        self._h2 = H2Connection(H2Configuration(client_side=True))
        self._h2.initiate_connection()
        self._rest = b""  # of a frame that is not whole
        self._under_way: dict[int, bytes] = {}
        self.last: int | None = None  # once the server has said goodbye: the last stream that it will answer
        self._flush()

    def __len__(self) -> int:
        return len(self._under_way)

    def ask(self, path: str = "/") -> None:
        """Begin a request."""
        stream = self._h2.get_next_available_stream_id()
        head = [(":method", "GET"), (":path", path), (":authority", "localhost"), (":scheme", "https")]
        self._h2.send_headers(stream, head, end_stream=True)
        self._under_way[stream] = b""
        with suppress(OSError):  # what has become of it is heard
            self._flush()

    def hear(self) -> bool:
        """Take what comes next; False when nothing comes any more, which is a loss of what was under way."""
        try:
            data = self._sock.recv(65536)
        except OSError as error:
            return self._lose(repr(error))
        if not data:
            return self._lose("closed")
        for event in self._h2.receive_data(b"".join(self._frames(data))):
            self._take(event)
        with suppress(OSError):
            self._flush()
        return True

    def close(self) -> None:
        """Close it; whatever is under way is given up by us."""
        self._sock.close()

    def _flush(self) -> None:
        self._sock.sendall(self._h2.data_to_send())

    def _frames(self, data: bytes) -> Iterator[bytes]:
        """The frames that are whole, without those that say goodbye."""
        self._rest += data
        while len(self._rest) >= _HEAD:
            size = _HEAD + int.from_bytes(self._rest[:3])
            if len(self._rest) < size:
                return
            frame, self._rest = self._rest[:size], self._rest[size:]
            if frame[3] == _GOAWAY:
                self._hear_goodbye(*struct.unpack_from("!II", frame, _HEAD))
            else:
                yield frame

    def _hear_goodbye(self, last: int, code: int) -> None:
        if code != ErrorCodes.NO_ERROR:
            self._tally.lost.append(f"GOAWAY with the error {code}")
        self._tally.goodbyes += self.last is None
        self.last = last
        for stream in [stream for stream in self._under_way if stream > last]:
            self._tally.told += 1
            del self._under_way[stream]

    def _take(self, event: Event) -> None:
        if isinstance(event, ResponseReceived):
            status = dict(event.headers)[b":status"]
            if status != b"200":
                self._tally.lost.append(f"status {status.decode()}")
        elif isinstance(event, DataReceived):
            self._under_way[event.stream_id] += event.data
            self._h2.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
        elif isinstance(event, StreamEnded):
            self._tally.answers[self._under_way.pop(event.stream_id)] += 1
        elif isinstance(event, StreamReset) and self._under_way.pop(event.stream_id, None) is not None:
            if event.error_code == ErrorCodes.REFUSED_STREAM:
                self._tally.told += 1
            else:
                self._tally.lost.append(f"stream reset with the error {event.error_code}")

    def _lose(self, why: str) -> bool:
        self._tally.lost += [f"{why}, stream {stream} of last {self.last}" for stream in self._under_way]
        self._under_way.clear()
        return False


class Traffic:
    """Clients in threads, each with so many requests under way on a connection; they come again when told to go."""

    def __init__(
        self, address: tuple[str, int], tls: ssl.SSLContext | None = None, clients: int = 2, streams: int = 4
    ) -> None:
        self._address, self._tls, self._streams = address, tls, streams
        self._over = threading.Event()
        self._tallies = [Tally() for _ in range(clients)]
        self._threads = [threading.Thread(target=self._talk, args=(tally,)) for tally in self._tallies]

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._over.set()
        for thread in self._threads:
            thread.join(_TIMEOUT)

    @property
    def total(self) -> Tally:
        """Of all clients."""
        return sum(self._tallies, Tally())

    def wait_answers(self, more: int) -> None:
        """Wait until so many more were answered."""
        wanted = self.total.answered + more
        wait_until(lambda: self.total.answered >= wanted, _TIMEOUT, f"{more} more answers")

    def _talk(self, tally: Tally) -> None:
        while not self._over.is_set():
            try:
                connection = Connection(self._address, self._tls, tally)
            except OSError as error:
                tally.lost.append(f"connect: {error!r}")
                continue
            self._use(connection)
            connection.close()

    def _use(self, connection: Connection) -> None:
        goes_on = True
        while goes_on and (len(connection) or (connection.last is None and not self._over.is_set())):
            while connection.last is None and len(connection) < self._streams and not self._over.is_set():
                connection.ask("/pid")
            goes_on = connection.hear()


def ask(address: tuple[str, int], tls: ssl.SSLContext | None = None, path: str = "/") -> Tally:
    """One request on a connection of its own."""
    tally = Tally()
    connection = Connection(address, tls, tally)
    connection.ask(path)
    while len(connection) and connection.hear():
        pass
    connection.close()
    return tally
