"""Requests a second of ASGI servers, two spirits each: ours are as fast as the best of the peers."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bench.serve import speed

if TYPE_CHECKING:
    from collections.abc import Iterator

    from bench.harness import Bench
    from bench.report import Figure

LEAST = 0.98


def measure(bench: Bench) -> Iterator[Figure]:
    """Compare with the best peer."""
    yield from speed.measure(bench, "asgi", LEAST)
