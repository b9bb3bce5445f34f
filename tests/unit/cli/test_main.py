"""The command as a process: what it loads, what it prints where, and how it ends."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ghostd import __version__
from ghostd.cli import main as entry
from ghostd.cli import quick, usage
from ghostd.cli import words as plain
from ghostd.cli.commands import COMMANDS
from ghostd.errors import ExitCode

# What the short way must not load: each takes longer than all that it does.
HEAVY_WORDS = """
argparse asyncio ast contextvars ctypes dataclasses datetime decimal difflib email gettext importlib.metadata inspect
json locale logging msgspec pathlib random re setproctitle shutil socket ssl string subprocess tempfile textwrap
threading tokenize tomllib traceback typing unittest urllib uuid zipfile
"""
HEAVY = frozenset(HEAVY_WORDS.split())
HELPS = dict.fromkeys(COMMANDS, "It does something.")
PROGRAM = "from ghostd import Prefork\nclass Mailer(Prefork):\n    def spirit(self): ...\n"


def environ(*without: str) -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if not name.startswith(("GHOSTD_", *without))}


def ghostd(folder: Path, *words: str, **variables: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "ghostd", *words]
    return subprocess.run(command, cwd=folder, env=environ() | variables, capture_output=True, text=True, check=False)


def loaded(folder: Path, *words: str) -> set[str]:
    """The modules that a command line loads, beyond those of Python's own start."""

    def by(code: str) -> set[str]:
        command = [sys.executable, "-X", "importtime", "-c", code]
        own = environ("COVERAGE_")  # which would load much by itself
        done = subprocess.run(command, cwd=folder, env=own, capture_output=True, text=True, check=False)
        return {line.rpartition("|")[2].strip() for line in done.stderr.splitlines() if line.startswith("import time:")}

    return by(f"from ghostd.cli.main import main; main({list(words)!r})") - by("pass")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "mailer.py").write_text(PROGRAM)
    return tmp_path


# ── weight ──
@pytest.mark.parametrize(
    "line",
    [
        "status --name mailer",
        "stop --name mailer",
        "check --name mailer",
        "check --live --pidfile mailer.pid",
        "check --ready --pidfile mailer.pid --ready-file mailer.ready",
        "check",
        "status --pidfile mailer.pid",
        "stop --pidfile mailer.pid",
        "status mailer:Mailer --name mailer",
        "status",
        "stop",
        "--version",
    ],
)
def test_the_short_way_loads_neither_the_program_nor_anything_heavy(folder: Path, line: str) -> None:
    (folder / "ghostd.toml").write_text('target = "mailer:Mailer"\nspirits = 2\n')
    found = loaded(folder, *line.split())
    assert "ghostd.cli.quick" in found
    heavy = {
        name for name in found if name in HEAVY or name.startswith(("ghostd.config", "ghostd.ghost", "ghostd.core"))
    }
    assert not heavy
    assert "mailer" not in found


def test_json_costs_json_and_no_more(folder: Path) -> None:
    found = loaded(folder, "status", "--name", "mailer", "--json")
    assert not found & (HEAVY - {"json", "re"})

    (folder / "ghostd.toml").write_text('target = "mailer:Mailer"\n[serve]\n')
    (folder / "ghostd.toml").write_text('target = "mailer:Mailer"\n[serve]\n')
    found = loaded(folder, "status")
    assert "tomllib" in found
    assert "mailer" not in found


# ── what is printed where, and the code ──
def test_status_of_what_does_not_run(folder: Path) -> None:
    done = ghostd(folder, "status", "--name", "mailer")
    assert (done.returncode, done.stdout, done.stderr) == (ExitCode.NOT_RUNNING, "Not running\n", "")


def test_a_probe_of_what_does_not_run(folder: Path) -> None:
    for line in ("check", "check --live", "check --ready", "check --ready-file r", "check --young 1"):
        done = ghostd(folder, *line.split(), "--name", "mailer")
        assert (done.returncode, done.stdout, done.stderr) == (ExitCode.NOT_RUNNING, "Not running\n", ""), line


def test_a_probe_that_names_only_a_program_is_told_what_to_say(folder: Path) -> None:
    done = ghostd(folder, "check", "mailer:Mailer")
    assert (done.returncode, done.stdout) == (ExitCode.BAD_OPTION, "")
    assert done.stderr.startswith("ghostd: check does not load the program")
    assert "--pidfile FILE" in done.stderr
    both = ghostd(folder, "check", "--live", "--ready", "--name", "mailer")
    assert both.returncode == ExitCode.BAD_OPTION
    assert "not allowed with argument" in both.stderr


def test_status_as_json(folder: Path) -> None:
    done = ghostd(folder, "status", "--name", "mailer", "--json")
    assert json.loads(done.stdout) == {
        "name": "mailer",
        "running": False,
        "pid": None,
        "pidfile": str(folder / "mailer.pid"),
        "code": 3,
        "spirits": [],
    }
    assert done.returncode == ExitCode.NOT_RUNNING


