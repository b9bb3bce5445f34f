"""Rules for every test: it leaves no process and no thread behind, and where nothing may be skipped it is not.

A missing tool is a failure there.
"""

import os
import threading
from collections.abc import Generator, Iterator

import hypothesis
import pytest

from tests.catalogue import never_ran
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
_PASSED = pytest.StashKey[set[str]]()  # node ids


def pytest_configure(config: pytest.Config) -> None:
    adopt_orphans()
    # An example of a busy machine may take a second that it did not need; each test has its own limit.
    hypothesis.settings.register_profile("busy", deadline=None)
    hypothesis.settings.load_profile("busy")
    config.stash[_PASSED] = set[str]()


@pytest.hookimpl(tryfirst=True)
def pytest_sessionfinish(session: pytest.Session, exitstatus: int) -> None:
    """When the whole suite has passed where nothing may be skipped, each test that the catalogue names has run."""
    whole = session.config.args_source is not pytest.Config.ArgsSource.ARGS and not session.config.option.keyword
    if exitstatus == 0 and whole and os.environ.get(NO_SKIP):
        passed: set[str] = session.config.stash[_PASSED]
        for name in never_ran(passed):
            session.config.get_terminal_writer().line(f"\nthe catalogue of faults names {name}, which did not run")
            session.exitstatus = pytest.ExitCode.TESTS_FAILED


@pytest.fixture(autouse=True)
def _no_process_is_left() -> Iterator[None]:
    """Fail a test that leaves a process behind: a child, or a daemon that lost its parent."""
    before = set(own_children())
    yield
    left = reap_zombies(before)
    if not left:
        return
    try:  # one that is about to end may take its time
        wait_until(lambda: not reap_zombies(before), timeout=10.0)
    except AssertionError:
        left = reap_zombies(before)
        told = "\n".join(f"  {pid}: {command_of(pid)}" for pid in sorted(left))
        end_all(left)
        pytest.fail(f"the test left processes behind; end and await them in the test:\n{told}", pytrace=False)


@pytest.fixture(autouse=True)
def _no_thread_is_left() -> Iterator[None]:
    """Fail a test that leaves a thread behind: others ask for a process of one thread, and send signals to it."""
    before = set(os.listdir("/proc/self/task"))
    yield

    def is_gone() -> bool:
        return set(os.listdir("/proc/self/task")) <= before

    try:
        wait_until(is_gone)
    except AssertionError:
        told = ", ".join(thread.name for thread in threading.enumerate())
        pytest.fail(f"the test left a thread behind; end and join it in the test. There are: {told}", pytrace=False)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    if report.when == "call" and report.passed:
        item.config.stash[_PASSED].add(item.nodeid)
    if report.skipped and os.environ.get(NO_SKIP) and isinstance(report.longrepr, tuple):
        reason = report.longrepr[2].removeprefix("Skipped: ")
        if reason.startswith(NEEDS):
            report.outcome = "failed"
            report.longrepr = f"skipped although {NO_SKIP} is set: {reason}; install what .ci/run installs"
    return report
