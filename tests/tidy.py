"""The rules of shape as functions over source text: each yields findings that say what to write instead.

Rule: a check reads the tree only, imports nothing of ghostd, and never needs to run what it judges.
"""

import ast
import io
import re
import tokenize
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).resolve().parents[1]
SOURCE: Final = ROOT / "src" / "ghostd"

FUNCTION_LINES_MOST: Final = 60  # the longest of the codebases we admire has 58; a screen holds it
MODULE_LINES_MOST: Final = 400
PARAMETERS_MOST: Final = 7  # what a reader keeps in mind
CORE_LINES_MOST: Final = 800  # half an hour's reading

MUTABLE_CALLS: Final = frozenset({"list", "dict", "set", "deque", "defaultdict", "Counter", "OrderedDict", "bytearray"})
MUTABLE_NODES: Final = (ast.List, ast.Dict, ast.Set, ast.ListComp, ast.DictComp, ast.SetComp)
IMPURE: Final = frozenset(
    "asyncio logging os pathlib random select signal socket subprocess threading time".split()  # noqa: SIM905  reads best
)


@dataclass(frozen=True)
class Finding:
    """One place that breaks a rule, and what to write instead."""

    path: str
    line: int
    what: str

    def __str__(self) -> str:
        return f"{self.path}:{self.line}: {self.what}"


class Module:
    """One Python file: its text and its tree."""

    def __init__(self, path: Path, root: Path = ROOT) -> None:
        self.path = path.relative_to(root).as_posix()
        self.text = path.read_text(encoding="utf-8")

    @cached_property
    def tree(self) -> ast.Module:
        return ast.parse(self.text, self.path)

    @property
    def place(self) -> str:
        """The path within the package: ``core/pool.py``; empty outside of it."""
        return self.path.removeprefix("src/ghostd/") if self.path.startswith("src/ghostd/") else ""

    def at(self, node: ast.AST, what: str) -> Finding:
        return Finding(self.path, getattr(node, "lineno", 1), what)

    def nodes(self, *kinds: type[ast.AST]) -> Iterator[ast.AST]:
        return (node for node in ast.walk(self.tree) if isinstance(node, kinds))


def modules(*folders: str) -> list[Module]:
    """All Python files of these folders of the repository, those that exist."""
    paths = [path for folder in folders for path in sorted((ROOT / folder).rglob("*.py"))]
    return [Module(path) for path in paths]


# ── size ──
def long_functions(module: Module) -> Iterator[Finding]:
    for node in module.nodes(ast.FunctionDef, ast.AsyncFunctionDef):
        assert isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        lines = (node.end_lineno or node.lineno) - node.lineno + 1
        if lines > FUNCTION_LINES_MOST:
            wanted = "keep the branches, move the work into helpers"
            yield module.at(node, f"{node.name} has {lines} lines, at most {FUNCTION_LINES_MOST}: {wanted}")


def function_lengths(module: Module) -> Iterator[int]:
    for node in module.nodes(ast.FunctionDef, ast.AsyncFunctionDef):
        assert isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        yield (node.end_lineno or node.lineno) - node.lineno + 1


def long_module(module: Module) -> Iterator[Finding]:
    lines = module.text.count("\n")
    if lines > MODULE_LINES_MOST:
        wanted = "find the noun inside that wants a file of its own"
        yield Finding(module.path, lines, f"{lines} lines, at most {MODULE_LINES_MOST}: {wanted}")


def wide_constructors(module: Module) -> Iterator[Finding]:
    for node in module.nodes(ast.FunctionDef):
        assert isinstance(node, ast.FunctionDef)
        if node.name not in ("__init__", "__new__"):
            continue
        named = node.args
        every = [*named.posonlyargs, *named.args, *named.kwonlyargs, *filter(None, (named.vararg, named.kwarg))]
        if len(every) - 1 > PARAMETERS_MOST:
            wanted = "put the settings in one frozen, keyword-only dataclass"
            yield module.at(node, f"{len(every) - 1} parameters, at most {PARAMETERS_MOST}: {wanted}")


def code_lines(module: Module) -> int:
    """Lines that hold code: not blank, not comment, not docstring, so that nobody saves lines on the why."""
    documented: set[int] = set()
    for node in module.nodes(ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef):
        assert isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef)
        first = node.body[0] if node.body else None
        if isinstance(first, ast.Expr) and isinstance(first.value, ast.Constant) and isinstance(first.value.value, str):
            documented.update(range(first.lineno, (first.end_lineno or first.lineno) + 1))
    silent = {tokenize.COMMENT, tokenize.NL, tokenize.NEWLINE, tokenize.INDENT, tokenize.DEDENT, tokenize.ENDMARKER}
    lines: set[int] = set()
    for token in tokenize.generate_tokens(io.StringIO(module.text).readline):
        if token.type not in silent:
            lines.update(range(token.start[0], token.end[0] + 1))
    return len(lines - documented)