def test_status_of_a_dead_ghost_whose_pidfile_is_left(folder: Path) -> None:
    (folder / "mailer.pid").write_text("999999999\n")
    done = ghostd(folder, "status", "--name", "mailer")
    assert (done.returncode, done.stdout) == (ExitCode.FAILED, "Not running\n")


def test_stop_of_what_does_not_run_is_a_success(folder: Path) -> None:
    for line in (
        ["stop", "--name", "mailer"],
        ["stop", "mailer:Mailer"],
        ["stop", "--name", "m", "--stop-margin", "1"],
    ):
        done = ghostd(folder, *line)
        assert (done.returncode, done.stdout, done.stderr) == (ExitCode.OK, "Not running\n", "")


@pytest.mark.parametrize(
    ("line", "said"), [("", "missing;"), ("strat", "incorrect: 'strat';"), ("Status", "incorrect: 'Status';")]
)
def test_an_unknown_command_is_told_with_those_that_are(folder: Path, line: str, said: str) -> None:
    done = ghostd(folder, *line.split())
    assert (done.returncode, done.stdout) == (ExitCode.USAGE, "")
    assert done.stderr.startswith(f"ghostd: Command {said}")
    assert all(name in done.stderr for name in COMMANDS)


@pytest.mark.parametrize(
    ("line", "code", "part"),
    [
        ("start mailer:Mailer --spirits many", ExitCode.BAD_OPTION, "(from --spirits)"),
        ("status --spirits many --name x", ExitCode.BAD_OPTION, "(from --spirits)"),
        ("start mailer:Mailer --sprits 4", ExitCode.BAD_OPTION, "did you mean --spirits?"),
        ("start mailer:Mailer --spirits", ExitCode.BAD_OPTION, "expected one argument"),
        ("status --name", ExitCode.BAD_OPTION, "expected one argument"),
        ("status --name a/b", ExitCode.BAD_OPTION, "option name"),
        ("start mailer:Maler", ExitCode.BAD_TARGET, "did you mean Mailer?"),
        ("start", ExitCode.BAD_TARGET, "no TARGET"),
        ("status", ExitCode.BAD_TARGET, "no TARGET"),
        ("reload --name mailer", ExitCode.BAD_TARGET, "not running"),
        ("start missing.toml", ExitCode.BAD_CONFIG, "missing.toml: cannot be read"),
        ("config check", ExitCode.BAD_CONFIG, "ghostd.toml: cannot be read"),
        ("config bogus", ExitCode.BAD_OPTION, "check"),
    ],
)
def test_an_error_is_one_line_on_stderr_with_the_code_of_its_class(
    folder: Path, line: str, code: ExitCode, part: str
) -> None:
    done = ghostd(folder, *line.split())
    assert done.stderr.startswith("ghostd: ")
    assert done.stderr.count("\n") == 1
    assert part in done.stderr
    assert (done.returncode, done.stdout) == (code, "")


def test_an_error_in_the_environment_names_the_variable(folder: Path) -> None:
    done = ghostd(folder, "start", "mailer:Mailer", GHOSTD_SPIRITS="many")
    assert done.returncode == ExitCode.BAD_OPTION
    assert "(from GHOSTD_SPIRITS)" in done.stderr


def test_a_pidfile_that_the_short_way_would_miss_is_an_error_before_anything_starts(folder: Path) -> None:
    own = PROGRAM.replace("def", "pidfile = 'own.pid'\n    def")
    (folder / "mailer.py").write_text(own)
    (folder / "ghostd.toml").write_text('target = "mailer:Mailer"\n')
    done = ghostd(folder, "start")
    assert done.returncode == ExitCode.BAD_OPTION
    assert f"say pidfile = '{folder / 'own.pid'}'" in done.stderr
    assert not list(folder.glob("*.pid*"))


def test_help_and_version() -> None:
    for words in (["--help"], ["start", "--help"]):
        done = ghostd(Path.cwd(), *words)
        assert done.returncode == 0
        assert "usage: ghostd" in done.stdout
    assert ghostd(Path.cwd(), "-V").stdout == f"ghostd {__version__}\n"
    assert ghostd(Path.cwd(), "start", "-V").returncode == ExitCode.BAD_OPTION


def test_a_reader_that_has_gone_away_is_no_error(folder: Path) -> None:
    read, write = os.pipe()
    os.close(read)
    command = [sys.executable, "-m", "ghostd", "config", "show"]
    done = subprocess.run(command, cwd=folder, stdout=write, stderr=subprocess.PIPE, text=True, check=False)
    os.close(write)
    assert done.stderr == ""


def test_without_a_stdout_the_code_still_tells(folder: Path) -> None:
    command = f"exec {sys.executable} -m ghostd status --name mailer >&- 2>&-"
    assert subprocess.run(command, cwd=folder, shell=True, check=False).returncode == ExitCode.NOT_RUNNING


