"""The program to run is found, or the error says what was looked for, where, and what is near."""

import os
import sys
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest

from ghostd import Ghost, Prefork, program
from ghostd.cli import target
from ghostd.cli.target import Said
from ghostd.config import Layer
from ghostd.errors import ConfigError, ExitCode, OptionError, TargetError, UserError
from ghostd.record import replace

PROGRAM = """
from ghostd import Ghost, Prefork

class Mailer(Prefork):
    spirits = 3
    def spirit(self): ...

class Picky(Prefork):
    def __init__(self): ...

class Stranger: ...

class Outer:
    class Inner(Mailer): ...

def work(): ...

async def wait(ghost): ...

made = Mailer(spirits=2, pidfile="made.pid")
number = 5
"""


@pytest.fixture(autouse=True)
def _folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A folder with a program in it, and an interpreter that forgets it afterwards."""
    for name in [name for name in os.environ if name.startswith("GHOSTD_")]:
        monkeypatch.delenv(name)
    (tmp_path / "app").mkdir()
    for path in ("mailer.py", "app/jobs.py", "app/__init__.py"):
        (tmp_path / path).write_text(PROGRAM)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.setattr(sys, "argv", ["ghostd", "start"])
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    before = set(sys.modules)
    yield
    for name in set(sys.modules) - before:
        if not name.startswith("ghostd.") or name.startswith("ghostd.target."):
            del sys.modules[name]


def said(**flags: object) -> Said:
    nothing = Layer({}, str)
    return Said(Layer(flags, lambda name: f"--{name}"), nothing, nothing)


def load(text: str) -> object:
    return program.load(program.parse(text))


def make(text: str, **flags: object) -> Ghost:
    return target.make(program.parse(text), said(**flags))


def told(text: str, *parts: str, error: type[UserError] = TargetError, **flags: object) -> None:
    with pytest.raises(error) as caught:
        make(text, **flags)
    missing = [part for part in parts if part not in str(caught.value)]
    assert not missing, f"{caught.value} lacks {missing}"


# ── finding ──
@pytest.mark.parametrize(
    "text", ["mailer:work", "mailer.py:work", "./mailer.py:work", "app.jobs:work", "app/jobs.py:work", "app:work"]
)
def test_a_module_or_a_file_is_found_from_the_current_folder(text: str) -> None:
    found = load(text)
    assert callable(found)
    assert getattr(found, "__name__", "") == "work"


def test_a_name_may_be_dotted() -> None:
    assert getattr(load("mailer:Outer.Inner"), "__qualname__", "") == "Outer.Inner"


def test_the_current_folder_and_that_of_a_file_are_on_the_path_as_python_puts_them(tmp_path: Path) -> None:
    load("app/jobs.py:work")
    assert sys.path[:2] == [str(tmp_path / "app"), str(tmp_path)]


def test_the_program_gives_its_name_to_a_ghost_that_has_none() -> None:
    assert make("mailer:Mailer").name == "mailer"
    assert make("app.jobs:Mailer").name == "jobs"
    assert make("app/jobs.py:work").name == "jobs"
    assert make("mailer:made").name == "mailer"
    assert make("mailer:Mailer", name="other").name == "other"


def test_a_file_may_have_the_name_of_a_module_in_use(tmp_path: Path) -> None:
    (tmp_path / "app" / "json.py").write_text("import json\ndef work(): ...\n")
    import json

    assert callable(load("app/json.py:work"))
    assert sys.modules["json"] is json


@pytest.mark.parametrize(
    "text", ["mailer", "mailer.py", "mailer:", ":work", "mailer:1", "a b:c", "mailer:work()", "", "-:x"]
)
def test_what_is_no_target_is_told_with_the_forms_that_are(text: str) -> None:
    told(text, "module:name, file.py:name or a ghostd.toml")


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("mailr:Mailer", ("no module named mailr", "did you mean mailer?")),
        ("mailer.jobs:Mailer", ("no module named mailer.jobs",)),
        ("app.job:Mailer", ("no module named app.job",)),
        ("nowhere.deep:x", ("no module named nowhere.deep",)),
        ("mailr.py:Mailer", ("no file ", "mailr.py", "did you mean mailer.py?")),
        ("nowhere/mailer.py:Mailer", ("no file ",)),
        ("app/nopython:x", ("no file ",)),
        ("mailer:Maller", ("mailer has no Maller", "did you mean Mailer?")),
        ("mailer:Outer.Iner", ("no Iner", "did you mean Inner?")),
    ],
)
def test_what_is_not_there_is_told_with_what_is_near(text: str, parts: tuple[str, ...]) -> None:
    told(text, f"target {text}: ", *parts)


# ── loading ──
@pytest.mark.parametrize(
    ("code", "parts"),
    [
        ("def f():\n    raise ValueError('boom')\nf()", ("ValueError: boom", "bad.py", "line 2, in f")),
        ("import nothere", ("ModuleNotFoundError", "nothere", "line 1")),
        ("def (", ("SyntaxError", "bad.py")),
        ("import sys; sys.exit(3)", ("it ends the process", "3", '__name__ == "__main__"')),
        ("def __getattr__(name): raise RuntimeError(name)", ("RuntimeError: x",)),
        ("class E(Exception):\n    pass\nraise E", ("bad", "E")),
    ],
)
@pytest.mark.parametrize("form", ["bad:x", "bad.py:x"])
def test_what_a_program_raises_while_it_is_loaded_is_told_with_its_last_frames(
    tmp_path: Path, code: str, parts: tuple[str, ...], form: str
) -> None:
    (tmp_path / "bad.py").write_text(code)
    told(form, *parts)


def test_an_error_of_ghostd_s_own_keeps_its_class_and_code(tmp_path: Path) -> None:
    (tmp_path / "bad.py").write_text("from ghostd import Prefork\nx = Prefork(spirit=print, spirits=-1)")
    told("bad:x", "option spirits: -1", error=OptionError)


def test_an_interrupt_is_no_mistake_of_the_program(tmp_path: Path) -> None:
    (tmp_path / "bad.py").write_text("raise KeyboardInterrupt")
    with pytest.raises(KeyboardInterrupt):
        load("bad:x")


# ── making ──
def test_a_class_is_made_with_what_was_said() -> None:
    ghost = make("mailer:Mailer", spare=7)
    assert (ghost.config.policy.spirits, ghost.config.policy.spare) == (3, 7)


def test_a_function_and_a_coroutine_function_become_the_spirit_of_a_prefork() -> None:
    for text in ("mailer:work", "mailer:wait"):
        ghost = make(text, spirits=9)
        assert isinstance(ghost, Prefork)
        assert ghost.config.policy.spirits == 9


def test_any_callable_that_is_no_class_will_do(tmp_path: Path) -> None:
    (tmp_path / "other.py").write_text("from functools import partial\nwork = partial(print, 1)")
    assert isinstance(load("other:work"), partial)
    assert isinstance(make("other:work"), Prefork)


@pytest.mark.parametrize("name", ["Stranger", "number"])
def test_what_is_no_program_is_told(name: str) -> None:
    told(f"mailer:{name}", "is no program", "a Ghost or Prefork class, one of its instances, a function")


def test_a_constructor_that_takes_no_options_is_told() -> None:
    told("mailer:Picky", "TypeError", "spirits", spirits=3)


def test_an_error_in_an_option_says_where_it_came_from() -> None:
    told("mailer:Mailer", "option spirits: -1", "(from --spirits)", error=OptionError, spirits=-1)


def test_an_error_in_a_class_attribute_names_the_class(tmp_path: Path) -> None:
    (tmp_path / "bad.py").write_text(PROGRAM.replace("spirits = 3", "spirits = 'many'"))
    (tmp_path / "bad.py").write_text((tmp_path / "bad.py").read_text().replace("made = ", "# "))
    told("bad:Mailer", "option spirits: 'many'", "(from class Mailer)", error=OptionError)


def test_a_ghost_that_is_made_already_stays_as_it_is() -> None:
    ghost = make("mailer:made")
    assert ghost.config.policy.spirits == 2
    assert make("mailer:made", spirits=2, pidfile="./made.pid", name="mailer") is ghost


def test_a_ghost_that_is_made_already_takes_no_other_options() -> None:
    told("mailer:made", "option spirits: 8", "(from --spirits)", "made already, with 2", error=OptionError, spirits=8)


def test_an_option_in_the_file_that_differs_from_the_made_ghost_is_the_file_s_error() -> None:
    file = Layer({"spirits": 8}, lambda name: f"ghostd.toml:{name}", ConfigError)
    with pytest.raises(ConfigError, match=r"ghostd\.toml:spirits") as caught:
        target.make(program.parse("mailer:made"), replace(said(), file=file))
    assert caught.value.code is ExitCode.BAD_CONFIG


def test_the_environment_does_not_quarrel_with_a_made_ghost() -> None:
    environ = Layer({"spirits": 8}, str)
    assert target.make(program.parse("mailer:made"), replace(said(), environ=environ)).config.policy.spirits == 2


def test_the_pidfile_beside_a_file_is_only_for_a_program_that_names_none(tmp_path: Path) -> None:
    parsed = program.parse("mailer:Mailer")
    beside = str(tmp_path / "beside.pid")
    assert target.make(parsed, said(), pidfile=beside).filepid.file == beside
    assert target.make(parsed, said(pidfile="own.pid"), pidfile=beside).filepid.file == str(tmp_path / "own.pid")