# ── calls ──
def _called(node: ast.AST | None) -> str:
    if not isinstance(node, ast.Call):
        return ""
    function = node.func
    return function.id if isinstance(function, ast.Name) else getattr(function, "attr", "")


def prints(module: Module) -> Iterator[Finding]:
    if module.place and not module.place.startswith("cli/"):
        for node in module.nodes(ast.Call):
            if _called(node) == "print":
                yield module.at(node, "print: return the text and let cli/ print it, or tell the log")


def wall_clock(module: Module) -> Iterator[Finding]:
    wanted = "take `now` as a parameter, or time.monotonic() in engine/clock.py; a wall clock steps"
    for node in module.nodes(ast.Attribute, ast.ImportFrom):
        if isinstance(node, ast.Attribute) and node.attr == "time":
            if isinstance(node.value, ast.Name) and node.value.id == "time":
                yield module.at(node, f"time.time: {wanted}")
        elif isinstance(node, ast.ImportFrom) and node.module == "time" and "time" in {n.name for n in node.names}:
            yield module.at(node, f"from time import time: {wanted}")


def sleeps(module: Module) -> Iterator[Finding]:
    if module.place and not module.place.startswith(("spirit/", "testing/")):
        for node in module.nodes(ast.Call):
            if _called(node) == "sleep":
                yield module.at(node, "sleep: give it a phase and a deadline; the loop waits in one place")


# ── errors ──
def broad_catches(module: Module, reasoned: dict[str, str]) -> Iterator[Finding]:
    if not module.place or module.place in reasoned:
        return
    wanted = "catch the narrow thing, near it; user code is called in engine/perform.py"
    for node in module.nodes(ast.ExceptHandler, ast.Call):
        if isinstance(node, ast.ExceptHandler) and (node.type is None or _is_broad(node.type)):
            yield module.at(node, f"broad except: {wanted}")
        elif isinstance(node, ast.Call) and _called(node) == "suppress" and any(map(_is_broad, node.args)):
            yield module.at(node, f"broad suppress: {wanted}")


def _is_broad(caught: ast.expr) -> bool:
    every: Iterable[ast.expr] = caught.elts if isinstance(caught, ast.Tuple) else (caught,)
    return any(isinstance(one, ast.Name) and one.id in ("Exception", "BaseException") for one in every)


# ── state ──
def shared_state(module: Module, reasoned: dict[str, str]) -> Iterator[Finding]:
    """Mutable values at module or class level, unless they are said to be Final (a table)."""
    if not module.place or module.place in reasoned:
        return
    for node in module.nodes(ast.Module, ast.ClassDef):
        assert isinstance(node, ast.Module | ast.ClassDef)
        for statement in node.body:
            if _holds_state(statement):
                wanted = "make it a field of the object that closes it, or annotate a table as Final"
                yield module.at(statement, f"mutable state outside of an object: {wanted}")
    for node in module.nodes(ast.Global):
        yield module.at(node, "global: make it a field of an object that is handed over")


def _holds_state(statement: ast.stmt) -> bool:
    if isinstance(statement, ast.Assign):
        names = [target.id for target in statement.targets if isinstance(target, ast.Name)]
        if "__all__" in names or "__slots__" in names:
            return False
    elif (
        not isinstance(statement, ast.AnnAssign) or statement.value is None or "Final" in ast.dump(statement.annotation)
    ):
        return False
    return isinstance(statement.value, MUTABLE_NODES) or _called(statement.value) in MUTABLE_CALLS


# ── words ──
def no_opening(module: Module) -> Iterator[Finding]:
    if module.text.strip() and not ast.get_docstring(module.tree):
        yield Finding(module.path, 1, "no docstring: open with what this file is and the rule that holds in it")


def impure_imports(module: Module, pure: tuple[str, ...]) -> Iterator[Finding]:
    if not module.place.startswith(pure):
        return
    for node in module.nodes(ast.Import, ast.ImportFrom):
        assert isinstance(node, ast.Import | ast.ImportFrom)
        named = {node.module or ""} if isinstance(node, ast.ImportFrom) else {alias.name for alias in node.names}
        for name in sorted(named):
            if name.partition(".")[0] in IMPURE:
                yield module.at(node, f"import {name}: this file decides; let time and facts come in as parameters")


def words(path: Path, banned: dict[str, str]) -> Iterator[Finding]:
    """Words (patterns) that a text must not have, each with what to write instead."""
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
        for pattern, instead in banned.items():
            if found := re.search(pattern, line, re.IGNORECASE):
                yield Finding(path.relative_to(ROOT).as_posix(), number, f"{found.group()!r}: {instead}")
