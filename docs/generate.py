"""Makes the parts of pages that are tables of the code: ``make pages`` writes them, ``--check`` says which are old.

Rule: what lies between ``<!-- made: NAME -->`` and ``<!-- end -->`` comes from the code and is not edited.
"""

import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Final

from ghostd import errors
from ghostd.core import phases
from ghostd.core.phases import MOVES, Move, Phase
from ghostd.errors import ExitCode

DOCS: Final = Path(__file__).resolve().parent


def comments_of(module: object, kind: str) -> dict[str, str]:
    """The comment beside each member of an enum, as its file has it: ``NAME = value  # comment``."""
    path = getattr(module, "__file__", "")
    body = Path(path).read_text(encoding="utf-8").partition(f"class {kind}")[2].partition("\n\n\n")[0]
    return dict(re.findall(r"^    ([A-Z_]+) = .*?  # (.*)$", body, re.MULTILINE))


def exit_codes() -> str:
    """Every exit code with its name, its meaning and the errors that carry it."""
    meaning = comments_of(errors, "ExitCode")
    rows = ["| code | name | meaning | errors |", "|---|---|---|---|"]
    classes = [value for value in vars(errors).values() if isinstance(value, type)]
    for code in ExitCode:
        carried = [
            f"`{one.__name__}`"
            for one in classes
            if issubclass(one, errors.GhostdError) and one is not errors.GhostdError and one.code is code
        ]
        rows.append(f"| {code.value} | `{code.name}` | {meaning[code.name]} | {', '.join(carried)} |")
    return "\n".join(rows)


def states() -> str:
    """Every phase with what it is, and every move out of it."""
    meaning = comments_of(phases, "Phase")
    rows = ["| phase | what it is | moves |", "|---|---|---|"]
    for phase in Phase:
        ways = [f"{move.value} → **{after.value}**" for move, after in MOVES[phase].items()]
        rows.append(f"| **{phase.value}** | {meaning[phase.name]} | {'<br>'.join(ways) or 'none'} |")
    return "\n".join(rows)


def graph() -> str:
    """The moves as a drawing: phases from top to bottom in the order of a life, one line a move."""
    width = max(len(phase.value) for phase in Phase)
    lines = []
    for phase in Phase:
        for number, (move, after) in enumerate(MOVES[phase].items()):
            start = phase.value.rjust(width) if number == 0 else " " * width
            joint = "──" if len(MOVES[phase]) == 1 else "┬─" if number == 0 else "├─"
            if number == len(MOVES[phase]) - 1 > 0:
                joint = "└─"
            lines.append(f"{start} {joint} {move.value} ".ljust(width + 44, "─") + f"> {after.value}")
    return "```text\n" + "\n".join(lines) + "\n```"


def grid() -> str:
    """Every phase against every move; a dot is a move that raises IllegalMoveError."""
    head = "| | " + " | ".join(move.name for move in Move) + " |"
    rows = [head, "|---" * (len(Move) + 1) + "|"]
    for phase in Phase:
        cells = [MOVES[phase][move].name if move in MOVES[phase] else "·" for move in Move]
        rows.append(f"| **{phase.name}** | " + " | ".join(cells) + " |")
    return "\n".join(rows)


def options() -> str:
    """Every option, from the declarations."""
    from ghostd.config import flags  # noqa: PLC0415  the top of the layers, for this one table

    return flags.reference().strip()


def score() -> str:
    """What the long proofs have reached."""
    sys.path.insert(0, str(DOCS.parent))
    from tests.faults import scorecard  # noqa: PLC0415  for this one table

    return scorecard.page()


TABLES: Final[dict[str, tuple[str, Callable[[], str]]]] = {
    "exit codes": ("reference/exit-codes.md", exit_codes),
    "states": ("reference/states.md", states),
    "graph": ("reference/states.md", graph),
    "grid": ("reference/states.md", grid),
    "options": ("reference/options.md", options),
    "scorecard": ("reliability.md", score),
}


def renewed(text: str, name: str, table: str) -> str:
    """The page with this table made anew."""
    pattern = re.compile(rf"(<!-- made: {re.escape(name)} -->\n)(?:.*?)(<!-- end -->)", re.DOTALL)
    if not pattern.search(text):
        raise SystemExit(f"no place for the table {name!r}: write <!-- made: {name} --> and <!-- end -->")
    return pattern.sub(lambda found: f"{found[1]}\n{table}\n\n{found[2]}", text)


def stale() -> dict[Path, str]:
    """Pages that are not as the code has them, with what they should be."""
    wanted: dict[Path, str] = {}
    for name, (page, make) in TABLES.items():
        path = DOCS / page
        text = wanted.get(path) or path.read_text(encoding="utf-8")
        wanted[path] = renewed(text, name, make())
    return {path: text for path, text in wanted.items() if path.read_text(encoding="utf-8") != text}


def main(arguments: list[str]) -> int:
    """Write the pages, or with --check say which are old."""
    old = stale()
    for path, text in old.items():
        sys.stdout.write(f"{path.relative_to(DOCS)}\n")
        if "--check" not in arguments:
            path.write_text(text, encoding="utf-8")
    return 1 if old and "--check" in arguments else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
