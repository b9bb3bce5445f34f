"""Requests a second of WSGI servers, two spirits each: ours are faster than gunicorn."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bench.serve import speed

if TYPE_CHECKING:
    from collections.abc import Iterator

    from bench.harness import Bench
    from bench.report import Figure

LEAST = 1.5


def measure(bench: Bench) -> Iterator[Figure]:
    """Compare with the best of gunicorn; what granian does stands beside it."""
    yield from speed.measure(bench, "wsgi", LEAST, "gunicorn")
