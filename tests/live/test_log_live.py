"""The log of whole ghosts: nothing lost, nothing torn, nothing that stops a ghost.

Each sink by itself is the matter of tests/unit/log; here many real spirits write through ``self.log``.
"""

import json
import os
import re
import signal
from typing import Final

import pytest

from tests.live.harness import WORK, Stage, Subject
from tests.live.places import shell
from tests.support import needs_root, needs_tool, wait_until

pytestmark = pytest.mark.live

SPIRITS: Final = 8
RECORDS: Final = 2000 if os.environ.get("GHOSTD_LONG") else 250

# Each spirit writes its numbered records, as many as asked for, and then only ticks.
WRITERS: Final = f"""\
class Subject(Prefork):
    def spirit(self):
        self.ready()
        for number in range({RECORDS}):
            self.tick()
            self.log.info(f"record {{self.seat}} {{number}} " + chr(97 + self.seat) * WIDTH + " end")
            time.sleep(PAUSE)
        note("wrote")
        while self.tick():
            time.sleep(0.01)
"""

TALKS: Final = """\
class Subject(Prefork):
    def init(self):
        print("printed by the daemon")
        os.write(2, b"written by the daemon\\n")

    def spirit(self):
        print("printed by a spirit")
        os.system("echo said by a child of a spirit >&2")
        note("said")
        while self.tick():
            time.sleep(0.01)
"""

HAS_A_LOGGER: Final = """\
import logging

handler = logging.FileHandler(NOTES + ".logging")
handler.setFormatter(logging.Formatter("%(levelname)s|%(name)s|%(message)s"))
logger = logging.getLogger("mine")
logger.addHandler(handler)
logger.setLevel(logging.DEBUG)
OPTIONS["logger"] = logger

class Subject(Prefork):
    def spirit(self):
        self.log.warn("from a spirit")
        note("said")
        while self.tick():
            time.sleep(0.01)
"""


def _writers(width: int, pause: float) -> str:
    return f"WIDTH, PAUSE = {width}, {pause}\n\n{WRITERS}"


def _all_logs(stage: Stage) -> str:
    return "".join(path.read_text() for path in sorted(stage.place.glob("log*")))


def _assert_all_is_there(stage: Stage, width: int) -> None:
    """Each record once, and each line a whole one."""
    lines = _all_logs(stage).splitlines()
    whole = re.compile(r"\[\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\.\d{5}\] \[\d+\] \[[a-z]+\] .+")
    torn = [line[:200] for line in lines if not whole.fullmatch(line)]
    assert not torn, torn[:5]
    found = [re.search(r"record (\d) (\d+) (\w+) end$", line) for line in lines if "] record " in line]
    assert all(found), "a record without its end"
    told = [(int(one[1]), int(one[2])) for one in found if one]
    assert sorted(told) == [(seat, number) for seat in range(SPIRITS) for number in range(RECORDS)]
    assert all(one[3] == chr(97 + int(one[1])) * width for one in found if one), "records are mixed"


@pytest.mark.parametrize("is_told", [True, False], ids=["USR1", "rename alone"])
def test_no_record_is_lost_or_torn_while_eight_spirits_write_and_the_log_is_rotated(
    stage: Stage, is_told: bool
) -> None:
    subject = stage.start(_writers(40, 0.015), spirits=SPIRITS)
    log = stage.place / "log"
    rotations = 0
    while len(stage.notes("wrote")) < SPIRITS:
        log.rename(stage.place / f"log.{rotations}")
        rotations += 1
        if is_told:
            subject.send(signal.SIGUSR1)
        # Who does not write does not look either: after the last record nobody opens it anew.
        wait_until(lambda: log.exists() or len(stage.notes("wrote")) == SPIRITS, what="a fresh log")
    assert rotations > 1
    assert subject.quit() == 0
    _assert_all_is_there(stage, 40)


def test_records_of_thirty_kilobytes_are_not_mixed(stage: Stage) -> None:
    subject = stage.start(_writers(30_000, 0.0), spirits=SPIRITS)
    subject.wait_notes("wrote", SPIRITS, timeout=30)
    assert subject.quit() == 0
    _assert_all_is_there(stage, 30_000)


