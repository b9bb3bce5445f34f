"""What the mill must have found: the same corpus, one process, no queue and no pool; and the comparison.

Rule: it uses the same `tally()` as the spirits, so a difference can only come from the queue or the pool.

Run: ``python -m examples.wordmill.reference QUEUE`` compares a finished queue (an SQLite file or a PostgreSQL URL) with
the files as they are now, and exits 1 when they differ. ``--write FILE`` only computes, for the demonstration.
"""

import argparse
import json
import sys
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict
from pathlib import Path

from examples.wordmill.queues import Queue, open_queue
from examples.wordmill.tally import Tally, corpus, tally

Reference = Mapping[str, Tally]


def compute(paths: Iterable[str]) -> Reference:
    """The tally of each file, one after another."""
    return {path: tally(path) for path in paths}


def save(reference: Reference, path: Path) -> None:
    """Write a reference as JSON."""
    path.write_text(json.dumps({name: asdict(one) for name, one in reference.items()}))


def load(path: Path) -> Reference:
    """Read what `save` has written."""
    return {name: Tally(**fields) for name, fields in json.loads(path.read_text()).items()}


def differences(queue: Queue, reference: Reference, rounds: int) -> list[str]:
    """Everything in the database that is not as the reference says; empty when the job was done exactly once."""
    return [*_by_file(queue, reference, rounds), *_by_total(queue, reference, rounds)]


def _by_file(queue: Queue, reference: Reference, rounds: int) -> Iterator[str]:
    missing = Counter({(path, number): 1 for path in reference for number in range(rounds)})
    for result in queue.results():
        job = (result.path, result.round)
        where = f"{result.path}, round {result.round}"
        if job not in missing:
            yield f"{where}: not a file of the corpus"
            continue
        missing[job] -= 1
        if missing[job] < 0:
            yield f"{where}: more than one result"
        if result.done != 1 or result.tally is None:
            yield f"{where}: completed {result.done} times, {'no' if result.tally is None else 'a'} result stored"
        elif result.tally != reference[result.path]:
            yield f"{where}: stored {result.tally}, the reference has {reference[result.path]}"
    yield from (f"{path}, round {number}: not in the queue" for (path, number), count in missing.items() if count > 0)


def _by_total(queue: Queue, reference: Reference, rounds: int) -> Iterator[str]:
    wanted: Counter[str] = Counter()
    for one in reference.values():
        wanted.update({kind: count * rounds for kind, count in one.tokens.items()})
    found = queue.totals()
    for kind in sorted(wanted.keys() | found.keys()):
        if wanted[kind] != found.get(kind, 0):
            yield f"tokens of type {kind} in all: {found.get(kind, 0)}, the reference has {wanted[kind]}"


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m examples.wordmill.reference", description="Prove a finished queue."
    )
    parser.add_argument("queue", nargs="?", help="an SQLite file or a postgresql:// URL")
    parser.add_argument("--files", type=int, help="so many files of the standard library instead of all")
    parser.add_argument("--rounds", type=int, default=1, help="how often the corpus was put into the queue")
    parser.add_argument("--write", type=Path, metavar="FILE", help="compute only, and write the reference as JSON")
    chosen = parser.parse_args(arguments)
    reference = compute(corpus(chosen.files))
    if chosen.write:
        save(reference, chosen.write)
        return 0
    if not chosen.queue:
        parser.error("name a QUEUE to compare with, or --write FILE")
    with open_queue(chosen.queue) as queue:
        found = differences(queue, reference, chosen.rounds)
    for line in found:
        print(line, file=sys.stderr)
    print(f"{len(reference)} files, {chosen.rounds} rounds: {len(found)} differences")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
