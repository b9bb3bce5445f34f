"""Whatever ends a spirit, there is another one at once, and nothing of the old one is left behind."""

import os
import re
import signal
from contextlib import suppress
from pathlib import Path

import pytest

from tests.live.harness import AT_ONCE, WORK, WORK_WITHOUT_PIDFD, Stage, Subject, moment
from tests.support import is_alive, needs_tool, wait_gone, wait_until

pytestmark = pytest.mark.live

BOTH_WAYS = pytest.mark.parametrize("body", [WORK, WORK_WITHOUT_PIDFD], ids=["pidfd", "no pidfd"])


def kill_one(subject: Subject, signum: int = signal.SIGKILL) -> tuple[int, float]:
    """End one spirit and wait for the next: its pid, and the seconds from the signal to the first words of the next."""
    begun = len(subject.notes("begin"))
    victim = min(subject.spirits())
    at = moment()
    os.kill(victim, signum)
    return victim, subject.wait_notes("begin", begun + 1)[-1].at - at


@BOTH_WAYS
def test_a_killed_spirit_is_replaced_at_once(stage: Stage, body: str) -> None:
    subject = stage.run(body, heartbeat_interval=60.0)  # a deadline that somebody else has would come much later
    took = [kill_one(subject)[1] for _ in range(7)]
    assert max(took) < AT_ONCE, took
    assert len(subject.wait_log("killed by SIGKILL", 7)) == 7
    assert not subject.logged("waits|back-off"), "none of the replacements was held back"
    assert subject.quit() == 0


@pytest.mark.parametrize("name", ["SIGTERM", "SIGINT", "SIGSEGV", "SIGABRT", "SIGHUP", "SIGUSR1"])
def test_a_spirit_that_a_signal_ends_is_replaced_and_the_signal_logged_by_name(stage: Stage, name: str) -> None:
    subject = stage.run()
    victim, _ = kill_one(subject, signal.Signals[name])
    (line,) = subject.wait_log(f"Spirit {victim} stopped")
    assert f"killed by {name}" in line
    assert re.search(r"\[error\].*seat \d.*nobody had asked it to", line), line
    assert victim not in subject.wait_spirits(2)
    assert subject.quit() == 0


def test_a_spirit_that_is_asked_to_quit_by_anybody_leaves_gracefully_and_is_replaced(stage: Stage) -> None:
    subject = stage.run()
    victim, took = kill_one(subject, signal.SIGQUIT)
    assert took < AT_ONCE
    (line,) = subject.wait_log(f"Spirit {victim} stopped")
    assert "exit code 0" in line and "it said that it leaves" in line
    assert [note.pid for note in subject.notes("leave")] == [victim]
    assert subject.quit() == 0


ENDS_BY_ITSELF = """\
class Subject(Prefork):
    def spirit(self):
        note("begin")
        while self.tick():
            time.sleep(0.01)
            if self.serial <= 2 and os.path.exists("go"):
                return
"""


def test_a_spirit_that_ends_normally_is_replaced_at_once(stage: Stage) -> None:
    subject = stage.run(ENDS_BY_ITSELF)
    at = moment()
    (stage.place / "go").touch()
    notes = subject.wait_notes("begin", 4)
    assert notes[-1].at - at < AT_ONCE
    assert len(subject.wait_log(r"exit code 0 after", 2)) == 2
    assert subject.quit() == 0


EVERY_CODE = """\
class Subject(Prefork):
    def spirit(self):
        note("begin")
        self.ready()
        if 2 < self.serial <= 258:
            os._exit(self.serial - 3)
        while self.tick():
            time.sleep(0.01)
"""


@pytest.mark.slow
def test_no_exit_code_of_a_spirit_means_anything_to_the_manager(stage: Stage) -> None:
    subject = stage.run(EVERY_CODE)
    kill_one(subject)
    subject.wait_notes("begin", 3 + 256, timeout=40)
    subject.wait_spirits(2)
    found = re.findall(r"exit code (\d+) after", subject.log())
    assert sorted(map(int, found)) == list(range(256))
    assert subject.quit() == 0


def test_a_pool_of_64_of_which_all_are_killed_is_whole_again(stage: Stage) -> None:
    subject = stage.run(spirits=64)
    victims = subject.spirits()
    assert len(victims) == 64
    for victim in victims:
        os.kill(victim, signal.SIGKILL)
    subject.wait_spirits(64, without=victims)
    subject.wait_notes("ready", 128)
    wait_until(lambda: not subject.zombies(), what="no zombie")
    assert len(subject.logged("killed by SIGKILL")) == 64
    assert subject.quit() == 0


KILLED_WHILE_SPAWN_RUNS = """\
class Subject(Prefork):
    victims = 0

    def spawn(self, pid):
        if os.path.exists("go") and self.victims < 3:
            self.victims += 1
            os.kill(pid, signal.SIGKILL)
            os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)  # dead before the hook returns
            note("victim", pid)

    def reap(self, pid):
        note("reap", pid)

    def spirit(self):
        note("begin")
        while self.tick():
            time.sleep(0.01)
"""


def test_a_spirit_killed_during_the_spawn_hook_is_known_reaped_and_replaced(stage: Stage) -> None:
    subject = stage.run(KILLED_WHILE_SPAWN_RUNS)
    (stage.place / "go").touch()
    first, _ = kill_one(subject)
    victims = [int(note.more[0]) for note in subject.wait_notes("victim", 3)]
    assert sorted(int(note.more[0]) for note in subject.wait_notes("reap", 4)) == sorted([first, *victims])
    subject.wait_spirits(2)
    assert not subject.zombies()
    assert subject.quit() == 0


