"""The whole command on real daemons: each kind of program, each command, its words and its exit code."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from ghostd.errors import ExitCode
from tests.conftest import deadline, wait_gone, wait_until
from tests.support import children_of, is_alive

pytestmark = pytest.mark.live

PROGRAM = """
import sys, time
from ghostd import Ghost, Prefork

class Mailer(Prefork):
    spirits = 2

    def preinit(self):
        open("preinit", "w").close()

    def spirit(self):
        while self.tick():
            time.sleep(0.01)

class Slow(Mailer):
    def spirit(self):
        while self.tick():
            time.sleep(0.01)
        time.sleep(1.5)

class Deaf(Mailer):
    graceful_timeout = 0.3
    stop_margin = 0.3

    def spirit(self):
        while True:
            self.tick()
            time.sleep(0.01)

class Stillborn(Mailer):
    def spirit(self):
        raise ValueError("no letters today")

class Broken(Mailer):
    def init(self):
        raise ValueError("no stamps today")

class Plain(Ghost):
    def startup(self):
        self.report_up()
        while self.ok:
            time.sleep(0.01)

made = Mailer(spirits=1, logfile=sys.argv[0] + ".log")

def work():
    while True:
        time.sleep(0.05)

def polite(ghost):
    while ghost.tick():
        time.sleep(0.01)

async def wait(ghost):
    await ghost.wait_stopping()
"""

Run = subprocess.CompletedProcess[str]


class Post:
    """A folder with programs in it, and the command given there."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.environ = {name: value for name, value in os.environ.items() if not name.startswith("GHOSTD_")}
        (folder / "mailer.py").write_text(PROGRAM)

    def __call__(self, line: str, folder: Path | None = None) -> Run:
        command = [sys.executable, "-m", "ghostd", *line.split()]
        return subprocess.run(
            command,
            cwd=folder or self.folder,
            env=self.environ,
            capture_output=True,
            text=True,
            timeout=50,
            check=False,
        )

    def start(self, target: str, flags: str = "") -> int:
        done = self(f"start {target} --logfile log {flags}")
        assert (done.returncode, done.stderr) == (0, ""), done
        word, _, pid = done.stdout.strip().partition(" ")
        assert word == "Running"
        return int(pid)

    def pidfile_pid(self) -> int | None:
        path = self.folder / "mailer.pid"
        return int(path.read_text().split()[0]) if path.exists() else None

    def status(self) -> dict[str, object]:
        told = json.loads(self("status --name mailer --json").stdout)
        assert isinstance(told, dict)
        return told

    def spirits(self) -> set[int]:
        told = self.status()["spirits"]
        assert isinstance(told, list)
        return {spirit["pid"] for spirit in told}


@pytest.fixture
def post(tmp_path: Path) -> Iterator[Post]:
    made = Post(tmp_path)
    yield made
    made("stop --name mailer --graceful-timeout 1 --stop-margin 1")


def answers(done: Run, stdout: str, code: int = 0) -> None:
    assert (done.returncode, done.stdout, done.stderr) == (code, stdout, "")


# ── every kind of program ──
@pytest.mark.parametrize(
    ("target", "spirits"),
    [
        ("mailer:Mailer", 2),
        ("mailer.py:Mailer", 2),
        ("mailer:work --spirits 3", 3),
        ("mailer:polite --workers 1", 1),
        ("mailer:wait --spirits 2", 2),
        ("mailer:Mailer --spirits 0", 0),
        ("mailer:Plain", 0),
    ],
)
def test_a_program_of_every_kind_starts_is_seen_and_stops(post: Post, target: str, spirits: int) -> None:
    pid = post.start(target)
    assert post.pidfile_pid() == pid
    answers(post("status --name mailer"), f"Running {pid}\n")
    told = post.status()
    assert (told["running"], told["pid"], told["code"], told["name"]) == (True, pid, 0, "mailer")
    assert post.spirits() == {child for child, state in children_of(pid).items() if state not in "ZX"}
    assert len(post.spirits()) == spirits
    answers(post("stop --name mailer"), f"Stopped {pid}\n")
    wait_gone(pid)
    answers(post("status --name mailer"), "Not running\n", ExitCode.NOT_RUNNING)
    assert not list(post.folder.glob("mailer.pid*"))


def test_a_ghost_that_is_made_already_starts_as_it_is(post: Post) -> None:
    done = post("start mailer:made")
    pid = post.pidfile_pid()
    answers(done, f"Running {pid}\n")
    assert len(post.spirits()) == 1
    answers(post("stop mailer:made"), f"Stopped {pid}\n")


