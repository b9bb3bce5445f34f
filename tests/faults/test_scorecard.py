"""The scorecard: each row says how its figure is made, its tests exist, and the page shows what was reached."""

import json
import re
import sys
from pathlib import Path

import pytest

from tests.faults import scorecard

ROOT = Path(__file__).resolve().parents[2]


def test_each_row_of_the_scorecard_names_tests_that_exist_and_a_command() -> None:
    for number, row in scorecard.rows().items():
        assert set(row) == {"figure", "others", "goal", "slice", "long"}, number
        for path in re.findall(r"tests/[a-z_/]+(?:\.py)?", row["slice"]):
            assert (ROOT / path).exists(), f"row {number}: {path}"


def test_what_a_command_says_last_is_kept_with_how_it_ended(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scorecard, "RESULTS", tmp_path / "results")
    says = "print('words'); print('=== 7 of 7 ==='); print(); raise SystemExit(3)"
    assert scorecard.main(["8", "--", sys.executable, "-c", says]) == 3
    (line,) = (tmp_path / "results").read_text().splitlines()
    kept = json.loads(line)
    assert (kept["row"], kept["reached"], kept["code"]) == (8, "7 of 7", 3)
    assert "**ended with 3:** 7 of 7" in scorecard.page()
    (tmp_path / "printed").write_text("9 of 9\n")
    assert scorecard.main(["8", "--output", str(tmp_path / "printed"), "--", "make", "nine"]) == 0
    assert "9 of 9" in scorecard.page()
    assert "`make nine`" in scorecard.page()


def test_a_row_without_a_result_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "results").touch()
    monkeypatch.setattr(scorecard, "RESULTS", tmp_path / "results")
    assert scorecard.page().count("not measured in the long form yet") == len(scorecard.rows())
