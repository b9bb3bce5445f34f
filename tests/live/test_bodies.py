"""What a spirit can be: a method, a function with the ghost or without, a coroutine. Threads are its right."""

import os
import re
import signal
from typing import Any

import pytest

from ghostd.errors import ExitCode
from tests.live.harness import AT_ONCE, Stage, moment
from tests.support import wait_until

pytestmark = pytest.mark.live

SHORT: dict[str, Any] = {"heartbeat_interval": 0.2, "heartbeat_timeout": 0.8, "silent_timeout": 0.5}
SILENCE = 1.0

# Its functions are made into ghosts by the word that the tests begin with.
FUNCTION = """\
def work(ghost):
    note("begin", ghost.seat, ghost.serial, ghost.generation)
    while ghost.tick():
        time.sleep(0.01)
    note("leave")

def Subject(**options):
    return Prefork(spirit=work, **options)
"""


@pytest.mark.parametrize("detached", [False, True], ids=["run", "start"])
def test_a_function_that_takes_the_ghost_is_a_spirit(stage: Stage, detached: bool) -> None:
    subject = stage.start(FUNCTION) if detached else stage.run(FUNCTION)
    assert {note.more for note in subject.wait_notes("begin", 2)} == {("0", "1", "1"), ("1", "2", "1")}
    assert subject.quit() == 0
    assert len(subject.notes("leave")) == 2
    assert not subject.logged("immediately")


DEAF = """\
def work():
    note("begin")
    try:
        while True:
            time.sleep(1000)
    except SystemExit as end:
        note("leave", end.code)
        raise
    finally:
        note("finally")

def Subject(**options):
    return Prefork(spirit=work, **options)
"""


def test_a_function_without_arguments_is_ready_by_itself_never_silent_and_ended_by_systemexit(
    stage: Stage,
) -> None:
    subject = stage.run(DEAF, **SHORT)
    spirits = subject.spirits()
    until = moment() + SILENCE * 1.5
    wait_until(lambda: moment() > until)
    assert subject.spirits() == spirits
    assert not subject.logged("no heartbeat")
    at = moment()
    assert subject.quit() == 0
    assert moment() - at < AT_ONCE
    assert [note.more for note in subject.notes("leave")] == [("0",), ("0",)]
    assert len(subject.notes("finally")) == 2
    assert len(subject.logged("exit code 0")) == 2


FAILS = """\
def work():
    note("begin")
    if os.path.exists(os.path.join(os.path.dirname(NOTES), "broken")):
        raise RuntimeError("no such queue")
    time.sleep(1000)

def Subject(**options):
    return Prefork(spirit=work, **options)
"""


def test_a_function_without_arguments_that_fails_at_once_fails_the_start_with_its_traceback(stage: Stage) -> None:
    stage.write(FAILS, logfile=True)
    (stage.place / "broken").touch()
    answer = stage.command("start")
    assert answer.code == ExitCode.BOOT_FAILED
    assert "RuntimeError: no such queue" in answer.err
    assert "Not running" in stage.command("status").out


def test_a_function_without_arguments_that_fails_at_once_fails_the_reload_and_the_old_ones_stay(stage: Stage) -> None:
    subject = stage.run(FAILS)
    before = subject.spirits()
    (stage.place / "broken").touch()
    subject.send(signal.SIGHUP)
    subject.wait_log("Reload failed")
    wait_until(lambda: subject.spirits() == before)
    assert subject.quit() == 0


def test_a_function_without_arguments_is_reloaded_and_replaced_like_any_other(stage: Stage) -> None:
    subject = stage.run(DEAF)
    os.kill(min(subject.spirits()), signal.SIGKILL)
    subject.wait_notes("begin", 3)
    subject.send(signal.SIGHUP)
    subject.wait_log("Reloaded: ")
    assert subject.quit() == 0


# ── coroutines ──
COROUTINE = """\
import asyncio

class Subject(Prefork):
    async def spirit(self):
        note("begin")
        await self.wait_stopping()
        note("leave", self.stopping)
"""


@pytest.mark.parametrize("loop", ["asyncio", "auto"])
def test_a_coroutine_beats_by_itself_and_wakes_when_it_is_asked_to_leave(stage: Stage, loop: str) -> None:
    subject = stage.run(COROUTINE, event_loop=loop, **SHORT)
    spirits = subject.spirits()
    until = moment() + SILENCE * 1.5
    wait_until(lambda: moment() > until)
    assert subject.spirits() == spirits and not subject.logged("no heartbeat")
    at = moment()
    assert subject.quit() == 0
    assert moment() - at < AT_ONCE
    assert [note.more for note in subject.notes("leave")] == [("True",)] * 2


BLOCKED = """\
import asyncio

async def blocks_the_loop():
    time.sleep(1000)

async def work(ghost=None):
    note("begin")
    while True:
        await asyncio.sleep(0.01)
        try:
            os.rename("go", "gone")  # only one of them can
        except FileNotFoundError:
            if ghost and ghost.stopping:
                return
        else:
            note("blocks")
            await blocks_the_loop()

def Subject(**options):
    return Prefork(spirit=WORK, **options)
"""


