"""Signals as something to wait for: in order, of each kind at least one, and everything as before when it is closed."""

import os
import select
import signal
from collections.abc import Iterator

import pytest

from ghostd.linux.inbox import MOST_OF_A_KIND, Inbox, reset_all
from tests.support import wait_until
from tests.unit.linux.forks import Gate, child, in_child, pause

HUP, TERM, USR1, USR2, CHLD, TTIN = (
    int(signum)
    for signum in (signal.SIGHUP, signal.SIGTERM, signal.SIGUSR1, signal.SIGUSR2, signal.SIGCHLD, signal.SIGTTIN)
)


@pytest.fixture
def inbox() -> Iterator[Inbox]:
    with Inbox([HUP, TERM, USR1, CHLD, TTIN]) as one:
        yield one


def send(*signals: int) -> None:
    for signum in signals:
        os.kill(os.getpid(), signum)


def is_readable(inbox: Inbox) -> bool:
    return bool(select.select([inbox], [], [], 0)[0])


# ── what came ──
def test_signals_are_told_in_the_order_they_came(inbox: Inbox) -> None:
    send(USR1, HUP, USR1, TERM)
    assert inbox.drain() == [USR1, HUP, USR1, TERM]
    assert inbox.drain() == []


def test_it_is_readable_from_a_signal_until_it_is_drained(inbox: Inbox) -> None:
    assert not is_readable(inbox)
    send(USR1)
    assert is_readable(inbox)
    inbox.drain()
    assert not is_readable(inbox)


def test_a_signal_wakes_who_waits(inbox: Inbox) -> None:
    with child(lambda: os.kill(os.getppid(), USR1)):
        assert select.select([inbox], [], [], 10.0)[0]
        assert USR1 in inbox.drain()


def test_no_wake_up_is_lost_in_twenty_thousand(inbox: Inbox) -> None:
    """Each signal is sent when the one before was seen: a single lost one would stall the game."""

    def play() -> None:
        reset_all()
        parent = os.getppid()
        for _ in range(20_000):
            os.kill(parent, USR1)
            gate.wait()

    with Gate() as gate, child(play):
        for _ in range(20_000):
            assert select.select([inbox], [], [], 10.0)[0], "a signal came and nobody woke"
            assert inbox.drain() == [USR1]
            gate.open()


def test_no_kind_is_lost_when_a_flood_fills_the_pipe(inbox: Inbox) -> None:
    send(*[USR1] * 70_000)  # more than a pipe holds
    send(HUP, TTIN)
    told = inbox.drain()
    assert {USR1, HUP, TTIN} == set(told)
    assert told.count(HUP) == told.count(TTIN) == 1
    assert inbox.drain() == []
    send(HUP)  # and the flood leaves nothing behind
    assert inbox.drain() == [HUP]
    send(*[USR1] * 70_000)
    assert set(inbox.drain()) == {USR1}, "a kind that came before is not told again"


def test_a_flood_of_one_kind_is_told_up_to_a_limit(inbox: Inbox) -> None:
    send(*[USR1] * 1000, HUP, *[TTIN] * 3)
    assert inbox.drain() == [*[USR1] * MOST_OF_A_KIND, HUP, *[TTIN] * 3]


def test_a_drain_ends_although_the_flood_does_not(inbox: Inbox) -> None:
    def flood() -> None:
        parent = os.getppid()
        for _ in range(200_000):
            os.kill(parent, USR1)

    with child(flood) as pid:
        drains = 0
        while not os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT):
            told = inbox.drain()
            assert told.count(USR1) <= MOST_OF_A_KIND
            drains += 1
    assert drains > 10


def test_many_deaths_at_once_are_told_at_least_once(inbox: Inbox) -> None:
    pids = []
    with Gate() as gate:
        for _ in range(50):
            pid = os.fork()
            if pid == 0:
                gate.wait()
                os._exit(0)
            pids.append(pid)
        for _ in pids:
            gate.open()
        for pid in pids:
            os.waitpid(pid, 0)
    assert set(inbox.drain()) == {CHLD}


def test_a_signal_that_is_not_taken_is_left_to_whom_it_belongs(inbox: Inbox) -> None:
    seen = []
    before = signal.signal(USR2, lambda *_: seen.append(1))
    try:
        send(USR2, USR1)
        assert inbox.drain() == [USR1]
        assert seen == [1]
    finally:
        signal.signal(USR2, before)


