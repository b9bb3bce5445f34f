"""Stops, starts and deaths of a manager under load, with a real systemd that keeps the sockets: nobody is refused.

By a socket unit, or by the file descriptor store of the service: the queues outlive the manager. Each figure has a
short form; GHOSTD_LONG=1 takes it in full, 100 rounds. (``pytest -s`` prints them.)
"""

from __future__ import annotations

import os
import signal
import sys
import time
from typing import TYPE_CHECKING

import pytest

from tests.support import needs_root, wait_until
from tests.system.conftest import Service

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.live.traffic import Tally, Traffic
    from tests.system.machine import Machine

pytestmark = [pytest.mark.live, pytest.mark.root, pytest.mark.namespace, needs_root, pytest.mark.timeout(900)]

CLIENTS = 4
QUICK = "[Service]\nRestartSec=20ms\n"


def whole(service: Service, but: int = 0) -> bool:
    """Whether its pool is whole, under another manager than that one."""
    return service.status.startswith("2 of 2") and service.pid not in (0, but)


def rounds_under(traffic: Traffic, count: int, once: Callable[[], None], what: str) -> Tally:
    """Do it so often while clients talk to it: what became of their connections. Each round is served."""
    begun = time.monotonic()
    with traffic:
        for _ in range(count):
            once()
            traffic.wait_answers(5)
    total, took = traffic.total, time.monotonic() - begun
    came = f"{total.answered} answered, {len(total.lost)} lost {total.lost[:3]}"
    sys.stdout.write(f"\n{what}: {count} rounds in {took:.1f} s, {came}\n")
    return total


def refused(tally: Tally) -> list[str]:
    return [one for one in tally.lost if "refused" in one.lower() or "FileNotFound" in one]


@pytest.mark.parametrize("kind", ["tcp", "unix"])
def test_stops_and_starts_by_socket_activation_lose_nobody(machine: Machine, rounds: int, kind: str) -> None:
    name = f"activated-{kind}"
    where = "127.0.0.1:8081" if kind == "tcp" else f"/run/{name}.sock"
    machine.unit(f"ghostd@{name}.socket.d/test.conf", f"[Socket]\nListenStream=\nListenStream={where}\n")
    service = Service(machine, name, QUICK, listen=["systemd"])
    machine.systemctl("start", f"ghostd@{name}.socket")
    assert machine.show(service.unit, "ActiveState") == "inactive", "it begins when somebody comes"

    def stop_and_start() -> None:
        before = service.pid
        service.systemctl("stop")
        wait_until(lambda: whole(service, before), 30.0, "the next start, by who connects")

    address = where if kind == "tcp" else f"unix:{machine.path(where)}"
    traffic = machine.traffic(address, clients=CLIENTS)
    tally = rounds_under(traffic, rounds, stop_and_start, f"stop and start by socket activation, {kind}")
    machine.systemctl("stop", f"ghostd@{name}.socket", service.unit)
    assert tally.lost == []
    assert len(tally.answers) >= 2 * rounds, "spirits of each start have answered"


@pytest.mark.parametrize("kind", ["tcp", "unix"])
def test_a_killed_manager_leaves_its_sockets_to_the_next_one(machine: Machine, rounds: int, kind: str) -> None:
    name = f"killed-{kind}"
    listen = "127.0.0.1:8082" if kind == "tcp" else f"unix:/run/ghostd/{name}/x.sock"
    service = Service(machine, name, QUICK, listen=[listen])
    service.systemctl("start")

    def kill() -> None:
        before = service.pid
        os.kill(before, signal.SIGKILL)
        wait_until(lambda: whole(service, before), 30.0, "the restart")

    traffic = machine.traffic(listen if kind == "tcp" else service.address, clients=CLIENTS)
    tally = rounds_under(traffic, rounds, kill, f"SIGKILL of the manager, sockets in the store, {kind}")
    assert service.restarts == rounds
    service.systemctl("stop")
    assert refused(tally) == []
    assert len(tally.lost) <= 2 * rounds, "what the two spirits had in hand, which ended with their manager"


@pytest.mark.parametrize("kind", ["tcp", "unix"])
def test_restarts_with_a_store_that_outlives_them_lose_nobody(machine: Machine, rounds: int, kind: str) -> None:
    if machine.version() < 254:
        pytest.skip("this systemd empties the store when a service stops")
    name = f"restarted-{kind}"
    listen = "127.0.0.1:8083" if kind == "tcp" else f"unix:/run/ghostd/{name}/x.sock"
    service = Service(machine, name, QUICK, listen=[listen])
    service.systemctl("start")
    traffic = machine.traffic(listen if kind == "tcp" else service.address, clients=CLIENTS)
    tally = rounds_under(traffic, rounds, lambda: service.systemctl("restart"), f"restart with a store, {kind}")
    service.systemctl("stop")
    assert tally.lost == []


def test_reloads_lose_nobody(machine: Machine, rounds: int) -> None:
    service = Service(machine, "reloaded", QUICK)
    service.systemctl("start")
    generation = 1

    def reload() -> None:
        nonlocal generation
        service.systemctl("reload")
        generation += 1
        wanted = f"2 of 2 spirits ready, generation {generation}"
        if service.machine.version() < 253:
            wait_until(lambda: service.status == wanted, 30.0, wanted)
        assert service.status == wanted

    tally = rounds_under(machine.traffic(service.address, clients=CLIENTS), rounds, reload, "reload")
    service.systemctl("stop")
    assert tally.lost == []
