"""The word mill as a whole: a daemon on both databases whose spirits are killed, and the demonstration itself."""

import json
import os
import pty
import signal
import subprocess
import sys
from pathlib import Path
from random import Random

import pytest

from examples.wordmill.demo import Ghost
from examples.wordmill.nemesis import PORTION, Blow, Nemesis, Planned, plan, spirits_of
from examples.wordmill.queues import open_queue
from examples.wordmill.reference import compute, differences, load, main, save
from examples.wordmill.tally import corpus, tally
from tests.support import is_dead, wait_until

ROOT = Path(__file__).parents[2]
SHORT = ["--files", "200", "--rounds", "2", "--seed", "7"]

pytestmark = pytest.mark.live


def test_every_job_is_done_exactly_once_although_spirits_are_killed(queue_url: str, tmp_path: Path) -> None:
    paths = corpus(files=80)
    chance = Random(1)
    ghost = Ghost(tmp_path, queue_url, spirits=4)
    with open_queue(queue_url) as queue:
        queue.fill(paths, rounds=2)
        ghost.command("start")
        manager = ghost.manager
        try:
            for share in range(10, 160, 15):
                wait_until(lambda share=share: queue.progress().done >= share, timeout=30)  # type: ignore[misc]
                os.kill(chance.choice(spirits_of(manager)).pid, signal.SIGKILL)
            wait_until(lambda: queue.progress().done == 160, timeout=30)
            wait_until(lambda: len(spirits_of(manager)) == 4)
        finally:
            said = ghost.command("stop")
        assert said == f"Stopped {manager}"
        assert is_dead(manager)
        assert sum("killed by SIGKILL" in line for line in ghost.log_lines()) == 10
        assert differences(queue, compute(paths), 2) == []
        assert len(queue.progress().by_pid) > 4


def test_the_choices_of_the_nemesis_come_from_its_seed() -> None:
    assert plan(7) == plan(7)
    assert plan(7) != plan(8)
    assert len(plan(7)) == sum(PORTION.values())
    assert [planned.share for planned in plan(7)] == sorted(planned.share for planned in plan(7))


def test_the_nemesis_hits_children_of_the_manager_alone(tmp_path: Path) -> None:
    planned = [Planned(0.5, Blow.KILL, 0.99), Planned(0.6, Blow.KILL, 0.0)]
    nemesis = Nemesis(os.getpid(), planned, tmp_path / "log", tmp_path / "log.1", lambda: None)
    with subprocess.Popen(["sleep", "60"]) as child:
        assert nemesis.strike(0.4) is None
        assert nemesis.strike(0.5) == (Blow.KILL, f"SIGKILL to the spirit with pid {child.pid}")
        assert child.wait(10) == -signal.SIGKILL
    assert nemesis.strike(1.0) is None  # nobody is there: it waits for the next one
    assert len(nemesis.planned) == 1


@pytest.mark.slow
def test_the_demonstration_proves_its_result_and_says_what_was_survived() -> None:
    done = _demo(*SHORT)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "400 jobs done exactly once" in done.stdout
    assert "8 x SIGKILL to a spirit" in done.stdout
    assert "2 x SIGSTOP to a spirit" in done.stdout
    assert done.stderr == ""


@pytest.mark.slow
def test_the_demonstration_fails_on_any_difference() -> None:
    wrong = "demo.differences = lambda *_: ['x, round 0: stored too much']"
    code = f"import sys; from examples.wordmill import demo; {wrong}; sys.exit(demo.main(sys.argv[1:]))"
    done = _run("-c", code, *SHORT)
    assert done.returncode == 1
    assert "WRONG: x, round 0: stored too much" in done.stdout


@pytest.mark.slow
def test_the_demonstration_draws_a_table_on_a_terminal() -> None:
    pytest.importorskip("rich")
    ours, theirs = pty.openpty()
    words = [sys.executable, "-m", "examples.wordmill.demo", *SHORT]
    environ = {**os.environ, "TERM": "xterm", "COLUMNS": "120", "LINES": "40"}
    with subprocess.Popen(words, cwd=ROOT, env=environ, stdout=theirs, stderr=theirs, stdin=theirs) as demo:
        os.close(theirs)
        drawn = b""
        try:
            while piece := os.read(ours, 65536):
                drawn += piece
        except OSError:  # EIO: the other end has closed
            pass
        os.close(ours)
    assert demo.returncode == 0, drawn.decode()
    assert b"events so far" in drawn
    assert b"Proved: each of 400 jobs" in drawn


def test_a_demonstration_whose_ghost_does_not_start_says_why_and_fails(tmp_path: Path) -> None:
    done = _demo(*SHORT, "--queue", str(tmp_path / "queue.db"), "--spirits", "-1")
    assert done.returncode == 1
    assert "spirits" in done.stderr


def test_a_queue_that_was_worked_on_before_is_refused(tmp_path: Path) -> None:
    with open_queue(str(tmp_path / "q")) as queue:
        queue.fill(corpus(files=2))
        job = queue.claim()
        assert job is not None
        assert queue.complete(job, tally(job.path))
    done = _demo("--files", "2", "--rounds", "1", "--queue", str(tmp_path / "q"))
    assert done.returncode == 1
    assert "1 jobs are done already" in done.stderr


@pytest.mark.slow
def test_a_demonstration_that_is_ended_takes_its_ghost_with_it(tmp_path: Path) -> None:
    words = [sys.executable, "-u", "-m", "examples.wordmill.demo", "--files", "50", "--rounds", "100"]
    environ = {**os.environ, "TMPDIR": str(tmp_path)}
    with subprocess.Popen(words, cwd=ROOT, env=environ, stdout=subprocess.PIPE, text=True) as demo:
        assert demo.stdout is not None
        manager = next(int(line.split()[1]) for line in demo.stdout if line.startswith("Running "))
        demo.terminate()
        demo.stdout.read()
    assert demo.returncode == 128 + signal.SIGTERM
    assert is_dead(manager)
    assert not list(tmp_path.iterdir())


def test_the_reference_can_be_computed_and_compared_by_hand(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--files", "3", "--write", str(tmp_path / "r.json")]) == 0
    assert load(tmp_path / "r.json") == compute(corpus(files=3))
    save({}, tmp_path / "empty.json")
    assert json.loads((tmp_path / "empty.json").read_text()) == {}
    with open_queue(str(tmp_path / "q")) as queue:
        queue.fill(corpus(files=3))
    assert main([str(tmp_path / "q"), "--files", "3"]) == 1
    assert "3 files, 1 rounds: " in capsys.readouterr().out


def _demo(*arguments: str) -> subprocess.CompletedProcess[str]:
    return _run("-m", "examples.wordmill.demo", *arguments)


def _run(*words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, *words], cwd=ROOT, capture_output=True, text=True, timeout=55, check=False)
