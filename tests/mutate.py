"""Breaks the core one operator at a time and sees whether a test notices: python -m tests.mutate [FILE...]

Rule: the tree is never touched; each mutant lives in a copy. It is tried on the histories of tests/unit/core first, and
on some seeds of the virtual world when it has survived these. What survives both is printed with its line.
"""

import ast
import copy
import os
import shutil
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from queue import SimpleQueue
from typing import Final

ROOT: Final = Path(__file__).resolve().parents[1]
CORE: Final = Path("src/ghostd/core")
FILES: Final = ("gaps.py", "phases.py", "pool.py", "restraint.py", "rollout.py", "roster.py", "snapshot.py")
SECONDS_MOST: Final = 120.0  # a mutant that turns without end is noticed as well

COMPARISONS: Final[dict[type[ast.cmpop], type[ast.cmpop]]] = {
    ast.Lt: ast.LtE, ast.LtE: ast.Lt, ast.Gt: ast.GtE, ast.GtE: ast.Gt, ast.Eq: ast.NotEq, ast.NotEq: ast.Eq,
    ast.Is: ast.IsNot, ast.IsNot: ast.Is, ast.In: ast.NotIn, ast.NotIn: ast.In,
}  # fmt: skip
OPERATORS: Final[dict[type[ast.operator], type[ast.operator]]] = {
    ast.Add: ast.Sub, ast.Sub: ast.Add, ast.Mult: ast.Div, ast.Div: ast.Mult, ast.Pow: ast.Mult,
}  # fmt: skip
SWAPPED: Final = {"min": "max", "max": "min", "any": "all", "all": "any"}


@dataclass(frozen=True)
class Mutant:
    """One change to one file."""

    file: str
    line: int
    what: str
    source: str


def mutants(file: str, source: str) -> Iterator[Mutant]:
    """Every change of one operator, constant, call or statement."""
    tree = ast.parse(source)
    size = len(list(_sites(tree)))
    for number in range(size):
        changed = copy.deepcopy(tree)
        node, what = list(_sites(changed))[number]
        before = ast.unparse(node).splitlines()[0]
        _change(node, what)
        after = ast.unparse(node).splitlines()[0]
        yield Mutant(file, getattr(node, "lineno", 0), f"`{before}` -> `{after}`", ast.unparse(changed))


def _sites(tree: ast.Module) -> Iterator[tuple[ast.AST, str]]:
    for node in ast.walk(tree):
        match node:
            case ast.Compare(ops=[op]) if type(op) in COMPARISONS:
                yield node, "comparison"
            case ast.BinOp(op=op) | ast.AugAssign(op=op) if type(op) in OPERATORS:
                yield node, "operator"
            case ast.BoolOp():
                yield node, "and or"
            case ast.UnaryOp(op=ast.Not()):
                yield node, "not"
            case ast.Call(func=ast.Name(id=name)) if name in SWAPPED:
                yield node, "call"
            case ast.Constant(value=bool() | int() | float()):
                yield node, "constant"
            case ast.Expr(value=ast.Call()) | ast.AugAssign():
                yield node, "statement"


def _change(node: ast.AST, what: str) -> None:
    match node, what:
        case ast.Compare(), "comparison":
            node.ops = [COMPARISONS[type(node.ops[0])]()]
        case ast.BinOp() | ast.AugAssign(), "operator":
            node.op = OPERATORS[type(node.op)]()
        case ast.BoolOp(), _:
            node.op = ast.Or() if isinstance(node.op, ast.And) else ast.And()
        case ast.UnaryOp(), _:
            node.operand = ast.UnaryOp(ast.Not(), node.operand)
        case ast.Call(func=ast.Name() as name), "call":
            name.id = SWAPPED[name.id]
        case ast.Constant(), _:
            node.value = not node.value if isinstance(node.value, bool) else node.value + 1  # type: ignore[operator]
        case ast.Expr(), "statement":
            node.value = ast.Constant(value=None)
        case ast.AugAssign(), "statement":
            node.value = ast.Constant(value=0)


class Bench:
    """A copy of the tree in which mutants are tried one after the other."""

    def __init__(self, place: Path) -> None:
        self.place = place
        shutil.copytree(ROOT / "src", place / "src", ignore=shutil.ignore_patterns("__pycache__"))
        shutil.copytree(ROOT / "tests", place / "tests", ignore=shutil.ignore_patterns("__pycache__"))
        shutil.copy(ROOT / "pyproject.toml", place)

    def caught_by(self, mutant: Mutant) -> str:
        """Which test notices; empty when none does."""
        target = self.place / CORE / mutant.file
        whole = target.read_text(encoding="utf-8")
        target.write_text(mutant.source, encoding="utf-8")
        try:
            pytest = ("pytest", "-x", "-q", "-p", "no:cacheprovider", "tests/unit/core")
            if not self._passes(*pytest, "--ignore=tests/unit/core/test_policy.py"):
                return "a history"
            world = ("ghostd.testing.world", "--seeds", "1-8", "--steps", "20000", "--mode", "both")
            return "" if self._passes(*world) else "the virtual world"
        finally:
            target.write_text(whole, encoding="utf-8")

    def _passes(self, *module: str) -> bool:
        environ = {**os.environ, "PYTHONPATH": str(self.place / "src"), "PYTHONDONTWRITEBYTECODE": "1"}
        command = [sys.executable, "-m", *module]
        try:
            done = subprocess.run(
                command, cwd=self.place, env=environ, capture_output=True, timeout=SECONDS_MOST, check=False
            )
        except subprocess.TimeoutExpired:
            return False
        return done.returncode == 0


def main(files: list[str]) -> int:
    """Try all mutants of these files of the core; prints the survivors."""
    every = [one for file in files for one in mutants(file, (ROOT / CORE / file).read_text(encoding="utf-8"))]
    found: Counter[str] = Counter()
    with tempfile.TemporaryDirectory() as scratch:
        benches: SimpleQueue[Bench] = SimpleQueue()
        for number in range(os.cpu_count() or 1):
            benches.put(Bench(Path(scratch) / str(number)))

        def caught(mutant: Mutant) -> str:
            bench = benches.get()
            try:
                return bench.caught_by(mutant)
            finally:
                benches.put(bench)

        with ThreadPoolExecutor(benches.qsize()) as threads:
            for mutant, by in zip(every, threads.map(caught, every), strict=True):
                found[by or "nothing"] += 1
                if not by:
                    sys.stdout.write(f"survived: {mutant.file}:{mutant.line}: {mutant.what}\n")
                    sys.stdout.flush()
    sys.stdout.write(f"{len(every)} mutants: " + ", ".join(f"{n} caught by {by}" for by, n in found.items()) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:] or list(FILES)))
