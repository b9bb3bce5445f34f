"""What a new user may get wrong: each answer says what, with the value, and what to do next; nothing is left behind.

Rule: the parts of a message that are compared are those that a person needs; the code is the documented one.
"""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest

from ghostd.errors import ExitCode
from tests.live.places import AS_NOBODY, open_stage
from tests.support import needs_root, needs_tool

pytestmark = pytest.mark.live

FILES: Final = {
    "app.py": """\
import time
from ghostd import Ghost, Prefork

class App(Prefork):
    def spirit(self):
        while self.tick():
            time.sleep(0.01)

class NoBody(Prefork):
    pass

class NeedsMore(App):
    def __init__(self, more, **options):
        super().__init__(**options)

class Stillborn(App):
    def spirit(self):
        raise RuntimeError("no database")

class Broken(App):
    def init(self):
        raise RuntimeError("no settings")

class Slow(App):
    def spirit(self):
        time.sleep(100)

def two(one, more):
    pass

NUMBER = 7
""",
    "broken.py": "import nosuchlib\n",
    "syntax.py": "def f(:\n",
    "ends.py": "import sys\nsys.exit(3)\n",
    "unknown.toml": 'target = "app:App"\nspirit = 4\n',
    "wrong.toml": 'target = "app:App"\nspirits = "four"\n',
    "torn.toml": "target = \n",
    "notes.txt": "a file of somebody\n",
}

