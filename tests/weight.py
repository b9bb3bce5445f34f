"""What a manager may load of the standard library, and which modules a statement loads.

Rule: what a manager has loaded is copied into each spirit, so a name is added here only with its cost, as measured:
``python -X importtime``, and the anonymous memory of a process that has loaded it.
"""

import subprocess
import sys
from typing import Final

from tests.tidy import ROOT

# Of a manager's modules those that Python has not loaded by itself. Modules in C, which begin with _, cost next to
# nothing.
MANAGER_LOADS: Final = frozenset(
    [
        *("atexit", "errno", "faulthandler", "fcntl", "gc", "itertools", "select"),
        *("__future__", "struct", "types"),  # a tenth of a millisecond each, or Python's own
        *("enum", "collections", "functools", "keyword", "operator", "reprlib", "signal"),  # 4 ms: signal needs enum
        "contextlib",  # half a millisecond
        "ctypes",  # 2 ms: Python has no other way to prctl(2) and to a map of its own
    ]
)

# What the command loads beside, to find the program of which it becomes the manager: half a millisecond.
COMMAND_LOADS: Final = MANAGER_LOADS | {"importlib", "warnings"}


def too_heavy(modules: set[str], allowed: frozenset[str] = MANAGER_LOADS) -> list[str]:
    """Those of the modules that no manager may load."""
    return sorted(name for name in modules if name[0] != "_" and name.partition(".")[0] not in allowed)


def loaded(statement: str) -> set[str]:
    """The modules that Python loads for a statement, with those of its own start."""
    command = [sys.executable, "-X", "importtime", "-c", statement]
    told = subprocess.run(command, capture_output=True, text=True, check=True, cwd=ROOT).stderr
    return {line.rpartition("|")[2].strip() for line in told.splitlines() if line.startswith("import time:")}
