"""Stopping from outside: gentle first, bounded always, quick to return, and never anybody but the ghost."""

import os
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import NoReturn

import pytest

from ghostd.daemon import stopping
from ghostd.daemon.pidfile import FilePid
from ghostd.daemon.stopping import StopResult, StopState
from ghostd.errors import DeniedError
from ghostd.linux import procfs
from tests.support import deadline, needs, needs_root, wait_until
from tests.unit.linux.forks import Gate, child, in_child, pause

FREEZER = Path("/sys/fs/cgroup/freezer")
Work = Callable[[], object]


@pytest.fixture(autouse=True)
def _short(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stopping, "_TERM_LIMIT", 0.2)


@pytest.fixture(params=[True, False], ids=["pidfd", "pid"])
def stop(request: pytest.FixtureRequest, path: Path) -> Callable[..., StopResult]:
    def stop(limit: float = 10.0, margin: float = 0.0) -> StopResult:
        return stopping.stop(FilePid(path), limit, margin, use_pidfd=request.param)

    return stop


def leave(*_: object) -> NoReturn:
    os._exit(0)


def ignore(*signals: int) -> None:
    for signum in signals:
        signal.signal(signum, signal.SIG_IGN)


def ghost(path: Path, begun: Gate, prepare: Work = lambda: None) -> Work:
    """A manager that quits in order, unless it has been prepared for other ideas."""

    def live() -> None:
        pidfile = FilePid(path)

        def quit_in_order(*_: object) -> None:
            pidfile.remove()
            leave()

        signal.signal(signal.SIGQUIT, quit_in_order)
        pidfile.save()
        prepare()
        begun.open()
        pause()

    return live


# ── the ladder ──
def test_a_ghost_that_quits_is_stopped_gracefully_and_leaves_nothing(
    path: Path, stop: Callable[..., StopResult]
) -> None:
    with Gate() as begun, child(ghost(path, begun)) as pid:
        begun.wait()
        with deadline(10.0):
            result = stop()
        assert (result.pid, result.state, result.left, result.answer) == (pid, StopState.GRACEFUL, (), pid)
        assert list(path.parent.iterdir()) == []


def test_a_zombie_manager_has_ended(path: Path, stop: Callable[..., StopResult]) -> None:
    with Gate() as begun, child(ghost(path, begun)) as pid:
        begun.wait()
        os.kill(pid, signal.SIGKILL)
        wait_until(lambda: procfs.is_zombie(pid))
        assert stop().state is StopState.NOT_RUNNING
        assert list(path.parent.iterdir()) == []  # what the dead left is swept


def test_nothing_running_is_told_as_such(path: Path, stop: Callable[..., StopResult]) -> None:
    result = stop()
    assert (result.pid, result.state, result.ok, result.answer) == (0, StopState.NOT_RUNNING, True, 0)
    assert list(path.parent.iterdir()) == []


def test_one_deaf_to_quit_has_its_whole_time_before_it_is_pressed(
    path: Path, stop: Callable[..., StopResult], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stopping, "_TERM_LIMIT", 30.0)  # it ends at once; how soon that is, is the machine's matter
    with Gate() as begun, child(ghost(path, begun, lambda: ignore(signal.SIGQUIT))):
        begun.wait()
        before = time.monotonic()
        result = stop(0.2, 0.1)
        took = time.monotonic() - before
    assert result.state is StopState.AT_ONCE
    assert took >= 0.3
    assert list(path.parent.iterdir()) == []


def test_one_deaf_to_all_is_killed_with_its_whole_tree(path: Path, stop: Callable[..., StopResult]) -> None:
    with Gate() as begun, Gate() as born:

        def deaf() -> None:
            ignore(signal.SIGQUIT, signal.SIGTERM)
            for _ in range(3):
                if os.fork() == 0:
                    os.setpgid(0, 0)
                    if os.fork() == 0:
                        os.setsid()  # a grandchild in a session of its own is still of the tree
                    born.tell(os.getpid())
                    pause()

        with child(ghost(path, begun, deaf)) as pid:
            begun.wait()
            told = b""
            while told.count(b"\n") < 6:
                told += os.read(born._reader, 100)
            tree = [int(one) for one in told.split()]
            with deadline(5.0):
                result = stop(0.05)
            assert (result.pid, result.state, result.left) == (pid, StopState.KILLED, ())
            assert all(procfs.is_zombie(one) or procfs.start_ticks(one) is None for one in tree)
        wait_until(lambda: not [one for one in tree if _reaped(one)])
    assert list(path.parent.iterdir()) == []


