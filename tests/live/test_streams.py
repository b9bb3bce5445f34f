"""Spirits that answer streams: nothing is lost in a reload, a stop or a scaling, and by a kill what was in hand."""

import os
import random
import re
import signal
import socket
import statistics

import pytest

from tests.live.harness import AT_ONCE, Stage, moment
from tests.live.streams import BOTH, EACH, KINDS, LINES, TCP, UNIX, Dial, run
from tests.live.traffic import Traffic, addresses_of, ask, connect

pytestmark = pytest.mark.live


# ── answering ──
@EACH
def test_every_kind_of_address_is_answered(stage: Stage, kind: str) -> None:
    subject, _ = run(stage, kind, listen=["127.0.0.1:0", "[::1]:0", UNIX])
    for address in addresses_of(subject):
        assert re.fullmatch(rb"\d+ hello\n", ask(address))
    assert subject.quit() == 0
    assert not subject.logged(r"\[(error|warn)\]")


@EACH
def test_an_answer_in_two_parts_is_not_held_back(stage: Stage, kind: str) -> None:
    subject, address = run(stage, kind)
    with connect(address) as client, client.makefile("rb") as lines:
        client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        took: list[float] = []
        for _ in range(20):
            begun = moment()
            client.sendall(b"one\n")
            client.sendall(b"two\n")
            assert lines.readline() and lines.readline()
            took.append(moment() - begun)
        assert statistics.median(took) < 0.04, "40 ms is what a held-back answer takes"
    assert subject.quit() == 0


def test_a_connection_without_an_address_to_listen_on_is_refused_before_anything_forks(stage: Stage) -> None:
    stage.write(LINES, logfile=True)
    answer = stage.command("start")
    assert answer.code
    assert "option listen: nothing is said; connection() needs an address" in answer.err


@EACH
def test_four_spirits_take_turns(stage: Stage, kind: str) -> None:
    subject, address = run(stage, kind, spirits=4)
    pids = [ask(address).split()[0] for _ in range(400)]
    counts = {pid: pids.count(pid) for pid in set(pids)}
    assert len(counts) == 4 and max(counts.values()) <= 0.30 * 400, counts
    assert subject.quit() == 0


FAILS = """\
class Subject(Prefork):
    def connection(self, sock, address):
        raise ValueError("on purpose")
"""


@pytest.mark.parametrize("form", ["def", "async def"])
def test_what_a_handler_raises_is_in_the_log_and_the_spirit_lives_on(stage: Stage, form: str) -> None:
    subject = stage.run(FAILS.replace("def connection", f"{form} connection"), listen=TCP, spirits=1)
    spirits = subject.spirits()
    (address,) = addresses_of(subject)
    for _ in range(5):
        with connect(address) as client:
            assert client.recv(1) == b""
    assert len(subject.wait_log("ValueError: on purpose", 5)) == 5
    assert len(subject.logged(r"Connection of 127.0.0.1:\d+ failed, the spirit goes on")) == 5
    assert subject.spirits() == spirits
    assert subject.quit() == 0


# ── nothing is lost ──
@EACH
@BOTH
def test_reloads_under_load_lose_nothing(stage: Stage, kind: str, listen: str) -> None:
    subject, address = run(stage, kind, listen=listen, spirits=4)
    with Traffic(address) as traffic:
        for count in range(1, 6):
            subject.send(signal.SIGHUP)
            subject.wait_log("Reloaded: ", count)
            traffic.wait_answers(10)
    assert not traffic.total.lost
    assert len(traffic.total.answers) >= 8, "of several generations"
    assert subject.quit() == 0
    assert not subject.logged(r"\[(error|warn)\]")


@EACH
@BOTH
def test_a_stop_answers_all_that_is_queued(stage: Stage, dial: Dial, kind: str, listen: str) -> None:
    subject, address = run(stage, kind, listen=listen, connections=2, spirits=2)
    clients = [dial(address) for _ in range(60)]
    for client in clients:
        client.sendall(b"slow 0.05\n")
        client.shutdown(socket.SHUT_WR)
    subject.wait_notes("line")
    subject.send(signal.SIGQUIT)
    answers = [client.makefile("rb").read() for client in clients]
    assert all(answer.endswith(b" slow 0.05\n") for answer in answers), answers
    for client in clients:
        client.close()
    assert subject.wait_end() == 0
    assert not subject.logged(r"\[(error|warn)\]")


