"""Two forks and a word: the starter always learns how it went, whoever of the three is killed."""

import os
import select
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from ghostd.daemon import detach
from ghostd.daemon.detach import Outcome, Reporter, Starter
from ghostd.errors import ExitCode, SystemFault, ThreadedForkError
from ghostd.linux import fds, procfs
from tests.support import children_of, deadline, needs, wait_gone, wait_until
from tests.unit.linux.forks import Gate, child, in_child, pause

Work = Callable[[Reporter], object]


def launch(work: Work) -> Starter:
    """A daemon that does the work and ends with the code that it gives."""
    side = detach.detach()
    if isinstance(side, Starter):
        return side
    code = 99
    try:
        code = int(str(work(side) or 0))
    finally:
        os._exit(code)


def outcome_of(work: Work, timeout: float = 30.0) -> Outcome:
    return launch(work).wait_outcome(timeout)


def say_ready_and_wait(reporter: Reporter) -> None:
    reporter.ready()
    pause()


def end(pid: int) -> None:
    wait_until(lambda: procfs.parent(pid) == os.getpid())  # which adopts orphans, once the witness has left
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)


# ── the word ──
def test_the_starter_learns_that_all_is_well_and_the_daemons_pid() -> None:
    outcome = outcome_of(say_ready_and_wait)
    assert outcome == Outcome(ok=True, code=0, text="", pid=outcome.pid)
    end(outcome.pid)
    assert procfs.start_ticks(outcome.pid) is None


def test_the_daemon_has_a_session_without_leading_it_and_a_group_of_its_own() -> None:
    outcome = outcome_of(say_ready_and_wait)
    session, group = os.getsid(outcome.pid), os.getpgid(outcome.pid)
    assert session not in (os.getsid(0), outcome.pid)  # who leads none can get no terminal by opening it
    assert group == outcome.pid
    end(outcome.pid)


@pytest.mark.parametrize("text", ["Disk is full", "two\nlines\n", "ünï ☃", "half \udc80 character", ""], ids=repr)
def test_the_starter_gets_the_daemons_own_code_and_words(text: str) -> None:
    outcome = outcome_of(lambda reporter: reporter.failed(71, text))
    assert (outcome.ok, outcome.code) == (False, 71)
    assert outcome.text == text.encode(errors="backslashreplace").decode()


def test_endless_words_neither_block_the_daemon_nor_get_lost() -> None:
    with deadline(20.0):
        outcome = outcome_of(lambda reporter: reporter.failed(70, "x" * 1_000_000))
    assert outcome.code == 70
    assert 30_000 < len(outcome.text) < 40_000


def test_only_the_first_word_counts() -> None:
    def talk(reporter: Reporter) -> None:
        reporter.ready()
        reporter.failed(70, "after all not")
        assert reporter.fileno() == -1
        pause()

    outcome = outcome_of(talk)
    assert outcome.ok
    end(outcome.pid)


def test_the_word_is_heard_though_a_spirit_has_inherited_the_pipe() -> None:
    def fork_first(reporter: Reporter) -> None:
        if os.fork() == 0:
            pause()
        say_ready_and_wait(reporter)

    with deadline(20.0):
        outcome = outcome_of(fork_first)
    assert outcome.ok
    (spirit,) = children_of(outcome.pid)
    end(outcome.pid)
    end(spirit)


# ── no word ──
@pytest.mark.parametrize(
    ("work", "code", "text"),
    [
        (
            lambda _: os.kill(os.getpid(), signal.SIGKILL),
            ExitCode.BOOT_FAILED,
            "was ended by SIGKILL before it was ready",
        ),
        (lambda _: os.kill(os.getpid(), 40), ExitCode.BOOT_FAILED, "was ended by signal 40 before it was ready"),
        (lambda _: 3, 3, "ended with code 3 before it was ready, and did not say why"),
        (lambda _: 0, ExitCode.BOOT_FAILED, "ended with code 0 before it was ready, and did not say why"),
        (lambda reporter: reporter.close(), ExitCode.BOOT_FAILED, "ended with code 0 before it was ready"),
    ],
)
def test_a_daemon_that_ends_without_a_word_is_told_with_its_cause(work: Work, code: int, text: str) -> None:
    outcome = outcome_of(work)
    assert (outcome.ok, outcome.code) == (False, code)
    assert text in outcome.text
    assert f"pid {outcome.pid}" in outcome.text


