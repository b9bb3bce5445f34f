"""Who a process is and becomes, judged by the kernel: in children, since there is no way back."""

import ctypes
import grp
import os
import pwd
import subprocess
import sys
from pathlib import Path
from typing import Final

import pytest

from ghostd.linux import process
from ghostd.linux.identity import Identity, Name, allowed, become, resolve
from tests.support import needs_root, needs_tool
from tests.unit.linux.forks import in_child

NOBODY: Final = pwd.getpwnam("nobody")
BIG: Final = 4133075255  # a real uid of a real bug: no arithmetic survives it
STRANGER: Final = 12345  # in no file

State = tuple[list[int], list[int], list[int], set[int]]


def state() -> State:
    """Uids, gids, groups and capabilities of this process, as /proc shows them."""
    with open("/proc/self/status", encoding="utf-8") as file:
        lines = dict(line.rstrip().split(":", 1) for line in file)
    ids = [sorted({int(one) for one in lines[name].split()}) for name in ("Uid", "Gid", "Groups")]
    return ids[0], ids[1], ids[2], {int(lines[name], 16) for name in ("CapPrm", "CapEff", "CapInh", "CapAmb")}


def become_stranger() -> None:
    os.setgroups([STRANGER])
    os.setresgid(STRANGER, STRANGER, STRANGER)
    os.setresuid(STRANGER, STRANGER, STRANGER)


# ── names and numbers ──
@pytest.mark.parametrize("user", ["nobody", NOBODY.pw_uid, str(NOBODY.pw_uid)])
def test_a_user_brings_its_group_and_its_groups(user: Name) -> None:
    found = resolve(user)
    assert (found.uid, found.gid, found.name) == (NOBODY.pw_uid, NOBODY.pw_gid, "nobody")
    assert set(found.groups) == {NOBODY.pw_gid, *os.getgrouplist("nobody", NOBODY.pw_gid)}


def test_groups_that_are_given_are_all_it_has_and_the_first_is_the_primary() -> None:
    name = grp.getgrgid(NOBODY.pw_gid).gr_name
    spellings: list[list[Name]] = [[12, name, 5], [12, str(NOBODY.pw_gid), 5, 5]]
    for groups in spellings:
        found = resolve("nobody", groups)
        assert found.gid == 12
        assert found.groups == (5, 12, NOBODY.pw_gid)
    assert resolve("nobody", 7).groups == (7,)
    assert resolve("nobody", name).gid == NOBODY.pw_gid


def test_a_number_needs_no_entry_when_its_groups_are_given() -> None:
    assert resolve(BIG, BIG) == Identity(BIG, BIG, (BIG,), str(BIG))


def test_a_number_without_an_entry_has_no_group_to_take() -> None:
    with pytest.raises(LookupError, match=f"uid {STRANGER} has no entry.*give the group too"):
        resolve(STRANGER)


@pytest.mark.parametrize(
    ("user", "groups", "message"),
    [
        ("no-such-user", None, "there is no user 'no-such-user'"),
        ("nobody", "no-such-group", "there is no group 'no-such-group'"),
        ("nobody", [1, "no-such-group"], "there is no group 'no-such-group'"),
        ("٣", None, "there is no user '٣'"),
        ("9" * 5000, None, "there is no user '99"),
        ("nobody", "٣", "there is no group '٣'"),
        (-1, None, "uid -1 is not possible"),
        (2**32 - 1, 1, "uid 4294967295 is not possible"),
        ("nobody", 2**32 - 1, "gid 4294967295 is not possible"),
        ("nobody", [], "groups is an empty list"),
    ],
)
def test_what_cannot_be_is_named(user: Name, groups: Name | list[Name] | None, message: str) -> None:
    with pytest.raises((LookupError, ValueError), match=message):
        resolve(user, groups)


def test_nobody_asked_for_is_oneself() -> None:
    found = resolve(None)
    assert (found.uid, found.gid) == (os.geteuid(), os.getegid())
    assert allowed(found)


# ── becoming ──
STARTS: Final[list[list[int]]] = [[], [0], [0, 4, 27, 1000], list(range(2000, 2050))]
WISHES: Final[list[tuple[Name, Name | list[Name] | None]]] = [
    ("nobody", None),
    ("nobody", [12, 5, 7]),
    (NOBODY.pw_uid, None),
    (STRANGER, STRANGER),
    (BIG, [BIG, 5]),
    ("root", None),
    ("root", [12]),
    ("nobody", 0),
]


@needs_root
@pytest.mark.parametrize("start", STARTS, ids=["no groups", "root's", "some", "many"])
@pytest.mark.parametrize(("user", "groups"), WISHES)
def test_it_becomes_exactly_what_was_asked_for(start: list[int], user: Name, groups: Name | list[Name] | None) -> None:
    def work() -> tuple[State, Identity]:
        os.setgroups(start)
        wanted = resolve(user, groups)
        assert allowed(wanted)
        become(wanted)
        return state(), wanted

    (uids, gids, found, capabilities), wanted = in_child(work)
    assert (uids, gids, found) == ([wanted.uid], [wanted.gid], list(wanted.groups))
    if wanted.uid:
        assert capabilities == {0}


