"""Keeps what the long commands of the scorecard have reached, for docs/reliability.md.

``python -m tests.faults.scorecard 8 -- COMMAND...`` runs the command and keeps its last line as the figure of row 8,
with the day, the commit and how it ended. ``--output FILE`` takes what it has printed from a file instead. A command
that failed is kept as failed: the page shows the newest run of each row, whatever it was.
"""

import argparse
import json
import subprocess
import sys
import time
import tomllib
from pathlib import Path
from typing import Any, Final

HERE: Final = Path(__file__).resolve().parent
RESULTS: Final = HERE / "results.jsonl"
_LAST_LINE_MOST: Final = 400


def rows() -> dict[int, dict[str, str]]:
    """The rows of the scorecard by number."""
    with (HERE / "scorecard.toml").open("rb") as file:
        return {int(number): row for number, row in tomllib.load(file).items()}


def results() -> dict[int, dict[str, Any]]:
    """The newest result of each row that has one."""
    newest: dict[int, dict[str, Any]] = {}
    for line in RESULTS.read_text(encoding="utf-8").splitlines():
        one = json.loads(line)
        newest[int(one["row"])] = one
    return newest


def page() -> str:
    """The table of docs/reliability.md."""
    lines = ["| # | figure | others | goal of a release | ghostd | reproduce |", "|---|---|---|---|---|---|"]
    reached = results()
    for number, row in rows().items():
        got = reached.get(number)
        told = "not measured in the long form yet" if got is None else _told(got)
        command = row["long"] if got is None else got["command"]
        reproduce = f"`{command}`<br>with every change: {row['slice']}"
        lines.append(f"| {number} | {row['figure']} | {row['others']} | {row['goal']} | {told} | {reproduce} |")
    return "\n".join(lines)


def _told(result: dict[str, Any]) -> str:
    verdict = "" if result["code"] == 0 else f"**ended with {result['code']}:** "
    text = str(result["reached"]).replace("|", "\\|")
    return f"{verdict}{text} ({result['date']}, {result['commit']})"


def last_line(text: str) -> str:
    """The last line that says something, without the ornaments of a test runner."""
    said = [line.strip(" =") for line in text.splitlines() if line.strip(" =")]
    return said[-1][:_LAST_LINE_MOST] if said else "no word"


def keep(row: int, command: str, output: str, code: int) -> None:
    """Write the result down."""
    commit = subprocess.run(
        ["git", "rev-parse", "--short", "HEAD"], check=True, capture_output=True, text=True, cwd=HERE
    )
    one = {
        "row": row,
        "date": time.strftime("%Y-%m-%d", time.gmtime()),
        "commit": commit.stdout.strip(),
        "command": command,
        "code": code,
        "reached": last_line(output),
    }
    with RESULTS.open("a", encoding="utf-8") as file:
        file.write(json.dumps(one, ensure_ascii=False) + "\n")
    sys.stdout.write(f"row {row}: {_told(one)}\n")


def main(words: list[str]) -> int:
    """Run and keep: the code of the command."""
    parser = argparse.ArgumentParser(prog="python -m tests.faults.scorecard", description=__doc__)
    parser.add_argument("row", type=int, choices=sorted(rows()))
    parser.add_argument("--output", type=Path, help="a file with what the command has printed; it is not run")
    parser.add_argument("command", nargs="+", help="the command, after --")
    said = parser.parse_args(words)
    command = " ".join(said.command)
    if said.output is not None:
        keep(said.row, command, said.output.read_text(encoding="utf-8"), 0)
        return 0
    done = subprocess.run(said.command, check=False, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    sys.stdout.write(done.stdout)
    keep(said.row, command, done.stdout, done.returncode)
    return done.returncode


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
