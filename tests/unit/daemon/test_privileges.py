"""Becoming another user, as the methods of a ghost do it: errors raise, and say who must act."""

import os
import re
from pathlib import Path

import pytest

from ghostd import Ghost
from ghostd.daemon import privileges
from ghostd.errors import DeniedError, OptionError
from tests.support import needs_root
from tests.unit.linux.forks import in_child

NOBODY = 65534
ADM = 4


@pytest.fixture
def ghost(tmp_path: Path) -> Ghost:
    return Ghost(name="subject", pidfile=str(tmp_path / "subject.pid"), logfile=str(tmp_path / "log"))


def test_a_user_or_group_that_there_is_not_is_an_error_of_the_option(ghost: Ghost) -> None:
    with pytest.raises(OptionError, match="option user: there is no user 'nosuchuser'"):
        ghost.set_uid("nosuchuser")
    with pytest.raises(OptionError, match=r"option user or group: there is no group 'nosuchgroup'"):
        ghost.set_gid("nosuchgroup")
    with pytest.raises(OptionError, match="groups is an empty list"):
        ghost.set_gid([])


@needs_root
def test_set_uid_becomes_the_user_with_its_group_for_good(ghost: Ghost) -> None:
    def work() -> list[tuple[int, ...]]:
        ghost.set_uid("nobody")
        with pytest.raises(DeniedError):
            ghost.set_uid("root")
        return [os.getresuid(), os.getresgid(), tuple(os.getgroups())]

    users, groups, more = in_child(work)
    assert users == (NOBODY,) * 3
    assert set(groups) == {NOBODY}
    assert 0 not in more


@needs_root
def test_set_gid_takes_several_groups_of_which_the_first_is_the_primary_one(ghost: Ghost) -> None:
    def work() -> list[object]:
        ghost.set_gid([NOBODY, "adm"])
        return [os.getresgid(), sorted(os.getgroups())]

    assert in_child(work) == [(NOBODY,) * 3, sorted([NOBODY, 4])]


@needs_root
def test_who_may_not_become_another_is_told_so_and_stays_what_it_is(ghost: Ghost) -> None:
    def work() -> tuple[int, int, int]:
        os.setresgid(NOBODY, NOBODY, NOBODY)
        os.setgroups([])
        os.setresuid(NOBODY, NOBODY, NOBODY)
        with pytest.raises(DeniedError):
            ghost.set_uid("daemon")
        with pytest.raises(DeniedError, match="takes root: start it as root, or leave out user and group"):
            privileges.Privileges("daemon", None).check_right()
        return os.getresuid()

    assert in_child(work) == (NOBODY,) * 3


@needs_root
def test_what_is_wanted_is_known_before_it_is_given_up_and_then_given_up_for_good() -> None:
    wanted = privileges.Privileges("nobody", ["adm", NOBODY])
    assert wanted.owner == (NOBODY, ADM)
    wanted.check_right()

    def work() -> list[object]:
        wanted.give_up()
        return [os.getresuid(), os.getresgid(), sorted(os.getgroups())]

    assert in_child(work) == [(NOBODY,) * 3, (ADM,) * 3, [ADM, NOBODY]]


def test_who_names_only_one_of_user_and_group_keeps_the_other_or_takes_the_users() -> None:
    assert privileges.Privileges("nobody", None).owner == (NOBODY, NOBODY)
    assert privileges.Privileges(None, "adm").owner == (os.geteuid(), ADM)


def test_a_ghost_that_stays_who_started_it_gives_up_nothing_and_needs_no_right() -> None:
    stays = privileges.Privileges(None, None)
    assert stays.owner == (os.geteuid(), os.getegid())
    before = os.getresuid(), os.getresgid(), os.getgroups()
    stays.check_right()
    stays.give_up()
    assert (os.getresuid(), os.getresgid(), os.getgroups()) == before


@needs_root
def test_the_right_that_is_missing_is_told_with_who_is_wanted_and_who_asks() -> None:
    wanted = privileges.Privileges("daemon", None)

    def work() -> list[str]:
        os.setresuid(NOBODY, NOBODY, NOBODY)
        said = []
        for step in (wanted.check_right, wanted.give_up):
            with pytest.raises(DeniedError) as error:
                step()
            said.append(str(error.value))
        return said

    check, give_up = in_child(work)
    assert re.fullmatch(
        r"to run as user daemon \(uid 1, gid 1, groups 1\) takes root: start it as root, or leave out user and group",
        check,
    )
    assert re.fullmatch(r"to become user daemon \(.*\) takes root; this process has uid 65534, gid 0", give_up)


def test_flush_forgets_the_interruptions(ghost: Ghost) -> None:
    ghost.stop_asked(interrupted=True)
    assert ghost._interrupts == 1
    ghost.flush()
    assert ghost._interrupts == 0