# What is said, what it ends with, and what the answer must have in it.
MISTAKES: Final[list[tuple[str, ExitCode, tuple[str, ...]]]] = [
    ("", ExitCode.USAGE, ("it takes one of run, serve, start", "ghostd --help")),
    ("strat app:App", ExitCode.USAGE, ("'strat'", "it takes one of run, serve, start")),
    ("start", ExitCode.BAD_TARGET, ("no TARGET", "module:name, file.py:name or a ghostd.toml")),
    ("start app", ExitCode.BAD_TARGET, ("'app'", "for example app:main")),
    ("start app:App extra", ExitCode.BAD_OPTION, ("'extra' is one word too many", "--help")),
    ("start nosuch:App", ExitCode.BAD_TARGET, ("no module named nosuch in", "there is app, broken")),
    ("start nosuch.py:App", ExitCode.BAD_TARGET, ("no file", "nosuch.py", "did you mean ends.py?")),
    ("start app:Ap", ExitCode.BAD_TARGET, ("app has no Ap", "did you mean App?")),
    ("start app:Zzz", ExitCode.BAD_TARGET, ("app has no Zzz", "there is App, Broken, NeedsMore")),
    ("start app:NUMBER", ExitCode.BAD_TARGET, ("7 is no program", "it takes a Ghost or Prefork class")),
    ("start app:two", ExitCode.BAD_OPTION, ("option spirit", "two", "one argument, the ghost, or of none")),
    ("start app:NoBody", ExitCode.BAD_OPTION, ("NoBody has nothing to run", "override spirit()")),
    ("start app:NeedsMore", ExitCode.BAD_TARGET, ("NeedsMore", "missing 1 required positional argument: 'more'")),
    ("start broken:f", ExitCode.BAD_TARGET, ("No module named 'nosuchlib'", 'broken.py", line 1')),
    ("start syntax:f", ExitCode.BAD_TARGET, ("SyntaxError", 'syntax.py", line 1')),
    ("start ends:f", ExitCode.BAD_TARGET, ("ends the process when it is imported (exit 3)", "__main__")),
    ("start app:App --spirits", ExitCode.BAD_OPTION, ("--spirits", "expected one argument", "--help")),
    ("start app:App --spirits=-1", ExitCode.BAD_OPTION, ("spirits: -1", "at least 0", "(from --spirits)")),
    ("start app:App --spirits 2.5", ExitCode.BAD_OPTION, ("'2.5'", "a whole number")),
    ("start app:App --spirts 2", ExitCode.BAD_OPTION, ("unknown flag --spirts", "did you mean --spirits?")),
    ("start app:App --boot-timeout soon", ExitCode.BAD_OPTION, ("'soon'", "a number of seconds", "--boot-timeout")),
    ("start app:App --loglevel loud", ExitCode.BAD_OPTION, ("'loud'", "one of trace, debug, info")),
    ("start app:App --user nosuchuser", ExitCode.BAD_OPTION, ("option user", "no user 'nosuchuser'")),
    ("start app:App --name a/b", ExitCode.BAD_OPTION, ("'a/b'", "without slashes")),
    ("start app:App --chdir /nosuch", ExitCode.BAD_OPTION, ("option chdir: '/nosuch'", "No such file or directory")),
    ("start app:App --pidfile /nosuch/x.pid", ExitCode.BAD_OPTION, ("the directory /nosuch does not", "make it, or")),
    ("start app:App --pidfile .", ExitCode.DENIED, ("it is a directory", "give the path of a file in it")),
    ("start app:App --pidfile notes.txt", ExitCode.DENIED, ("notes.txt", "something else than a pid", "remove it if")),
    ("start app:App --logfile /nosuch/log", ExitCode.BAD_OPTION, ("'/nosuch/log'", "directory does not exist: make")),
    ("start app:App --logfile .", ExitCode.BAD_OPTION, ("it is a directory", "give the path of a file in it")),
    ("start unknown.toml", ExitCode.BAD_CONFIG, ("unknown option 'spirit'", "unknown.toml", "did you mean spirits?")),
    ("start wrong.toml", ExitCode.BAD_CONFIG, ("spirits: 'four'", "a whole number", "(from wrong.toml:spirits)")),
    ("start torn.toml", ExitCode.BAD_CONFIG, ("torn.toml", "no valid TOML", "line 1")),
    ("start none.toml", ExitCode.BAD_CONFIG, ("none.toml", "No such file or directory")),
    ("start app:Stillborn", ExitCode.BOOT_FAILED, ("no database", 'app.py", line', "exit code 1")),
    (
        "start app:Broken",
        ExitCode.BOOT_FAILED,
        ("RuntimeError: no settings", "app.py, line", "its traceback is in /"),
    ),
    ("run app:Broken", ExitCode.BOOT_FAILED, ("RuntimeError: no settings", "app.py, line")),
    ("reload app.pid", ExitCode.BAD_TARGET, ("'app.pid'", "module:name")),
    ("config", ExitCode.BAD_OPTION, ("question", "--help")),
]


class Folder:
    """A folder of programs, the command given in it, and what it leaves there."""

    def __init__(self, path: Path) -> None:
        self.path = path
        for name, text in FILES.items():
            (path / name).write_text(text)
        self._before = self._names()

    def say(self, line: str, *prefix: str, **variables: str) -> subprocess.CompletedProcess[str]:
        own = {name: value for name, value in os.environ.items() if not name.startswith("GHOSTD_")}
        own |= {"PYTHONDONTWRITEBYTECODE": "1", "GHOSTD_LOGFILE": str(self.path / "log"), **variables}
        words = [*prefix, sys.executable, "-m", "ghostd", *line.split()]
        return subprocess.run(words, cwd=self.path, env=own, check=False, capture_output=True, text=True, timeout=30)

    def left(self) -> set[str]:
        return self._names() - self._before - {"log", "__pycache__"}

    def _names(self) -> set[str]:
        return {path.name for path in self.path.iterdir()}


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    return Folder(tmp_path)


@pytest.fixture
def common() -> Iterator[Folder]:
    """One that every user may write to."""
    with open_stage() as stage:
        stage.place.chmod(0o1777)  # as /tmp: root runs no program that others may replace
        yield Folder(stage.place)


