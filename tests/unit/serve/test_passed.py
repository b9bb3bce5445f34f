"""What systemd hands over is taken exactly as it says, whatever stands in the environment."""

import os
import socket
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ghostd.errors import ExitCode, OptionError
from ghostd.serve import passed
from ghostd.serve.address import Systemd
from ghostd.serve.listeners import Heirs, Listeners
from ghostd.serve.options import ServeOptions
from ghostd.serve.passed import Passed

ME = str(os.getpid())


def said(**variables: str) -> dict[str, str]:
    return {name.upper(): value for name, value in variables.items()}


@pytest.mark.parametrize(
    ("environ", "why"),
    [
        ({}, "LISTEN_FDS is not set"),
        (said(listen_fds="1"), "LISTEN_PID is not set"),
        (said(listen_fds="1", listen_pid="1"), "LISTEN_PID is 1, this process is"),
        (said(listen_fds="1", listen_pid=f"0{ME}"), "LISTEN_PID is 0"),
        (said(listen_fds="1", listen_pid="\x1b[2J"), "LISTEN_PID is ?[2J,"),
        (said(listen_pid=ME), "LISTEN_FDS is ''"),
        (said(listen_fds="0", listen_pid=ME), "LISTEN_FDS is '0'"),
        (said(listen_fds="-1", listen_pid=ME), "LISTEN_FDS is '-1'"),
        (said(listen_fds="1e3", listen_pid=ME), "LISTEN_FDS is '1e3'"),
        (said(listen_fds="5000", listen_pid=ME), "from 1 to 4096"),
        (said(listen_fds="٣", listen_pid=ME), "LISTEN_FDS is"),
        (said(listen_fds="9" * 5000, listen_pid=ME), "LISTEN_FDS is '99999999999999999999'"),
    ],
)
def test_what_was_not_handed_to_this_process_is_an_error(environ: dict[str, str], why: str) -> None:
    with pytest.raises(OptionError) as error:
        passed.take(environ)
    assert why in str(error.value)
    assert error.value.code is ExitCode.BAD_OPTION


def test_what_was_handed_over_is_taken_out_of_the_environment() -> None:
    environ = said(listen_fds="3", listen_pid=ME, listen_fdnames="web:api", listen_pidfdid="7", home="/")
    assert passed.take(environ) == [Passed(3, "web"), Passed(4, "api"), Passed(5, "unknown")]
    assert environ == {"HOME": "/"}


def test_a_name_means_the_sockets_of_that_name_and_none_all_others() -> None:
    handed = [Passed(3, "web"), Passed(4, "api"), Passed(5, "web"), Passed(6, "unknown")]
    assert passed.chosen(Systemd("web"), handed, {"web"}) == [handed[0], handed[2]]
    assert passed.chosen(Systemd(), handed, {"web"}) == [handed[1], handed[3]]
    assert passed.chosen(Systemd(), handed, set()) == handed
    with pytest.raises(OptionError, match="api, unknown, web"):
        passed.chosen(Systemd("wev"), handed, {"wev"})


@given(
    st.fixed_dictionaries(
        {},
        optional={
            "LISTEN_FDS": st.text(st.characters(exclude_characters="\0"), max_size=8) | st.integers().map(str),
            "LISTEN_PID": st.just(ME) | st.text(max_size=8),
            "LISTEN_FDNAMES": st.text(max_size=40) | st.lists(st.sampled_from(["a", "b", ""])).map(":".join),
        },
    )
)
def test_any_environment_gives_descriptors_in_order_or_an_error(environ: dict[str, str]) -> None:
    try:
        found = passed.take(environ)
    except OptionError:
        found = []
    assert [one.fd for one in found] == list(range(3, 3 + len(found)))
    assert all(one.name for one in found)
    assert not environ


# ── with real sockets ──
@pytest.fixture
def handed() -> Iterator[list[socket.socket]]:
    """Three listeners, as they would be numbered from FIRST on."""
    made = [socket.create_server(("127.0.0.1", 0)) for _ in range(3)]
    yield made
    for one in made:
        one.close()


def test_the_sockets_of_systemd_are_adopted_in_the_order_of_the_option(
    handed: list[socket.socket], monkeypatch: pytest.MonkeyPatch
) -> None:
    numbers = [os.dup(one.fileno()) for one in handed]
    monkeypatch.setattr(
        passed, "take", lambda _environ: [Passed(fd, name) for fd, name in zip(numbers, "aba", strict=True)]
    )
    options = ServeOptions(listen=["systemd:b", "systemd"])
    listeners = Listeners.open(options, {}, Heirs(0, 0))
    assert [sock.fileno() for sock in listeners.sockets] == [numbers[1], numbers[0], numbers[2]]
    assert not any(os.get_inheritable(fd) for fd in numbers)
    listeners.shut()
    assert listeners.close() == []
    with socket.create_connection(handed[0].getsockname()[:2], timeout=5):
        pass
