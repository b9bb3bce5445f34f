"""TLS and HTTP/2 as the servers have them, by their own options; a reload loses nothing there either."""

import shutil
import signal
import socket
import ssl
import subprocess
from pathlib import Path
from typing import Any, Final

import pytest

from tests.live import http2
from tests.live.harness import Stage
from tests.live.web import Web, each, get, run, wait_leaving
from tests.support import needs_tool, wait_until

pytestmark = [pytest.mark.live, pytest.mark.slow, needs_tool("openssl")]

# What the servers call the files of a certificate and of its key.
FILES: Final = {
    "uvicorn": ("ssl_certfile", "ssl_keyfile"),
    "hypercorn": ("certfile", "keyfile"),
    "granian": ("ssl_cert", "ssl_key"),
    "cheroot": ("ssl_certificate_file", "ssl_private_key_file"),
}
RELOADS: Final = 3


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A certificate that signs itself, for localhost, and its key."""
    place = tmp_path_factory.mktemp("tls")
    place.chmod(0o755)
    found, key = place / "localhost.pem", place / "localhost.key"
    curve = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
    name = ["-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost", "-days", "36500"]
    words = ["openssl", "req", "-x509", *curve, *name, "-keyout", str(key), "-out", str(found)]
    subprocess.run(words, check=True, capture_output=True, timeout=30)
    return found, key


def run_tls(stage: Stage, kind: str, certificate: tuple[Path, Path], **options: object) -> Web:
    """Serve by TLS."""
    server = kind.split(maxsplit=1)[0]
    names = zip(FILES[server], map(str, certificate), strict=True)
    chosen: dict[str, Any] = {server: dict(names), "keepalive_grace": 0.5, **options}
    return run(stage, kind, **chosen)


def trusting(certificate: tuple[Path, Path], *protocols: str) -> ssl.SSLContext:
    """A client's side of TLS, which knows this certificate and no other."""
    context = ssl.create_default_context(cafile=str(certificate[0]))
    if protocols:
        context.set_alpn_protocols(protocols)
    return context


def place_of(web: Web) -> tuple[str, int]:
    assert not isinstance(web.address, str)
    return web.address


def reload(web: Web, number: int) -> None:
    web.subject.send(signal.SIGHUP)
    web.subject.wait_log(r"\] Reloaded:", count=number)


@each("uvicorn asgi", "hypercorn asgi", "granian asgi", "granian wsgi", "cheroot wsgi")
def test_tls_is_served_and_a_kept_connection_is_told_to_close(
    stage: Stage, kind: str, certificate: tuple[Path, Path]
) -> None:
    web = run_tls(stage, kind, certificate, keepalive_grace=20.0)
    context = trusting(certificate, "http/1.1")
    with (
        socket.create_connection(place_of(web), timeout=10) as plain,
        context.wrap_socket(plain, server_hostname="localhost") as sock,
    ):
        assert get(sock).endswith(b"hello")
        web.subject.send(signal.SIGHUP)
        wait_leaving(web, count=2)
        wait_until(lambda: b"\r\nconnection: close" in get(sock).lower(), what="an answer that says close")
        assert sock.recv(100) == b""
    assert web.subject.quit() == 0
    assert not web.subject.logged("Traceback|Cut")


@each("uvicorn asgi", "cheroot wsgi")
def test_who_speaks_no_tls_there_harms_nobody(stage: Stage, kind: str, certificate: tuple[Path, Path]) -> None:
    web = run_tls(stage, kind, certificate)
    with web.connected() as plain:
        plain.sendall(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
        with pytest.raises(ssl.SSLCertVerificationError):
            ssl.create_default_context().wrap_socket(
                socket.create_connection(place_of(web)), server_hostname="localhost"
            )
        with trusting(certificate).wrap_socket(
            socket.create_connection(place_of(web), timeout=10), server_hostname="localhost"
        ) as sock:
            assert get(sock).endswith(b"hello")
    assert web.subject.quit() == 0


@each("hypercorn asgi", "granian asgi", "granian wsgi")
def test_http_2_over_tls_is_served_and_reloads_lose_no_request(
    stage: Stage, kind: str, certificate: tuple[Path, Path]
) -> None:
    web = run_tls(stage, kind, certificate)
    assert_reloads_lose_nothing(web, trusting(certificate, "h2"))


@each("hypercorn asgi", "granian asgi", "granian wsgi")
def test_http_2_without_tls_is_served_and_reloads_lose_no_request(stage: Stage, kind: str) -> None:
    assert_reloads_lose_nothing(run(stage, kind, keepalive_grace=0.5), None)


def assert_reloads_lose_nothing(web: Web, tls: ssl.SSLContext | None) -> None:
    """Four requests at a time on each connection, without a pause; spirits leave by themselves, and are not cut."""
    assert http2.ask(place_of(web), tls).answers == {b"hello": 1}
    with http2.Traffic(place_of(web), tls) as traffic:
        for number in range(1, RELOADS + 1):
            traffic.wait_answers(100)
            before = len(traffic.total.answers)
            reload(web, number)
            wait_until(lambda before=before: len(traffic.total.answers) > before, what="answers of a new spirit")  # type: ignore[misc]
    total = traffic.total
    assert not total.lost, (total.lost[:10], len(total.lost), total.answered)
    assert total.goodbyes >= RELOADS, "connections were taken leave of"
    assert web.subject.quit() == 0
    assert not web.subject.logged("Traceback|Cut")


@each("hypercorn asgi", "granian asgi")
def test_a_request_of_http_2_in_hand_is_finished(stage: Stage, kind: str) -> None:
    web = run(stage, kind, spirits=1, keepalive_grace=0.1)
    tally = http2.Tally()
    connection = http2.Connection(place_of(web), None, tally)
    connection.ask("/slow")
    wait_until(lambda: "began /slow" in web.seen(), what="the request in hand")
    web.subject.send(signal.SIGTERM)
    while len(connection) and connection.hear():
        pass
    assert tally.answers == {b"hello": 1}
    assert not tally.lost
    connection.close()
    assert web.subject.wait_end() == 0


@needs_tool("curl")
def test_a_client_of_another_hand_agrees(stage: Stage, certificate: tuple[Path, Path]) -> None:
    web = run_tls(stage, "hypercorn asgi", certificate)
    assert shutil.which("curl")
    url = f"https://localhost:{place_of(web)[1]}/"
    words = ["curl", "-sS", "--http2", "--cacert", str(certificate[0]), "-w", " %{http_version}", url]
    done = subprocess.run(words, check=True, capture_output=True, text=True, timeout=20)
    assert done.stdout == "hello 2"
    assert web.subject.quit() == 0