@pytest.mark.parametrize(("line", "code", "parts"), MISTAKES, ids=[line or "nothing" for line, _, _ in MISTAKES])
def test_a_mistake_is_told_with_its_value_and_what_to_do_and_leaves_nothing(
    folder: Folder, line: str, code: ExitCode, parts: tuple[str, ...]
) -> None:
    done = folder.say(line)
    assert (done.returncode, done.stdout) == (code, ""), done
    missing = [part for part in parts if part not in done.stderr]
    assert not missing, f"{missing} not in: {done.stderr}"
    assert folder.left() == set()
    assert (folder.path / "notes.txt").read_text() == FILES["notes.txt"]


def test_a_wrong_variable_of_the_environment_is_told_by_its_name(folder: Folder) -> None:
    done = folder.say("start app:App", GHOSTD_SPIRITS="many")
    assert (done.returncode, done.stdout) == (ExitCode.BAD_OPTION, "")
    assert "'many'" in done.stderr and "(from GHOSTD_SPIRITS)" in done.stderr
    done = folder.say("start app:App", GHOSTD_SPIRTS="4")
    assert (done.returncode, done.stdout) == (ExitCode.BAD_OPTION, "")
    assert "GHOSTD_SPIRTS" in done.stderr and "did you mean GHOSTD_SPIRITS?" in done.stderr
    assert folder.left() == set()


def test_a_start_that_is_not_whole_in_time_names_the_pid_the_limit_and_the_log(folder: Folder) -> None:
    done = folder.say("start app:Slow --start-timeout 0.5")
    assert (done.returncode, done.stdout) == (ExitCode.TIMED_OUT, "")
    pid = int((folder.path / "app.pid").read_text().split()[0])
    wanted = f"the daemon (pid {pid}) was not ready within 0.5 s and goes on; see {folder.path}/log, or stop it"
    assert wanted in done.stderr
    assert folder.say("stop app:Slow --graceful-timeout 0").stdout == f"Stopped {pid}\n"
    assert folder.left() == set()


@needs_root
@needs_tool("setpriv")
@pytest.mark.parametrize(
    ("line", "code", "parts"),
    [
        ("start app:App --pidfile closed/x.pid", ExitCode.DENIED, ("closed/x.pid", "uid 65534", "give it the right")),
        ("run app:App --pidfile closed/x.pid", ExitCode.DENIED, ("closed/x.pid", "uid 65534", "give it the right")),
        ("start app:App --logfile closed/log", ExitCode.DENIED, ("closed/log", "uid 65534", "give it the right")),
        ("start app:App --user root", ExitCode.DENIED, ("user root (uid 0", "takes root", "leave out user and group")),
    ],
)
def test_what_one_has_no_right_to_is_told_with_who_one_is(
    common: Folder, line: str, code: ExitCode, parts: tuple[str, ...]
) -> None:
    (common.path / "closed").mkdir(mode=0o755)
    done = common.say(line, *AS_NOBODY, GHOSTD_LOGFILE=str(common.path / "nobody.log"))
    assert (done.returncode, done.stdout) == (code, ""), done
    missing = [part for part in parts if part not in done.stderr]
    assert not missing, f"{missing} not in: {done.stderr}"
    assert common.left() <= {"closed", "nobody.log"}
    assert list((common.path / "closed").iterdir()) == []


@needs_root
@needs_tool("setpriv")
@pytest.mark.parametrize("word", ["stop", "reload", "restart"])
def test_another_users_ghost_is_not_touched_and_that_is_said(common: Folder, word: str) -> None:
    done = common.say("start app:App --spirits 1")
    pid = int(done.stdout.split()[-1])
    answer = common.say(f"{word} app:App", *AS_NOBODY)
    assert (answer.returncode, answer.stdout) == (ExitCode.DENIED, ""), answer
    assert "uid 65534" in answer.stderr
    assert common.say("status app:App").stdout == f"Running {pid}\n"
    assert common.say("stop app:App").stdout == f"Stopped {pid}\n"
    assert common.left() == set()