@pytest.mark.parametrize("has_pidfd", [True, False], ids=["pidfd", "pid"])
def test_a_death_is_seen_at_once_though_a_spirit_has_inherited_the_pipe(
    has_pidfd: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not has_pidfd:
        monkeypatch.delattr(os, "pidfd_open")

    def fork_and_die(_: Reporter) -> int:
        if os.fork() == 0:
            pause()
        return 5

    with deadline(20.0):
        outcome = outcome_of(fork_and_die)
    assert outcome.code == 5
    orphans = {pid for pid in children_of(os.getpid()) if os.getsid(pid) != os.getsid(0)}
    for pid in orphans:
        end(pid)


def test_a_daemon_that_is_not_ready_in_time_is_told_of_and_goes_on() -> None:
    with Gate() as gate:

        def slow(reporter: Reporter) -> None:
            gate.wait()
            reporter.ready()  # nobody listens any more
            pause()

        with deadline(10.0):
            outcome = outcome_of(slow, timeout=0.1)
        assert (outcome.ok, outcome.code, outcome.is_late) == (False, ExitCode.TIMED_OUT, True)
        assert "not ready within 0.1 s" in outcome.text
        gate.open()
        wait_until(lambda: procfs.switches(outcome.pid))
        assert not procfs.is_zombie(outcome.pid)
        end(outcome.pid)


def test_a_killed_starter_does_not_disturb_the_daemon(tmp_path: Path) -> None:
    with Gate() as born, Gate() as go:

        def patient(reporter: Reporter) -> None:
            born.tell(os.getpid())
            go.wait()
            reporter.ready()
            (tmp_path / "lives").touch()
            pause()

        with child(lambda: launch(patient).wait_outcome(60)) as starter:
            daemon = born.told()
            os.kill(starter, signal.SIGKILL)
            os.waitpid(starter, 0)
            go.open()
            wait_until((tmp_path / "lives").exists)
            end(daemon)
            wait_until(lambda: not [pid for pid, state in children_of(os.getpid()).items() if state not in "ZX"])


def test_a_killed_witness_is_told_of() -> None:
    starter = launch(lambda _: pause())
    wait_until(lambda: select.select([starter.fileno()], [], [], 0)[0])
    (witness,) = [pid for pid in children_of(os.getpid()) if os.getsid(pid) == pid != os.getsid(0)]
    os.kill(witness, signal.SIGKILL)
    outcome = starter.wait_outcome(10)
    assert not outcome.ok
    assert "watched" in outcome.text
    end(outcome.pid)


def test_the_witness_holds_two_pipes_and_heeds_no_signal() -> None:
    starter = launch(lambda _: pause())
    wait_until(lambda: select.select([starter.fileno()], [], [], 0)[0])
    (witness,) = [pid for pid in children_of(os.getpid()) if os.getsid(pid) == pid != os.getsid(0)]
    held = {os.readlink(f"/proc/{witness}/fd/{fd}").partition(":")[0] for fd in os.listdir(f"/proc/{witness}/fd")}
    assert held <= {"pipe", "anon_inode"}
    for signum in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGQUIT):
        os.kill(witness, signum)
    assert not procfs.is_zombie(witness)
    outcome = starter.wait_outcome(0.05)
    assert outcome.is_late
    end(outcome.pid)
    assert procfs.start_ticks(witness) is None


# ── what may go wrong before there is a daemon ──
def test_a_failed_first_fork_is_a_fault_of_the_system_and_leaks_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail() -> int:
        raise BlockingIOError(11, "Resource temporarily unavailable")

    monkeypatch.setattr(os, "fork", fail)
    before, mask = fds.census(), signal.pthread_sigmask(signal.SIG_BLOCK, ())
    with pytest.raises(SystemFault, match="not detached: Resource temporarily unavailable"):
        detach.detach()
    assert signal.pthread_sigmask(signal.SIG_BLOCK, ()) == mask
    assert fds.census() == before


def test_a_failed_second_fork_is_told_by_the_first_child(monkeypatch: pytest.MonkeyPatch) -> None:
    fork = os.fork
    turns = iter((fork, None))

    def fail_later() -> int:
        now = next(turns)
        if now is None:
            raise BlockingIOError(11, "Resource temporarily unavailable")
        return now()

    monkeypatch.setattr(os, "fork", fail_later)
    outcome = outcome_of(lambda _: None)
    assert outcome == Outcome(ok=False, code=71, text="not detached: Resource temporarily unavailable", pid=0)


def test_a_fork_beside_a_thread_is_refused() -> None:
    done = threading.Event()
    thread = threading.Thread(target=done.wait)
    thread.start()
    try:
        with pytest.raises(ThreadedForkError, match=r"has 2 threads.*start them in the spirits"):
            detach.detach()
    finally:
        done.set()
        thread.join()


