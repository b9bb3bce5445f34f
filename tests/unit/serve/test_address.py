"""Any text becomes an address or an error that points to the mistake; an address and its text are one."""

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from ghostd.errors import ExitCode, OptionError
from ghostd.serve.address import (
    ID_MOST,
    PATH_BYTES_MOST,
    TEXT_MOST,
    Address,
    AddressError,
    Fd,
    Systemd,
    Tcp,
    Unix,
    anchored,
    parse,
    parse_all,
)


# ── what is read ──
@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("127.0.0.1:8080", Tcp("127.0.0.1", 8080)),
        ("[::]:8080", Tcp("::", 8080)),
        ("[::]:8080?v6only=true", Tcp("::", 8080, v6only=True)),
        ("[2001:db8::7]:80", Tcp("2001:db8::7", 80)),
        ("[::ffff:10.0.0.1]:80", Tcp("::ffff:10.0.0.1", 80)),
        ("[1:2:3:4:5:6:7:8]:80", Tcp("1:2:3:4:5:6:7:8", 80)),
        ("[fe80::1%eth0]:80", Tcp("fe80::1%eth0", 80)),
        (":8080", Tcp("", 8080)),
        ("*:8080", Tcp("", 8080)),
        ("localhost:0", Tcp("localhost", 0)),
        ("tcp://web.example.com:80?backlog=16", Tcp("web.example.com", 80, backlog=16)),
        ("tcp://fd:80", Tcp("fd", 80)),
        ("unix:/run/x.sock", Unix("/run/x.sock")),
        ("unix:///run/x.sock", Unix("/run/x.sock")),
        ("unix:x.sock", Unix("x.sock")),
        (
            "unix:/run/x.sock?mode=660&user=www-data&group=33&backlog=5",
            Unix("/run/x.sock", mode=0o660, user="www-data", group="33", backlog=5),
        ),
        ("unix:/run/50%25%20%3F.sock", Unix("/run/50% ?.sock")),
        ("unix:/run/%FF.sock", Unix("/run/\udcff.sock")),
        ("unix:@name", Unix("@name")),
        ("fd:3", Fd(3)),
        ("systemd", Systemd()),
        ("systemd:web", Systemd("web")),
    ],
)
def test_a_text_means_an_address(text: str, address: Address) -> None:
    assert parse(text) == address
    assert parse(str(address)) == address


@pytest.mark.parametrize(
    ("text", "at", "why"),
    [
        ("", 0, "empty"),
        ("8080", 4, ":PORT"),
        ("localhost", 9, ":PORT"),
        ("127.0.0.1:", 10, "the port is missing"),
        ("127.0.0.1:80x", 12, "without 'x'"),
        ("127.0.0.1:65536", 10, "0 to 65535"),
        ("127.0.0.1:٣", 10, "without"),
        ("127.0.0.256:80", 0, "four numbers"),
        ("127.1:80", 0, "four numbers"),
        ("127.0.0.01:80", 0, "four numbers"),
        ("a..b:80", 2, "between the dots"),
        ("my host:80", 2, "no ' '"),
        ("::1:80", 0, "brackets"),
        ("[::1:80", 0, "not closed"),
        ("[::1]80", 5, "a colon and the port"),
        ("[::1]", 5, "a colon and the port"),
        ("[:::1]:80", 1, "no IPv6 address"),
        ("[1::2::3]:80", 1, "no IPv6 address"),
        ("[1:2]:80", 1, "no IPv6 address"),
        ("[:::1.2.3.4]:80", 1, "no IPv6 address"),
        ("[fe80::1%]:80", 9, "interface"),
        ("http://x:80", 0, "http:// is not known"),
        ("tcp://:80?backlog=0", 18, "1 to"),
        (":80?backlog", 11, "no value"),
        (":80?", 4, "nothing is no setting"),
        (":80?mode=660", 4, "it takes v6only, backlog"),
        (":80?backlog=1&backlog=2", 14, "twice"),
        (":80?v6only=true", 4, "IPv6"),
        ("[::]:80?v6only=1", 15, "true or false"),
        ("unix:", 5, "missing"),
        ("unix://host/x", 5, "no host"),
        ("unix:/run/", 10, "directory"),
        ("unix:/run/..", 12, "directory"),
        ("unix:/run/%2", 10, "hexadecimal"),
        ("unix:/run/%00", 10, "zero byte"),
        ("unix:/run/x?mode=1777", 17, "octal"),
        ("unix:/run/x?mode=668", 17, "octal"),
        ("unix:/run/x?user=a b", 18, "no ' '"),
        ("unix:/run/x?user=4294967295", 17, "0 to 4294967294"),
        ("unix:/run/x?group=" + "9" * 300, 18, "0 to 4294967294"),
        ("unix:@name?mode=660", 16, "no mode"),
        ("unix:/run/\n", 10, "%XX"),
        ("unix:/run/\ud800", 10, "%XX"),
        ("unix:/" + "x" * PATH_BYTES_MOST, 5, "at most 107"),
        ("fd:2", 3, "3 to"),
        ("fd:x", 3, "without 'x'"),
        ("fd:", 3, "missing"),
        ("systemd:", 8, "1 to 255"),
        ("x" * (TEXT_MOST + 1), TEXT_MOST, "at most 1024"),
    ],
)
def test_a_mistake_is_pointed_at(text: str, at: int, why: str) -> None:
    with pytest.raises(AddressError) as error:
        parse(text)
    assert why in str(error.value)
    assert error.value.at == at
    assert isinstance(error.value, OptionError)
    assert error.value.code is ExitCode.BAD_OPTION


