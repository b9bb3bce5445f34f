"""Containers: PID 1, a user that no file knows, and a root that nobody can write to."""

import signal
import sys
from typing import Final

import pytest

from ghostd.errors import ExitCode
from tests.live.harness import WORK, Stage, Subject
from tests.live.places import credentials, open_stage, told
from tests.support import children_of, needs_root, needs_tool, offspring_of, wait_until

pytestmark = [pytest.mark.live, pytest.mark.root, pytest.mark.namespace, needs_root, needs_tool("unshare")]

PID_ONE: Final = ("unshare", "--pid", "--fork", "--mount-proc", "--kill-child")

ORPHANS: Final = """\
class Subject(Prefork):
    def spirit(self):
        for _ in range(20):
            if os.fork() == 0:
                if os.fork() == 0:
                    time.sleep(0.05)
                os._exit(0)
            os.wait()
        note("orphaned")
        while self.tick():
            time.sleep(0.01)
"""

DIES: Final = """\
class Subject(Prefork):
    def spirit(self):
        raise LookupError("no such thing")
"""


def _manager(stage: Stage, outer: Subject) -> Subject:
    """PID 1 of the namespace, as seen from here."""
    (pid,) = children_of(outer.pid)
    return Subject(stage, pid)


@pytest.mark.parametrize("signum", [signal.SIGTERM, signal.SIGINT, signal.SIGQUIT])
def test_pid_1_heeds_what_asks_it_to_stop_and_ends_with_an_honest_code(stage: Stage, signum: int) -> None:
    outer = stage.run(prefix=PID_ONE)
    manager = _manager(stage, outer)
    assert len(manager.spirits()) == 2
    manager.send(signum)
    assert outer.wait_end() == 0
    assert len(stage.notes("leave")) == 2, "they were asked"


def test_pid_1_whose_pool_does_not_come_up_ends_with_its_code(stage: Stage) -> None:
    outer = stage.run(DIES, prefix=PID_ONE, whole=False)
    assert outer.wait_end() == ExitCode.BOOT_FAILED
    assert outer.logged("LookupError: no such thing")


def test_pid_1_reaps_orphans_and_takes_none_for_a_spirit(stage: Stage) -> None:
    outer = stage.run(ORPHANS, prefix=PID_ONE)
    manager = _manager(stage, outer)
    outer.wait_notes("orphaned", 2)
    wait_until(lambda: len(children_of(manager.pid)) == 2, what=f"no zombie: {children_of(manager.pid)}")
    assert len(outer.logged("Spirit .* stopped")) == 0
    manager.send(signal.SIGTERM)
    assert outer.wait_end() == 0


def test_pid_1_twice_with_the_same_pidfile_is_no_obstacle(stage: Stage) -> None:
    outer = stage.run(prefix=PID_ONE)
    _manager(stage, outer).send(signal.SIGKILL)
    outer.wait_end()
    assert (stage.place / "subject.pid").read_text().startswith("1\n")
    (stage.place / "log").unlink()
    again = stage.run(prefix=PID_ONE)
    _manager(stage, again).send(signal.SIGTERM)
    assert again.wait_end() == 0
    assert not (stage.place / "subject.pid").exists()


@needs_tool("setpriv")
def test_a_user_without_an_entry_and_without_a_home_runs_a_ghost() -> None:
    prefix = ("setpriv", "--reuid", "1234567", "--regid", "7654321", "--clear-groups")
    with open_stage() as stage:
        stage.write(WORK, logfile=True)
        answer = told(stage, "start", prefix=prefix, environ={"HOME": "", "USER": "", "LOGNAME": ""})
        assert answer.code == 0, answer
        subject = Subject(stage, stage.pid_of(answer))
        for pid in (subject.pid, *subject.wait_spirits(2)):
            assert credentials(pid)[:2] == ({1234567}, {7654321})
        assert told(stage, "stop", prefix=prefix).out == f"Stopped {subject.pid}"
        assert subject.wait_end() == 0


READ_ONLY: Final = """
mount --rbind / {root}
mount -o remount,ro,bind {root}
mount -t tmpfs -o size=64k tmpfs {root}/dev/shm && mount -o remount,ro {root}/dev/shm
mount --bind /proc {root}/proc
exec chroot {root} env -u HOME -C {place} $PY subject.py run
"""

READ_ONLY_BODY: Final = """\
def note(*words):
    pass

class Subject(Prefork):
    def spirit(self):
        while self.tick():
            time.sleep(0.01)
"""


def _read_only(stage: Stage, pidfile: str | None) -> Subject:
    """Run it where nothing can be written to, the log on stderr."""
    root = stage.place / "root"
    root.mkdir()
    script = READ_ONLY.format(root=root, place=stage.place)
    words = ("unshare", "--mount", "--propagation", "private", "env", f"PY={sys.executable}", "bash", "-ec", script)
    return stage.run(READ_ONLY_BODY, prefix=(*words, "-"), whole=False, pidfile=pidfile)


def test_run_works_without_a_disk_that_can_be_written_to_where_no_pidfile_is_asked_for(stage: Stage) -> None:
    subject = _read_only(stage, pidfile=None)
    subject.wait_log("Pool is whole")
    assert subject.logged("without a pidfile"), subject.report()
    assert len(offspring_of(subject.pid)) == 2
    subject.send(signal.SIGTERM)
    assert subject.wait_end() == 0


def test_a_pidfile_that_was_asked_for_and_cannot_be_made_is_an_error(stage: Stage) -> None:
    subject = _read_only(stage, str(stage.place / "subject.pid"))
    assert subject.wait_end() == ExitCode.SYSTEM
    assert subject.logged("subject.pid.* cannot be used.*Read-only file system")
