"""What a user waits for at the prompt: the import and the command's answer, from an installed wheel."""

from __future__ import annotations

import contextlib
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

from bench.harness import Bench, interleave
from bench.pools import NANO, ROOT, CannotMeasureError, GhostPool, Task
from bench.report import Figure, Spread, compared

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

MOST_IMPORT_MS = 12.0


def measure(bench: Bench) -> Iterator[Figure]:
    """Compare each with an interpreter that does nothing, by turns."""
    rounds = bench.pick(15, 60)
    with tempfile.TemporaryDirectory(prefix="ghostd-bench-") as place:
        binaries = install(Path(place))
        python = str(binaries / "python")
        nothing = [python, "-c", "pass"]
        for code, most in (("import ghostd", MOST_IMPORT_MS), ("from ghostd import Prefork", None)):
            ours, theirs = interleave(rounds, _runs([python, "-c", code]), _runs(nothing))
            yield _import(code, ours, theirs, most)
        with GhostPool(Task(4)) as pool:
            status = [str(binaries / "ghostd"), "status", "--pidfile", f"{pool.folder}/pid"]
            ours, theirs = interleave(rounds, _runs(status), _runs(nothing))
            yield compared("ghostd status", "ms", ours, theirs, 3.0, note="to `python -c pass`; --pidfile, no target")
            check = [str(binaries / "ghostd"), "check", "--ready", "--pidfile", f"{pool.folder}/pid"]
            ours, theirs = interleave(rounds, _runs(check), _runs(nothing))
            yield compared("ghostd check --ready", "ms", ours, theirs, 3.0, note="to `python -c pass`; a probe")
            status = [python, f"{pool.folder}/pool.py", "status"]
            ours, theirs = interleave(rounds, _runs(status, pool.environment()), _runs(nothing))
            yield compared("script.py status", "ms", ours, theirs, note="to `python -c pass`")


def _import(code: str, ours: list[float], theirs: list[float], most: float | None) -> Figure:
    extra = [one - other for one, other in zip(ours, theirs, strict=True)]
    spread = Spread.of(extra)
    quiet = min(ours) - min(theirs)  # the least of each is what a quiet machine would show
    met = None if most is None else min(spread.median, quiet) <= most
    return Figure(
        name=f"`{code}` over `pass`", unit="ms", measured=spread, baseline=Spread.of(theirs),
        ratio=Spread.of(ours).median / Spread.of(theirs).median, goal="" if most is None else f"<= {most:g} ms",
        met=met, note=f"{quiet:.1f} ms between the least of each",
    )  # fmt: skip


def _runs(command: list[str], environment: dict[str, str] | None = None) -> Callable[[], float]:
    def run() -> float:
        began = time.monotonic_ns()
        done = subprocess.run(command, env=environment, cwd="/", capture_output=True, text=True, check=False)
        took = (time.monotonic_ns() - began) / NANO * 1e3
        if done.returncode != 0:
            raise CannotMeasureError(
                f"{' '.join(command)}: code {done.returncode}: {(done.stdout + done.stderr)[-400:]}"
            )
        return took

    run()  # compiles what it loads
    return run


def install(place: Path) -> Path:
    """Build the wheel, install it in a new environment, and return where its commands are."""
    pip = [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check"]
    _must([*pip, "wheel", "--no-deps", "--wheel-dir", str(place), str(ROOT)])
    _must([sys.executable, "-m", "venv", "--without-pip", str(place / "venv")])
    binaries = place / "venv" / "bin"
    into = [*pip, "--python", str(binaries / "python"), "install"]
    _must([*into, "--no-deps", *(str(wheel) for wheel in place.glob("*.whl"))])
    with contextlib.suppress(CannotMeasureError):  # neither is loaded for a status
        _must([*into, "msgspec", "setproctitle"])
    return binaries


def _must(command: list[str]) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise CannotMeasureError(f"{' '.join(command)}: {done.stderr.strip()[-400:]}")
