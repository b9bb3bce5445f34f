"""The tests of faults use the stage of the live ones."""

from tests.live.conftest import stage

__all__ = ["stage"]