def test_a_file_names_program_and_options(post: Post) -> None:
    (post.folder / "ghostd.toml").write_text('target = "mailer:Mailer"\nspirits = 1\nlogfile = "log"\n')
    done = post("start")
    pid = post.pidfile_pid()
    answers(done, f"Running {pid}\n")
    answers(post("status"), f"Running {pid}\n")
    assert len(post.spirits()) == 1
    answers(post("reload"), f"Reloading {pid}\n")
    answers(post("stop"), f"Stopped {pid}\n")


@pytest.mark.parametrize("target", ["mailer:Mailer", "mailer.py:Mailer"])
def test_a_file_means_the_same_from_another_folder(
    post: Post, target: str, tmp_path_factory: pytest.TempPathFactory
) -> None:
    elsewhere = tmp_path_factory.mktemp("elsewhere")
    file = post.folder / "ghostd.toml"
    file.write_text(f'target = "{target}"\nspirits = 1\nlogfile = "log"\n')
    done = post(f"start {file}", elsewhere)
    pid = post.pidfile_pid()
    answers(done, f"Running {pid}\n")
    answers(post(f"status {file}", elsewhere), f"Running {pid}\n")
    answers(post("status"), f"Running {pid}\n")
    answers(post(f"stop {file}", elsewhere), f"Stopped {pid}\n")
    assert (post.folder / "log").exists()


# ── every command ──
def test_a_second_start_finds_the_first(post: Post) -> None:
    pid = post.start("mailer:Mailer")
    answers(post("start mailer:Mailer"), f"Already running {pid}\n")
    assert post.pidfile_pid() == pid


def test_stop_by_target_pidfile_and_name_is_the_same(post: Post) -> None:
    for line in ("mailer:Mailer", "--pidfile mailer.pid", "--name mailer", "--name mailer --stop-margin 3"):
        pid = post.start("mailer:Mailer")
        answers(post(f"stop {line}"), f"Stopped {pid}\n")
        answers(post(f"stop {line}"), "Not running\n")


def test_restart_gives_another_daemon(post: Post) -> None:
    old = post.start("mailer:Mailer")
    answers(post("restart mailer:Mailer --logfile log"), "Restart successful\n")
    new = post.pidfile_pid()
    assert new not in (None, old)
    assert not is_alive(old)
    answers(post("status mailer:Mailer"), f"Running {new}\n")


def test_restart_of_what_does_not_run_starts_it(post: Post) -> None:
    answers(post("restart mailer:Mailer --logfile log"), "Restart successful\n")
    assert post.pidfile_pid() is not None


@pytest.mark.parametrize("line", ["restart mailer:Nothing", "restart mailer:Mailer --spirits many"])
def test_a_restart_that_cannot_work_leaves_the_running_one_alone(post: Post, line: str) -> None:
    pid = post.start("mailer:Mailer")
    assert post(line).returncode in (ExitCode.BAD_TARGET, ExitCode.BAD_OPTION)
    answers(post("status --name mailer"), f"Running {pid}\n")


@pytest.mark.parametrize("line", ["reload --name mailer", "reload mailer:Mailer", "reload --pidfile mailer.pid"])
def test_reload_gives_the_same_daemon_new_spirits(post: Post, line: str) -> None:
    pid = post.start("mailer:Mailer")
    old = post.spirits()
    answers(post(line), f"Reloading {pid}\n")
    wait_until(lambda: len(post.spirits()) == 2 and not post.spirits() & old, what="two new spirits")
    answers(post("status --name mailer"), f"Running {pid}\n")


def test_reload_of_what_does_not_run_starts_it(post: Post) -> None:
    done = post("reload mailer:Mailer --logfile log")
    answers(done, f"Running {post.pidfile_pid()}\n")


