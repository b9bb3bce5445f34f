"""Listeners on the real kernel: each address is opened as written, or one line says why not, and nothing is left."""

import errno
import os
import socket
import stat
import time
from collections.abc import Iterator, MutableMapping
from pathlib import Path

import pytest

from ghostd.errors import DeniedError, ExitCode, GhostdError, ListenError, OptionError
from ghostd.linux import fds, holders, listening
from ghostd.serve import opening
from ghostd.serve.listeners import SETTLE, Heirs, Listeners
from ghostd.serve.options import ServeOptions
from tests.support import needs_root, wait_until

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


@pytest.fixture(autouse=True)
def _at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(opening, "PATIENCE", 0.0)


@pytest.fixture
def taken() -> Iterator[socket.socket]:
    with socket.create_server(("127.0.0.1", 0)) as made:
        yield made


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


@pytest.mark.skipif(not opening.has_ipv6(), reason="needs IPv6")
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


@pytest.mark.skipif(not opening.has_ipv6(), reason="needs IPv6")
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


@pytest.mark.skipif(not opening.has_ipv6(), reason="needs IPv6")
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


# ── unix ──
def test_a_socket_file_has_its_mode_and_is_gone_at_the_end(tmp_path: Path) -> None:
    path = tmp_path / "x.sock"
    listeners = opened(f"unix:{path}", f"unix:{path}2?mode=600")
    assert [stat.S_IMODE(os.stat(one).st_mode) for one in (path, f"{path}2")] == [0o660, 0o600]
    assert listeners.addresses == [f"unix:{path}", f"unix:{path}2"]
    with connected(listeners):
        assert listeners.queued() == 1
    assert listeners.close() == [f"Closing unix:{path}: 1 connection that waits is reset"]
    assert os.listdir(tmp_path) == []


def test_a_relative_path_is_below_the_directory_of_that_moment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    listeners = opened("unix:x.sock")
    monkeypatch.chdir("/")
    assert listeners.addresses == [f"unix:{tmp_path}/x.sock"]
    listeners.close()
    assert os.listdir(tmp_path) == []


def test_an_abstract_socket_has_no_file() -> None:
    name = f"@ghostd-{os.getpid()}"
    listeners = opened(f"unix:{name}")
    assert listeners.addresses == [f"unix:{name}"]
    assert refused(f"unix:{name}").code is ExitCode.NO_ADDRESS
    listeners.close()


def test_what_a_server_that_ended_has_left_is_replaced(tmp_path: Path) -> None:
    path = tmp_path / "x.sock"
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(path))
        dead.listen()
    before = os.stat(path).st_ino
    time.sleep(0.01)
    listeners = opened(f"unix:{path}")
    connected(listeners).close()
    listeners.close()
    assert before
    assert os.listdir(tmp_path) == []


def test_the_socket_of_a_living_server_is_refused_and_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "x.sock"
    with socket.socket(socket.AF_UNIX) as living:
        living.bind(str(path))
        living.listen()
        inode = os.stat(path).st_ino
        error = refused(f"unix:{path}")
        assert f"(pid {os.getpid()}, " in str(error) or "another address of the list" in str(error)
        assert os.stat(path).st_ino == inode
        assert os.listdir(tmp_path) == ["x.sock"]


def test_a_living_server_whose_queue_is_full_is_one_too(tmp_path: Path) -> None:
    path = tmp_path / "x.sock"
    with socket.socket(socket.AF_UNIX) as living:
        living.bind(str(path))
        living.listen(0)
        crowd = [socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK) for _ in range(5)]
        codes = [one.connect_ex(str(path)) for one in crowd]
        assert errno.EAGAIN in codes
        assert refused(f"unix:{path}").code is ExitCode.NO_ADDRESS
        for one in crowd:
            one.close()