@pytest.mark.parametrize("work", ["work", "lambda: work()"], ids=["with the ghost", "without"])
def test_a_coroutine_whose_loop_is_blocked_is_silent_and_names_what_blocks(stage: Stage, work: str) -> None:
    subject = stage.run(BLOCKED.replace("WORK", work), **SHORT)
    (stage.place / "go").touch()
    (note,) = subject.wait_notes("blocks")
    (line,) = subject.wait_log("has no heartbeat")
    assert f"Spirit {note.pid} " in line
    found = re.search(r"no heartbeat \((\S+) seconds\)", line)
    assert found and float(found[1]) >= SILENCE, "counted from its last beat"
    subject.wait_notes("begin", 3)
    subject.wait_log(" in blocks_the_loop")
    how = "SIGKILL" if work == "work" else "exit code 0"  # without the ghost it is ended by SystemExit
    subject.wait_log(f"Spirit {note.pid} stopped .*{how}")
    assert subject.quit() == 0


TICKS = """\
import asyncio

class Subject(Prefork):
    async def spirit(self):
        async for _ in self.ticks(every=EVERY):
            note("turn")
        note("leave")
"""


def test_the_turns_of_ticks_come_in_their_time_and_end_at_once_when_asked(stage: Stage) -> None:
    subject = stage.run(f"EVERY = 0.1\n{TICKS}", spirits=1)
    turns = subject.wait_notes("turn", 6)
    assert turns[5].at - turns[0].at >= 0.45
    assert subject.quit() == 0
    assert len(subject.notes("leave")) == 1


def test_a_long_turn_of_ticks_is_cut_short_when_asked(stage: Stage) -> None:
    subject = stage.run(f"EVERY = 1000\n{TICKS}")
    subject.wait_notes("turn", 2)
    at = moment()
    assert subject.quit() == 0
    assert moment() - at < AT_ONCE
    assert len(subject.notes("leave")) == 2 and len(subject.notes("turn")) == 2


RAISES = """\
import asyncio

class Subject(Prefork):
    async def spirit(self):
        note("begin")
        await asyncio.sleep(0.05)
        if self.serial == 1:
            raise ValueError("in the coroutine")
        await self.wait_stopping()
"""


def test_what_a_coroutine_raises_is_logged_and_it_is_replaced(stage: Stage) -> None:
    subject = stage.run(RAISES)
    subject.wait_notes("begin", 3)
    subject.wait_log("ValueError: in the coroutine")
    subject.wait_log("spirit 1, seat 0: exit code 1")
    assert subject.quit() == 0


# ── threads ──
TICKS_IN_A_THREAD = """\
import threading

class Subject(Prefork):
    def spirit(self):
        def beat():
            while self.tick():
                time.sleep(0.05)
        note("begin")
        thread = threading.Thread(target=beat)
        thread.start()
        thread.join()
        note("leave")
"""


def test_a_spirit_may_start_threads_and_tick_from_any(stage: Stage) -> None:
    subject = stage.run(TICKS_IN_A_THREAD, **SHORT)
    spirits = subject.spirits()
    until = moment() + SILENCE * 1.3
    wait_until(lambda: moment() > until)
    assert subject.spirits() == spirits
    os.kill(min(spirits), signal.SIGKILL)
    subject.wait_notes("begin", 3)
    assert subject.quit() == 0
    assert len(subject.notes("leave")) == 2


THREAD_IN = """\
import threading

def wait():
    while not os.path.exists(PLACE + "/over"):
        time.sleep(0.01)

class Subject(Prefork):
    def HOOK:
        if not os.path.exists(PLACE + "/over"):
            threading.Thread(target=wait, daemon=True).start()

    def spirit(self):
        note("begin")
        while self.tick():
            time.sleep(0.01)
"""


def thread_in(stage: Stage, hook: str) -> str:
    return f"PLACE = {str(stage.place)!r}\n{THREAD_IN.replace('HOOK', hook)}"


def test_a_thread_in_the_manager_before_its_first_fork_is_refused_with_a_clear_message(stage: Stage) -> None:
    stage.write(thread_in(stage, "init(self)"), logfile=True)
    answer = stage.command("start")
    assert answer.code == ExitCode.BAD_TARGET
    assert "the manager has 2 threads before its first fork" in answer.err
    assert "set fork_beside_threads to warn" in answer.err
    assert not stage.notes("begin")
    stage.assert_nothing_is_left()


def test_a_thread_in_the_starter_is_refused_before_it_detaches(stage: Stage) -> None:
    stage.write(thread_in(stage, "preinit(self)"), logfile=True)
    answer = stage.command("start")
    assert answer.code == ExitCode.BAD_TARGET
    assert "not detached: this process has 2 threads" in answer.err
    (stage.place / "over").touch()
    assert stage.command("start").code == 0, "and the refused one has left nothing in the way"
    assert stage.command("stop").code == 0


def test_a_thread_in_the_manager_is_allowed_where_the_user_says_so_and_is_warned_of(stage: Stage) -> None:
    subject = stage.run(thread_in(stage, "init(self)"), fork_beside_threads="warn")
    assert len(subject.logged(r"\[warn\].*the manager has 2 threads")) == 1, "once for the forks of a batch"
    assert subject.quit() == 0


def test_a_thread_that_a_hook_starts_later_holds_forks_back_until_it_ends(stage: Stage) -> None:
    subject = stage.run(thread_in(stage, "reap(self, pid)"), backoff_most=0.2)
    first, second = sorted(subject.spirits())
    os.kill(first, signal.SIGKILL)  # its replacement is forked before the hook is called
    subject.wait_log("Spirit .* stopped", 1)
    subject.wait_spirits(2)
    os.kill(second, signal.SIGKILL)
    (line, *_) = subject.wait_log("Spirit could not be made: the manager has . threads", 2)
    assert "next try in" in line
    assert subject.is_running() and len(subject.spirits()) == 1
    (stage.place / "over").touch()
    subject.wait_spirits(2)
    assert subject.quit() == 0