def _reaped(pid: int) -> bool:
    """Whether it still has to be reaped; this process adopts orphans."""
    try:
        return os.waitpid(pid, os.WNOHANG) == (0, 0)
    except ChildProcessError:
        return False


def test_a_tree_that_keeps_forking_does_not_outrun_the_kill(path: Path, stop: Callable[..., StopResult]) -> None:
    def breed() -> None:
        ignore(signal.SIGQUIT, signal.SIGTERM, signal.SIGCHLD)
        until = time.monotonic() + 20  # whatever goes wrong, it ends by itself
        for _ in range(4):
            if os.fork() == 0:
                while time.monotonic() < until:
                    if os.fork() == 0:
                        time.sleep(0.01)
                        os._exit(0)
                    time.sleep(0.002)
                os._exit(0)

    with Gate() as begun, child(ghost(path, begun, breed)) as pid:
        begun.wait()
        wait_until(lambda: len(procfs.children(pid)) == 4)
        tree = procfs.children(pid)
        result = stop(0.02)
        assert (result.state, result.left) == (StopState.KILLED, ())
        assert all(procfs.is_zombie(one) or procfs.start_ticks(one) is None for one in tree)


def test_a_manager_that_keeps_forking_does_not_outrun_the_kill(path: Path, stop: Callable[..., StopResult]) -> None:
    def breed() -> None:
        ignore(signal.SIGQUIT, signal.SIGTERM)
        if os.fork() == 0:
            os._exit(0)  # seen below: it forks already
        signal.signal(signal.SIGALRM, lambda *_: again() if os.fork() else pause_for(20))
        again()

    def again() -> None:
        signal.setitimer(signal.ITIMER_REAL, 0.002)  # once: on a busy machine a fork may take longer than that

    with Gate() as begun, child(ghost(path, begun, breed)):
        begun.wait()
        result = stop(0.1)
        assert (result.state, result.left) == (StopState.KILLED, ())
    wait_until(lambda: not [one for one in procfs.children(os.getpid()) if _reaped(one)])


def pause_for(limit: float) -> NoReturn:
    """A child that ends by itself, whatever goes wrong."""
    signal.setitimer(signal.ITIMER_REAL, 0)
    time.sleep(limit)
    os._exit(0)


def test_a_number_that_went_to_a_stranger_is_not_killed_with_the_tree(
    path: Path, stop: Callable[..., StopResult], monkeypatch: pytest.MonkeyPatch
) -> None:
    with child(pause) as bystander, Gate() as begun:
        monkeypatch.setattr(procfs, "descendants", lambda _: [bystander])  # as it was a moment ago
        with child(ghost(path, begun, lambda: ignore(signal.SIGQUIT, signal.SIGTERM))):
            begun.wait()
            assert stop(0.05).state is StopState.KILLED
        assert Path(f"/proc/{bystander}/stat").read_text().rpartition(")")[2].split()[0] == "S"


def test_a_stopped_ghost_is_continued_so_that_it_can_quit(path: Path, stop: Callable[..., StopResult]) -> None:
    with Gate() as begun, child(ghost(path, begun)) as pid:
        begun.wait()
        os.kill(pid, signal.SIGSTOP)
        with deadline(10.0):
            assert stop().state is StopState.GRACEFUL


def test_it_returns_within_milliseconds_of_the_end(path: Path, stop: Callable[..., StopResult]) -> None:
    late = []
    for delay in (0.01, 0.03, 0.1, 0.2, 0.3):
        with Gate() as begun, Gate() as ended:

            def slow(ended: Gate = ended, delay: float = delay) -> None:
                def end(*_: object) -> None:
                    time.sleep(delay)
                    ended.tell(time.monotonic_ns())
                    os.kill(os.getpid(), signal.SIGKILL)  # the end is now, and not once somebody has counted lines

                signal.signal(signal.SIGQUIT, end)

            with child(ghost(path, begun, slow)):
                begun.wait()
                assert stop().state is StopState.GRACEFUL
                late.append((time.monotonic_ns() - ended.told()) / 1e9)
    assert min(late) < 0.05, late  # the least loaded moment: others share this machine