@pytest.mark.parametrize("signum", [signal.SIGTERM, signal.SIGINT, signal.SIGQUIT])
def test_run_stays_in_the_foreground_until_it_is_asked_to_stop(post: Post, signum: int) -> None:
    command = [sys.executable, "-m", "ghostd", "run", "mailer:Mailer"]
    with subprocess.Popen(
        command, cwd=post.folder, env=post.environ, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as running:
        wait_until(lambda: len(post.spirits()) == 2, what="two spirits")
        assert post.status()["pid"] == running.pid
        running.send_signal(signum)
        stdout, stderr = running.communicate(timeout=20)
    assert (running.returncode, stdout) == (0, "")
    assert "Traceback" not in stderr
    assert "Manager" in stderr  # its log


# ── stopping takes what it takes ──
def test_stop_waits_for_spirits_that_finish_what_is_in_hand(post: Post) -> None:
    pid = post.start("mailer:Slow")
    answers(post("stop mailer:Slow"), f"Stopped {pid}\n")
    assert "SIGKILL" not in (post.folder / "log").read_text()


def test_stop_of_a_longer_job_needs_no_target_where_the_limit_is_given(post: Post) -> None:
    pid = post.start("mailer:Slow")
    answers(post("stop --name mailer --graceful-timeout 20"), f"Stopped {pid}\n")


def test_stop_tells_whom_it_has_stopped_though_that_one_ended_while_the_program_was_loaded(post: Post) -> None:
    pid = post.start("mailer:Slow")
    with (post.folder / "mailer.py").open("a") as program:
        program.write("\ntime.sleep(3)\n")
    answers(post("stop mailer:Slow"), f"Stopped {pid}\n")


def test_stop_honours_the_limit_that_the_class_has(post: Post) -> None:
    pid = post.start("mailer:Deaf")
    with deadline(30.0, "a stop with graceful_timeout 0.3"):
        answers(post("stop mailer:Deaf"), f"Stopped {pid}\n")


def test_a_stopped_manager_is_stopped_within_the_limit(post: Post) -> None:
    pid = post.start("mailer:Deaf")
    os.kill(pid, signal.SIGSTOP)
    with deadline(30.0, "a stop of a stopped manager"):
        answers(post("stop mailer:Deaf"), f"Stopped {pid}\n")


# ── what goes wrong ──
def test_a_wrong_option_is_told_before_anything_forks_or_runs(post: Post) -> None:
    done = post("start mailer:Mailer --heartbeat-timeout soon")
    assert done.returncode == ExitCode.BAD_OPTION
    assert "(from --heartbeat-timeout)" in done.stderr
    assert sorted(path.name for path in post.folder.iterdir()) == ["mailer.py"]


@pytest.mark.parametrize(
    ("name", "told", "code"),
    [
        ("Stillborn", "no letters today", ExitCode.BOOT_FAILED),
        ("Broken", "no stamps today", ExitCode.BOOT_FAILED),
    ],
)
def test_a_start_that_fails_says_why_and_leaves_nothing(post: Post, name: str, told: str, code: ExitCode) -> None:
    done = post(f"start mailer:{name} --logfile log")
    assert (done.returncode, done.stdout) == (code, ""), done
    assert done.stderr.startswith("ghostd: ")
    assert told in done.stderr
    answers(post("status --name mailer"), "Not running\n", ExitCode.NOT_RUNNING)
    assert not list(post.folder.glob("mailer.pid*"))


@pytest.mark.parametrize("name", ["Stillborn", "Broken"])
def test_a_run_that_fails_says_why(post: Post, name: str) -> None:
    done = post(f"run mailer:{name}")
    assert (done.returncode, done.stdout) == (ExitCode.BOOT_FAILED, "")
    assert "today" in done.stderr


def test_a_killed_manager_leaves_no_spirit_and_its_pidfile_is_told_and_taken_over(post: Post) -> None:
    pid = post.start("mailer:Mailer")
    spirits = post.spirits()
    os.kill(pid, signal.SIGKILL)
    wait_gone(pid, *spirits)
    answers(post("status --name mailer"), "Not running\n", ExitCode.FAILED)
    assert post.start("mailer:Mailer") != pid


def test_a_run_beside_a_running_one_is_refused(post: Post) -> None:
    pid = post.start("mailer:Mailer")
    done = post("run mailer:Mailer")
    assert done.returncode != 0
    assert str(pid) in done.stderr
    answers(post("status --name mailer"), f"Running {pid}\n")


def test_six_starts_at_once_have_one_winner(post: Post) -> None:
    command = [sys.executable, "-m", "ghostd", "start", "mailer:Mailer", "--logfile", "log"]
    started = [
        subprocess.Popen(command, cwd=post.folder, env=post.environ, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        for _ in range(6)
    ]
    told = [one.communicate(timeout=50) for one in started]
    pid = post.pidfile_pid()
    assert pid is not None
    answers(post("status --name mailer"), f"Running {pid}\n")
    assert {out for out, _ in told} <= {f"Running {pid}\n".encode(), f"Already running {pid}\n".encode()}, told
    assert {one.returncode for one in started} == {0}
    assert len((post.folder / "log").read_text().split(" Manager ")) == 2


@pytest.mark.parametrize("make", [Path.mkdir, os.mkfifo], ids=["directory", "fifo"])
def test_what_is_no_pidfile_is_an_error_of_one_line(post: Post, make: Callable[[Path], None]) -> None:
    make(post.folder / "mailer.pid")
    for line in ("status --name mailer", "start mailer:Mailer --logfile log"):
        done = post(line)
        assert done.returncode == ExitCode.DENIED
        assert done.stderr.count("\n") == 1
        assert "mailer.pid" in done.stderr
    os.rename(post.folder / "mailer.pid", post.folder / "mailer.was")