@needs_root
def test_there_is_no_way_back() -> None:
    def work() -> None:
        become(resolve("nobody"))
        for call in (os.setuid, os.seteuid, os.setgid, os.setegid):
            with pytest.raises(PermissionError):
                call(0)
        with pytest.raises(PermissionError):
            os.setresuid(-1, -1, 0)
        with pytest.raises(PermissionError):
            os.setgroups([0])

    in_child(work)


@needs_root
def test_capabilities_that_would_survive_the_change_do_not() -> None:
    """Under this securebit the kernel leaves all capabilities to whoever stops being root."""

    def work() -> State:
        no_setuid_fixup = 1 << 2
        assert ctypes.CDLL(None).prctl(28, no_setuid_fixup, 0, 0, 0) == 0  # PR_SET_SECUREBITS
        become(resolve("nobody"))
        return state()

    assert in_child(work)[3] == {0}


@needs_root
@needs_tool("strace")
@pytest.mark.parametrize("call", ["setgroups", "setresgid", "setresuid", "capset"])
@pytest.mark.parametrize("fault", ["error=EPERM", "error=EAGAIN", "retval=0"])
def test_a_call_that_fails_or_only_says_that_it_worked_is_seen(call: str, fault: str) -> None:
    program = f"""
import ctypes, os, sys
from ghostd.linux.identity import become, resolve
os.setgroups([0, 4])
{"ctypes.CDLL(None).prctl(28, 4, 0, 0, 0)" if call == "capset" else ""}
os.getppid()
try:
    become(resolve("nobody"))
except OSError as error:
    sys.exit(40)
"""
    when = 2 if call == "setgroups" else 1  # the program itself calls it once
    trace = ["strace", "-qq", "-o", "/dev/null", "-e", f"trace={call}", "-e", f"inject={call}:{fault}:when={when}"]
    done = subprocess.run([*trace, sys.executable, "-c", program], check=False, timeout=30)
    assert done.returncode == 40


@needs_root
def test_root_without_the_capability_may_not_and_knows_it_early() -> None:
    def work() -> None:
        process.drop_capabilities()
        before = state()
        assert not allowed(resolve("nobody"))
        with pytest.raises(PermissionError, match=r"to become user nobody .* takes root"):
            become(resolve("nobody"))
        assert state() == before

    in_child(work)


@needs_root
@pytest.mark.parametrize("bit", [6, 7])  # CAP_SETGID, CAP_SETUID
def test_half_the_right_is_none(bit: int) -> None:
    def work() -> bool:
        half = (ctypes.c_uint32 * 6)(1 << bit, 1 << bit)
        assert ctypes.CDLL(None).capset((ctypes.c_uint32 * 2)(0x20080522, 0), half) == 0
        return allowed(resolve("nobody"))

    assert not in_child(work)


@needs_root
def test_root_gets_its_own_groups_rather_than_keep_those_it_was_started_with() -> None:
    def work() -> tuple[int, ...]:
        os.setgroups([0, 4, 27])
        return resolve("root").groups

    assert in_child(work) == tuple(sorted({0, *os.getgrouplist("root", 0)}))


@needs_root
def test_who_cannot_change_stays_with_the_groups_it_has() -> None:
    def work() -> Identity:
        become(resolve("nobody", [NOBODY.pw_gid, 5]))
        oneself = resolve("nobody")
        become(oneself)
        return oneself

    assert in_child(work).groups == (5, NOBODY.pw_gid)


@needs_root
def test_without_the_right_one_may_stay_oneself_and_nothing_else() -> None:
    def work() -> None:
        become_stranger()
        oneself = resolve(None)
        assert oneself == resolve(STRANGER) == Identity(STRANGER, STRANGER, (STRANGER,), str(STRANGER))
        assert allowed(oneself)
        become(oneself)
        before = state()
        others = [
            resolve("root"),
            resolve("nobody"),
            resolve(None, 0),
            resolve(None, [STRANGER, 5]),
            resolve(1, STRANGER),
        ]
        for other in others:
            assert not allowed(other), other
            with pytest.raises(PermissionError, match=f"this process has uid {STRANGER}"):
                become(other)
        assert state() == before

    in_child(work)


@needs_root
def test_one_may_not_become_oneself_while_another_is_behind_it() -> None:
    """The effective uid alone is no identity: the saved one leads back."""

    def work() -> None:
        os.setgroups([STRANGER])
        os.setresgid(STRANGER, STRANGER, STRANGER)
        os.setresuid(0, STRANGER, 0)
        assert not allowed(Identity(STRANGER, STRANGER, (STRANGER,), "x"))

    in_child(work)


@needs_root
def test_without_proc_it_is_judged_by_the_calls_that_there_are(tmp_path: Path) -> None:
    def work() -> tuple[tuple[int, ...], tuple[int, ...], list[int]]:
        wanted = resolve(STRANGER, [STRANGER, 5])
        os.chroot(tmp_path)
        assert allowed(wanted)
        become(wanted)
        assert allowed(wanted)
        assert not allowed(Identity(0, 0, (0,), "root"))
        return os.getresuid(), os.getresgid(), sorted(os.getgroups())

    assert in_child(work) == ((STRANGER,) * 3, (STRANGER,) * 3, [5, STRANGER])


def test_it_says_what_it_is() -> None:
    assert str(Identity(1, 2, (2, 3), "daemon")) == "user daemon (uid 1, gid 2, groups 2,3)"
