"""The queue of the word mill in both databases; claimers are processes, because a claim ends with a process."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Self

import pytest

from examples.wordmill.queues import ClaimLostError, Job, SqliteQueue, open_queue
from examples.wordmill.reference import compute, differences
from examples.wordmill.tally import Tally, corpus, tally
from tests.support import wait_until

ROOT = Path(__file__).parents[2]
CLAIMER = """
import sys
from examples.wordmill.queues import open_queue
from examples.wordmill.tally import tally
with open_queue(sys.argv[1]) as queue:
    for order in sys.stdin:
        if order == "claim\\n":
            job = queue.claim()
            print("none" if job is None else f"{job.path} {job.round}", flush=True)
        elif order == "complete\\n":
            print(queue.complete(job, tally(job.path)), flush=True)
        else:
            queue._db.execute("BEGIN IMMEDIATE")
            print("held", flush=True)
"""


class Claimer:
    """A process that claims when it is told to."""

    def __init__(self, url: str) -> None:
        words = [sys.executable, "-c", CLAIMER, url]
        environ = {**os.environ, "PYTHONPATH": str(ROOT)}
        self.process = subprocess.Popen(words, env=environ, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def tell(self, order: str) -> str:
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(order + "\n")
        self.process.stdin.flush()
        return self.process.stdout.readline().strip()

    def end(self) -> None:
        self.process.kill()
        self.process.communicate()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.end()


@pytest.fixture
def claimers(queue_url: str) -> Iterator[tuple[Claimer, Claimer]]:
    with ExitStack() as stack:
        yield stack.enter_context(Claimer(queue_url)), stack.enter_context(Claimer(queue_url))


def fill(url: str, paths: list[str], rounds: int = 1) -> None:
    with open_queue(url) as queue:
        queue.fill(paths, rounds)


def test_two_processes_never_claim_the_same_job(queue_url: str, claimers: tuple[Claimer, Claimer]) -> None:
    fill(queue_url, ["a", "b"])
    assert sorted(one.tell("claim") for one in claimers) == ["a 0", "b 0"]


def test_a_claim_of_a_killed_process_is_free_again(queue_url: str, claimers: tuple[Claimer, Claimer]) -> None:
    fill(queue_url, ["a"])
    first, second = claimers
    assert first.tell("claim") == "a 0"
    assert second.tell("claim") == "none"
    first.end()
    wait_until(lambda: second.tell("claim") == "a 0")  # the server hears of the death soon, not at once


def test_a_claim_of_a_stopped_process_stays_its_own(queue_url: str, claimers: tuple[Claimer, Claimer]) -> None:
    fill(queue_url, ["a"])
    first, second = claimers
    assert first.tell("claim") == "a 0"
    first.process.send_signal(signal.SIGSTOP)
    assert second.tell("claim") == "none"
    first.process.send_signal(signal.SIGCONT)
    assert first.tell("complete") == "True"
    assert second.tell("claim") == "none"


def test_a_job_that_was_claimed_and_never_completed_is_claimed_again_by_the_same_process(queue_url: str) -> None:
    fill(queue_url, ["a"])
    with open_queue(queue_url) as queue:
        assert queue.claim() == queue.claim()


def test_a_result_enters_only_once(queue_url: str) -> None:
    fill(queue_url, ["a", "b"])
    with open_queue(queue_url) as queue:
        job = queue.claim()
        assert job is not None
        assert queue.complete(job, Tally("x", {"NAME": 2}))
        with pytest.raises(ClaimLostError):
            queue.complete(job, Tally("x", {"NAME": 2}))
        assert queue.totals() == {"NAME": 2}
        assert [(result.path, result.done) for result in queue.results()] == [("a", 1), ("b", 0)]


def test_filling_twice_adds_nothing(queue_url: str) -> None:
    fill(queue_url, ["a"], rounds=2)
    fill(queue_url, ["a"], rounds=2)
    with open_queue(queue_url) as queue:
        assert queue.progress().files == 2


def test_what_somebody_else_has_claimed_cannot_be_completed(tmp_path: Path) -> None:
    fill(str(tmp_path / "q"), ["a"])
    with SqliteQueue(str(tmp_path / "q")) as queue, pytest.raises(ClaimLostError, match="not claimed by pid"):
        queue.complete(Job(1, "a", 0), Tally("x"))


def test_a_database_held_by_another_is_told_as_busy_and_not_as_an_error(tmp_path: Path) -> None:
    path = str(tmp_path / "q")
    fill(path, ["a"])
    with Claimer(path) as holder, SqliteQueue(path, busy=0.02) as queue:
        job = queue.claim()
        assert job is not None
        assert holder.tell("hold") == "held"
        assert queue.claim() is None
        assert not queue.complete(job, Tally("x"))
        holder.end()
        assert queue.complete(job, Tally("x"))
        assert queue.taken_over() == 0


def test_a_job_done_by_many_processes_equals_the_reference(queue_url: str, claimers: tuple[Claimer, Claimer]) -> None:
    paths = corpus(files=6)
    fill(queue_url, paths, rounds=2)
    answers = [one.tell(order) for _ in paths for one in claimers for order in ("claim", "complete")]
    assert answers[1::2] == ["True"] * 12
    with open_queue(queue_url) as queue:
        assert differences(queue, compute(paths), 2) == []
        assert queue.progress().by_pid.keys() == {one.process.pid for one in claimers}


@pytest.mark.parametrize(
    ("damage", "told"),
    [
        ("DELETE FROM job WHERE id = 1", "not in the queue"),
        ("INSERT INTO job (path, round) VALUES ('stranger', 0)", "stranger, round 0: not a file of the corpus"),
        ("DELETE FROM result WHERE job = 1", "completed 1 times, no result"),
        ("UPDATE job SET done = 2 WHERE id = 1", "completed 2 times, a result"),
        ("UPDATE result SET sha256 = 'f' WHERE job = 1", "sha256='f'"),
        ("UPDATE result SET error = 'SyntaxError' WHERE job = 1", "error='SyntaxError'"),
        ("UPDATE token SET count = count + 1 WHERE job = 1 AND type = 'NAME'", "the reference has"),
        ("DELETE FROM token WHERE job = 1 AND type = 'NAME'", "the reference has"),
        ("UPDATE total SET count = count + 1 WHERE type = 'NAME'", "tokens of type NAME in all"),
    ],
)
def test_any_damage_is_a_difference(tmp_path: Path, damage: str, told: str) -> None:
    paths = corpus(files=2)
    fill(str(tmp_path / "q"), paths)
    with SqliteQueue(str(tmp_path / "q")) as queue:
        while job := queue.claim():
            queue.complete(job, tally(job.path))
        assert differences(queue, compute(paths), 1) == []
        queue._db.execute(damage)
        assert any(told in line for line in differences(queue, compute(paths), 1))


def test_a_file_that_does_not_tokenise_has_its_kind_of_error_as_the_result(tmp_path: Path) -> None:
    broken = tmp_path / "broken.py"
    broken.write_text("if (\n")
    found = tally(str(broken))
    assert found.error == "TokenError"
    assert found.tokens == {}
    assert len(found.sha256) == 64
    assert tally(str(tmp_path / "missing.py")) == Tally("", error="FileNotFoundError")


def test_the_corpus_is_the_standard_library_alone() -> None:
    paths = corpus()
    assert any(path.endswith("/tokenize.py") for path in paths)
    assert not any("-packages" in path for path in paths)
    assert len(set(corpus(files=7))) == 7
