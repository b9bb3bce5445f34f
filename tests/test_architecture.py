"""The shape of the tree, kept by a machine: each failure names the place and what to write instead.

Rule: an exception from a rule stands in a table here with its reason, never in the code alone.
"""

import re
import statistics
from collections.abc import Iterable
from pathlib import Path
from typing import Final

import pytest

from tests import tidy, weight
from tests.tidy import ROOT, SOURCE, Finding, Module

ALL: Final = tidy.modules("src", "tests", "bench", "examples")
OWN: Final = tidy.modules("src")

PURE: Final = ("core/", "control/protocol.py", "serve/address.py", "observe/prometheus.py")

BROAD_CATCHES: Final = {
    "engine/perform.py": "calls the hooks of the user, which may raise anything; the pool lives on",
    "ghost.py": "calls init, startup and cleanup of the user, before and after there is a loop",
    "serve/stream.py": "calls connection() of the user; what it raises ends that connection, and the spirit lives on",
    "serve/tasks.py": "likewise, for coroutines",
    "spirit/runners.py": "runs the body of a spirit; whatever it raises is logged with its traceback and ends it",
}
# What others call it, and the word that is used here. "workers" is an option's other name, in one place.
SYNONYMS: Final = {
    r"\bworkers?\b": "spirit",
    r"\b(master|arbiter|supervisor)\b": "manager",
    r"\b(slot|worker number)\b": "seat",
    r"\b(epoch|cohort)\b": "generation",
    r"\bscoreboard\b": "board",
    r"\b(hung|stalled|unresponsive) spirits?\b": "silent",
}
SHARED_STATE: Final[dict[str, str]] = {
    "__init__.py": "a table of names; the word Final would cost each user the import of typing",
}

# What `import ghostd` must not load; the command's status path stands on it.
HEAVY: Final = frozenset(
    [
        *("argparse", "asyncio", "concurrent", "ctypes", "dataclasses", "email", "html", "http", "importlib.metadata"),
        *(
            "inspect",
            "json",
            "logging",
            "msgspec",
            "multiprocessing",
            "pathlib",
            "psutil",
            "random",
            "re",
            "setproctitle",
        ),
        *(
            "socket",
            "ssl",
            "subprocess",
            "tempfile",
            "threading",
            "tomllib",
            "traceback",
            "typing",
            "unittest",
            "urllib",
        ),
    ]
)

BANNED_WORDS: Final = {
    r"\bagents?\b": "name who acts: the ghost, its manager, a spirit, the user",
    r"\bTODO\b|\bFIXME\b|\bXXX\b": "open an issue, or do it",
    r"\bblazing|\bseamless|\bworld-class\b|\bbest-in-class\b|\bcutting-edge\b": "give the figure instead",
    r"\bobviously\b|\bsimply\b|\bof course\b": "leave it out, or explain",
}
TEXTS: Final = ("*.md", "*.py", "*.toml", "*.yaml", "*.cfg", "Makefile", "run")


def none_of(findings: Iterable[Finding]) -> None:
    told = [str(finding) for finding in findings]
    assert not told, "\n" + "\n".join(told)


# ── size ──
def test_no_function_is_longer_than_a_screen() -> None:
    none_of(found for module in ALL for found in tidy.long_functions(module))


def test_half_of_all_functions_have_at_most_eight_lines() -> None:
    lengths = [lines for module in OWN for lines in tidy.function_lengths(module)]
    assert statistics.median(lengths) <= 8, "split what grows: the parent has the branches, its helpers the work"


def test_no_module_is_longer_than_can_be_read_at_once() -> None:
    none_of(found for module in ALL for found in tidy.long_module(module))


def test_no_constructor_takes_more_than_seven_things() -> None:
    none_of(found for module in ALL for found in tidy.wide_constructors(module))


def test_the_core_can_be_read_in_half_an_hour() -> None:
    # core/policy.py is left out: it is the numbers with their reasons, a page of documentation rather than code.
    core = [module for module in OWN if module.place.startswith("core/") and module.place != "core/policy.py"]
    lines = {module.place: tidy.code_lines(module) for module in core}
    assert sum(lines.values()) <= tidy.CORE_LINES_MOST, (
        f"{lines}: lines of code, without blanks, comments and docstrings; move what is no decision out of core/"
    )


def test_the_front_door_shows_names_only() -> None:
    lines = (SOURCE / "__init__.py").read_text(encoding="utf-8").count("\n")
    assert lines <= 40, f"src/ghostd/__init__.py has {lines} lines, at most 40: it names what is public, no more"


# ── what is not done ──
def test_only_the_command_prints() -> None:
    none_of(found for module in OWN for found in tidy.prints(module))


def test_no_deadline_rests_on_the_wall_clock() -> None:
    none_of(found for module in ALL for found in tidy.wall_clock(module))


def test_nothing_sleeps_but_spirits_and_what_is_lent_to_tests() -> None:
    none_of(found for module in OWN for found in tidy.sleeps(module))


def test_errors_are_caught_narrowly() -> None:
    none_of(found for module in OWN for found in tidy.broad_catches(module, BROAD_CATCHES))


