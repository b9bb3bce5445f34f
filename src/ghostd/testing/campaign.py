"""Many seeds, on all processors, from the command line of ``python -m ghostd.testing.world``.

Rule: it prints one line for a success; for a failure one line with all that is needed to have it again, and the last
events before it.
"""

import argparse
import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from time import monotonic

from ghostd.testing.promises import Violation
from ghostd.testing.world import Mode, Report, World

_YEAR = 365.25 * 86400.0  # seconds


def main(arguments: Sequence[str] | None = None) -> int:
    """Run worlds; the exit code is 0 when every promise was kept."""
    options = _options(arguments)
    modes = list(Mode) if options.mode == "both" else [Mode(options.mode)]
    tasks = [(seed, options.steps, mode) for seed in options.seeds for mode in modes]
    began, total, failures = monotonic(), Report(), 0
    for outcome in _run_all(tasks, options.jobs):
        if isinstance(outcome, Report):
            total.add(outcome)
            continue
        failures += 1
        _say(f"FAILED {_commit()}{outcome}")
        if failures >= options.failures:
            break
    _say(_summary(total, monotonic() - began, len(tasks), failures))
    return 1 if failures else 0


def run_one(task: tuple[int, int, Mode]) -> Report | str:
    """One world: its report, or the text of its failure."""
    seed, steps, mode = task
    try:
        return World(seed=seed, mode=mode).run(steps)
    except Violation as violation:
        return str(violation)


def _run_all(tasks: Sequence[tuple[int, int, Mode]], jobs: int) -> Iterator[Report | str]:
    if jobs <= 1 or len(tasks) == 1:
        yield from map(run_one, tasks)
        return
    with ProcessPoolExecutor(jobs) as pool:
        try:
            yield from pool.map(run_one, tasks)
        finally:
            pool.shutdown(cancel_futures=True)


def _summary(total: Report, took: float, worlds: int, failures: int) -> str:
    codes = ", ".join(f"{name} {count:,}" for name, count in sorted(total.codes.items()))
    return (
        f"{worlds:,} worlds, {failures} failures; "
        f"{total.steps:,} steps in {took:.1f} s ({total.steps / took:,.0f} steps/s), "
        f"{total.batches:,} batches, {total.lives:,} lives ({codes}), {total.requests:,} requests served, "
        f"{total.simulated / _YEAR:,.2f} simulated years"
    )


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m ghostd.testing.world", description="Try the pool in a virtual world."
    )
    parser.add_argument("--seed", type=_seeds, default=[0], metavar="N", dest="seeds", help="one seed")
    parser.add_argument("--seeds", type=_seeds, metavar="A-B", help="all seeds from A to B")
    parser.add_argument("--steps", type=int, default=100_000, metavar="M", help="steps of each world")
    parser.add_argument("--mode", choices=["safety", "liveness", "both"], default="safety")
    parser.add_argument("--jobs", type=int, default=1, metavar="J", help="processes; 0: one a processor")
    parser.add_argument("--failures", type=int, default=1, metavar="F", help="stop after so many failures")
    options = parser.parse_args(arguments)
    options.jobs = options.jobs or os.cpu_count() or 1
    return options


def _seeds(text: str) -> range:
    first, _, last = text.partition("-")
    return range(int(first), int(last or first) + 1)


def _commit() -> str:
    """The commit of the code that failed, where it can be known."""
    command = ["git", "-C", str(Path(__file__).parent), "rev-parse", "--short", "HEAD"]
    try:
        told = subprocess.run(command, capture_output=True, text=True, check=True, timeout=10.0)
    except (OSError, subprocess.SubprocessError):
        return ""
    return f"commit {told.stdout.strip()}, "


def _say(text: str) -> None:
    sys.stdout.write(text + "\n")
    sys.stdout.flush()
