"""Listeners on the real kernel: each address is opened as written, or one line says why not, and nothing is left."""

import errno
import os
import socket
from pathlib import Path

import pytest

from ghostd.errors import DeniedError, ExitCode
from ghostd.linux import holders, listening
from ghostd.serve import opening
from ghostd.serve.listeners import SETTLE
from tests.support import needs_root
from tests.unit.serve.drive import connected, opened, refused

HAS_IPV6 = opening.is_here((socket.AF_INET6, ("::1", 0)))


# ── TCP ──
def test_a_listener_does_not_block_is_closed_by_an_exec_and_delays_no_answer() -> None:
    listeners = opened("127.0.0.1:0", backlog=7)
    (sock,) = listeners.sockets
    assert not sock.getblocking()
    assert not sock.get_inheritable()
    assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
    assert listeners.addresses == [f"127.0.0.1:{sock.getsockname()[1]}"]
    with connected(listeners):
        taken, _ = sock.accept()
        assert taken.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
        taken.close()
    listeners.close()


@pytest.mark.skipif(not HAS_IPV6, reason="needs IPv6")
@pytest.mark.parametrize(
    ("text", "ipv4", "ipv6"),
    [
        (":0", True, True),
        ("[::]:0", True, True),
        ("[::]:0?v6only=true", False, True),
        ("0.0.0.0:0", True, False),
        ("[::1]:0", False, True),
    ],
)
def test_an_address_takes_the_kinds_that_it_says(text: str, ipv4: bool, ipv6: bool) -> None:
    listeners = opened(text)
    port = listeners.sockets[0].getsockname()[1]
    for host, wanted in (("127.0.0.1", ipv4), ("::1", ipv6)):
        with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as sock:
            assert (sock.connect_ex((host, port)) == 0) is wanted
    listeners.close()


@pytest.mark.skipif(not HAS_IPV6, reason="needs IPv6")
def test_both_kinds_can_be_listened_on_side_by_side() -> None:
    first = opened("0.0.0.0:0")
    port = first.sockets[0].getsockname()[1]
    second = opened(f"[::]:{port}?v6only=true")
    first.close()
    second.close()


def test_a_name_is_listened_on_at_each_of_its_addresses_with_one_port() -> None:
    listeners = opened("localhost:0")
    assert len({sock.getsockname()[1] for sock in listeners.sockets}) == 1
    hosts = {info[4][0] for info in socket.getaddrinfo("localhost", 1, type=socket.SOCK_STREAM)}
    assert {sock.getsockname()[0] for sock in listeners.sockets} <= hosts
    listeners.close()