def test_a_bug_of_our_own_prints_its_traceback_and_ends_with_70(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("ghostd.cli.quick.run", lambda _words: 1 // 0)
    assert entry.main(["status"]) == ExitCode.BUG
    assert "ZeroDivisionError" in capsys.readouterr().err


def test_an_interrupted_command_ends_as_a_shell_expects(monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(_words: list[str]) -> int:
        raise KeyboardInterrupt

    monkeypatch.setattr("ghostd.cli.quick.run", interrupted)
    assert entry.main(["status"]) == 130


# ── config ──
def test_config_check_of_a_right_file_says_one_line(folder: Path) -> None:
    (folder / "ghostd.toml").write_text('target = "nowhere:Nothing"\nspirits = 2\n')
    done = ghostd(folder, "config", "check")
    assert (done.returncode, done.stdout.count("\n"), done.stderr) == (0, 1, "")


def test_config_check_tells_every_mistake(folder: Path) -> None:
    (folder / "any.toml").write_text('target = "nowhere"\nspirits = "2"\nspare = 1\nheartbeat = 1\n')
    done = ghostd(folder, "config", "check", "any.toml")
    assert done.returncode == ExitCode.BAD_CONFIG
    lines = done.stderr.splitlines()
    assert len(lines) == 3
    for key in ("target", "spirits", "heartbeat"):
        assert any(f"any.toml:{key}" in line for line in lines)


def test_config_show_tells_each_value_and_its_origin(folder: Path) -> None:
    (folder / "mailer.py").write_text(PROGRAM.replace("def", "spare = 7\n    def"))
    (folder / "ghostd.toml").write_text('target = "mailer:Mailer"\nspirits = 2\nspare = 1\n')
    done = ghostd(folder, "config", "show", "--umask", "077", GHOSTD_YOUNG="2")
    rows = {line.split()[0]: line.split(maxsplit=2)[1:] for line in done.stdout.splitlines()}
    assert rows["spirits"] == ["2", "ghostd.toml:spirits"]
    assert rows["spare"] == ["1", "ghostd.toml:spare"]
    assert rows["umask"] == ["0077", "--umask"]
    assert rows["young"] == ["2", "GHOSTD_YOUNG"]
    assert rows["heartbeat_timeout"] == ["50", "default"]
    assert done.returncode == 0


def test_config_show_as_json_knows_what_the_class_says(folder: Path) -> None:
    (folder / "mailer.py").write_text(PROGRAM.replace("def", "spare = 7\n    def"))
    done = ghostd(folder, "config", "show", "mailer:Mailer", "--json")
    assert json.loads(done.stdout)["spare"] == {"value": 7, "origin": "class Mailer"}


# ── one source ──
WORDS = st.sampled_from(
    ["a:b", "t.toml", "--pidfile", "--name", "--pidfile=x", "--name=--json", "--json", "x y", "--", "-"]
)


@settings(max_examples=60)  # a whole parser is made each time
@given(st.sampled_from(quick.COMMANDS), st.lists(WORDS, max_size=5))
def test_the_words_of_the_short_way_mean_the_same_to_the_long_way(command: str, words: list[str]) -> None:
    short = quick.parse([command, *words])
    if short is not None:
        long = vars(usage.parser(HELPS).parse_args([command, *words]))
        for field in ("command", "target", "pidfile", "name"):
            assert getattr(short, field) == long.get(field)
        assert short.as_json == long.get("as_json", False)


START_WORDS = st.sampled_from(
    [
        *("a:b", "t.toml", "x y", "--", "-", "-V", "", "--help", "--json", "--spirits", "--spirits=", "--spirits=3"),
        *("--workers", "5", "-5", "--freeze", "--freeze=no", "--listen", "--listen=:80", "--pid-file", "--pidfile"),
        *("--start_timeout", "--start-timeout", "--start-time", "--loghandle", "--nothing", "--name=--json"),
    ]
)


@settings(max_examples=150)
@given(st.sampled_from(plain.COMMANDS), st.lists(START_WORDS, max_size=5))
def test_words_that_are_read_without_argparse_mean_the_same_to_it(command: str, words: list[str]) -> None:
    light = plain.read([command, *words])
    if light is not None:
        assert vars(light) == vars(usage.parser(HELPS).parse_args([command, *words]))


def test_the_plain_forms_of_a_start_need_no_argparse() -> None:
    read = plain.read(["start", "--spirits", "3", "jobs:main", "--pidfile=x", "--listen", ":1", "--listen=:2"])
    assert read is not None
    expected = {"command": "start", "target": "jobs:main", "spirits": "3", "pidfile": "x", "listen": [":1", ":2"]}
    assert vars(read) == expected


def test_the_words_of_the_short_way_are_commands() -> None:
    assert set(quick.COMMANDS) | set(plain.COMMANDS) < set(COMMANDS)
