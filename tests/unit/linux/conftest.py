"""What the tests of children share."""

from collections.abc import Callable

import pytest

from ghostd.linux.child import Child


@pytest.fixture(params=[True, False], ids=["pidfd", "pid"])
def make(request: pytest.FixtureRequest) -> Callable[[int], Child]:
    """How to make a handle, with and without pidfds."""
    return lambda pid: Child(pid, use_pidfd=request.param)
