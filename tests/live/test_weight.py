"""A running manager, and so each of its spirits, has loaded nothing heavy."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests import weight
from tests.live.harness import Stage, Subject
from tests.live.web import each, get, run

pytestmark = pytest.mark.live

TELLS = """\
class Subject(Prefork):
    def spirit(self):
        note("loaded", *sys.modules)
        while self.tick():
            time.sleep(0.01)
"""


def heavy(subject: Subject, allowed: frozenset[str] = weight.MANAGER_LOADS) -> list[str]:
    """What its spirit has loaded and no manager may load."""
    (note,) = subject.wait_notes("loaded")
    command = [sys.executable, "-c", "import sys; print(*sys.modules)"]
    own = subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()
    mine = ("ghostd", "subject")
    more = {name for name in note.more if name not in own and name.partition(".")[0] not in mine}
    return weight.too_heavy(more, allowed)


def test_a_spirit_of_a_daemon_has_loaded_nothing_heavy(stage: Stage) -> None:
    subject = stage.start(TELLS, spirits=1)
    assert not heavy(subject)
    assert subject.quit() == 0


def test_a_spirit_under_an_init_system_has_loaded_nothing_heavy(stage: Stage) -> None:
    subject = stage.run(TELLS, environ={"NOTIFY_SOCKET": "/nowhere"}, spirits=1)
    assert not heavy(subject)
    assert subject.quit() == 0


def test_a_spirit_of_a_daemon_that_the_command_started_has_loaded_nothing_heavy(stage: Stage) -> None:
    script = stage.write(TELLS, logfile=True)
    command = [sys.executable, "-c", "import sys; from ghostd.cli.main import main; sys.exit(main())"]
    words = ["start", f"{script}:Subject", "--spirits=1", "--pidfile", str(stage.place / "subject.pid")]
    words += ["--logfile", str(stage.place / "log")]
    # A variable that is nearly an option's has it looked for what is near, which loads more.
    own = {name: value for name, value in os.environ.items() if not name.startswith("GHOSTD_")}
    done = subprocess.run([*command, *words], capture_output=True, text=True, check=True, cwd=stage.place, env=own)
    subject = Subject(stage, int(done.stdout.split()[-1]))
    assert not heavy(subject, weight.COMMAND_LOADS)
    assert subject.quit() == 0


LISTS = """\
import sys

def app(environ, start_response):
    body = " ".join(sys.modules).encode()
    start_response("200 OK", [("Content-Length", str(len(body)))])
    return [body]
"""


@each("waitress wsgi", "cheroot wsgi")
def test_a_spirit_that_serves_wsgi_does_without_asyncio(stage: Stage, kind: str) -> None:
    web = run(stage, kind, app=LISTS, spirits=1)
    with web.connected() as sock:
        loaded = get(sock).rpartition(b"\r\n\r\n")[2].decode().split()
    assert kind.split(maxsplit=1)[0] in loaded
    assert "asyncio" not in loaded
    assert web.subject.quit() == 0


STARTS = """
import gc, sys
from ghostd import Prefork

class Subject(Prefork):
    def init(self):
        self.log.info(f"frozen in the daemon: {gc.get_freeze_count() > 0}")

    def spirit(self):
        while self.tick():
            pass

subject = Subject(spirits=1, pidfile=sys.argv[1], logfile=sys.argv[2])
print("before", gc.get_freeze_count())
assert subject.start() > 0
print("after", gc.get_freeze_count())
assert subject.stop() > 0
"""


def test_the_daemon_begins_with_a_frozen_heap_and_the_starter_goes_on_as_it_was(tmp_path: Path) -> None:
    command = [sys.executable, "-c", STARTS, str(tmp_path / "pid"), str(tmp_path / "log")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout.split(), done.stderr) == (0, ["before", "0", "after", "0"], "")
    assert "frozen in the daemon: True" in (tmp_path / "log").read_text()


FREEZES = """\
class Subject(Prefork):
    def init(self):
        self.model = [[number] for number in range(100_000)]

    def spirit(self):
        import gc
        note("frozen", gc.get_freeze_count())
        while self.tick():
            time.sleep(0.01)
"""


@pytest.mark.parametrize("freeze", [True, False])
def test_what_the_manager_has_loaded_is_frozen_in_each_spirit_unless_that_is_switched_off(
    stage: Stage, *, freeze: bool
) -> None:
    subject = stage.run(FREEZES, freeze=freeze)
    counts = [int(note.more[0]) for note in subject.wait_notes("frozen", 2)]
    assert all(count > 100_000 for count in counts) if freeze else counts == [0, 0]
    assert subject.quit() == 0
