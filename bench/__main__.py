"""``python -m bench``: measure, show, and end every process that was started, whatever happens in between."""

from __future__ import annotations

import argparse
import compileall
import datetime as dt
import importlib.util
import os
import platform
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

from bench import procs
from bench.harness import Bench
from bench.pools import ROOT, CannotMeasureError
from bench.report import Report, missing

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import FrameType

    from bench.report import Figure

# In the order of the table of promises; the one that is gentle to the machine follows the one that is not.
NAMES = (
    "tick", "decide", "idle", "recover", "start", "hang", "stop", "command", "memory", "leak", "sim", "bound",
    "orphans", "accept", "preload", "peers",
)  # fmt: skip
QUICK_NAMES = NAMES[:-1]
# Servers of the web beside their peers: each by its name only, because the full forms take a long while.
WEB_NAMES = ("asgi", "wsgi", "reloads", "kills", "scaling", "recycling", "slow", "latency")
HISTORY = ROOT / "bench" / "history.jsonl"


def main() -> int:
    """Return 0 if each goal that was measured was met, 1 if one was missed."""
    options = _options()
    procs.become_subreaper()
    _compile()
    signal.signal(signal.SIGTERM, _end)
    report = Report(_facts(quick=options.quick))
    bench = Bench(quick=options.quick, servers=tuple(options.server))
    try:
        for name in options.only or (QUICK_NAMES if options.quick else NAMES):
            for figure in _measured(name, bench):
                report.figures.append(figure)
    finally:
        left = procs.sweep()
        if report.figures:
            sys.stdout.write("\n" + report.table())
        if left:
            sys.stdout.write(f"{left} processes were still there at the end and were killed\n")
    if options.json:
        Path(options.json).write_text(report.to_json() + "\n", "utf-8")
    if options.record:
        report.record(HISTORY)
    return int(any(figure.met is False for figure in report.figures))


def _measured(name: str, bench: Bench) -> Iterator[Figure]:
    began = time.monotonic()
    sys.stderr.write(f"{name} … ")
    sys.stderr.flush()
    try:
        module = importlib.import_module("bench.peers" if name == "peers" else f"bench.measure.{name}")
        yield from module.measure(bench)
    except (CannotMeasureError, OSError, subprocess.SubprocessError) as error:
        yield missing(name, str(error))
    sys.stderr.write(f"{time.monotonic() - began:.0f} s\n")


def _compile() -> None:
    """Have the bytecode at hand, as any installed program has: else each start would compile what has changed."""
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
    spec = importlib.util.find_spec("ghostd")
    for place in (str(ROOT / "bench"), *((spec and spec.submodule_search_locations) or ())):
        compileall.compile_dir(place, quiet=2)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="fewer of each, in under three minutes")
    names = NAMES + WEB_NAMES
    parser.add_argument("--only", action="append", choices=names, metavar="NAME", help=f"one of {', '.join(names)}")
    parser.add_argument(
        "--server", action="append", default=[], metavar="SERVER",
        help="measure kills and slow with these only, as ghostd/uvicorn or unicorn",
    )  # fmt: skip
    parser.add_argument("--json", metavar="FILE", help="write everything there, too")
    parser.add_argument("--record", action="store_true", help=f"append the ratios to {HISTORY.relative_to(ROOT)}")
    return parser.parse_args()


def _facts(*, quick: bool) -> dict[str, str]:
    git = subprocess.run(["git", "rev-parse", "--short", "HEAD"], cwd=ROOT, capture_output=True, text=True, check=False)
    return {
        "date": dt.datetime.now(tz=dt.UTC).date().isoformat(),
        "commit": git.stdout.strip() or "unknown",
        "python": platform.python_version(),
        "kernel": platform.release(),
        "cores": str(os.cpu_count()),
        "load": f"{os.getloadavg()[0]:.1f}",
        "form": "quick" if quick else "full",
    }


def _end(signum: int, frame: FrameType | None) -> None:
    del frame
    raise SystemExit(128 + signum)


if __name__ == "__main__":
    sys.exit(main())
