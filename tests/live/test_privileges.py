"""Another user: the manager and each spirit are exactly who was asked for, whoever started them; else nothing runs.

The calls themselves, capabilities kept beyond the change, and users without an entry are proved in
unit/linux/test_identity.py. Here whole ghosts are asked of the kernel, which alone knows.
"""

import grp
import os
import pwd
import signal
from typing import Final

import pytest

from ghostd.errors import ExitCode
from tests.live.harness import WORK, Subject
from tests.live.places import AS_NOBODY, NOBODY, credentials, open_stage, told
from tests.support import needs_root, needs_tool

pytestmark = [pytest.mark.live, pytest.mark.root, needs_root, needs_tool("setpriv")]

STARTS: Final = {
    "of root alone": ("setpriv", "--groups", "0"),
    "of none": ("setpriv", "--clear-groups"),
    "of many": ("setpriv", "--groups", "0,4,27,44"),
}

# What the daemon may try once it is another user, to have its right back.
TRIES: Final = """\
def regain():
    for attempt in (lambda: os.setresuid(0, 0, 0), lambda: os.setresgid(0, 0, 0), lambda: os.setgroups([0]),
                    lambda: os.seteuid(0), lambda: os.setegid(0), lambda: open("/etc/shadow").close()):
        try:
            attempt()
        except OSError:
            continue
        return "regained"
    return "refused"

class Subject(Prefork):
    def init(self):
        note("init", regain())

    def spirit(self):
        note("spirit", regain())
        while self.tick():
            time.sleep(0.01)
"""


def _nobodys() -> tuple[int, set[int]]:
    """The primary group of nobody, and all groups it has."""
    entry = pwd.getpwnam("nobody")
    return entry.pw_gid, set(os.getgrouplist("nobody", entry.pw_gid))


def _cases() -> list[tuple[str, dict[str, object], tuple[int, int, set[int]]]]:
    primary, own = _nobodys()
    daemon, adm = grp.getgrnam("daemon").gr_gid, grp.getgrnam("adm").gr_gid
    return [
        ("user", {"user": "nobody"}, (NOBODY, primary, own)),
        ("user and group", {"user": "nobody", "group": "daemon"}, (NOBODY, daemon, {daemon})),
        ("user and groups", {"user": "nobody", "group": ["adm", "daemon"]}, (NOBODY, adm, {adm, daemon})),
        ("number without an entry", {"user": 4133075255, "group": 54321}, (4133075255, 54321, {54321})),
    ]


@pytest.mark.parametrize("groups", STARTS)
@pytest.mark.parametrize(("what", "options", "wanted"), _cases(), ids=[case[0] for case in _cases()])
def test_manager_and_spirits_are_exactly_who_was_asked_for_and_cannot_go_back(
    groups: str, what: str, options: dict[str, object], wanted: tuple[int, int, set[int]]
) -> None:
    uid, gid, all_groups = wanted
    with open_stage() as stage:
        stage.write(TRIES, logfile=True, **options)
        answer = told(stage, "start", prefix=STARTS[groups])
        assert answer.code == 0, f"{answer}\n{stage.log()}"
        subject = Subject(stage, stage.pid_of(answer))
        for pid in (subject.pid, *subject.wait_spirits(2)):
            assert credentials(pid) == ({uid}, {gid}, all_groups, 0), f"process {pid} of {subject.pid}"
        notes = subject.wait_notes("spirit", 2) + subject.notes("init")
        assert {note.more for note in notes} == {("refused",)}
        assert subject.quit() == 0
        assert not (stage.place / "subject.pid").exists() or not (stage.place / "subject.pid").read_text()


def test_a_replacement_is_who_was_asked_for_too() -> None:
    primary, own = _nobodys()
    with open_stage() as stage:
        subject = stage.start(user="nobody")
        old = subject.wait_spirits(2)
        os.kill(min(old), signal.SIGKILL)
        for pid in subject.wait_spirits(2, without={min(old)}):
            assert credentials(pid) == ({NOBODY}, {primary}, own, 0)
        assert subject.quit() == 0


