"""A detached daemon and the system log: absent, come, gone, come again and stuck, each said or counted, and no matter.

The system log of a test is a program of its own at /dev/log, in a mount namespace whose /dev has no other.
"""

import re
from typing import Final

import pytest

from tests.live.harness import WORK, Stage
from tests.live.places import shell
from tests.support import needs_root, needs_tool

pytestmark = [pytest.mark.live, pytest.mark.root, pytest.mark.namespace, needs_root, needs_tool("unshare")]

SYSTEM_LOG: Final = """\
import os, socket, sys
from contextlib import suppress
with suppress(FileNotFoundError):
    os.unlink("/dev/log")
listener = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
listener.bind("/dev/log")
with open(sys.argv[1], "ab", buffering=0) as file:
    while True:
        file.write(listener.recv(65536) + b"\\n")
"""

WORLD: Final = """
mkdir dev
for name in null zero full random urandom tty; do touch dev/$name; mount --bind /dev/$name dev/$name; done
ln -s /proc/self/fd dev/fd
mount --rbind dev /dev
until_seen() { for i in $(seq 300); do grep -q "$1" "$2" 2>/dev/null && return; sleep 0.05; done; echo "no $1 in $2"; }
reload_until_seen() {
    for i in $(seq 100); do grep -q "$1" "$2" 2>/dev/null && return; $PY subject.py reload >/dev/null; sleep 0.1; done
    echo "no $1 in $2"
}
system_log() { $PY system_log.py $1 & log=$!; for i in $(seq 300); do [ -S /dev/log ] && return; sleep 0.02; done; }
"""

COMES_AND_GOES: Final = """
$PY subject.py start | sed 's/ [0-9]*$//'
system_log first
reload_until_seen 'Reloaded' first
kill $log; wait $log 2>/dev/null || true; rm /dev/log
$PY subject.py reload | sed 's/ [0-9]*$//'
system_log second
reload_until_seen 'Reloaded' second
$PY subject.py status | sed 's/ [0-9]*$//'
$PY subject.py stop | sed 's/ [0-9]*$//'
until_seen 'Ghost process .* stopped' second
kill $log
"""

IS_STUCK: Final = """
touch notes
system_log first
$PY subject.py start | sed 's/ [0-9]*$//'
until_seen 'Pool is whole' first
kill -STOP $log; touch go
for i in $(seq 400); do [ $(grep -c wrote notes) -ge 2 ] && break; sleep 0.05; done
$PY subject.py stop | sed 's/ [0-9]*$//'
kill -KILL $log
"""

WRITES: Final = """\
class Subject(Prefork):
    def spirit(self):
        self.tick()
        while not os.path.exists("go"):
            time.sleep(0.01)
        for _ in range(2000):
            self.log.info("x" * 100)
        note("wrote", self.log.dropped)
        while self.tick():
            time.sleep(0.01)
"""


def _script(stage: Stage, body: str) -> None:
    stage.write(body, logfile=False, chdir=str(stage.place))
    (stage.place / "system_log.py").write_text(SYSTEM_LOG)


def test_a_daemon_without_a_system_log_says_so_at_start_and_finds_one_whenever_it_comes(stage: Stage) -> None:
    _script(stage, WORK)
    answer = shell(WORLD + COMES_AND_GOES, cwd=stage.place, timeout=50)
    assert answer.out.splitlines() == ["Running", "Reloading", "Running", "Stopped"], answer
    assert answer.err == (
        "subject: no system log at /dev/log (No such file or directory): what the daemon logs is lost, and counted, "
        "until one is there; option logfile names a file instead"
    )
    first, second = ((stage.place / name).read_text() for name in ("first", "second"))
    assert re.search(r"\d+ log records were lost \(no system log at /dev/log and no stderr\)", first)
    assert re.search(r"\d+ log records were lost \(", second)
    assert re.search(r"subject\[\d+\]: Ghost process \d+ stopped$", second)
    stage.assert_nothing_is_left()


def test_a_system_log_that_is_stuck_holds_nobody_up(stage: Stage) -> None:
    _script(stage, WRITES)
    answer = shell(WORLD + IS_STUCK, cwd=stage.place, timeout=50)
    assert answer.out.splitlines() == ["Running", "Stopped"], answer
    assert answer.err == ""
    lost = [int(note.more[0]) for note in stage.notes("wrote")]
    assert len(lost) == 2
    assert all(one > 1000 for one in lost), lost
    stage.assert_nothing_is_left()
