"""A listener a seat: it listens while a spirit has the seat, and its queue outlives a spirit that was killed."""

import os

import pytest

from ghostd.linux import listening
from ghostd.serve.listeners import SETTLE, Heirs
from tests.support import needs_root, wait_until
from tests.unit.serve.drive import connected, opened


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
