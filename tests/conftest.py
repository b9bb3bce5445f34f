"""Rules for every test: it leaves no process behind, and where nothing may be skipped a missing tool is a failure."""

import os
from collections.abc import Generator, Iterator

import pytest

from tests.support import (
    NEEDS,
    adopt_orphans,
    command_of,
    deadline,
    end_all,
    needs,
    needs_root,
    needs_tool,
    own_children,
    reap_zombies,
    wait_gone,
    wait_until,
)

__all__ = ["deadline", "needs", "needs_root", "needs_tool", "wait_gone", "wait_until"]

NO_SKIP = "GHOSTD_NO_SKIP"  # set where every tool and right is there: a test that needs one must run


def pytest_configure() -> None:
    adopt_orphans()


@pytest.fixture(autouse=True)
def _no_process_is_left() -> Iterator[None]:
    """Fail a test that leaves a process behind: a child, or a daemon that lost its parent."""
    before = set(own_children())
    yield
    left = reap_zombies(before)
    if not left:
        return
    try:  # one that is about to end may take its time
        wait_until(lambda: not reap_zombies(before), timeout=2.0)
    except AssertionError:
        left = reap_zombies(before)
        told = "\n".join(f"  {pid}: {command_of(pid)}" for pid in sorted(left))
        end_all(left)
        pytest.fail(f"the test left processes behind; end and await them in the test:\n{told}", pytrace=False)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    if report.skipped and os.environ.get(NO_SKIP) and isinstance(report.longrepr, tuple):
        reason = report.longrepr[2].removeprefix("Skipped: ")
        if reason.startswith(NEEDS):
            report.outcome = "failed"
            report.longrepr = f"skipped although {NO_SKIP} is set: {reason}; install what .ci/run installs"
    return report
