"""Breaks one thing at a time and sees whether a test notices: python -m tests.mutate [core/roster.py ...]

mutmut makes the mutants of each function, runs each against the tests that reach this function, in a fork of a pytest
that has loaded them, and stops at the first that fails: half a second a mutant. It was chosen over cosmic-ray, which
starts pytest anew for each, and mutates annotations, of which every mutant survives: some ten times the time.

Rule 1: the tree is never touched; mutants live in a copy.
Rule 2: docs/review/mutations.toml is written here and nowhere else, but for the reasons of survivors: these are a
person's, and are kept as long as the change that survived is the same.

mutmut leaves out functions with a decorator, and what stands outside of functions. So in the copy a property is written
as a plain function that is made a property on the next line; the numbers of modules and of options have tests by name.
"""

import ast
import json
import os
import shutil
import subprocess
import sys
import tempfile
import tomllib
from collections import Counter
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).resolve().parents[1]
RESULTS: Final = ROOT / "docs" / "review" / "mutations.toml"
CORE_TESTS: Final = ("tests/unit/core", "tests/sim/test_small_worlds.py")
PIDFILE_TESTS: Final = tuple(
    f"tests/unit/daemon/test_pidfile{part}.py" for part in ("", "_asked", "_failed", "_upkeep", "_hostile")
)

# What is mutated, and the tests that it is held against.
TESTS: Final[dict[str, tuple[str, ...]]] = {
    **{f"core/{one.name}": CORE_TESTS for one in sorted((ROOT / "src/ghostd/core").glob("*.py"))},
    "daemon/pidfile.py": PIDFILE_TESTS,
    "daemon/lock.py": PIDFILE_TESTS,
    "daemon/privileges.py": ("tests/unit/daemon/test_privileges.py",),
    "linux/board.py": tuple(f"tests/unit/linux/test_{part}.py" for part in ("board", "board_memory", "doorbell")),
    "serve/address.py": ("tests/unit/serve/test_address.py",),
}
# Their tests fork, and what only a child reaches is not seen by mutmut: a survivor is held against all tests once more.
FORKING: Final = ("daemon/", "linux/")
PYTEST: Final = ["-p", "no:cacheprovider", "-o", "timeout=15"]  # a mutant that waits without end is noticed as well
UNNOTICED: Final = (0, 5, 33, None)  # mutmut: the tests passed, there was none, none was known, it was not tried


Key = tuple[str, str, str, str]  # module, function, before, after: what a reason is kept by


@dataclass(frozen=True)
class Survivor:
    """A change that no test has noticed."""

    name: str  # as mutmut has it, while the module is what it is
    module: str
    function: str
    before: str
    after: str
    reason: str = ""

    @property
    def key(self) -> Key:
        """What its reason is kept by."""
        return self.module, self.function, self.before, self.after


@dataclass(frozen=True)
class Outcome:
    """What became of the mutants of one module."""

    mutants: int
    survivors: list[Survivor]


# ── trying ──
def tried(modules: list[str], names: list[str]) -> dict[str, Outcome]:
    """The outcome of each of these modules, which share their tests; of all mutants, or of those that are named."""
    with tempfile.TemporaryDirectory(prefix="mutants-") as scratch:
        place = Path(scratch)
        for folder in ("src", "tests", "docs", "examples"):
            shutil.copytree(ROOT / folder, place / folder, ignore=shutil.ignore_patterns("__pycache__", "_build"))
        for module in modules:
            file = place / "src/ghostd" / module
            file.write_text(with_plain_properties(file.read_text(encoding="utf-8")), encoding="utf-8")
        _configure(place, modules)
        command = [sys.executable, "-m", "mutmut", "run", "--max-children", "1", *names]
        done = subprocess.run(command, cwd=place, stdout=subprocess.PIPE, text=True, check=False)
        outcomes = {module: _read(place, module, names) for module in modules}
        if not any(outcome.mutants for outcome in outcomes.values()) and done.returncode:
            sys.stdout.write(done.stdout[-4000:])
            raise SystemExit("no mutant was tried: the tests have to pass without any")
        return outcomes


def with_plain_properties(source: str) -> str:
    """The same module, with each property made by a call."""
    lines = source.splitlines()
    for node in sorted(ast.walk(ast.parse(source)), key=lambda node: -getattr(node, "lineno", 0)):
        match node:
            case ast.FunctionDef(decorator_list=[ast.Name(id="property") as decorator], end_lineno=int(end)):
                lines.insert(end, f"{' ' * node.col_offset}{node.name} = property({node.name})")
                del lines[decorator.lineno - 1]
    return "\n".join(lines) + "\n"


def _configure(place: Path, modules: list[str]) -> None:
    own = {
        "source_paths": ["src/ghostd"],
        "only_mutate": [f"src/ghostd/{module}" for module in modules],
        "also_copy": ["tests", "docs", "examples", "pyproject.toml"],
        "pytest_add_cli_args_test_selection": list(TESTS[modules[0]]),
        "pytest_add_cli_args": PYTEST,
        "use_git_change_detection": False,
    }
    lines = [f"{key} = {json.dumps(value)}" for key, value in own.items()]
    whole = (ROOT / "pyproject.toml").read_text(encoding="utf-8") + "\n[tool.mutmut]\n" + "\n".join(lines) + "\n"
    (place / "pyproject.toml").write_text(whole, encoding="utf-8")


