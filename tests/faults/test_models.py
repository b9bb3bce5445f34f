"""The protocols between processes, checked over every interleaving by spin. Rule: a check must find what is wrong.

A model lies beside the code that it models. Each has variants with one step in a wrong place (WRONG), and a variant in
which spin finds nothing would show that the model proves nothing.
"""

import re
import subprocess
from pathlib import Path
from typing import Final

import pytest

from tests.support import needs_tool

SOURCE: Final = Path(__file__).parents[2] / "src" / "ghostd"

SAFETY: Final = ("-DSAFETY",)
FAIRLY: Final = ("-DNFAIR=3", "-a", "-f")  # liveness: whoever can always go on does so at some time

# A model with what it is searched for, and how many states it must at least have.
MODELS: Final = {
    "linux/life": (SAFETY, 100_000),
    "linux/board": (SAFETY, 1_000_000),
    "daemon/lock": (SAFETY, 1_000_000),
    "core/rollout": (FAIRLY, 1_000),
}
WRONGS: Final = (1, 2, 3)

# Seconds of one search: millions of states take a quarter of a minute of computing, on a quiet machine.
LIMIT: Final = 300.0

# The test's limit is the later one: an ended `spin` would leave its search behind.
pytestmark = [needs_tool("spin"), needs_tool("gcc"), pytest.mark.timeout(LIMIT + 60)]


def search(model: str, how: tuple[str, ...], place: Path, *defines: str) -> tuple[int, int]:
    """The number of errors that spin finds in a model, and of states that it has looked at."""
    file = SOURCE / f"{model}.pml"
    words = [
        "spin",
        *(f"-D{one}" for one in defines),
        "-search",
        "-O2",
        "-DCOLLAPSE",
        *how,
        "-E",
        "-m1000000",
        str(file),
    ]
    said = subprocess.run(words, cwd=place, capture_output=True, text=True, check=False, timeout=LIMIT).stdout
    errors, states = (re.search(pattern, said) for pattern in (r"errors: (\d+)", r"(\d+) states, stored"))
    assert errors and states, said[-2000:]
    assert "out of memory" not in said and "max search depth" not in said, said[-2000:]
    return int(errors[1]), int(states[1])


@pytest.mark.parametrize("model", MODELS)
def test_no_interleaving_breaks_the_protocol(model: str, tmp_path: Path) -> None:
    how, least = MODELS[model]
    errors, states = search(model, how, tmp_path)
    assert errors == 0
    assert states >= least, "the model has lost most of its states: does it still model anything?"


def test_no_interleaving_breaks_a_reload_without_spare(tmp_path: Path) -> None:
    errors, _ = search("core/rollout", FAIRLY, tmp_path, "SPARE=0")
    assert errors == 0


@pytest.mark.parametrize("wrong", WRONGS)
@pytest.mark.parametrize("model", MODELS)
def test_a_step_in_a_wrong_place_is_found(model: str, wrong: int, tmp_path: Path) -> None:
    assert f" *   {wrong}: " in (SOURCE / f"{model}.pml").read_text(encoding="utf-8"), "say what is wrong"
    errors, _ = search(model, MODELS[model][0], tmp_path, f"WRONG={wrong}")
    assert errors >= 1


def test_every_model_is_checked() -> None:
    found = {str(file.relative_to(SOURCE).with_suffix("")) for file in SOURCE.rglob("*.pml")}
    assert found == set(MODELS)
