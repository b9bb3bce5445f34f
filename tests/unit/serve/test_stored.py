"""What comes back from the init system's store is taken only if it is what a new socket would be."""

import os
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ghostd.linux import listening
from ghostd.serve.address import NAME_MOST, Address, AddressError, Systemd, Tcp, Unix, parse
from ghostd.serve.passed import Passed
from ghostd.serve.stored import Stored, is_there, name_of


@pytest.fixture
def kept() -> Iterator[list[int]]:
    """Descriptors as a process has them that was handed them; closed at the end unless somebody took them."""
    fds: list[int] = []
    yield fds
    for fd in fds:
        os.close(fd)


def handed(kept: list[int], sock: socket.socket, name: str) -> Passed:
    fd = os.dup(sock.fileno())
    os.set_inheritable(fd, True)
    kept.append(fd)
    return Passed(fd, name)


def tcp(host: str = "127.0.0.1", family: int = socket.AF_INET) -> socket.socket:
    sock = socket.socket(family, socket.SOCK_STREAM)
    sock.bind((host, 0))
    sock.listen()
    return sock


def unix(path: Path) -> socket.socket:
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    sock.bind(str(path))
    sock.listen()
    return sock


# ── names ──
@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("127.0.0.1:8080", "ghostd=127.0.0.1%3A8080"),
        ("[::]:80?backlog=7", "ghostd=[%3A%3A]%3A80?backlog=7"),
        ("unix:/run/x.sock?mode=660", "ghostd=unix%3A/run/x.sock?mode=660"),
        ("unix:/run/%C3%A4", "ghostd=unix%3A/run/%C3%A4"),
        ("unix:/run/a%25b", "ghostd=unix%3A/run/a%2525b"),
    ],
)
def test_an_address_has_a_name_in_the_store(text: str, name: str) -> None:
    assert name_of(parse(text)) == name


@given(st.text())
def test_every_name_is_one_that_the_store_takes(text: str) -> None:
    try:
        address = parse(text)
    except AddressError:
        return
    name = name_of(address)
    assert len(name) <= NAME_MOST
    assert all(" " < character < "\x7f" and character != ":" for character in name)


def test_addresses_that_differ_have_names_that_differ() -> None:
    addresses: list[Address] = [
        Tcp("a", 1), Tcp("a", 2), Tcp("a", 1, backlog=3), Unix("/a"), Unix("/a", mode=0o600), Unix("@a"), Unix("/a%3A"),
        Unix("/a:"), Unix("/ä"), Systemd(), Systemd("x"),
    ]  # fmt: skip
    assert len({name_of(one) for one in addresses}) == len(addresses)


def test_it_is_there_for_the_process_that_it_was_handed_to() -> None:
    said = {"LISTEN_FDNAMES": "web:ghostd=x", "LISTEN_PID": str(os.getpid())}
    assert is_there(said)
    assert not is_there({**said, "LISTEN_PID": "1"})
    assert not is_there({**said, "LISTEN_FDNAMES": "web"})
    assert not is_there({})


# ── what is taken ──
def test_a_socket_of_that_place_is_taken_once(kept: list[int]) -> None:
    with tcp() as sock:
        port = sock.getsockname()[1]
        stored = Stored([handed(kept, sock, "ghostd=any")])
        for host, wanted in (("127.0.0.1", port + 1), ("0.0.0.0", port), ("::1", port)):
            assert stored.of(Tcp(host, wanted)) == []
        assert stored.of(Tcp("127.0.0.1", port), has_seats=True) == []
        (found,) = stored.of(Tcp("127.0.0.1", port))
        kept.clear()
        with found:
            assert found.getsockname() == sock.getsockname()
            assert not found.getblocking()
            assert not found.get_inheritable()
        assert stored.give_up() == ["ghostd=any"], "it is to be kept by its own name"


def test_for_any_port_the_one_that_there_was_is_taken(kept: list[int]) -> None:
    with tcp() as sock:
        (found,) = Stored([handed(kept, sock, "ghostd=any")]).of(Tcp("127.0.0.1", 0))
        kept.clear()
        found.close()


def test_a_socket_that_takes_ipv4_as_well_is_another_one(kept: list[int]) -> None:
    with socket.socket(socket.AF_INET6, socket.SOCK_STREAM) as sock:
        sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        sock.bind(("::", 0))
        sock.listen()
        stored = Stored([handed(kept, sock, "ghostd=any")])
        assert stored.of(Tcp("::", 0, v6only=True)) == []
        (found,) = stored.of(Tcp("::", 0))
        kept.clear()
        found.close()


def test_a_socket_file_is_taken_while_its_path_leads_to_it_and_its_mode_is_as_wanted(
    kept: list[int], tmp_path: Path
) -> None:
    path = tmp_path / "x.sock"
    address = Unix(str(path), mode=0o660)
    with unix(path) as sock:
        stored = Stored([handed(kept, sock, name_of(address))])
        assert stored.of(Unix(str(path), mode=0o600)) == []
        assert stored.of(Unix(str(tmp_path / "y.sock"), mode=0o660)) == []
        path.rename(tmp_path / "moved")
        assert stored.of(address) == [], "nobody could connect"
        with unix(path):
            assert stored.of(address) == [], "somebody else is there"
        path.unlink()
        (tmp_path / "moved").rename(path)
        (found,) = stored.of(address)
        kept.clear()
        found.close()


def test_an_abstract_socket_is_taken_by_its_name(kept: list[int]) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as sock:
        name = f"ghostd-test-{os.getpid()}"
        sock.bind(f"\0{name}")
        sock.listen()
        stored = Stored([handed(kept, sock, "ghostd=any")])
        assert stored.of(Unix(f"@{name}-other")) == []
        (found,) = stored.of(Unix(f"@{name}"))
        kept.clear()
        found.close()


def test_what_is_shut_or_does_not_listen_or_is_no_socket_is_not_taken(kept: list[int], tmp_path: Path) -> None:
    path = tmp_path / "x.sock"
    address = Unix(str(path))
    with tcp() as shut, unix(path) as closed, socket.socket() as mute, (tmp_path / "file").open("w") as file:
        listening.admit_no_more(shut)
        listening.admit_no_more(closed)
        mute.bind(("127.0.0.1", 0))
        stored = Stored([handed(kept, one, name_of(address)) for one in (shut, closed, mute, file)])  # type: ignore[arg-type]
        assert stored.of(Tcp("127.0.0.1", 0)) == []
        assert stored.of(address) == []
        assert stored.give_up() == [name_of(address)]
        kept.clear()


def test_what_belongs_to_a_socket_unit_is_left_alone(kept: list[int]) -> None:
    with tcp() as sock:
        stored = Stored([handed(kept, sock, "web")])
        assert stored.of(Tcp("127.0.0.1", 0)) == []
        assert stored.give_up() == []
        assert os.get_inheritable(kept[0])