def _read(place: Path, module: str, tried_only: list[str]) -> Outcome:
    file = place / "mutants/src/ghostd" / f"{module}.meta"
    codes = json.loads(file.read_text(encoding="utf-8"))["exit_code_by_key"] if file.exists() else {}
    names = [name for name, code in codes.items() if code in UNNOTICED and (not tried_only or name in tried_only)]
    if module.startswith(FORKING):
        names = [name for name in names if _survives(place / "mutants", TESTS[module], name)]
    return Outcome(len(codes), [_survivor(place, module, name) for name in names])


def _survives(place: Path, tests: tuple[str, ...], name: str) -> bool:
    environ = {**os.environ, "MUTANT_UNDER_TEST": name, "PYTHONPATH": str(place / "src")}
    command = [sys.executable, "-m", "pytest", "-x", "-q", *PYTEST, *tests]
    return subprocess.run(command, cwd=place, env=environ, capture_output=True, check=False).returncode == 0


def _survivor(place: Path, module: str, name: str) -> Survivor:
    command = [sys.executable, "-m", "mutmut", "show", name]
    shown = subprocess.run(command, cwd=place, capture_output=True, text=True, check=True).stdout.splitlines()
    lines = [line for line in shown if not line.startswith(("---", "+++"))]
    before, after = (" ".join(line[1:].strip() for line in lines if line[:1] == sign) for sign in "-+")
    function = name.rpartition("__mutmut_")[0].rpartition(".x")[2].lstrip("_ǁ").replace("ǁ", ".")
    return Survivor(name, module, function, before, after)


# ── telling ──
def known() -> tuple[dict[str, int], list[Survivor]]:
    """What the result file says: how many mutants each module had, and the survivors."""
    found = tomllib.loads(RESULTS.read_text(encoding="utf-8")) if RESULTS.exists() else {}
    counts = {module: one["mutants"] for module, one in found.get("module", {}).items()}
    return counts, [Survivor(**one) for one in found.get("survivor", [])]


def record(counts: dict[str, int], survivors: list[Survivor]) -> str:
    """The text of the result file."""
    lived = Counter(one.module for one in survivors)
    mutants, survived = sum(counts.values()), lived.total()
    lines = [
        "# Written by tests/mutate.py (make mutate), but for the reasons of survivors, which are ours.",
        f"# {mutants} mutants, {mutants - survived} killed: {100 * (1 - survived / mutants):.1f} %.",
        "",
    ]
    for module, made in sorted(counts.items()):
        killed = f"{100 * (1 - lived[module] / made):.1f} %"
        lines += [f"[module.{json.dumps(module)}]  # {killed}", f"mutants = {made}", f"survived = {lived[module]}", ""]
    for one in sorted(survivors, key=lambda one: (one.key, one.name)):
        lines += ["[[survivor]]", *(f"{name} = {_quoted(value)}" for name, value in asdict(one).items()), ""]
    return "\n".join(lines)


def _quoted(text: str) -> str:
    return f"'{text}'" if '"' in text and "'" not in text else json.dumps(text, ensure_ascii=False)


def merged(outcomes: dict[str, Outcome]) -> list[Survivor]:
    """Enter these outcomes into the result file: their survivors, with the reasons that were known."""
    counts, survivors = known()
    why = {one.key: one.reason for one in survivors}
    new = [replace(one, reason=why.get(one.key, "")) for outcome in outcomes.values() for one in outcome.survivors]
    counts |= {module: outcome.mutants for module, outcome in outcomes.items() if outcome.mutants}
    others = [one for one in survivors if one.module not in outcomes]
    RESULTS.write_text(record(counts, others + new), encoding="utf-8")
    return new


def main(wanted: list[str]) -> int:
    """Try the mutants of these modules, or of all; 1 when one survives that has no reason.

    With ``--again``, when nothing but tests has changed, only those that have survived are tried.
    """
    again = "--again" in wanted
    wanted = [word for word in wanted if word != "--again"] or list(TESTS)
    if unknown := [module for module in wanted if module not in TESTS]:
        raise SystemExit(f"{unknown[0]} is not mutated; choose from: {', '.join(TESTS)}")
    unexplained = 0
    for tests in dict.fromkeys(TESTS[module] for module in wanted):
        modules = [module for module in wanted if TESTS[module] == tests]
        names = [one.name for one in known()[1] if one.module in modules]
        if again and not names:
            continue
        outcomes = tried(modules, names if again else [])
        for one in merged(outcomes):
            if not one.reason:
                unexplained += 1
                sys.stdout.write(f"{one.module}: no reason: {one.function}: {one.before}\n  became: {one.after}\n")
        for module, outcome in outcomes.items():
            sys.stdout.write(f"{module}: {outcome.mutants} mutants, {len(outcome.survivors)} survived\n")
        sys.stdout.flush()
    return int(unexplained > 0)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
