"""Pidfiles of whole ghosts: one winner, nobody but the ghost is signalled, and nothing is left behind.

What unit tests and others of tests/live prove already is not repeated:

    defect of the ancestor                     | test
    -------------------------------------------|---------------------------------------------------------------------
    another user's stale file                  | unit/daemon/test_pidfile_hostile.py: another_users_file_is_an_error
    short write, EIO while writing             | unit/daemon/test_pidfile_hostile.py: a_short_write_fails_the_start
    starter killed at the worst moment         | unit/daemon/test_pidfile_races.py
    a deleted lock or pidfile and a start      | unit/daemon/test_pidfile_upkeep.py: a_deleted_lock, a_deleted_pidfile
    manager killed: orphans, doubled pool      | live/test_orphans.py
    stop kills a manager that waits for jobs   | live/test_stop.py: the_stop_command_waits_for_the_graceful_limit
    start says OK before the pool is whole     | live/test_early_death.py, live/test_hooks.py
"""

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Final

import pytest

from ghostd.errors import ExitCode
from tests.live.harness import AT_ONCE, WORK, Answer, Stage, Subject, moment
from tests.live.places import ALONE, AS_NOBODY, open_stage, shell, state_of, told
from tests.support import children_of, is_alive, needs_root, needs_tool, wait_gone, wait_until

pytestmark = pytest.mark.live

LONG: Final = bool(os.environ.get("GHOSTD_LONG"))
ROUNDS: Final = 200 if LONG else 20
FORCE_PID: Final = Path("/proc/sys/kernel/ns_last_pid")

DIES: Final = """\
class Subject(Prefork):
    def spirit(self):
        raise LookupError("no such thing")
"""

FORKS_IN_A_HOOK: Final = """\
class Subject(Prefork):
    def spawn(self, pid):
        child = os.fork()
        if child == 0:
            sys.exit(0)
        os.waitpid(child, 0)
        note("forked", child)

    def spirit(self):
        while self.tick():
            time.sleep(0.01)
"""


def _pidfile(stage: Stage) -> Path:
    return stage.place / "subject.pid"


def _left(stage: Stage) -> set[str]:
    """What of pidfile, lock and unfinished file is there."""
    return {path.name for path in stage.place.glob("*.pid*")}


