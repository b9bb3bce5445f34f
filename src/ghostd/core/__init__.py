"""DECIDES. Pure: no clock, kernel, chance, log or thread in here; events come in, actions go out."""

from __future__ import annotations