@EACH
@BOTH
def test_scaling_under_load_loses_nothing(stage: Stage, kind: str, listen: str) -> None:
    subject, address = run(stage, kind, listen=listen)
    with Traffic(address) as traffic:
        for _ in range(2):
            for count in (3, 4, 5, 6, 7, 8):
                subject.send(signal.SIGTTIN)
                subject.wait_spirits(count)
            traffic.wait_answers(20)
            for count in (7, 6, 5, 4, 3, 2):
                subject.send(signal.SIGTTOU)
                subject.wait_spirits(count)
            traffic.wait_answers(20)
    assert not traffic.total.lost
    assert subject.quit() == 0


@EACH
@BOTH
def test_a_killed_spirit_loses_what_it_had_in_hand_and_nothing_else(stage: Stage, kind: str, listen: str) -> None:
    subject, address = run(stage, kind, listen=listen, spirits=4)
    chance, kills = random.Random(1), 20
    with Traffic(address) as traffic:
        for count in range(1, kills + 1):
            os.kill(chance.choice(sorted(subject.spirits())), signal.SIGKILL)
            subject.wait_log("killed by SIGKILL", count)
            subject.wait_spirits(4)
            traffic.wait_answers(5)
    in_hand = [int(found[1]) for line in subject.logged("SIGKILL") if (found := re.search(r", (\d+) in hand:", line))]
    # What stood in the accept queue of the killed one's last turn may have been taken, but not yet counted.
    assert len(traffic.total.lost) <= sum(in_hand) + kills // 10, (traffic.total.lost, in_hand)
    assert subject.quit() == 0


def test_what_waits_at_a_socket_of_somebody_else_is_left_to_whoever_listens_there_next(
    stage: Stage, dial: Dial
) -> None:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(64)
        listener.set_inheritable(True)
        body, _ = KINDS["one by one"]
        fd = listener.fileno()
        stage.inherited = (fd,)
        subject = stage.run(body, listen=f"fd:{fd}", spirits=1)
        address = f"127.0.0.1:{listener.getsockname()[1]}"
        busy = dial(address)
        busy.sendall(b"slow 0.3\n")
        subject.wait_notes("line")
        waiting = [dial(address) for _ in range(5)]
        subject.send(signal.SIGQUIT)
        busy.shutdown(socket.SHUT_WR)
        assert busy.makefile("rb").read().endswith(b"slow 0.3\n")
        for client in waiting:
            client.sendall(b"hello\n")
            client.shutdown(socket.SHUT_WR)
        assert subject.wait_end() == 0
        subject = stage.run(body, listen=f"fd:{fd}", spirits=1)
        assert all(client.makefile("rb").read().endswith(b"hello\n") for client in waiting)
        assert subject.quit() == 0


# ── leaving ──
@EACH
def test_what_is_in_hand_is_finished_and_what_takes_too_long_is_cut_and_told(
    stage: Stage, dial: Dial, kind: str
) -> None:
    subject, address = run(stage, kind, graceful_timeout=2.0)
    short, idle = dial(address), dial(address)
    idle.sendall(b"hello\n")
    assert idle.recv(100)
    short.sendall(b"slow 0.3\n")
    subject.wait_notes("line", 2)
    at = moment()
    subject.send(signal.SIGQUIT)
    assert short.recv(100).endswith(b"slow 0.3\n")
    short.close()
    assert idle.recv(1) == b"", "closed in order, not reset"
    assert subject.wait_end() == 0
    assert 0.5 < moment() - at < AT_ONCE
    (line,) = subject.logged(r"\[warn\] Cut")
    told = re.search(r"Cut 1 connection in hand, (\S+) s after the spirit was asked to leave", line)
    assert told and 1.8 <= float(told[1]) < AT_ONCE, line


WAITS = """\
class Subject(Prefork):
    def connection(self, sock, address):
        note("begin")
        while sock.wait_readable():
            data = sock.recv(4096)
            if not data:
                return
            sock.sendall(data)
        sock.sendall(b"bye")
"""
AWAITS = """\
class Subject(Prefork):
    async def connection(self, reader, writer):
        note("begin")
        while line := await self.until_stopping(reader.readline()):
            writer.write(line)
        writer.write(b"bye")
"""


@pytest.mark.parametrize("body", [WAITS, WAITS.replace("    def", "    connections = 8\n\n    def"), AWAITS], ids=KINDS)
def test_an_idle_connection_can_hear_of_the_request_to_leave(stage: Stage, dial: Dial, body: str) -> None:
    subject = stage.run(body, listen=TCP)
    (address,) = addresses_of(subject)
    clients = [dial(address) for _ in range(2)]
    subject.wait_notes("begin", 2)
    for client in clients:
        client.sendall(b"x\n")
        assert client.recv(10) == b"x\n"
    at = moment()
    subject.send(signal.SIGHUP)
    assert [client.makefile("rb").read() for client in clients] == [b"bye"] * 2
    subject.wait_log("Reloaded: ")
    assert moment() - at < AT_ONCE
    assert subject.quit() == 0