def test_the_caret_stands_under_the_mistake() -> None:
    with pytest.raises(AddressError) as error:
        parse("127.0.0.1:80x")
    assert str(error.value).splitlines() == [
        "option listen: the port is a number from 0 to 65535, without 'x'",
        "  127.0.0.1:80x",
        "              ^",
    ]


def test_of_a_long_text_the_part_with_the_mistake_is_shown() -> None:
    with pytest.raises(AddressError) as error:
        parse("unix:/" + "x" * 500 + "\t" + "y" * 400)
    shown, caret = str(error.value).splitlines()[1:]
    assert len(shown) < 100
    assert shown[caret.index("^")] == "?"  # the tab


def test_an_address_that_is_named_twice_is_an_error_but_port_0_is_another_one_each_time() -> None:
    with pytest.raises(AddressError, match="twice"):
        parse_all(["127.0.0.1:80", "tcp://127.0.0.1:80"])
    assert len(parse_all(["127.0.0.1:0", "127.0.0.1:0"])) == 2


@pytest.mark.parametrize(
    ("text", "meant"),
    [
        ("unix:x.sock?mode=660", "unix:/srv/50%25/x.sock?mode=660"),
        ("unix:/run/x.sock", "unix:/run/x.sock"),
        ("unix:@name", "unix:@name"),
        ("unix:", "unix:"),
        (":80", ":80"),
    ],
)
def test_a_relative_path_can_be_anchored(text: str, meant: str) -> None:
    assert anchored(text, "/srv/50%") == meant


# ── any text ──
SIGNS = ("unix:", "tcp://", "fd:", "systemd", "[", "]", "::", ":", "/", "@", "?", "&", "=", "%", "%2", "%41", "..", "?")
WORDS = ("mode=", "660", "user=", "backlog=", "v6only=true", "127.0.0.1", "8080", "fe80::1", "localhost", "/x.sock")
PIECES = st.sampled_from((*SIGNS, *WORDS))


def read(text: str) -> Address | AddressError:
    try:
        return parse(text)
    except AddressError as error:
        return error


@given(st.lists(PIECES | st.text(max_size=4), max_size=12).map("".join) | st.text())
@example("unix:/\udc80")
@example("?\x85")
def test_any_text_is_an_address_or_an_error_that_points_into_it(text: str) -> None:
    address = read(text)
    if isinstance(address, AddressError):
        assert 0 <= address.at <= len(text)
        assert len(str(address).splitlines()[1:]) == 2
        return
    canonical = str(address)
    assert parse(canonical) == address
    assert str(parse(canonical)) == canonical
    assert "," not in canonical  # a list of them is joined by commas


# ── any address ──
LABELS = st.text("abcdefghijklmnopqrstuvwxyz0123456789-_", min_size=1, max_size=63).filter(
    lambda one: not one.isdigit()
)
HOSTS = st.one_of(
    st.just(""),
    st.ip_addresses(v=4).map(str),
    st.ip_addresses(v=6).map(str),
    st.lists(LABELS, min_size=1, max_size=3).map(".".join),
)
BACKLOGS = st.none() | st.integers(1, 1_000_000)
PORTS = st.integers(0, 65535)
NAMES = st.text("abcdefghijklmnopqrstuvwxyzABC0123456789-_.", min_size=1, max_size=32).filter(
    lambda one: not one.isdigit() or int(one) <= ID_MOST
)
PATHS = st.binary(min_size=1, max_size=100).filter(
    lambda one: (
        b"\0" not in one and not one.startswith((b"//", b"@")) and one.rpartition(b"/")[2] not in (b"", b".", b"..")
    )
)
ADDRESSES = st.one_of(
    st.builds(Tcp, HOSTS, PORTS, st.just(False), BACKLOGS),
    st.builds(Tcp, st.ip_addresses(v=6).map(str), PORTS, st.booleans(), BACKLOGS),
    st.builds(
        Unix,
        PATHS.map(lambda one: one.decode("utf-8", "surrogateescape")),
        st.none() | st.integers(0, 0o777),
        st.none() | NAMES,
        st.none() | NAMES,
        BACKLOGS,
    ),
    st.builds(Fd, st.integers(3, 2**31 - 1)),
    st.builds(Systemd, st.none() | NAMES),
)


@given(ADDRESSES)
def test_the_text_of_any_address_is_read_back_as_the_same(address: Address) -> None:
    assert parse(str(address)) == address