def test_no_state_lives_outside_of_objects() -> None:
    none_of(found for module in OWN for found in tidy.shared_state(module, SHARED_STATE))


def test_what_decides_knows_no_clock_kernel_or_chance() -> None:
    none_of(found for module in OWN for found in tidy.impure_imports(module, PURE))


def test_the_core_is_tested_without_mocks() -> None:
    for folder in ("tests/unit/core", "tests/sim"):
        for module in tidy.modules(folder):
            assert "mock" not in module.text, f"{module.path}: history in, orders out; the core needs no mock"


@pytest.mark.parametrize("table", [BROAD_CATCHES, SHARED_STATE], ids=["broad catches", "shared state"])
def test_every_exception_from_a_rule_is_still_there(table: dict[str, str]) -> None:
    gone = [place for place in table if not (SOURCE / place).exists()]
    assert not gone, f"{gone}: no such file; take the exception out of the table"


# ── words ──
def test_every_file_opens_with_what_it_is() -> None:
    none_of(found for module in ALL for found in tidy.no_opening(module))


def texts() -> list[Path]:
    folders = ("src", "tests", "bench", "examples", "docs", "changelog.d", ".ci")
    found = [path for pattern in TEXTS for path in ROOT.glob(pattern)]
    found += [path for folder in folders for pattern in TEXTS for path in (ROOT / folder).rglob(pattern)]
    return [path for path in found if path != Path(__file__).resolve() and "_build" not in path.parts]


def test_no_text_has_a_word_that_says_nothing() -> None:
    none_of(found for path in texts() for found in tidy.words(path, BANNED_WORDS))


def test_no_code_calls_a_thing_by_another_word_than_the_glossary() -> None:
    sources = sorted(SOURCE.rglob("*.py"))
    found = [one for path in sources for one in tidy.words(path, SYNONYMS)]
    # Options of others are called what others call them.
    theirs = ("config/gathering.py", "integrations/granian.py", "integrations/hypercorn.py", "integrations/uvicorn.py")
    none_of(one for one in found if "'workers'" not in one.what or not one.path.endswith(theirs))


def test_no_text_has_a_path_of_this_machine() -> None:
    instead = "write a path that holds on every machine"
    here = [rf"{re.escape(str(place))}/" for place in (ROOT, Path.home()) if len(place.parts) > 1]
    none_of(found for path in texts() for found in tidy.words(path, dict.fromkeys(here, instead)))


# ── weight ──
def test_looking_at_the_package_loads_nothing_heavy() -> None:
    added = weight.loaded("import ghostd") - weight.loaded("pass")
    heavy = sorted(name for name in added if name in HEAVY or name.partition(".")[0] in HEAVY)
    assert not heavy, f"import ghostd loads {heavy}: import them inside the function that needs them"


def test_what_a_manager_loads_is_light() -> None:
    added = weight.loaded("from ghostd import Prefork") - weight.loaded("pass")
    heavy = weight.too_heavy({name for name in added if name.partition(".")[0] != "ghostd"})
    assert not heavy, (
        f"a manager loads {heavy}: import what only annotates under TYPE_CHECKING, the rest inside the function that "
        "needs it; CONTRIBUTING.md, under Light, tells more"
    )


# ── the checks themselves ──
@pytest.mark.parametrize(
    ("place", "text", "check"),
    [
        ("x.py", '"""X."""\nprint(1)\n', tidy.prints),
        ("x.py", '"""X."""\nimport time\ntime.time()\n', tidy.wall_clock),
        ("x.py", '"""X."""\nfrom time import time\n', tidy.wall_clock),
        ("engine/x.py", '"""X."""\nimport time\ntime.sleep(1)\n', tidy.sleeps),
        ("x.py", "x = 1\n", tidy.no_opening),
        ("x.py", '"""X."""\ndef f():\n' + "    x = 1\n" * 60, tidy.long_functions),
        ("x.py", '"""X."""\n' * 401, tidy.long_module),
        (
            "x.py",
            '"""X."""\nclass X:\n    def __init__(self, a, b, c, d, e, f, *, g, h): ...\n',
            tidy.wide_constructors,
        ),
        ("x.py", '"""X."""\ntry: ...\nexcept (OSError, Exception): ...\n', lambda m: tidy.broad_catches(m, {})),
        ("x.py", '"""X."""\ntry: ...\nexcept: ...\n', lambda m: tidy.broad_catches(m, {})),
        ("x.py", '"""X."""\nx = []\n', lambda m: tidy.shared_state(m, {})),
        ("x.py", '"""X."""\nclass X:\n    y: dict[int, int] = {}\n', lambda m: tidy.shared_state(m, {})),
        ("x.py", '"""X."""\ndef f():\n    global x\n', lambda m: tidy.shared_state(m, {})),
        ("core/x.py", '"""X."""\nimport os.path\n', lambda m: tidy.impure_imports(m, PURE)),
    ],
)
def test_each_rule_finds_what_it_looks_for(tmp_path: Path, place: str, text: str, check: object) -> None:
    path = tmp_path / "src" / "ghostd" / place
    path.parent.mkdir(parents=True)
    path.write_text(text, encoding="utf-8")
    assert callable(check)
    assert len(list(check(Module(path, tmp_path)))) == 1
