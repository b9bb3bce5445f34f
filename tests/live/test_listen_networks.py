"""Networks as they are elsewhere: without IPv6, and with a kernel that hands connections on by itself."""

import re
import signal
import subprocess
import sys
from collections.abc import Sequence

import pytest

from tests.live.harness import Stage, Subject
from tests.live.listening import HELLO, listening_on
from tests.support import needs_root, needs_tool

pytestmark = [
    pytest.mark.live,
    pytest.mark.root,
    pytest.mark.namespace,
    needs_root,
    needs_tool("unshare"),
    needs_tool("nsenter"),
    needs_tool("ip"),
]

# Connects, a connection an answer, a line each, until its stdin is closed; then how often a handshake was begun again.
CLIENT = """\
import select, socket, sys
while True:
    with socket.create_connection(("127.0.0.1", int(sys.argv[1])), timeout=10) as sock:
        print(sock.recv(100).decode(), flush=True)
    if select.select([sys.stdin], [], [], 0.001)[0]:
        break
with open("/proc/net/netstat", encoding="ascii") as counts:
    names, values = [line.split() for line in counts if line.startswith("TcpExt:")]
print(dict(zip(names, values))["TCPSynRetrans"])
"""


def elsewhere(*settings: str) -> Sequence[str]:
    """In a network of its own, which has nothing but a loopback with these settings below /proc/sys/net."""
    lines = [
        "ip link set lo up",
        *(f"echo {one.partition('=')[2]} > /proc/sys/net/{one.partition('=')[0]}" for one in settings),
    ]
    return ("unshare", "--net", "sh", "-ec", "; ".join([*lines, 'exec "$@"']), "sh")


def client(subject: Subject, address: str) -> "subprocess.Popen[str]":
    """The client, in the network of the ghost."""
    port = address.rpartition(":")[2]
    words = ["nsenter", "--net", "--target", str(subject.pid), sys.executable, "-c", CLIENT, port]
    return subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def told(running: "subprocess.Popen[str]") -> tuple[list[str], int]:
    """What the client was answered since it was last read from, and how often it had to ask again."""
    out, err = running.communicate(timeout=30)
    assert not err
    *answers, again = out.splitlines()
    return answers, int(again)


def wait_answer(running: "subprocess.Popen[str]", ending: str) -> None:
    """Read what the client is answered up to an answer with this ending."""
    assert running.stdout
    while not (line := running.stdout.readline()).endswith(f" {ending}\n"):
        assert line, "the client has ended"


def test_without_ipv6_all_addresses_and_localhost_are_those_of_ipv4(stage: Stage) -> None:
    prefix = elsewhere("ipv6/conf/all/disable_ipv6=1")
    subject = stage.run(HELLO, prefix=prefix, listen=["localhost:0", ":0"])
    addresses = listening_on(subject)
    assert re.fullmatch(r"127\.0\.0\.1:\d+", addresses[0])
    assert len(addresses) == 2
    for address in addresses:
        assert len(told(client(subject, address))[0]) == 1
    assert subject.quit() == 0


def test_a_kernel_that_migrates_lets_nobody_wait_while_spirits_with_own_listeners_leave(stage: Stage) -> None:
    prefix = elsewhere("ipv4/tcp_migrate_req=1")
    subject = stage.run(HELLO, prefix=prefix, listen="127.0.0.1:0", reuse_port=True, spirits=4)
    assert not subject.logged("tcp_migrate_req")
    (address,) = listening_on(subject)
    running = client(subject, address)
    for generation in (1, 2):
        wait_answer(running, f"{generation}")
        subject.send(signal.SIGHUP)
        subject.wait_log(f"Reloaded: 4 spirits of generation {generation + 1}")
    wait_answer(running, "3")
    answers, again = told(running)
    assert all(answers)
    assert again == 0
    assert subject.quit() == 0
    assert not subject.logged("Closing ")
