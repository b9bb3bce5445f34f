"""Any text becomes an address or an error that points to the mistake; an address and its text are one."""

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from ghostd.errors import ExitCode, OptionError
from ghostd.serve.address import (
    ID_MOST,
    NAME_MOST,
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

LONG_HOST = ".".join(["a" * 63] * 3 + ["a" * 61])  # the longest that there is


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
        ("tcp://unix:80", Tcp("unix", 80)),
        ("tcp://systemd:80", Tcp("systemd", 80)),
        ("255.255.255.255:65535", Tcp("255.255.255.255", 65535)),
        ("[::1.2.3.4]:80", Tcp("::1.2.3.4", 80)),
        ("[1:2:3:4:5:6:1.2.3.4]:80", Tcp("1:2:3:4:5:6:1.2.3.4", 80)),
        ("[1:2:3:4:5:6:7::]:80", Tcp("1:2:3:4:5:6:7::", 80)),
        (f"{LONG_HOST}:80", Tcp(LONG_HOST, 80)),
        ("unix:////run//x.sock", Unix("/run//x.sock")),
        ("unix:" + "/" * (TEXT_MOST - 6) + "x", Unix("/x")),
        ("unix:/" + "x" * (PATH_BYTES_MOST - 1), Unix("/" + "x" * (PATH_BYTES_MOST - 1))),
        ("unix:/run/\udcff.sock", Unix("/run/\udcff.sock")),
        ("unix:@a/.", Unix("@a/.")),
        ("unix:x?mode=0777&user=4294967294", Unix("x", mode=0o777, user="4294967294")),
        ("systemd:" + "n" * NAME_MOST, Systemd("n" * NAME_MOST)),
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
        ("", 0, "an address is empty; write 127.0.0.1:8080, unix:/run/x.sock, fd:3 or systemd"),
        ("8080", 4, "no colon and port: write HOST:PORT, or :PORT for all addresses of this machine"),
        ("localhost", 9, "no colon and port: write HOST:PORT, or :PORT for all addresses of this machine"),
        ("127.0.0.1:", 10, "the port is missing; it is a number from 0 to 65535"),
        ("127.0.0.1:80x", 12, "the port is a number from 0 to 65535, without 'x'"),
        ("127.0.0.1:65536", 10, "the port is a number from 0 to 65535"),
        ("127.0.0.1:٣", 10, "the port is a number from 0 to 65535, without '٣'"),
        ("127.0.0.256:80", 0, "an IPv4 address has four numbers from 0 to 255, as in 127.0.0.1"),
        ("127.1:80", 0, "an IPv4 address has four numbers from 0 to 255, as in 127.0.0.1"),
        ("127.0.0.01:80", 0, "an IPv4 address has four numbers from 0 to 255, as in 127.0.0.1"),
        ("a..b:80", 2, "between the dots of a host stand 1 to 63 characters"),
        ("my host:80", 2, "a host has no ' '"),
        ("::1:80", 0, "an IPv6 address stands in brackets, as in [::1]:8080"),
        ("[::1:80", 0, "the bracket of an IPv6 address is not closed"),
        ("[::1]80", 5, "after the bracket a colon and the port follow, as in [::1]:8080"),
        ("[::1]", 5, "after the bracket a colon and the port follow, as in [::1]:8080"),
        ("[:::1]:80", 1, "this is no IPv6 address; one is written as ::1 or 2001:db8::7"),
        ("[1::2::3]:80", 1, "this is no IPv6 address; one is written as ::1 or 2001:db8::7"),
        ("[1:2]:80", 1, "this is no IPv6 address; one is written as ::1 or 2001:db8::7"),
        ("[:::1.2.3.4]:80", 1, "this is no IPv6 address; one is written as ::1 or 2001:db8::7"),
        ("[fe80::1%]:80", 9, "after the % of an IPv6 address the name of an interface follows"),
        ("http://x:80", 0, "http:// is not known; write tcp://HOST:PORT, HOST:PORT or unix:/PATH"),
        ("tcp://:80?backlog=0", 18, "backlog is a number from 1 to 1000000"),
        (":80?backlog", 11, "backlog has no value; write backlog=..."),
        (":80?", 4, "nothing is no setting of this address; it takes v6only, backlog"),
        (":80?mode=660", 4, "mode is no setting of this address; it takes v6only, backlog"),
        (":80?backlog=1&backlog=2", 14, "backlog is set twice"),
        (":80?v6only=true", 4, "v6only is a setting of an IPv6 address, as in [::]:8080?v6only=true"),
        ("[::]:80?v6only=1", 15, "v6only is true or false"),
        ("unix:", 5, "the path of the socket is missing, as in unix:/run/x.sock"),
        ("unix://host/x", 5, "a socket file has no host: write unix:/PATH"),
        ("unix:/run/", 10, "this is the path of a directory; the name of the socket is missing"),
        ("unix:/run/..", 12, "this is the path of a directory; the name of the socket is missing"),
        ("unix:/run/%2", 10, "after % two hexadecimal digits follow; write a % itself as %25"),
        ("unix:/run/%00", 10, "a zero byte has no place in a path or name"),
        ("unix:/run/x?mode=1777", 17, "mode is three octal digits, as in mode=660"),
        ("unix:/run/x?mode=668", 17, "mode is three octal digits, as in mode=660"),
        ("unix:/run/x?user=a b", 18, "a user has no ' '"),
        ("unix:/run/x?user=4294967295", 17, "the number of a user goes from 0 to 4294967294"),
        ("unix:/run/x?group=" + "9" * 300, 18, "the number of a group goes from 0 to 4294967294"),
        ("unix:@name?mode=660", 16, "an abstract socket has no file, and so no mode"),
        ("unix:/run/\n", 10, "character 10 has no place in an address; in a path write it as %XX"),
        ("unix:/run/\ud800", 10, "a character stands for no byte; write bytes as %XX"),
        ("unix:/" + "x" * PATH_BYTES_MOST, 5, "the path has 108 bytes, at most 107 are possible: choose a shorter one"),
        ("fd:2", 3, "a descriptor is a number from 3 to 2147483647"),
        ("fd:x", 3, "a descriptor is a number from 3 to 2147483647, without 'x'"),
        ("fd:", 3, "a descriptor is missing; it is a number from 3 to 2147483647"),
        ("systemd:", 8, "the name of a socket has 1 to 255 characters, as in systemd:web"),
        ("x" * (TEXT_MOST + 1), 1024, "an address has 1025 characters, at most 1024 are read"),
        ("http://x://y", 0, "http:// is not known; write tcp://HOST:PORT, HOST:PORT or unix:/PATH"),
        ("unix:/run/\x7f", 10, "character 127 has no place in an address; in a path write it as %XX"),
        ("?x", 1, "x is no setting of this address; it takes v6only, backlog"),
        (":80?backlog=1?", 13, "backlog is a number from 1 to 1000000, without '?'"),
        (":80?backlog=", 11, "backlog has no value; write backlog=..."),
        (":80?=1", 4, "nothing is no setting of this address; it takes v6only, backlog"),
        (".".join(["a" * 63] * 3 + ["a" * 62]) + ":80", 253, "a host has 254 characters, at most 253 are possible"),
        ("a" * 64 + ":80", 0, "between the dots of a host stand 1 to 63 characters"),
        ("a.bb..c:80", 5, "between the dots of a host stand 1 to 63 characters"),
        ("[::1]:80]", 8, "the port is a number from 0 to 65535, without ']'"),
        ("a:b:80", 0, "an IPv6 address stands in brackets, as in [::1]:8080"),
        ("a.0123456789:80", 0, "an IPv4 address has four numbers from 0 to 255, as in 127.0.0.1"),
        ("[fe80::1%e h]:80", 10, "the zone of an address has no ' '"),
        ("[1:2:3:4:5:6:7::8]:80", 1, "this is no IPv6 address; one is written as ::1 or 2001:db8::7"),
        ("[1:2:3:4:5:6:7:8:9]:80", 1, "this is no IPv6 address; one is written as ::1 or 2001:db8::7"),
        ("[1:2:3:4:5:6:7:1.2.3.4]:80", 1, "this is no IPv6 address; one is written as ::1 or 2001:db8::7"),
        ("[12345::]:80", 1, "this is no IPv6 address; one is written as ::1 or 2001:db8::7"),
        ("[g::]:80", 1, "this is no IPv6 address; one is written as ::1 or 2001:db8::7"),
        (":80?backlog=1000001", 12, "backlog is a number from 1 to 1000000"),
        ("unix:@", 5, "the path of the socket is missing, as in unix:/run/x.sock"),
        ("unix:/run/.", 11, "this is the path of a directory; the name of the socket is missing"),
        ("unix:@name?user=a", 16, "an abstract socket has no file, and so no user"),
        ("unix:@name?group=a", 17, "an abstract socket has no file, and so no group"),
        ("unix:/run/x?mode=1000", 17, "mode is three octal digits, as in mode=660"),
        ("unix:/run/x?mode=06600", 17, "mode is three octal digits, as in mode=660"),
        ("unix:/run/x?group=a/b", 19, "a group has no '/'"),
        ("unix:/run/x?user=9876543210", 17, "the number of a user goes from 0 to 4294967294"),
        ("unix:/run/x?user=009999999999", 17, "the number of a user goes from 0 to 4294967294"),
        ("unix:/run/x?user=" + "n" * 256, 272, "a user has 256 characters, at most 255 are possible"),
        ("fd:2147483648", 3, "a descriptor is a number from 3 to 2147483647"),
        ("systemd:a:b", 8, "the name of a socket has no colon"),
        ("systemd:" + "n" * 256, 8, "the name of a socket has 1 to 255 characters, as in systemd:web"),
        ("systemd:a%", 9, "after % two hexadecimal digits follow; write a % itself as %25"),
    ],
)
def test_a_mistake_is_pointed_at(text: str, at: int, why: str) -> None:
    with pytest.raises(AddressError) as error:
        parse(text)
    assert str(error.value).splitlines()[0] == f"option listen: {why}"
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


