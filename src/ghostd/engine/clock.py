"""The one clock: monotonic seconds, shared by all processes of a ghost. Wall time is never asked for a decision."""

from __future__ import annotations

from time import monotonic as now

__all__ = ["now"]