def test_a_path_that_another_ghost_has_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "x.sock"
    first = opened(f"unix:{path}")
    os.unlink(path)  # by mistake: the lock still says whose it is
    error = refused(f"unix:{path}")
    assert "another ghost" in str(error)
    assert isinstance(error, ListenError)
    first.close()
    assert os.listdir(tmp_path) == []


def test_a_file_that_somebody_else_has_put_in_its_place_is_not_removed(tmp_path: Path) -> None:
    path = tmp_path / "x.sock"
    listeners = opened(f"unix:{path}")
    path.rename(tmp_path / "old")
    with socket.socket(socket.AF_UNIX) as other:
        other.bind(str(path))
        listeners.close()
        assert stat.S_ISSOCK(os.stat(path).st_mode)


def test_a_process_that_does_not_own_it_removes_nothing(tmp_path: Path) -> None:
    path = tmp_path / "x.sock"
    listeners = opened(f"unix:{path}")
    pid = os.fork()
    if pid == 0:
        listeners.close()
        os._exit(0)
    assert os.waitpid(pid, 0)[1] == 0
    assert path.exists()
    listeners.leave()
    assert sorted(os.listdir(tmp_path)) == ["x.sock", "x.sock.lock"]


@pytest.mark.parametrize("kind", ["file", "directory", "link", "fifo"])
def test_what_is_no_socket_is_never_touched(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "x"
    victim = tmp_path / "victim"
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(victim))
    match kind:
        case "file":
            path.write_text("precious")
        case "directory":
            path.mkdir()
        case "link":
            path.symlink_to(victim)
        case _:
            os.mkfifo(path)
    before = os.lstat(path)
    error = refused(f"unix:{path}")
    assert error.code is ExitCode.BAD_OPTION
    assert "no socket" in str(error)
    assert os.lstat(path) == before
    assert victim.exists()
    assert not (tmp_path / "x.lock").exists()


@pytest.mark.parametrize(
    ("text", "code", "why"),
    [
        ("unix:{}/none/x", ExitCode.BAD_OPTION, "there is no directory {}/none; make it"),
        ("unix:{}/file/x", ExitCode.BAD_OPTION, "{}/file is no directory"),
        ("unix:{}/x?user=no-such-user", ExitCode.BAD_OPTION, "no-such-user"),
        ("unix:{}/x?group=no-such-group", ExitCode.BAD_OPTION, "no-such-group"),
    ],
)
def test_a_path_that_cannot_be_is_told_and_leaves_nothing(tmp_path: Path, text: str, code: ExitCode, why: str) -> None:
    (tmp_path / "file").touch()
    error = refused(f"unix:{tmp_path}/first", text.format(tmp_path))
    assert why.format(tmp_path) in str(error)
    assert error.code is code
    assert os.listdir(tmp_path) == ["file"]


def test_a_relative_path_that_is_too_long_where_it_stands_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    deep = tmp_path / ("d" * 60) / ("e" * 60)
    deep.mkdir(parents=True)
    monkeypatch.chdir(deep)
    error = refused("unix:x.sock")
    assert "at most 107" in str(error)
    assert isinstance(error, OptionError)


@needs_root
def test_a_socket_file_belongs_to_whom_the_ghost_becomes_or_to_whom_it_is_told(tmp_path: Path) -> None:
    listeners = opened(f"unix:{tmp_path}/a", f"unix:{tmp_path}/b?user=1&group=2", heirs=Heirs(65534, 65533))
    owners = [(found.st_uid, found.st_gid) for found in (os.stat(tmp_path / name) for name in "ab")]
    assert owners == [(65534, 65533), (1, 2)]
    listeners.close()


@needs_root
def test_a_directory_that_one_may_not_write_to_is_told(tmp_path: Path) -> None:
    place = tmp_path / "closed"
    place.mkdir(mode=0o755)
    os.chmod(tmp_path, 0o755)
    pid = os.fork()
    if pid == 0:
        os.chdir(place)
        os.setuid(65534)
        try:
            opened("unix:x.sock")
        except DeniedError as error:
            os._exit(0 if "may not write" in str(error) else 1)
        os._exit(2)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0


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