def test_a_port_in_use_is_told_with_who_has_it(taken: socket.socket, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(holders, "of_port", lambda port: f"pid 812, nginx at {port}")
    port = taken.getsockname()[1]
    error = refused(f"127.0.0.1:{port}")
    assert str(error) == (
        f"cannot listen on 127.0.0.1:{port}: another process (pid 812, nginx at {port}) does; "
        "stop it, or choose another port"
    )
    assert error.code is ExitCode.NO_ADDRESS


def test_who_holds_a_port_is_found_by_its_socket(taken: socket.socket) -> None:
    found = holders.of_port(taken.getsockname()[1])
    assert found.startswith(f"pid {os.getpid()}, ")
    taken.close()
    assert holders.of_port(taken.fileno() & 0xFFFF) == ""


@pytest.mark.skipif(not HAS_IPV6, reason="needs IPv6")
def test_an_address_that_is_part_of_another_one_is_an_error_of_the_list() -> None:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    error = refused(f":{port}", f"127.0.0.1:{port}")
    assert "another address of the list" in str(error)
    assert error.code is ExitCode.BAD_OPTION


def test_what_is_in_use_is_tried_again_for_a_moment(taken: socket.socket, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(opening, "PATIENCE", 5.0)

    def end(_port: int) -> str:
        taken.close()
        return ""

    monkeypatch.setattr(holders, "of_port", end)
    listeners = opened(f"127.0.0.1:{taken.getsockname()[1]}")
    listeners.close()


@pytest.mark.parametrize(
    ("text", "code", "why"),
    [
        ("203.0.113.7:0", ExitCode.NO_ADDRESS, "does not have that address"),
        ("no.such.name.invalid:80", None, "has no address"),
    ],
)
def test_an_address_that_this_machine_has_not_is_told(text: str, code: ExitCode | None, why: str) -> None:
    error = refused(text)
    assert why in str(error)
    assert code in (None, error.code)  # of a name nobody may be there to ask


@needs_root
def test_a_low_port_without_the_right_to_it_is_told() -> None:
    least = listening.setting("ipv4/ip_unprivileged_port_start")
    if not least:
        pytest.skip("every port is free here")
    pid = os.fork()
    if pid == 0:
        os.setuid(65534)
        try:
            opened("127.0.0.1:1")
        except DeniedError as error:
            os._exit(0 if "CAP_NET_BIND_SERVICE" in str(error) else 1)
        os._exit(2)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0


# ── what others have opened ──
def test_a_descriptor_that_listens_is_adopted_and_not_closed_to_others(taken: socket.socket) -> None:
    fd = os.dup(taken.fileno())
    os.set_inheritable(fd, True)
    listeners = opened(f"fd:{fd}")
    assert listeners.sockets[0].fileno() == fd
    assert not os.get_inheritable(fd)
    assert not listeners.sockets[0].getblocking()
    assert listeners.sockets[0].getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
    with connected(listeners):
        listeners.shut()
        assert listeners.close() == []  # it waits on, for whoever listens there next
        assert listening.queued(taken) == 1


def test_a_descriptor_that_is_no_listening_stream_is_told(tmp_path: Path) -> None:
    with socket.socket() as idle, socket.socket(type=socket.SOCK_DGRAM) as datagrams, open(tmp_path / "f", "w") as file:
        for one, why in ((idle, "does not listen"), (datagrams, "SOCK_DGRAM"), (file, f"{tmp_path}/f")):
            error = refused(f"fd:{one.fileno()}")
            assert why in str(error)
            assert error.code is ExitCode.BAD_OPTION
        assert "is not open" in str(refused("fd:1000000"))


# ── stopping ──
@pytest.mark.parametrize("kind", ["tcp", "unix"])
def test_what_is_queued_when_it_is_shut_can_be_accepted_and_nobody_is_reset(tmp_path: Path, kind: str) -> None:
    listeners = opened("127.0.0.1:0" if kind == "tcp" else f"unix:{tmp_path}/x")
    (listener,) = listeners.sockets
    early = [connected(listeners) for _ in range(3)]
    listeners.shut()
    listeners.shut()  # once is enough
    late = socket.socket(listener.family, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
    code = late.connect_ex(listener.getsockname())
    assert code == (errno.EINPROGRESS if kind == "tcp" else errno.ECONNREFUSED)
    assert listeners.upkeep(10.0) == 10.0 + SETTLE
    assert listeners.upkeep(10.0 + SETTLE) == pytest.approx(10.0 + 2 * SETTLE)  # they wait still
    for one in early:
        accepted, _ = listener.accept()
        accepted.sendall(b"hello")
        accepted.close()
        assert one.recv(9) == b"hello"
        one.close()
    with pytest.raises(BlockingIOError):
        listener.accept()
    assert listeners.queued() == 0
    assert listeners.upkeep(10.1 + 2 * SETTLE) == float("inf")
    with socket.socket(listener.family) as after:
        assert after.connect_ex(listener.getsockname()) == errno.ECONNREFUSED
    late.close()
    assert listeners.close() == []


# ── warnings ──
def test_a_backlog_beyond_what_the_kernel_allows_is_reported() -> None:
    limit = listening.setting("core/somaxconn")
    assert limit is not None
    listeners = opened("127.0.0.1:0", backlog=limit + 1)
    assert [text for text in listeners.warnings if f"lets {limit} connections wait" in text]
    listeners.close()


def test_a_listener_a_seat_is_warned_of_unless_the_kernel_migrates(monkeypatch: pytest.MonkeyPatch) -> None:
    told = {}
    for value in (0, 1):
        monkeypatch.setattr(listening, "setting", {"ipv4/tcp_migrate_req": value}.get)
        listeners = opened("127.0.0.1:0", reuse_port=True)
        told[value] = listeners.warnings
        listeners.close()
    assert "tcp_migrate_req=1" in told[0][0]
    assert told[1] == []