def test_the_starters_own_life_is_as_it_was() -> None:
    mask, before = signal.pthread_sigmask(signal.SIG_BLOCK, ()), fds.census()
    kids = set(children_of(os.getpid()))
    outcome = outcome_of(lambda reporter: reporter.failed(1, ""))
    wait_gone(outcome.pid)
    assert signal.pthread_sigmask(signal.SIG_BLOCK, ()) == mask
    assert fds.census() == before
    assert set(children_of(os.getpid())) - kids <= {outcome.pid}  # adopted here; the witness is reaped


def test_signals_ignored_by_whoever_started_it_do_not_hide_a_death() -> None:
    def start() -> Outcome:
        signal.signal(signal.SIGCHLD, signal.SIG_IGN)
        return outcome_of(lambda _: 3)

    outcome: Outcome = in_child(start)
    assert outcome.code == 3


def test_a_signal_that_comes_early_waits_until_the_daemon_is_there(tmp_path: Path) -> None:
    """As by a `stop` in the very first moment: the first thing that can see it is the daemon's own handler."""

    def start() -> Outcome:
        signal.signal(signal.SIGTERM, lambda *_: (tmp_path / "seen").touch())
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})

        def work(reporter: Reporter) -> None:
            os.kill(os.getpid(), signal.SIGTERM)
            assert not (tmp_path / "seen").exists()  # the mask of the caller is heeded
            signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGTERM})
            reporter.failed(0, str((tmp_path / "seen").exists()))

        return outcome_of(work)

    outcome: Outcome = in_child(start)
    assert outcome.text == "True"


# ── stdio and descriptors ──
PRINTS = """
import os, sys
from ghostd.daemon import detach
print("once")
side = detach.detach()
if isinstance(side, detach.Reporter):
    detach.settle()
    side.ready()
    sys.stdout.flush()
    os._exit(0)
outcome = side.wait_outcome(10)
sys.exit(0 if outcome.ok else outcome.text)
"""


def test_what_was_printed_before_appears_once() -> None:
    environ = {name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"}
    ended = subprocess.run([sys.executable, "-c", PRINTS], capture_output=True, text=True, check=True, env=environ)
    assert ended.stdout == "once\n"


CLOSED = """
import os, sys
from ghostd.daemon import detach
side = detach.detach()
if isinstance(side, detach.Reporter):
    low = side.fileno() > 2
    detach.settle()
    print("to nowhere")
    side.failed(0, repr((low, [os.readlink(f"/proc/self/fd/{fd}") for fd in range(3)], sys.stdout is not None)))
    os._exit(0)
outcome = side.wait_outcome(10)
open(sys.argv[1], "w").write(outcome.text)
"""


def test_closed_stdio_is_filled_before_anything_else_takes_its_numbers(tmp_path: Path) -> None:
    command = f"exec {sys.executable} -c '{CLOSED}' {tmp_path}/told <&- >&- 2>&-"
    subprocess.run(["sh", "-c", command], check=True)
    assert (tmp_path / "told").read_text() == repr((True, ["/dev/null"] * 3, True))


def test_a_closing_terminal_does_not_end_the_daemon() -> None:
    with Gate() as gate:

        def work(reporter: Reporter) -> None:
            signal.signal(signal.SIGHUP, signal.SIG_DFL)
            detach.settle()
            gate.tell(os.getpid())
            say_ready_and_wait(reporter)

        pid, terminal = os.forkpty()
        if pid == 0:
            try:
                signal.signal(signal.SIGHUP, signal.SIG_DFL)  # who runs the tests may ignore it
                launch(work).wait_outcome(10)
                pause()
            finally:
                os._exit(1)
        daemon = gate.told()
        fields = Path(f"/proc/{daemon}/stat").read_text().rpartition(")")[2].split()
        assert fields[4] == "0"  # no controlling terminal
        os.close(terminal)
        assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == -signal.SIGHUP
        time.sleep(0.05)  # nothing to wait for: it must go on living
        assert not procfs.is_zombie(daemon)
        end(daemon)


@needs(Path("/proc/self/fd").exists(), "/proc")
def test_a_high_limit_of_descriptors_costs_no_time() -> None:
    program = PRINTS.replace(
        "import os, sys", "import os, sys, resource as r; r.setrlimit(7, (10**6, r.getrlimit(7)[1]))"
    )
    hard = subprocess.run(["sh", "-c", "ulimit -Hn"], capture_output=True, text=True, check=True).stdout.strip()
    if hard != "unlimited" and int(hard) < 10**6:
        program = PRINTS
    with deadline(20.0):
        subprocess.run([sys.executable, "-c", program], capture_output=True, check=True)
