"""A ghost as a service of a real systemd: what it is told, what it waits for, and that nothing is lost meanwhile."""

from __future__ import annotations

import os
import re
import signal
from typing import TYPE_CHECKING

import pytest

from tests.live.traffic import ask, connect
from tests.support import children_of, deadline, needs_root, wait_until
from tests.system.conftest import Service

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.system.machine import Machine

pytestmark = [pytest.mark.live, pytest.mark.root, pytest.mark.namespace, needs_root, pytest.mark.timeout(300)]

SHORT = "[Service]\nTimeoutStartSec=2s\nTimeoutStopSec=2s\n"  # less than a start, a reload and a stop take here


@pytest.fixture
def service(machine: Machine, request: pytest.FixtureRequest) -> Iterator[Service]:
    name = re.sub(r"\W", "-", request.node.name)[:40]
    made = Service(machine, name, SHORT, graceful_timeout=10.0)
    yield made
    for what in ("slow", "poison"):
        made.say(what, None)
    machine.run("systemctl", "stop", made.unit)
    machine.run("systemctl", "reset-failed", made.unit)


def test_a_start_returns_when_the_pool_is_whole_and_is_given_its_time(service: Service) -> None:
    service.say("slow", "2.5")
    with deadline(30.0):
        service.systemctl("start")
    assert service.status == "2 of 2 spirits ready, generation 1"
    assert re.fullmatch(rb"\d+ hello\n", ask(service.address))
    check = service.machine.run(
        "env", f"GHOSTD_PIDFILE=/run/ghostd/{service.name}/pid", "/usr/local/bin/ghostd", "check"
    )
    assert (check.code, check.out.split()[0]) == (0, "Ready")
    service.systemctl("stop")
    assert service.machine.show(service.unit, "Result") == "success"
    assert service.machine.run("ls", "/run/ghostd").out == ""


def test_a_start_that_fails_says_why_and_is_not_tried_again_where_a_person_has_to_mend_it(machine: Machine) -> None:
    service = Service(machine, "wrong", listen=["nonsense"])
    assert machine.run("systemctl", "start", service.unit).code != 0
    assert "option listen" in service.journal()
    assert machine.show(service.unit, "ExecMainStatus") == "78"
    assert (machine.show(service.unit, "ActiveState"), service.restarts) == ("failed", 0)


def test_a_reload_is_waited_for_and_is_given_its_time(service: Service) -> None:
    if service.machine.version() < 253:
        # There the end of the program in ExecReload begins the limit anew, and so may undo the time that was given.
        service.machine.unit(f"{service.unit}.d/zz-reload.conf", "[Service]\nTimeoutStartSec=30s\n")
    service.systemctl("start")
    service.say("slow", "2.5")
    service.systemctl("reload")
    if service.machine.version() < 253:  # Type=notify: systemctl does not wait
        wait_until(lambda: "generation 2" in service.status and "reloading" not in service.status, 30.0)
    assert service.status == "2 of 2 spirits ready, generation 2"
    assert service.restarts == 0


def test_a_stop_waits_for_what_is_in_hand_longer_than_the_unit_says(service: Service) -> None:
    service.systemctl("start")
    with connect(service.address) as client, client.makefile("rb") as lines:
        client.sendall(b"hello\n")
        assert lines.readline().endswith(b" hello\n"), "a spirit has it in hand"
        client.sendall(b"slow 3\n")
        service.systemctl("stop")
        assert lines.readline().endswith(b" slow 3\n")
    assert service.machine.show(service.unit, "Result") == "success"


@pytest.mark.parametrize("how", ["stopped", "in a hook"])
def test_a_manager_that_hangs_is_ended_by_the_watchdog_and_comes_back(machine: Machine, how: str) -> None:
    service = Service(machine, f"hangs-{how.replace(' ', '-')}", "[Service]\nWatchdogSec=2s\n")
    service.systemctl("start")
    first = service.pid
    if how == "stopped":
        os.kill(first, signal.SIGSTOP)
    else:
        service.say("hang")
        os.kill(first, signal.SIGHUP)
    wait_until(lambda: service.restarts == 1 and service.status.startswith("2 of 2"), 30.0, "the restart")
    assert service.pid != first
    assert "Watchdog timeout" in service.journal()
    if how == "in a hook":
        assert re.search(r'File "/etc/ghostd/app.py", line \d+ in hangup', service.journal()), "it says where"
    service.systemctl("stop")
    service.say("hang", None)


def test_a_pool_that_cannot_keep_a_spirit_alive_is_ended_by_the_watchdog(machine: Machine) -> None:
    service = Service(machine, "barren", "[Service]\nWatchdogSec=2s\n", young=60.0, backoff_first=0.3)
    service.systemctl("start")
    service.say("poison")
    for pid in children_of(service.pid):
        os.kill(pid, signal.SIGKILL)
    wait_until(lambda: service.restarts >= 1, 30.0, "the restart")
    service.say("poison", None)
    wait_until(lambda: service.status.startswith("2 of 2"), 30.0, "a whole pool")
    service.systemctl("stop")