def test_another_user_still_ends_in_order_and_the_next_start_works() -> None:
    with open_stage() as stage:
        for _ in range(2):
            subject = stage.start(user="nobody")
            assert stage.command("status").out == f"Running {subject.pid}"
            assert stage.command("stop").out == f"Stopped {subject.pid}"
            assert subject.wait_end() == 0
            assert stage.command("status").code in (ExitCode.NOT_RUNNING, ExitCode.FAILED)


def test_another_user_may_still_open_its_log_anew() -> None:
    with open_stage() as stage:
        subject = stage.start(user="nobody")
        (stage.place / "log").rename(stage.place / "log.1")
        subject.send(signal.SIGUSR1)
        subject.wait_log("Log reopened")
        assert (stage.place / "log").stat().st_uid == NOBODY
        assert subject.quit() == 0


def test_root_asked_for_by_name_is_root_with_its_own_groups() -> None:
    with open_stage() as stage:
        stage.write(WORK, logfile=True, user="root")
        answer = told(stage, "start", prefix=STARTS["of many"])
        assert answer.code == 0, answer
        subject = Subject(stage, stage.pid_of(answer))
        uids, gids, groups, _ = credentials(subject.pid)
        assert (uids, gids) == ({0}, {0})
        assert groups == set(os.getgrouplist("root", 0))
        assert subject.quit() == 0


# ── without the right ──
@pytest.mark.parametrize("options", [{"user": "root"}, {"user": "daemon"}, {"group": "adm"}], ids=str)
@pytest.mark.parametrize("word", ["start", "run"])
def test_another_user_asked_for_without_the_right_is_denied_and_nothing_starts(
    word: str, options: dict[str, object]
) -> None:
    with open_stage() as stage:
        stage.write(WORK + "\n    def preinit(self):\n        note('preinit')\n", logfile=True, **options)
        answer = told(stage, word, prefix=AS_NOBODY)
        assert answer.code == ExitCode.DENIED, answer
        assert "takes root" in answer.err and "Traceback" not in answer.err, answer.err
        assert {path.name for path in stage.place.iterdir()} == {"subject.py"}
        stage.assert_nothing_is_left()


# ── the kernel refuses ──
@needs_tool("strace")
@pytest.mark.parametrize("error", ["EPERM", "EAGAIN"])
@pytest.mark.parametrize("call", ["setgroups", "setresgid", "setresuid"])
@pytest.mark.parametrize("word", ["start", "run"])
def test_a_daemon_that_cannot_give_its_rights_away_does_not_run(call: str, error: str, word: str) -> None:
    with open_stage() as stage:
        stage.write(TRIES, logfile=True, user="nobody")
        inject = f"inject={call}:error={error}:when=1"
        prefix = ("strace", "-f", "-qq", "-o", "/dev/null", "-e", f"trace={call}", "-e", inject)
        answer = told(stage, word, prefix=prefix)
        assert answer.code in (ExitCode.DENIED, ExitCode.SYSTEM, ExitCode.BOOT_FAILED), answer
        assert answer.err, "it must say why"
        assert not stage.notes(), "code of the user ran"
        stage.assert_nothing_is_left()
        assert not (stage.place / "subject.pid").exists() or not (stage.place / "subject.pid").read_text()


@needs_tool("strace")
@pytest.mark.parametrize("call", ["setgroups", "setresgid", "setresuid"])
def test_a_call_that_only_says_that_it_worked_is_found_out(call: str) -> None:
    with open_stage() as stage:
        stage.write(TRIES, logfile=True, user="nobody")
        prefix = (
            "strace",
            "-f",
            "-qq",
            "-o",
            "/dev/null",
            "-e",
            f"trace={call}",
            "-e",
            f"inject={call}:retval=0:when=1",
        )
        answer = told(stage, "start", prefix=prefix)
        assert answer.code != 0 and answer.err, answer
        assert not stage.notes(), "code of the user ran"
        stage.assert_nothing_is_left()
