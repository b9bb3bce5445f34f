"""How fast the simulator of the core is, with all its invariants on."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
import time
from typing import TYPE_CHECKING

from bench.pools import ROOT
from bench.report import Figure, Spread, missing

if TYPE_CHECKING:
    from collections.abc import Iterator

    from bench.harness import Bench

NAME = "simulator"
PROMISED_STEPS, PROMISED_SECONDS = 1_000_000, 120.0


def measure(bench: Bench) -> Iterator[Figure]:
    """Run some seeds of it."""
    if importlib.util.find_spec("ghostd.testing") is None or importlib.util.find_spec("ghostd.testing.world") is None:
        yield missing(NAME, "there is no ghostd.testing.world")
        return
    steps = bench.pick(20_000, 200_000)
    rates, failed = [], ""
    for seed in range(1, 4):
        command = [sys.executable, "-m", "ghostd.testing.world", "--seed", str(seed), "--steps", str(steps)]
        began = time.monotonic()
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300, check=False)
        if done.returncode == 0:
            rates.append(steps / (time.monotonic() - began))
        else:
            failed = f"seed {seed} failed: {(done.stdout + done.stderr).strip()[:200]}"
    if not rates:
        yield Figure(name=NAME, unit="steps/s", met=False, note=failed)
        return
    spread = Spread.of(rates)
    least = PROMISED_STEPS / PROMISED_SECONDS
    yield Figure(
        name=NAME, unit="steps/s", measured=spread, goal=f">= {least:.0f} steps/s",
        met=spread.median >= least and not failed, note=failed or "a million steps in two minutes",
    )  # fmt: skip