HAS_CHILDREN = """\
import subprocess

class Subject(Prefork):
    def spirit(self):
        deaf = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print(flush=True); time.sleep(1000)"
        child = subprocess.Popen([sys.executable, "-c", deaf], stdout=subprocess.PIPE)
        child.stdout.readline()
        grandchild = os.fork()
        if grandchild == 0:
            if os.fork() == 0:
                signal.signal(signal.SIGTERM, signal.SIG_IGN)
                note("offspring", os.getpid())
                time.sleep(1000)
            os._exit(0)
        os.waitpid(grandchild, 0)
        note("offspring", child.pid)
        while self.tick():
            time.sleep(0.01)
"""


@BOTH_WAYS
def test_what_a_killed_spirit_has_started_goes_with_it(stage: Stage, body: str) -> None:
    has_children = (
        HAS_CHILDREN.replace("Prefork):", "Prefork):\n    use_pidfd = False") if "use" in body else HAS_CHILDREN
    )
    subject = stage.run(has_children, spirits=1)
    offspring = [int(note.more[0]) for note in subject.wait_notes("offspring", 2)]
    assert all(is_alive(pid) for pid in offspring)
    (victim,) = subject.spirits()
    os.kill(victim, signal.SIGKILL)
    wait_gone(*offspring)
    later = [int(note.more[0]) for note in subject.wait_notes("offspring", 4)[2:]]
    assert subject.quit() == 0, "and with one that leaves"
    wait_gone(*later)


CENSUS = """\
class Subject(Prefork):
    def init(self):
        self.mine = open("mine", "w")

    def spirit(self):
        found = []
        for name in sorted(os.listdir("/proc/self/fd"), key=int):
            try:
                found.append(name + "=" + os.readlink("/proc/self/fd/" + name).replace(" ", "_"))
            except FileNotFoundError:
                pass  # the one that lists the folder
        note("census", *found)
        while self.tick():
            time.sleep(0.01)
"""


def kinds(census: tuple[str, ...], place: Path) -> list[str]:
    """What each descriptor is, without the number of a pipe."""
    told = (entry.partition("=")[2].replace(f"{place}/", "") for entry in census)
    return sorted(re.sub(r"\[\d+\]", "", one) for one in told)


def descriptors(subject: Subject) -> list[str]:
    """Those of the manager, of whatever number, once it is at rest: what it opens for a moment is no part of them."""
    looks: list[list[str]] = []

    def is_at_rest() -> bool:
        found = []
        for entry in Path(f"/proc/{subject.pid}/fd").iterdir():
            with suppress(FileNotFoundError):  # it was closed just now
                found.append(os.readlink(entry))
        looks.append(sorted(found))
        return len(looks) > 4 and all(look == looks[-1] for look in looks[-4:])

    wait_until(is_at_rest, what="a manager at rest")
    return looks[-1]


@pytest.mark.parametrize("detached", [False, True], ids=["run", "start"])
def test_each_spirit_has_the_expected_descriptors_also_after_50_replacements(stage: Stage, detached: bool) -> None:
    subject = stage.start(CENSUS, chdir=str(stage.place)) if detached else stage.run(CENSUS)
    before = descriptors(subject)
    for count in range(1, 51):
        os.kill(max(subject.spirits()), signal.SIGKILL)
        subject.wait_notes("census", 2 + count)
    # stdin, stdout and stderr; the log; the life pipe and the bell; and the user's.
    expected = sorted(["/dev/null", "log", "log", "log", "pipe:", "pipe:", "mine"])
    for note in subject.notes("census"):
        assert kinds(note.more, stage.place) == expected
    wait_until(lambda: not subject.zombies())
    assert descriptors(subject) == before, "the manager's own are the same"
    assert subject.quit() == 0


LIMITS = """\
import resource

class Subject(Prefork):
    def spirit(self):
        note("limit", *resource.getrlimit(resource.RLIMIT_NOFILE))
        while self.tick():
            time.sleep(0.01)
"""


@needs_tool("prlimit")
def test_a_spirit_has_the_limit_of_descriptors_that_the_manager_was_started_with(stage: Stage) -> None:
    subject = stage.run(LIMITS, prefix=["prlimit", "--nofile=100:4096"])
    limits = Path(f"/proc/{subject.pid}/limits").read_text()
    found = re.search(r"Max open files\s+(\d+)\s+(\d+)", limits)
    assert found and int(found[1]) > 100, "the manager has raised its own"
    assert {note.more for note in subject.wait_notes("limit", 2)} == {("100", "4096")}
    assert subject.quit() == 0


ENDS_ONCE = """\
import atexit

class Subject(Prefork):
    def init(self):
        atexit.register(note, "atexit")
        self.file = open("buffered", "w")
        self.file.write("once\\n")
        print("printed", end="")

    def spirit(self):
        note("begin")
        while self.tick():
            time.sleep(0.01)
"""


def test_a_spirit_ends_without_running_what_the_manager_has_registered_or_not_yet_written(stage: Stage) -> None:
    subject = stage.run(ENDS_ONCE)
    kill_one(subject, signal.SIGQUIT)
    assert subject.quit() == 0
    assert {note.pid for note in subject.notes("atexit")} == {subject.pid}
    assert (stage.place / "buffered").read_text() == "once\n"
    assert subject.log().count("printed") == 1


def test_the_manager_has_one_thread_before_and_after_its_forks(stage: Stage) -> None:
    subject = stage.run()
    tasks = Path(f"/proc/{subject.pid}/task")
    assert len(list(tasks.iterdir())) == 1
    for _ in range(5):
        kill_one(subject)
        assert len(list(tasks.iterdir())) == 1
    assert subject.quit() == 0
