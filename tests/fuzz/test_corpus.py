"""Every input that a fuzzer found worth keeping, and any others, break no promise of the targets."""

import time
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.fuzz.targets import LONGEST, TARGETS

CORPUS = Path(__file__).parent / "corpus"
MOST_INPUTS = 60  # of one target: a corpus is kept small


@pytest.mark.parametrize("name", TARGETS)
def test_no_input_of_the_corpus_breaks_a_promise(name: str) -> None:
    inputs = sorted((CORPUS / name).iterdir())
    assert 0 < len(inputs) <= MOST_INPUTS
    for file in inputs:
        data = file.read_bytes()
        took = []
        for _ in range(5):
            begun = time.perf_counter()
            TARGETS[name](data)
            took.append(time.perf_counter() - begun)
        assert min(took) < LONGEST, f"{file.name}: {min(took):.4f} s for {len(data)} bytes"


@pytest.mark.parametrize("name", TARGETS)
@settings(deadline=None)
@given(data=st.binary(max_size=300))
def test_no_bytes_break_a_promise(name: str, data: bytes) -> None:
    TARGETS[name](data)


@pytest.mark.parametrize("name", ["environ", "flags", "toml"])
@settings(deadline=None)
@given(data=st.data())
def test_no_value_of_a_known_option_breaks_a_promise(name: str, data: st.DataObject) -> None:
    from ghostd import config

    option = data.draw(st.sampled_from(sorted(config.options())))
    value = data.draw(st.one_of(st.text(max_size=40), st.integers().map(str), st.floats().map(str)))
    spelled = f"GHOSTD_{option.upper()}" if name == "environ" else option
    TARGETS[name](f"{spelled}={value}".encode(errors="surrogateescape"))


def test_each_corpus_has_its_target() -> None:
    assert {folder.name for folder in CORPUS.iterdir()} == set(TARGETS)