# ── one winner ──
@pytest.mark.timeout(1500 if LONG else 120)
def test_six_simultaneous_starts_have_one_winner_and_all_tell_its_pid(stage: Stage) -> None:
    script = stage.write(WORK, logfile=True, spirits=1)
    words = [sys.executable, str(script), "start"]
    before = set(children_of(os.getpid()))
    for _ in range(ROUNDS):
        starters = [
            subprocess.Popen(words, cwd=stage.place, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
            for _ in range(6)
        ]
        answers = [starter.communicate(timeout=30)[0] for starter in starters]
        assert [starter.returncode for starter in starters] == [0] * 6, answers
        pids = {int(answer.split()[-1]) for answer in answers}
        managers = {pid for pid, state in children_of(os.getpid()).items() if state not in "ZX"} - before
        assert pids == managers, f"told {pids}, found {managers}: {answers}"
        assert len(managers) == 1
        subject = Subject(stage, managers.pop())
        assert subject.quit() == 0
        assert not _left(stage)


def test_a_second_start_leaves_the_first_ones_file_alone(stage: Stage) -> None:
    subject = stage.start()
    before = _pidfile(stage).stat(), _pidfile(stage).read_bytes()
    answer = stage.command("start")
    assert answer == Answer(0, f"Already running {subject.pid}", "")
    after = _pidfile(stage).stat(), _pidfile(stage).read_bytes()
    assert (before[0].st_ino, before[0].st_mtime_ns, before[1]) == (after[0].st_ino, after[0].st_mtime_ns, after[1])
    assert subject.quit() == 0


def test_a_run_beside_a_running_ghost_leaves_its_file_alone(stage: Stage) -> None:
    subject = stage.start()
    before = _pidfile(stage).read_bytes()
    answer = stage.command("run")
    assert answer.code == ExitCode.BAD_OPTION
    assert str(subject.pid) in answer.err
    assert _pidfile(stage).read_bytes() == before
    assert subject.quit() == 0


# ── nobody but the ghost ──
def _takes_pid(stage: Stage, pid: int) -> bool:
    """Start a bystander with that very pid; False when somebody else on this machine was quicker."""
    for _ in range(50):
        FORCE_PID.write_text(str(pid - 1))
        bystander = stage.launch(["sleep", "600"])
        if bystander == pid:
            return True
        os.kill(bystander, signal.SIGKILL)
        stage.wait_code(bystander)
    return False


def _bystander(stage: Stage) -> int:
    """The pid of a stranger, which was that of a ghost that was killed and has left its pidfile."""
    for _ in range(5):
        subject = stage.start()
        subject.send(signal.SIGKILL)
        assert subject.wait_end() == -signal.SIGKILL
        if _takes_pid(stage, subject.pid):
            return subject.pid
    raise AssertionError(f"{FORCE_PID} did not give the pid that was asked for in 5 rounds of 50")


@needs_root
@pytest.mark.root
def test_a_recycled_pid_in_the_pidfile_does_not_hinder_a_start(stage: Stage) -> None:
    bystander = _bystander(stage)
    assert stage.command("status") == Answer(ExitCode.FAILED, "Not running", "")
    answer = stage.command("start")
    assert answer.code == 0 and answer.out.startswith("Running "), answer
    subject = Subject(stage, stage.pid_of(answer))
    assert subject.pid != bystander
    assert stage.command("stop") == Answer(0, f"Stopped {subject.pid}", "")
    assert stage.wait_code(subject.pid) == 0
    assert is_alive(bystander), "the stranger was signalled"


@needs_root
@pytest.mark.root
@pytest.mark.parametrize(("word", "out"), [("stop", "Not running"), ("reload", "Running")])
def test_a_recycled_pid_in_the_pidfile_is_not_signalled(stage: Stage, word: str, out: str) -> None:
    bystander = _bystander(stage)
    answer = stage.command(word)
    assert answer.code == 0 and answer.out.startswith(out), answer
    assert is_alive(bystander), "the stranger was signalled"
    if word == "reload":
        assert Subject(stage, stage.pid_of(answer)).quit() == 0
    assert not _left(stage)


@needs_root
@needs_tool("setpriv")
@pytest.mark.root
def test_another_users_living_ghost_is_seen_and_neither_doubled_nor_stopped() -> None:
    with open_stage() as stage:
        subject = stage.start()
        assert told(stage, "status", prefix=AS_NOBODY) == Answer(0, f"Running {subject.pid}", "")
        assert told(stage, "start", prefix=AS_NOBODY) == Answer(0, f"Already running {subject.pid}", "")
        for word in ("stop", "restart", "reload"):
            answer = told(stage, word, prefix=AS_NOBODY)
            assert answer.code == ExitCode.DENIED, (word, answer)
            assert "Traceback" not in answer.err and len(answer.err.splitlines()) == 1, answer.err
        assert subject.is_running() and len(subject.spirits()) == 2
        assert subject.quit() == 0


def test_a_manager_that_is_a_zombie_has_ended(stage: Stage) -> None:
    subject = stage.run()
    subject.send(signal.SIGKILL)
    wait_until(lambda: state_of(subject.pid) == "Z", what="a zombie")  # this process does not reap it yet
    assert stage.command("status") == Answer(ExitCode.FAILED, "Not running", "")
    fresh = stage.start()
    assert state_of(subject.pid) == "Z"
    assert fresh.quit() == 0
    assert subject.wait_end() == -signal.SIGKILL


def test_a_stop_beside_a_zombie_says_at_once_that_nothing_runs(stage: Stage) -> None:
    subject = stage.run()
    subject.send(signal.SIGKILL)
    wait_until(lambda: state_of(subject.pid) == "Z", what="a zombie")
    assert stage.command("stop", timeout=AT_ONCE) == Answer(0, "Not running", "")
    assert subject.wait_end() == -signal.SIGKILL
    assert not _left(stage)


# ── what may lie in its place ──
def _symlink(path: Path) -> None:
    path.symlink_to(path.with_name("victim"))


def _hard_link(path: Path) -> None:
    os.link(path.with_name("victim"), path)


TRAPS: Final[dict[str, Callable[[Path], None]]] = {
    "symlink": _symlink,
    "hard link": _hard_link,
    "fifo": os.mkfifo,
    "directory": os.mkdir,
}


@pytest.mark.parametrize("kind", TRAPS)
def test_a_trap_in_the_place_of_the_pidfile_is_a_clear_error_and_not_touched(stage: Stage, kind: str) -> None:
    stage.write(WORK, logfile=True)
    victim = stage.place / "victim"
    victim.write_text(f"{os.getppid()}\n")
    TRAPS[kind](_pidfile(stage))
    before = _pidfile(stage).lstat(), victim.stat()
    for word in ("start", "run", "stop"):
        answer = stage.command(word)
        if word != "stop":
            assert answer.code == ExitCode.DENIED, (word, answer)
            assert str(_pidfile(stage)) in answer.err and "Traceback" not in answer.err, answer.err
    after = _pidfile(stage).lstat(), victim.stat()
    for old, new in zip(before, after, strict=True):
        assert (old.st_ino, old.st_mode, old.st_uid, old.st_mtime_ns) == (
            new.st_ino,
            new.st_mode,
            new.st_uid,
            new.st_mtime_ns,
        )
    assert victim.read_text() == f"{os.getppid()}\n"
    assert not stage.notes("begin"), "something was started"


# ── its life ──
def test_the_pidfile_names_the_manager_and_is_gone_at_the_end(stage: Stage) -> None:
    subject = stage.start()
    assert _pidfile(stage).read_text().splitlines()[0] == str(subject.pid)
    assert subject.quit() == 0
    assert not _left(stage)


@pytest.mark.parametrize("body", [WORK, ALONE], ids=["pool", "no pool"])
def test_a_pidfile_deleted_under_a_ghost_comes_back_by_itself_and_no_second_ghost_starts(
    stage: Stage, body: str
) -> None:
    # The manager is awake when somebody could be found silent; nothing else wakes it here.
    subject = stage.start(body, heartbeat_timeout=0.8)
    for names in ((".pid",), (".pid", ".pid.lock")):
        for name in names:
            (stage.place / f"subject{name}").unlink()
        subject.wait_log("Pidfile .*subject.pid was missing: made anew", len(names))
        assert _left(stage) == {"subject.pid", "subject.pid.lock", "subject.pid.ready"}
        assert stage.command("start") == Answer(0, f"Already running {subject.pid}", "")
    assert stage.command("stop") == Answer(0, f"Stopped {subject.pid}", "")
    stage.wait_code(subject.pid)
    assert not _left(stage)


def test_a_relative_pidfile_is_removed_although_the_daemon_has_changed_its_directory(stage: Stage) -> None:
    subject = stage.start(pidfile="relative.pid")
    assert os.readlink(f"/proc/{subject.pid}/cwd") == "/"
    assert (stage.place / "relative.pid").exists()
    assert stage.command("status").out == f"Running {subject.pid}"
    assert subject.quit() == 0
    assert not _left(stage)


def test_a_reload_leaves_the_pidfile_as_it_is(stage: Stage) -> None:
    subject = stage.start()
    before = _pidfile(stage).stat(), _pidfile(stage).read_bytes()
    old = subject.spirits()
    assert stage.command("reload") == Answer(0, f"Reloading {subject.pid}", "")
    subject.wait_spirits(2, without=old)
    after = _pidfile(stage).stat(), _pidfile(stage).read_bytes()
    assert (before[0].st_ino, before[0].st_mtime_ns, before[1]) == (after[0].st_ino, after[0].st_mtime_ns, after[1])
    assert subject.quit() == 0


def test_a_child_that_a_hook_forks_and_that_exits_does_not_remove_the_pidfile(stage: Stage) -> None:
    subject = stage.run(FORKS_IN_A_HOOK, spirits=1, whole=False)
    subject.wait_notes("forked")
    assert _pidfile(stage).exists()
    assert stage.command("status").out == f"Running {subject.pid}"
    assert subject.quit() == 0
    assert not _left(stage)


def test_a_pool_that_does_not_come_up_leaves_no_pidfile_and_the_next_start_works(stage: Stage) -> None:
    stage.write(DIES, logfile=True)
    answer = stage.command("start")
    assert answer.code == ExitCode.BOOT_FAILED
    assert "LookupError: no such thing" in answer.err and "in spirit" in answer.err, answer.err
    assert answer.out == ""
    assert not _left(stage)
    stage.assert_nothing_is_left()
    assert stage.start().quit() == 0


def test_after_a_restart_the_pidfile_names_the_new_manager(stage: Stage) -> None:
    subject = stage.start()
    assert stage.command("restart") == Answer(0, "Restart successful", "")
    fresh = Subject(stage, int(_pidfile(stage).read_text().splitlines()[0]))
    assert fresh.pid != subject.pid and fresh.is_running() and not is_alive(subject.pid)
    assert stage.wait_code(subject.pid) == 0
    assert fresh.quit() == 0


def test_a_stop_returns_within_moments_of_the_end(stage: Stage) -> None:
    took: list[float] = []
    for _ in range(3):
        subject = stage.start()
        words = [sys.executable, str(stage.place / "subject.py"), "stop"]
        with subprocess.Popen(words, stdout=subprocess.PIPE) as stop:
            wait_gone(subject.pid)
            ended = moment()
            assert stop.wait(30) == 0
            took.append(moment() - ended)
        assert stage.wait_code(subject.pid) == 0
    assert min(took) < 0.5, f"the command returned {took} s after the end"  # the ancestor: 1 s at least, each time


def test_a_mistake_in_an_option_is_told_before_anything_forks_or_is_written(stage: Stage) -> None:
    body = WORK + "\n    def preinit(self):\n        note('preinit')\n"
    for option, value in (("spirits", -1), ("loglevel", "bogus"), ("umask", "9"), ("user", "no such user")):
        stage.write(body, logfile=True, **{option: value})
        answer = stage.command("start")
        assert answer.code != 0
        assert f"option {option}" in answer.err and repr(value) in answer.err, answer.err
        assert {path.name for path in stage.place.iterdir()} == {"subject.py"}


# ── the disk ──
FULL: Final = """
mkdir -p full
mount -t tmpfs -o size=16k none full
dd if=/dev/zero of=full/fill bs=4k count=100 2>/dev/null || true
set +e
$PY subject.py start
echo "code $?"
rm full/fill
echo "left $(ls -A full | wc -l)"
$PY subject.py start >/dev/null
echo "code $?"
$PY subject.py stop >/dev/null
echo "code $?"
"""


@needs_root
@needs_tool("unshare")
@pytest.mark.namespace
@pytest.mark.root
def test_a_full_disk_fails_the_start_with_a_code_and_leaves_nothing(stage: Stage) -> None:
    stage.write(WORK, logfile=True, pidfile=str(stage.place / "full" / "subject.pid"))
    answer = shell(FULL, cwd=stage.place)
    assert answer.out.splitlines() == [f"code {ExitCode.SYSTEM:d}", "left 0", "code 0", "code 0"], answer
    assert "No space left on device" in answer.err and "Traceback" not in answer.err, answer.err
    stage.assert_nothing_is_left()
