"""What the documents say is what the code says.

Rule: a page never repeats a table of the code by hand; where it does quote, a test compares.
"""

import importlib.util
import re
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Final

import pytest

from ghostd import Prefork
from ghostd.engine.sources import MANAGER_SIGNALS
from ghostd.errors import ExitCode
from tests.catalogue import is_there
from tests.support import wait_until
from tests.tidy import ROOT

DOCS: Final = ROOT / "docs"
KINDS: Final = ("added", "changed", "fixed", "removed", "deprecated")


def first_example() -> str:
    """The first Python block of the README."""
    found = re.search(r"```python\n(.*?)```", (ROOT / "README.md").read_text(encoding="utf-8"), re.DOTALL)
    assert found
    return found[1]


# ── tables ──
def test_pages_made_from_the_code_are_up_to_date() -> None:
    spec = importlib.util.spec_from_file_location("generate", DOCS / "generate.py")
    assert spec
    assert spec.loader
    generate = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(generate)
    old = [path.relative_to(ROOT).as_posix() for path in generate.stale()]
    assert not old, f"{old}: the code has changed; make pages writes them anew"


def test_the_page_of_exit_codes_has_each_of_them_once() -> None:
    page = (DOCS / "reference" / "exit-codes.md").read_text(encoding="utf-8")
    told = re.findall(r"^\| (\d+) \| `([A-Z_]+)` \|", page, re.MULTILINE)
    assert told == [(str(code.value), code.name) for code in ExitCode]


def test_the_page_of_signals_has_each_that_the_manager_hears_once() -> None:
    page = (DOCS / "reference" / "signals.md").read_text(encoding="utf-8").partition("## To a spirit")[0]
    told = re.findall(r"^\| ([A-Z0-9, ]+) \|", page, re.MULTILINE)
    names = sorted(name for row in told for name in row.split(", "))
    silent = {"SIGCHLD"}  # a fact about a child, that nobody sends
    heard = {number.name for number in MANAGER_SIGNALS} - silent
    assert names == sorted({*(name.removeprefix("SIG") for name in heard), "KILL"})


def test_the_page_of_hooks_has_each_hook_and_what_a_spirit_can_say() -> None:
    page = (DOCS / "reference" / "hooks.md").read_text(encoding="utf-8")
    told = set(re.findall(r"^\| `(\w+)|, `(\w+)`(?=[^|]*\|)", page, re.MULTILINE))
    names = {name for pair in told for name in pair if name}
    gone = sorted(name for name in names if not hasattr(Prefork, name))
    assert not gone, f"the page tells of {gone}, which there are not"
    hooks = {
        "again",
        "preinit",
        "init",
        "startup",
        "spawn",
        "spirit",
        "waitup",
        "heartbeat",
        "reap",
        "finish",
        "hangup",
    }
    assert hooks | {"cleanup", "tick", "ready", "busy", "stopping", "seat"} <= names


# ── links ──
def pages() -> list[Path]:
    return sorted([*ROOT.glob("*.md"), *(page for page in DOCS.rglob("*.md") if "_build" not in page.parts)])


@pytest.mark.parametrize(
    "page", [*sorted((DOCS / "review").glob("*.md")), DOCS / "security.md"], ids=lambda page: page.name
)
def test_every_test_that_a_review_names_exists(page: Path) -> None:
    named = re.findall(r"`(\w+(?:/\w+)*::\w+)`", page.read_text(encoding="utf-8"))
    gone = [test for test in named if not is_there(test)]
    assert not gone, f"{page.name} names {gone}, which were renamed, or never written"
    assert named or page.name not in ("seed.md", "security.md")


@pytest.mark.parametrize("page", pages(), ids=lambda page: page.relative_to(ROOT).as_posix())
def test_every_link_to_a_file_leads_somewhere(page: Path) -> None:
    text = re.sub(r"```.*?```", "", page.read_text(encoding="utf-8"), flags=re.DOTALL)
    links = [link.partition("#")[0] for link in re.findall(r"\]\(([^)\s]+)\)", text) if "://" not in link]
    gone = [link for link in links if link and not (page.parent / link).exists()]
    assert not gone, f"{page.name} links to {gone}"


# ── decisions and news ──
def test_each_decision_is_told_in_four_parts() -> None:
    decisions = sorted((DOCS / "adr").glob("[0-9]*.md"))
    assert [int(page.name[:3]) for page in decisions] == list(range(1, len(decisions) + 1)), "numbered without a gap"
    for page in decisions:
        parts = re.findall(r"^## (.*)$", page.read_text(encoding="utf-8"), re.MULTILINE)
        assert parts == ["Context", "Decision", "Status", "Consequences"], page.name


def test_each_piece_of_news_has_a_known_kind() -> None:
    for fragment in (ROOT / "changelog.d").glob("*.md"):
        if fragment.name != "README.md":
            assert re.fullmatch(rf"(\d+|\+[\w-]+)\.({'|'.join(KINDS)})(\.\d+)?\.md", fragment.name), fragment.name


def test_the_kinds_of_news_are_those_that_a_release_collects() -> None:
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    assert tuple(kind["directory"] for kind in settings["tool"]["towncrier"]["type"]) == KINDS


# ── the first example ──
def test_the_first_example_is_short() -> None:
    lines = [line for line in first_example().splitlines() if line.strip()]
    assert len(lines) <= 12


def test_the_first_example_is_a_file_among_the_examples() -> None:
    code = (ROOT / "examples" / "clock.py").read_text(encoding="utf-8")
    assert code.partition('"""\n\n')[2].strip() == first_example().strip()


@pytest.mark.live
def test_the_first_example_runs_as_pasted(tmp_path: Path) -> None:
    script = tmp_path / "clock.py"
    script.write_text(first_example(), encoding="utf-8")

    def say(command: str) -> tuple[int, str]:
        run = [sys.executable, script.name, command]
        done = subprocess.run(run, cwd=tmp_path, capture_output=True, text=True, timeout=30, check=False)
        return done.returncode, done.stdout + done.stderr

    code, told = say("start")
    assert (code, told.split()[0]) == (0, "Running"), told
    try:
        pid = told.split()[1]
        assert say("status") == (0, f"Running {pid}\n")
        log = tmp_path / "clock.log"
        wait_until(lambda: "seat 3: tick" in log.read_text(encoding="utf-8"), what="a line of the spirit on seat 3")
        assert say("reload") == (0, f"Reloading {pid}\n")
    finally:
        assert say("stop") == (0, f"Stopped {pid}\n")
    assert say("status") == (3, "Not running\n")
