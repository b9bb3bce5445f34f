"""A chaos soak: two ghosts at work while twenty kinds of fault strike, and a judge over all that their clients saw.

    python -m tests.faults.soak --minutes 10 --seed 7 [--history FILE]
    python -m tests.faults.soak --judge FILE

The word mill and a web pool live in namespaces of their own, which end with the soak, and so does all that is in them.
The seed repeats what is done to them and in which order. Exits 1 when anything is wrong.
"""

from __future__ import annotations

import argparse
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Final

from tests.faults.soak import judge, stage
from tests.faults.soak.history import Begun, read
from tests.faults.soak.kinds import KINDS

INSIDE: Final = "--inside"
SHOWN: Final = 40  # findings


def main(words: list[str]) -> int:
    """Soak, then judge: 0 when nothing is wrong."""
    chosen = _arguments(words)
    if chosen.judge:
        return report(chosen.judge)
    if not chosen.inside:
        return _in_namespaces(words, chosen)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    stage.soak(chosen.minutes, chosen.seed, chosen.history)
    return report(chosen.history)


def _arguments(words: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.faults.soak", description=__doc__.split("\n", 1)[0])
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument("--seed", type=int, default=1, help="repeats what is done, and in which order")
    parser.add_argument("--history", type=Path, help="where to write what happened; default: in the temporary folder")
    parser.add_argument("--judge", type=Path, metavar="FILE", help="only judge a history that was written before")
    parser.add_argument(INSIDE, action="store_true", help=argparse.SUPPRESS)
    chosen = parser.parse_args(words)
    if chosen.history is None:
        chosen.history = Path(tempfile.gettempdir()) / f"ghostd-soak-{chosen.seed}.jsonl"
    return chosen


def _in_namespaces(words: list[str], chosen: argparse.Namespace) -> int:
    if not shutil.which("unshare"):
        sys.stderr.write("the soak needs unshare, of util-linux\n")
        return 2
    # Not as root of it: what belongs to somebody else out there must not be trusted by root, and so could not be run.
    rights = [] if os.geteuid() == 0 else ["--user", "--map-current-user", "--keep-caps"]
    own = ["--mount", "--propagation", "private", "--net", "--pid", "--fork", "--mount-proc", "--kill-child"]
    command = ["unshare", *rights, *own, sys.executable, "-m", "tests.faults.soak", *words, INSIDE]
    sys.stdout.write(f"soak: {chosen.minutes:g} minutes, seed {chosen.seed}, history {chosen.history}\n")
    sys.stdout.flush()
    return subprocess.run(command, check=False).returncode


def report(path: Path) -> int:
    """Say what was done, what it led to, and what is wrong; the exit code."""
    history = list(read(path))
    facts = judge.Facts.of(history)
    wrong = judge.judge(history)
    begun = next((fact for fact in history if isinstance(fact, Begun)), None)
    told = [f"{'fault':24}{'times':>7}{'longest outage':>16}{'all outages':>16}"]
    for kind, times, longest, summed in judge.tally(facts):
        told.append(f"{kind:24}{times:7}{longest * 1000:13.0f} ms{summed * 1000:13.0f} ms")
    cannot = begun.cannot if begun else {}
    told += [f"not possible here: {kind}: {why}" for kind, why in cannot.items()]
    told += [f"WRONG: {line}" for line in wrong[:SHOWN]]
    refused = sum(request.how == "refused" for request in facts.requests)
    lost = sum(request.how not in ("answered", "refused") for request in facts.requests)
    minutes = f"{begun.minutes:g} minutes, seed {begun.seed}, commit {begun.commit}, " if begun else ""
    told.append(
        f"soak: {minutes}{len(facts.faults)} faults of {len(KINDS) - len(cannot)} kinds, {len(facts.requests)} requests"
        f" ({refused} refused, {lost} lost), {len(facts.jobs)} jobs: "
        + (f"VIOLATED, {len(wrong)} findings" if wrong else "nothing lost, nothing twice, no false kill, no outage"
           " without a cause")
    )  # fmt: skip
    sys.stdout.write("\n".join(told) + "\n")
    return int(bool(wrong))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