def test_what_daemon_and_spirits_and_their_children_print_is_in_the_log(stage: Stage) -> None:
    subject = stage.start(TALKS)
    subject.wait_notes("said", 2)
    for words in ("printed by the daemon", "written by the daemon"):
        subject.wait_log(words)
    for words in ("printed by a spirit", "said by a child of a spirit"):
        subject.wait_log(words, 2)
    assert subject.quit() == 0


def test_a_relative_logfile_is_where_the_starter_was(stage: Stage) -> None:
    script = stage.write(WORK, logfile=True)
    script.write_text(script.read_text().replace(repr(str(stage.place / "log")), "'log'"))
    answer = stage.command("start")
    assert answer.code == 0, answer
    subject = Subject(stage, stage.pid_of(answer))
    subject.wait_log("Pool is whole")
    (stage.place / "log").rename(stage.place / "log.1")
    subject.send(signal.SIGUSR1)
    subject.wait_log("Log reopened")
    assert subject.quit() == 0


def test_json_lines_are_each_an_object_with_the_same_facts(stage: Stage) -> None:
    subject = stage.start(_writers(10, 0.0), spirits=2, logformat="json")
    subject.wait_notes("wrote", 2)
    pids = {subject.pid, *subject.spirits()}
    assert subject.quit() == 0
    records = [json.loads(line) for line in subject.log().splitlines()]
    assert len([one for one in records if "record " in str(one)]) == 2 * RECORDS
    assert {one["pid"] for one in records} == pids
    assert {one["level"] for one in records} <= {"debug", "info", "notice"}


def test_a_logger_of_the_user_takes_the_records_of_manager_and_spirits(stage: Stage) -> None:
    stage.write(HAS_A_LOGGER, logfile=False)
    answer = stage.command("start")
    assert answer.code == 0, answer
    subject = Subject(stage, stage.pid_of(answer))
    subject.wait_notes("said", 2)
    assert subject.quit() == 0
    told = (stage.place / "notes.logging").read_text()
    assert told.count("WARNING|mine|from a spirit") == 2, told
    assert f"INFO|mine|Manager {subject.pid} started" in told


NO_SYSTEM_LOG: Final = """\
class Subject(Prefork):
    def spirit(self):
        self.log.warn("from a spirit")
        while self.tick():
            time.sleep(0.01)
"""


def test_without_a_system_log_a_run_logs_to_stderr(stage: Stage) -> None:
    subject = stage.run(NO_SYSTEM_LOG)
    subject.wait_log(r"\[warn\] from a spirit", 2)
    assert subject.quit() == 0


# ── the disk ──
FULL: Final = """
mkdir -p full
mount -t tmpfs -o size=64k none full
$PY subject.py start >/dev/null
dd if=/dev/zero of=full/fill bs=1k count=1000 2>/dev/null || true
$PY subject.py reload >/dev/null
for i in $(seq 200); do [ $(grep -c ' leave' notes) -ge 2 ] && break; sleep 0.05; done
$PY subject.py status | sed 's/[0-9]*$//'
rm full/fill
$PY subject.py reload >/dev/null
for i in $(seq 200); do grep -q 'were lost' full/log && break; sleep 0.05; done
$PY subject.py stop | sed 's/[0-9]*$//'
grep -c 'log records were lost (No space left on device)' full/log
"""


@needs_root
@needs_tool("unshare")
@pytest.mark.namespace
@pytest.mark.root
def test_a_ghost_lives_on_a_full_disk_and_tells_later_how_many_records_were_lost(stage: Stage) -> None:
    script = stage.write(_filling(), logfile=True)
    script.write_text(script.read_text().replace(repr(str(stage.place / "log")), repr(str(stage.place / "full/log"))))
    answer = shell(FULL, cwd=stage.place, timeout=50)
    lines = answer.out.splitlines()
    assert lines[:2] == ["Running ", "Stopped "], answer
    assert int(lines[2]) >= 1
    stage.assert_nothing_is_left()


def _filling() -> str:
    """Writes so much that what is left in the last page of the log is not enough."""
    return WORK.replace("        while self.tick", "        self.log.info('x' * 9000)\n        while self.tick")