# ── a listener a seat ──
def test_each_seat_has_a_listener_of_its_own_that_listens_from_ready_to_leaving() -> None:
    listeners = opened("127.0.0.1:0", reuse_port=True)
    (seats,) = listeners._seats()
    assert len(seats.sockets) == 3
    assert len({sock.getsockname() for sock in seats.sockets}) == 1
    assert listeners.private_descriptors() == {sock.fileno() for sock in seats.sockets}
    for seat in (0, 1):
        listeners.prepare(seat)
        seats.sockets[seat].listen()
    crowd = [connected(listeners) for _ in range(64)]
    counts = [listening.queued(sock) for sock in seats.sockets]
    assert sum(counts) == 64
    assert min(counts[:2]) > 0
    assert counts[2] == 0

    listeners.part(0)
    assert listeners.upkeep(1.0) == 1.0 + SETTLE
    assert listeners.upkeep(1.0 + SETTLE) == pytest.approx(1.0 + 2 * SETTLE)  # its queue is not empty
    for _ in range(counts[0]):
        seats.sockets[0].accept()[0].close()
    assert listeners.upkeep(1.1 + 2 * SETTLE) == float("inf")
    more = [connected(listeners) for _ in range(16)]
    assert listening.queued(seats.sockets[1]) == counts[1] + 16

    listeners.prepare(0)  # for the next one
    seats.sockets[0].listen()
    more += [connected(listeners) for _ in range(64)]
    assert listening.queued(seats.sockets[0]) > 0
    assert len(listeners.vacate(0)) == 1
    assert listeners.vacate(2) == []
    for one in (*crowd, *more):
        one.close()
    listeners.close()


def test_the_queue_of_a_killed_spirit_is_kept_for_the_next_one_on_its_seat() -> None:
    listeners = opened("127.0.0.1:0", reuse_port=True)
    (seats,) = listeners._seats()
    seats.sockets[0].listen()
    with connected(listeners) as waiting:
        wait_until(lambda: listeners.queued() == 1, what="the connection in the queue")
        listeners.prepare(0)
        seats.sockets[0].listen(5)
        accepted, _ = seats.sockets[0].accept()
        accepted.sendall(b"hello")
        assert waiting.recv(9) == b"hello"
        accepted.close()
    listeners.close()


def test_a_seat_beyond_those_that_were_thought_of_gets_its_listener_when_it_is_needed() -> None:
    listeners = opened("127.0.0.1:0", reuse_port=True)
    (seats,) = listeners._seats()
    listeners.prepare(7)
    assert len(seats.sockets) == 8
    assert seats.sockets[7].fileno() in listeners.private_descriptors()
    listeners.close()


@needs_root
def test_seats_opened_by_root_can_be_joined_by_the_user_that_the_ghost_becomes() -> None:
    listeners = opened("127.0.0.1:0", reuse_port=True, heirs=Heirs(65534, 65534, 2))
    pid = os.fork()
    if pid == 0:
        os.setuid(65534)
        listeners.prepare(2)
        os._exit(0)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    listeners.close()


def test_in_a_newborn_only_its_own_listener_is_left_and_listens_when_it_is_ready() -> None:
    listeners = opened("127.0.0.1:0", reuse_port=True)
    pid = os.fork()
    if pid == 0:
        inodes = [os.fstat(sock.fileno()).st_ino for sock in next(listeners._seats()).sockets]
        (own,) = listeners.sockets
        number = own.fileno()
        listeners.enter(1)
        listeners.begin()
        is_right = own.fileno() == number and os.fstat(number).st_ino == inodes[1] and listening.is_listening(own)
        listeners.withdraw()
        os._exit(0 if is_right else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    listeners.close()


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