@pytest.mark.parametrize(
    ("address", "text"),
    [
        (Tcp("web", 80), "web:80"),
        (Tcp("unix", 80), "tcp://unix:80"),
        (Tcp("fd", 80), "tcp://fd:80"),
        (Tcp("systemd", 80), "tcp://systemd:80"),
        (Unix("/run/\u2028%,?"), "unix:/run/%E2%80%A8%25%2C%3F"),
    ],
)
def test_an_address_has_one_text(address: Address, text: str) -> None:
    assert str(address) == text


def test_an_abstract_name_is_told_from_a_path() -> None:
    assert Unix("@name").is_abstract
    assert not Unix("/run/@name").is_abstract


def test_the_places_of_a_long_text_that_are_left_out_are_marked() -> None:
    def shown(text: str) -> list[str]:
        with pytest.raises(AddressError) as error:
            parse(text)
        return str(error.value).splitlines()[1:]

    text = "unix:/" + "x" * 500 + "\t" + "y" * 400
    assert shown(text) == [f"  ...{'x' * 36}?{'y' * 35}...", "  " + " " * 39 + "^"]
    assert shown("http://" + "x" * 65) == ["  http://" + "x" * 65, "  ^"]
    assert shown("http://" + "x" * 66) == ["  http://" + "x" * 65 + "...", "  ^"]


def test_an_address_that_is_named_twice_is_an_error_but_port_0_is_another_one_each_time() -> None:
    with pytest.raises(AddressError) as error:
        parse_all(["127.0.0.1:80", "tcp://127.0.0.1:80"])
    assert str(error.value).splitlines()[0] == "option listen: an address is named twice; leave one out"
    assert error.value.at == 0
    assert parse_all(["fd:3", ":80", "fd:4"]) == [Fd(3), Tcp("", 80), Fd(4)]
    assert len(parse_all(["127.0.0.1:0", "127.0.0.1:0"])) == 2


@pytest.mark.parametrize(
    ("text", "meant"),
    [
        ("unix:x.sock?mode=660", "unix:/srv/50%25/x.sock?mode=660"),
        ("unix:/run/x.sock", "unix:/run/x.sock"),
        ("unix:@name", "unix:@name"),
        ("unix:", "unix:"),
        ("unix:?mode=660", "unix:?mode=660"),
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
