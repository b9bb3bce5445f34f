"""The demonstration: a real daemon does a real job while it is beaten, and the result is proved.

Run: ``python -m examples.wordmill.demo``, or ``make demo``. Seen: the standard library's files are tokenised by four
spirits while some of them are killed or stopped, the pool grows and shrinks, is reloaded, and its log is rotated; then
each file's result is compared with a reference computed by one process beside it. Exits 1 on any difference.
"""

import argparse
import os
import re
import secrets
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

from examples.wordmill.display import Display, View, display
from examples.wordmill.nemesis import PORTION, Blow, Nemesis, Planned, look, plan, spirits_of
from examples.wordmill.queues import Queue, open_queue
from examples.wordmill.reference import differences, load
from examples.wordmill.tally import corpus, tally

ROOT = Path(__file__).parents[2]
TARGET = "examples.wordmill.mill:Mill"
SHOWN = 20  # lines of what is wrong, and of the log
TOLD = {  # in the words of the ghost's log
    "spirits started": r"Spirit \d+ started",
    "of them ended by SIGKILL": r"Spirit \d+ stopped .*killed by SIGKILL",
    "found without a heartbeat": r"Spirit \d+ has no heartbeat",
    "reloads done": r"Reloaded:",
    "reloads taken back, because a blow hit the new generation": r"Reload failed:",
    "errors and worse": r"\[(error|crit|alert|emerg)\]",
}
LIMIT = 600.0  # seconds after which the demonstration gives up: something hangs
TIMES = {  # shorter than the defaults, so that a stopped spirit is found while one looks on
    "--heartbeat-interval": "1",
    "--heartbeat-timeout": "3",
    "--silent-timeout": "0.5",
    "--graceful-timeout": "10",
}


@dataclass(slots=True)
class Ghost:
    """The daemon under test, spoken to as a person would: by the command."""

    place: Path
    queue: str
    spirits: int

    @property
    def pidfile(self) -> Path:
        return self.place / "wordmill.pid"

    @property
    def log(self) -> Path:
        return self.place / "wordmill.log"

    @property
    def rotated(self) -> Path:
        return self.place / "wordmill.log.1"

    @property
    def manager(self) -> int:
        return int(self.pidfile.read_text().split()[0])

    def log_lines(self) -> list[str]:
        """Every line of the log, rotated or not."""
        return [line for path in (self.rotated, self.log) if path.exists() for line in path.read_text().splitlines()]

    def command(self, verb: str) -> str:
        """Run ``ghostd VERB`` and return what it said; CalledProcessError when it failed."""
        options = {"--pidfile": self.pidfile, "--logfile": self.log, "--spirits": self.spirits, **TIMES}
        flags = [str(part) for option in options.items() for part in option]
        path = os.pathsep.join([str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])])
        environ = {**os.environ, "WORDMILL_QUEUE": self.queue, "PYTHONPATH": path}
        words = [sys.executable, "-m", "ghostd", verb, TARGET, *flags]
        done = subprocess.run(words, cwd=ROOT, env=environ, capture_output=True, text=True, timeout=LIMIT, check=False)
        if done.returncode:
            raise subprocess.CalledProcessError(done.returncode, words, done.stdout, done.stderr)
        return done.stdout.strip()


@dataclass(slots=True)
class Findings:
    """What was done to the ghost, what was seen of it, and what is wrong."""

    sent: Counter[Blow] = field(default_factory=Counter)
    seen: set[tuple[int, int]] = field(default_factory=set)  # pid and start of each process of the ghost
    wrong: list[str] = field(default_factory=list)

    def expect(self, holds: bool, otherwise: str) -> None:  # noqa: FBT001  a condition
        """Note what is wrong unless the condition holds."""
        if not holds:
            self.wrong.append(otherwise)


def main(arguments: Sequence[str] | None = None) -> int:
    """Do the whole demonstration; 0 when everything is proved."""
    chosen = _arguments(arguments)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))  # so that the ghost is stopped then, too
    with ExitStack() as stack:
        place = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="wordmill-")))
        paths = corpus(chosen.files)
        rounds = chosen.rounds or _rounds(paths, chosen.spirits, chosen.seconds)
        ghost = Ghost(place, chosen.queue or str(place / "queue.db"), chosen.spirits)
        queue = stack.enter_context(open_queue(ghost.queue))
        queue.fill(paths, rounds)
        if done := queue.progress().done:
            print(f"{ghost.queue}: {done} jobs are done already; give it an empty database", file=sys.stderr)
            return 1
        print(f"{len(paths)} files, {rounds} times, are {len(paths) * rounds} jobs; --seed {chosen.seed}", flush=True)
        reference = _start_reference(place / "reference.json", chosen.files)
        stack.callback(reference.wait)
        stack.callback(reference.kill)
        findings = Findings()
        try:
            _work(ghost, queue, findings, plan(chosen.seed))
        except subprocess.CalledProcessError as error:
            print(f"{' '.join(error.cmd)}\nended with exit code {error.returncode}: {error.stderr}", file=sys.stderr)
            return 1
        print("comparing with the reference that one process has computed meanwhile", flush=True)
        if reference.wait(LIMIT) == 0:
            findings.wrong += differences(queue, load(place / "reference.json"), rounds)
        findings.expect(reference.returncode == 0, f"the reference ended with exit code {reference.returncode}")
        return _report(ghost, queue, findings)


