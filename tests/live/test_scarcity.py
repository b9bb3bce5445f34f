"""The machine says no: to forks and to descriptors, once and for ever. The manager lives, tries again, and tells."""

import os
import re
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.live.harness import Stage, Subject
from tests.live.places import state_of
from tests.support import PATIENCE, needs_tool, wait_until

pytestmark = pytest.mark.live

FORKS = "clone,clone3,fork,vfork"  # one of them is behind os.fork(), which of them is the C library's choice


@contextmanager
def injected(subject: Subject, fault: str) -> Iterator[None]:
    """In this block system calls of the manager fail: ``CALLS:error=...:when=...``."""
    calls = fault.partition(":")[0]
    words = [
        "strace",
        "-qq",
        "-o",
        "/dev/null",
        "-e",
        f"trace={calls}",
        "-e",
        f"inject={fault}",
        "-p",
        str(subject.pid),
    ]
    tracer = subprocess.Popen(words, stdin=subprocess.DEVNULL, stderr=subprocess.PIPE)
    status = Path(f"/proc/{subject.pid}/status")
    try:
        wait_until(lambda: f"TracerPid:\t{tracer.pid}\n" in status.read_text(), what="strace on the manager")
        yield
    finally:
        tracer.send_signal(signal.SIGINT)
        assert tracer.wait(PATIENCE) in (0, -signal.SIGINT, 130)
        assert tracer.stderr
        tracer.stderr.close()


def kill_one(subject: Subject) -> int:
    victim = min(subject.spirits())
    os.kill(victim, signal.SIGKILL)
    return victim


@needs_tool("strace")
@pytest.mark.parametrize("error", ["EAGAIN", "ENOMEM"])
@pytest.mark.parametrize("at", [1, 3])
def test_a_fork_that_fails_once_is_tried_again(stage: Stage, error: str, at: int) -> None:
    subject = stage.run()
    with injected(subject, f"{FORKS}:error={error}:when={at}"):
        for count in range(at):
            victim = kill_one(subject)
            subject.wait_spirits(2, without={victim})
            assert len(subject.logged(f"could not be made: {error}")) == (count + 1 == at)
    assert subject.logged(rf"\[error\] Spirit could not be made: {error}: .* \(failure 1 in a row\): next try in 0.1 s")
    assert subject.quit() == 0


@needs_tool("strace")
def test_forks_that_fail_for_ever_are_tried_less_and_less_and_the_pool_is_whole_when_they_succeed(stage: Stage) -> None:
    subject = stage.run(spirits=3, backoff_most=0.4)
    with injected(subject, f"{FORKS}:error=EAGAIN"):
        for victim in sorted(subject.spirits())[:2]:
            os.kill(victim, signal.SIGKILL)
        lines = subject.wait_log("Spirit could not be made: EAGAIN", 5)
        waits = [float(re.findall(r"next try in (\S+) s", line)[0]) for line in lines]
        assert waits[:3] == sorted(waits[:3]) and max(waits) <= 0.4, waits
        assert len(subject.wait_spirits(1)) == 1 and subject.is_running(), "those that live go on"
    subject.wait_spirits(3)
    assert len(subject.logged("could not be made")) < 15
    assert subject.quit() == 0


@needs_tool("strace")
@pytest.mark.parametrize(
    "fault", ["waitid:error=ECHILD", "waitid:error=EINTR", "wait4:error=ECHILD", "wait4:error=EINTR"]
)
def test_a_wait_for_a_dead_spirit_that_fails_once_loses_nobody(stage: Stage, fault: str) -> None:
    subject = stage.run(spirits=3)
    with injected(subject, f"{fault}:when=2+3"):
        for _ in range(4):
            victim = kill_one(subject)
            subject.wait_spirits(3, without={victim})
    wait_until(lambda: not subject.zombies(), what="no zombie")
    assert len(subject.logged(r"Spirit \d+ stopped .*killed by SIGKILL")) == 4, subject.report()
    assert subject.quit() == 0


