"""Becoming another user, as the methods of a ghost do it: errors raise, and say who must act."""

import os
from pathlib import Path

import pytest

from ghostd import Ghost
from ghostd.daemon import privileges
from ghostd.errors import DeniedError, OptionError
from tests.support import needs_root
from tests.unit.linux.forks import in_child

NOBODY = 65534


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


def test_flush_forgets_the_interruptions(ghost: Ghost) -> None:
    ghost.stop_asked(interrupted=True)
    assert ghost._interrupts == 1
    ghost.flush()
    assert ghost._interrupts == 0