def _arguments(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m examples.wordmill.demo", description="A job, beaten and proved.")
    parser.add_argument("--seed", type=int, default=secrets.randbelow(1000), help="repeats the choices of what is done")
    parser.add_argument("--spirits", type=int, default=4)
    parser.add_argument("--seconds", type=float, default=20.0, help="about how long the work should take")
    parser.add_argument("--files", type=int, help="so many files instead of the whole standard library")
    parser.add_argument("--rounds", type=int, help="how often the corpus is done, instead of what fills the seconds")
    parser.add_argument("--queue", help="a postgresql:// URL instead of a temporary SQLite file")
    return parser.parse_args(arguments)


def _rounds(paths: Sequence[str], spirits: int, seconds: float) -> int:
    """How often the corpus must be done to fill the time, judged by a small sample; the reference works beside it."""
    sample = paths[:: max(1, len(paths) // 40)]
    start = time.monotonic()
    for path in sample:
        tally(path)
    once = (time.monotonic() - start) * len(paths) / len(sample)
    return max(1, round(seconds * min(os.cpu_count() or 1, spirits + 1) / once - 1))


def _start_reference(path: Path, files: int | None) -> subprocess.Popen[bytes]:
    words = [sys.executable, "-m", "examples.wordmill.reference", "--write", str(path)]
    return subprocess.Popen(words + (["--files", str(files)] if files else []), cwd=ROOT)


def _work(ghost: Ghost, queue: Queue, findings: Findings, planned: list[Planned]) -> None:
    """Start the ghost, beat it until every job is done, wait until its pool is whole, and stop it."""
    print(ghost.command("start"), flush=True)
    try:
        manager = ghost.manager
        nemesis = Nemesis(manager, planned, ghost.log, ghost.rotated, lambda: ghost.command("reload"))
        with display() as shown:
            _beat(nemesis, queue, shown, findings)
        findings.expect(not planned, f"the work was over before {len(planned)} more blows were struck")
        wanted = ghost.spirits + findings.sent[Blow.MORE] - findings.sent[Blow.FEWER]
        findings.expect(_wait_whole(manager, wanted), f"after 20 s the pool has not {wanted} spirits that can work")
    finally:
        print(ghost.command("stop"), flush=True)
    left = [pid for pid, started in findings.seen if (now := look(pid)) and now.started == started]
    findings.expect(not left, f"processes {left} have outlived the stop")
    findings.expect(not ghost.pidfile.exists(), f"{ghost.pidfile} is still there")


def _beat(nemesis: Nemesis, queue: Queue, shown: Display, findings: Findings) -> None:
    deadline = time.monotonic() + LIMIT
    while time.monotonic() < deadline:
        progress = queue.progress()
        spirits = spirits_of(nemesis.manager)
        findings.seen.update((process.pid, process.started) for process in spirits)
        pool = [(one.pid, one.state, progress.by_pid.get(one.pid, 0)) for one in spirits]
        shown.show(View(progress.done, progress.files, pool))
        if progress.done == progress.files:
            return
        while struck := nemesis.strike(progress.done / progress.files):
            findings.sent[struck[0]] += 1
            shown.say(struck[1])
        time.sleep(0.05)
    findings.wrong.append(f"only {progress.done} of {progress.files} jobs were done after {LIMIT:g} s")


def _wait_whole(manager: int, wanted: int) -> bool:
    deadline = time.monotonic() + 20.0
    while time.monotonic() < deadline:
        if [process.state in ("works", "waits") for process in spirits_of(manager)] == [True] * wanted:
            return True
        time.sleep(0.1)
    return False


def _report(ghost: Ghost, queue: Queue, findings: Findings) -> int:
    """Say what was survived and what is proved; the exit code."""
    lines = ghost.log_lines()
    findings.expect(
        bool(ghost.rotated.exists() and ghost.log.stat().st_size), "the log did not go on after its rotation"
    )
    told = {text: sum(bool(re.search(pattern, line)) for line in lines) for text, pattern in TOLD.items()}
    ends = sum(count for text, count in told.items() if text.startswith("reloads"))
    findings.expect(ends >= findings.sent[Blow.RELOAD], "the log does not say how the reload ended")
    print("\nWhat was done to it:")
    for blow in PORTION:
        print(f"  {findings.sent[blow]:3} x {blow.value}")
    print("What its log says:")
    for text, count in told.items():
        print(f"  {count:3} {text}")
    taken_over = queue.taken_over()
    if taken_over is not None:
        print(f"What the queue says:\n  {taken_over:3} claims of spirits that had died were taken over by others")
    jobs, tokens = queue.progress(), sum(queue.totals().values())
    for line in findings.wrong[:SHOWN]:
        print(f"WRONG: {line}")
    if findings.wrong:
        print(f"{len(findings.wrong)} things are wrong; the log's last lines:", *lines[-SHOWN:], sep="\n  ")
        return 1
    print(
        f"Proved: each of {jobs.files} jobs done exactly once; every SHA-256 right, and every count of {tokens} tokens."
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