@needs_tool("strace")
@pytest.mark.parametrize("call", ["epoll_wait", "read"])
def test_a_wait_that_is_interrupted_without_a_reason_is_taken_up_again(stage: Stage, call: str) -> None:
    subject = stage.run()
    with injected(subject, f"{call}:error=EINTR:when=1+2"):
        for _ in range(3):
            victim = kill_one(subject)
            subject.wait_spirits(2, without={victim})
    assert subject.quit() == 0


@needs_tool("strace")
@pytest.mark.parametrize("error", ["ENOSPC", "ENOMEM"])
def test_a_page_for_which_there_is_no_memory_holds_its_spirit_back_until_there_is(stage: Stage, error: str) -> None:
    subject = stage.run()
    with injected(subject, f"fallocate:error={error}"):
        subject.send(signal.SIGTTIN)
        subject.wait_log(f"Spirit could not be made: {error}", 2)
        assert len(subject.spirits()) == 2
    subject.wait_spirits(3)
    assert subject.quit() == 0


@needs_tool("strace")
@pytest.mark.parametrize("signum", [signal.SIGQUIT, signal.SIGTERM])
def test_a_ghost_that_cannot_fork_can_be_stopped(stage: Stage, signum: int) -> None:
    subject = stage.start()
    with injected(subject, f"{FORKS}:error=ENOMEM"):
        kill_one(subject)
        subject.wait_log("Spirit could not be made: ENOMEM")
        subject.send(signum)
        assert subject.wait_end() == 0


@needs_tool("strace")
def test_a_fork_that_fails_at_the_start_is_tried_again_and_the_pool_becomes_whole(stage: Stage) -> None:
    words = ["strace", "-D", "-qq", "-o", "/dev/null", "-e", f"trace={FORKS}"]
    subject = stage.run(prefix=[*words, "-e", f"inject={FORKS}:error=EAGAIN:when=1..2"])
    assert subject.logged("Spirit could not be made: EAGAIN")
    assert len(subject.spirits()) == 2
    assert subject.quit() == 0


def pidfds(subject: Subject) -> int:
    links = [os.readlink(entry) for entry in Path(f"/proc/{subject.pid}/fd").iterdir()]
    return sum("pidfd" in link for link in links)


@needs_tool("prlimit")
@pytest.mark.parametrize("room", [0, 1])
def test_a_manager_without_a_descriptor_left_still_replaces_whoever_dies(stage: Stage, room: int) -> None:
    subject = stage.run(spirits=4)
    wait_until(lambda: state_of(subject.pid) == "S", what="a manager at rest, which has nothing open for a moment")
    highest = max(map(int, os.listdir(f"/proc/{subject.pid}/fd")))
    wanted = f"--nofile={highest + 1 + room - 4}:"  # those of the spirits are given back, one by one
    subprocess.run(["prlimit", "--pid", str(subject.pid), wanted], check=True)
    for _ in range(8):
        victim = kill_one(subject)
        subject.wait_spirits(4, without={victim})
    subject.wait_notes("ready", 12)
    assert pidfds(subject) <= room, "there was no room for more"
    assert subject.is_running() and not subject.logged("Traceback")
    subject.send(signal.SIGHUP)
    subject.wait_log("Reloaded: ")
    assert subject.quit() == 0


@needs_tool("prlimit")
def test_more_spirits_than_the_limit_of_descriptors_has_room_for_live_and_are_replaced(stage: Stage) -> None:
    subject = stage.run(prefix=["prlimit", "--nofile=24:24"], spirits=30)
    assert len(subject.spirits()) == 30 and pidfds(subject) < 15
    victims = set(list(subject.spirits())[:10])
    for victim in victims:
        os.kill(victim, signal.SIGKILL)
    subject.wait_spirits(30, without=victims)
    wait_until(lambda: not subject.zombies())
    assert subject.quit(30.0) == 0