def test_a_signal_that_was_ignored_at_the_start_is_taken() -> None:
    def work() -> list[int]:
        signal.signal(TERM, signal.SIG_IGN)
        with Inbox([TERM]) as inbox:
            send(TERM)
            return inbox.drain()

    assert in_child(work) == [TERM]


# ── while it is mortal ──
@pytest.mark.parametrize("signum", [TERM, HUP, USR1])
def test_who_is_mortal_undoes_what_it_has_begun_and_then_ends_of_the_signal(signum: int) -> None:
    with Gate() as gate:

        def work() -> None:
            inbox = Inbox([HUP, TERM, USR1], requests=[HUP, USR1])
            inbox.is_mortal = True
            try:
                send(signum)
            except SystemExit as end:
                gate.tell(int(str(end.code)))
                inbox.close()

        with child(work) as pid:
            assert gate.told() == 128 + signum
            assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == -signum


def test_who_is_mortal_leaves_harmless_ignored_and_handled_signals_as_they_were() -> None:
    def work() -> tuple[list[int], list[int]]:
        seen: list[int] = []
        signal.signal(USR1, lambda *_: seen.append(USR1))
        signal.signal(TERM, signal.SIG_IGN)
        with Inbox([TERM, USR1, CHLD]) as inbox:
            inbox.is_mortal = True
            send(TERM, USR1, CHLD)
            inbox.is_mortal = False
            send(TERM)
            return seen, inbox.drain()

    seen, drained = in_child(work)
    assert seen == [USR1]
    assert sorted(drained) == sorted([TERM, USR1, CHLD, TERM])


# ── opening and closing ──
def test_closing_gives_everything_back() -> None:
    def work() -> None:
        reader, writer = os.pipe2(os.O_NONBLOCK)
        seen = []
        signal.signal(USR1, lambda *_: seen.append(1))
        signal.signal(USR2, signal.SIG_IGN)
        signal.set_wakeup_fd(writer)
        inbox = Inbox([USR1, USR2])
        fds = (inbox.fileno(), inbox.fileno() + 1)
        inbox.close()
        inbox.close()
        send(USR1, USR2)
        assert seen == [1]
        assert os.read(reader, 10) == bytes([USR1])
        for fd in fds:
            with pytest.raises(OSError, match="Bad file descriptor"):
                os.fstat(fd)

    in_child(work)


def test_a_request_that_comes_too_late_ends_nobody() -> None:
    def work() -> None:
        handled = []
        signal.signal(USR2, lambda *_: handled.append(1))
        Inbox([USR1, USR2], requests=[USR1, USR2]).close()
        send(USR1, USR2)
        assert handled == [1], "what the program itself had set is set again"

    in_child(work)


def test_a_signal_that_cannot_be_taken_leaves_all_as_it_was() -> None:
    def work() -> None:
        before = signal.getsignal(USR1)
        with pytest.raises(OSError, match="Invalid argument"):
            Inbox([USR1, signal.SIGSTOP])
        assert signal.getsignal(USR1) is before
        assert signal.set_wakeup_fd(-1) == -1

    in_child(work)


def test_its_descriptors_do_not_pass_an_exec_and_do_not_block(inbox: Inbox) -> None:
    assert not os.get_inheritable(inbox.fileno())
    assert not os.get_blocking(inbox.fileno())


# ── the newborn ──
def test_a_newborn_forgets_every_handler() -> None:
    def work() -> None:
        for signum in (TERM, HUP, CHLD, signal.SIGRTMIN):
            signal.signal(signum, lambda *_: None)
        signal.signal(USR1, signal.SIG_IGN)
        signal.signal(signal.SIGPIPE, signal.SIG_DFL)
        reset_all()
        assert signal.set_wakeup_fd(-1) == -1
        for signum in (TERM, HUP, CHLD, USR1, signal.SIGINT, signal.SIGRTMIN):
            assert signal.getsignal(signum) is signal.SIG_DFL
        for signum in (signal.SIGPIPE, signal.SIGXFSZ):  # a closed socket must be an exception, not a death
            assert signal.getsignal(signum) is signal.SIG_IGN

    with Inbox([TERM, HUP]):
        in_child(work)


def test_a_signal_to_the_newborn_does_not_wake_its_parent(inbox: Inbox) -> None:
    def newborn() -> None:
        reset_all()
        signal.signal(USR1, lambda *_: None)
        gate.open()
        pause()

    with Gate() as gate, child(newborn) as pid:
        gate.wait()
        os.kill(pid, USR1)
        os.kill(pid, TERM)
        wait_until(lambda: os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT))
        assert inbox.drain() == [CHLD]
        assert os.waitpid(pid, 0)[1] == TERM
