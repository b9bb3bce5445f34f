"""What a newborn spirit has of its manager, and what it has not. Rule: real processes, told by the kernel."""

import os
import signal

import pytest

from tests.live.harness import Stage
from tests.live.test_replacement import kill_one
from tests.support import needs_tool

pytestmark = pytest.mark.live

DRAWS = """\
import random

class Subject(Prefork):
    def init(self):
        random.seed(7)  # what a program may do that wants to be repeatable

    def spirit(self):
        note("begin", random.getrandbits(64))
        self.ready()
        while self.tick():
            time.sleep(0.01)
"""


def test_no_two_spirits_draw_the_same_random_numbers(stage: Stage) -> None:
    subject = stage.run(DRAWS, spirits=8)
    for _ in range(4):
        kill_one(subject)
    drawn = [note.more[0] for note in subject.wait_notes("begin", 12)]
    assert len(set(drawn)) == len(drawn), drawn
    assert subject.quit() == 0


CONNECTED = """\
import socket

class Subject(Prefork):
    def init(self):
        self.bell = socket.create_server(("127.0.0.1", 0))
        self.database = socket.create_connection(self.bell.getsockname())
        note("connected", self.database.fileno(), self.bell.fileno(), self.bell.getsockname()[1])

    def spirit(self):
        while self.tick():
            time.sleep(0.01)
"""


def test_a_connection_that_is_open_at_the_fork_is_named_in_the_log(stage: Stage) -> None:
    subject = stage.run(CONNECTED)
    ((_, _, _, (fd, listener, port)),) = subject.notes("connected")
    (line,) = subject.wait_log(f"descriptor {fd} is connected to 127.0.0.1:{port}")
    assert "[warn]" in line and "every spirit" in line, line
    assert not subject.logged(f"descriptor {listener} is"), "a listening socket is meant to be shared"
    assert subject.quit() == 0


SHARES = """\
import gc

class Subject(Prefork):
    def init(self):
        self.model = [{"number": number, "text": str(number)} for number in range(150_000)]

    def private(self):
        with open("/proc/self/smaps_rollup") as file:
            sizes = [line.split() for line in file]
        return sum(int(words[1]) for words in sizes if words[0] in ("Private_Dirty:", "Private_Clean:"))

    def spirit(self):
        self.ready()
        before = self.private()
        for _ in range(3):
            gc.collect()
        note("private", before, self.private())
        while self.tick():
            time.sleep(0.01)
"""


def test_what_the_manager_has_loaded_stays_shared_through_full_collections(stage: Stage) -> None:
    subject = stage.run(SHARES, spirits=2)
    for note in subject.wait_notes("private", 2):
        before, after = map(int, note.more)
        assert after - before < 4096, f"{after - before} KiB became private of about 50,000"
    assert subject.quit() == 0


BEATS = """\
class Subject(Prefork):
    def spirit(self):
        self.tick()
        os.access("/ghostd-begin", os.F_OK)  # seen in the trace
        for _ in range(1000):
            self.tick()
        os.access("/ghostd-end", os.F_OK)
        note("beaten")
        while self.tick():
            time.sleep(0.05)
"""


@needs_tool("strace")
def test_a_beat_makes_no_system_call(stage: Stage) -> None:
    trace = stage.place / "trace"
    subject = stage.run(BEATS, prefix=("strace", "-f", "-qq", "-o", str(trace)), whole=False, spirits=1)
    (note,) = subject.wait_notes("beaten")
    (manager,) = subject.spirits()  # of strace, which passes no signal on
    os.kill(manager, signal.SIGQUIT)
    assert subject.wait_end() == 0
    lines = [line.split(maxsplit=1) for line in trace.read_text().splitlines()]
    mine = [call for pid, call in lines if pid == str(note.pid) and not call.startswith("<...")]  # the end of a call
    begin, end = (next(at for at, call in enumerate(mine) if f"/ghostd-{mark}" in call) for mark in ("begin", "end"))
    assert end == begin + 1, mine[begin : end + 1][:10]


SAME = """\
import resource

class Subject(Prefork):
    def spirit(self):
        mask = os.umask(0)
        os.umask(mask)
        limits = [resource.getrlimit(number) for number in range(16)]
        environ = sorted(os.environ.items())
        note("same", self.generation, hash((mask, tuple(limits), tuple(environ), os.getcwd())))
        self.ready()
        while self.tick():
            time.sleep(0.01)
"""


def test_the_tenth_generation_has_the_environment_umask_and_limits_of_the_first(stage: Stage) -> None:
    subject = stage.run(SAME, environ={"PYTHONHASHSEED": "1"}, spirits=1)
    for done in range(1, 10):
        subject.send(signal.SIGHUP)
        subject.wait_log(r"\] Reloaded: ", done)
    notes = subject.notes("same")
    assert len({note.more[0] for note in notes}) == 10
    assert len({note.more[1] for note in notes}) == 1
    assert subject.quit() == 0


LINKED = """\
class Subject(Prefork):
    def spirit(self):
        import importlib
        release = importlib.import_module("release")
        note("version", release.VERSION)
        self.ready()
        while self.tick():
            time.sleep(0.01)
"""


def test_a_new_generation_loads_from_where_the_link_points_now(stage: Stage) -> None:
    current = stage.place / "current"
    for version in ("one", "two"):
        (stage.place / version).mkdir()
        (stage.place / version / "release.py").write_text(f"VERSION = {version!r}\n")
    current.symlink_to("one")
    subject = stage.run(LINKED, environ={"PYTHONPATH": str(current), "PYTHONDONTWRITEBYTECODE": "1"}, spirits=1)
    (stage.place / "next").symlink_to("two")
    (stage.place / "next").rename(current)
    subject.send(signal.SIGHUP)
    assert [note.more[0] for note in subject.wait_notes("version", 2)] == ["one", "two"]
    assert subject.quit() == 0


FAULTS = """\
import resource

def faults():
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt

class Subject(Prefork):
    def spawn(self, pid):
        if os.path.exists("go"):
            return
        open("go", "w").close()
        pid = os.fork()
        if pid == 0:
            note("bare", faults())
            os._exit(0)
        os.waitpid(pid, 0)

    def spirit(self):
        count = faults()
        note("born", count)
        while self.tick():
            time.sleep(0.01)
"""
MOST_FAULTS = 120  # of a newborn's own; a call of a method is three, a name that is looked up two, an import thousands


def test_the_first_steps_of_a_newborn_touch_few_pages(stage: Stage) -> None:
    subject = stage.run(FAULTS, spirits=4)
    (bare,) = (int(note.more[0]) for note in subject.wait_notes("bare"))
    born = sorted(int(note.more[0]) for note in subject.wait_notes("born", 4))
    assert born[1] - bare < MOST_FAULTS, (bare, born)
    assert subject.quit() == 0