@needs_root
@needs(FREEZER.is_dir() and os.access(FREEZER, os.W_OK), "a freezer of cgroup v1")
def test_what_outlives_sigkill_is_told_of_within_the_limit(
    path: Path, stop: Callable[..., StopResult], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stopping, "_KILL_LIMIT", 0.3)
    group = FREEZER / f"ghostd-test-{os.getpid()}"
    group.mkdir()
    try:
        with Gate() as begun, child(ghost(path, begun)) as pid:
            begun.wait()
            (group / "tasks").write_text(str(pid))
            (group / "freezer.state").write_text("FROZEN")
            wait_until(lambda: (group / "freezer.state").read_text() == "FROZEN\n")
            with deadline(5.0):
                result = stop(0.05)
            assert (result.pid, result.state, result.ok) == (pid, StopState.STILL_THERE, False)
            assert result.answer == -pid
            assert path.exists()  # it lives: its files are not swept
            (group / "freezer.state").write_text("THAWED")
            os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)
    finally:
        (group / "freezer.state").write_text("THAWED")
        wait_until(lambda: not (group / "tasks").read_text())
        group.rmdir()


# ── never anybody else ──
def test_a_forged_text_has_nobody_signalled(path: Path, stop: Callable[..., StopResult]) -> None:
    with child(pause) as bystander:
        ticks, boot_id = procfs.start_ticks(bystander), procfs.boot_id()
        for text in (
            f"{bystander}\n",
            f"{bystander}\n{ticks}\n",
            f"{bystander}\n{ticks}\nother\n",
            "1\n",
            "-1\n",
            "0\n",
        ):
            path.write_text(text)
            assert stop().state is StopState.NOT_RUNNING
            assert not path.exists()
        path.write_text(f"{bystander}\n{ticks}\n{boot_id}\n")
        path.with_name("ghost.pid.lock").touch()  # nobody holds it
        assert stop().state is StopState.NOT_RUNNING
        path.write_text(f"{bystander}\n{ticks}\n{boot_id}\n")
        with pytest.raises(
            DeniedError, match=rf"process {bystander} is named by .* not signalled.*kill -QUIT {bystander}"
        ):
            stop()
        assert not procfs.is_zombie(bystander)


def test_a_forged_text_does_not_turn_the_signal_from_the_ghost(path: Path, stop: Callable[..., StopResult]) -> None:
    with child(pause) as bystander, Gate() as begun, child(ghost(path, begun)) as pid:
        begun.wait()
        path.write_text(f"{bystander}\n{procfs.start_ticks(bystander)}\n{procfs.boot_id()}\n")
        assert stop().pid == pid
        assert not procfs.is_zombie(bystander)


def test_a_deleted_pidfile_does_not_keep_the_ghost_from_being_stopped(
    path: Path, stop: Callable[..., StopResult]
) -> None:
    with Gate() as begun, child(ghost(path, begun)) as pid:
        begun.wait()
        path.unlink()
        assert stop().pid == pid
        assert list(path.parent.iterdir()) == []


@needs_root
def test_another_users_ghost_is_denied_and_goes_on(path: Path) -> None:
    for folder in (path.parent, path.parent.parent, path.parent.parent.parent):
        folder.chmod(0o755)
    with Gate() as begun, child(ghost(path, begun)) as pid:
        begun.wait()

        def stop_it() -> str:
            os.setresuid(65534, 65534, 65534)
            with pytest.raises(DeniedError) as told:
                stopping.stop(FilePid(path), 10, 0)
            return str(told.value)

        assert "by uid 65534" in in_child(stop_it)
        assert FilePid(path).running() == pid


def test_a_signal_goes_to_the_living_manager_alone(path: Path) -> None:
    assert FilePid(path).signal(signal.SIGHUP) == 0
    with Gate() as begun, Gate() as heard:

        def listen() -> None:
            signal.signal(signal.SIGHUP, lambda *_: heard.open())

        with child(ghost(path, begun, listen)) as pid:
            begun.wait()
            assert FilePid(path).signal(signal.SIGHUP) == pid
            heard.wait()
    assert FilePid(path).signal(signal.SIGHUP) == 0
