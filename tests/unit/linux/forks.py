"""Real children for tests: each ends by os._exit, and each is reaped. Rule: signal no pid that may be another's."""

import os
import pickle
import signal
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any, NoReturn

from ghostd.linux.child import Child
from tests.support import wait_until

Make = Callable[[int], Child]  # a fixture: with and without pidfds


@contextmanager
def child(work: Callable[[], object]) -> Iterator[int]:
    """A child that does `work` and ends with the int that it gives, else 0; if need be, it is killed and reaped."""
    pid = os.fork()
    if pid == 0:
        _work(work)
    try:
        yield pid
    finally:
        with suppress(ChildProcessError):  # the test reaped it
            os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT)
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)


def in_child(work: Callable[[], Any]) -> Any:  # noqa: ANN401  whatever the work gives
    """Do `work` in a child and give its result, or fail with what it raised."""
    reader, writer = os.pipe()
    with child(lambda: _report(writer, work)) as pid:
        os.close(writer)
        with open(reader, "rb") as pipe:
            told = pipe.read()
        _, status = os.waitpid(pid, 0)
    assert told, f"the child ended without a word, wait status {status:#x}"
    result, fault = pickle.loads(told)
    assert not fault, f"in the child:\n{fault}"
    return result


def pause() -> NoReturn:
    """Do nothing until a signal ends it."""
    while True:
        signal.pause()


def wait_exited(pid: int) -> None:
    """Wait until a child has ended, without reaping it."""
    os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)


def ended(one: Child) -> int:
    """Its status, once it has one."""
    wait_until(lambda: one.reap() is not None)
    status = one.reap()
    one.close()
    assert status is not None
    return status


class Gate:
    """A door between processes: one waits at it, another opens it once."""

    def __init__(self) -> None:
        self._reader, self._writer = os.pipe()

    def open(self) -> None:
        os.write(self._writer, b"\0")

    def wait(self) -> None:
        os.read(self._reader, 1)

    def tell(self, number: int) -> None:
        """Open it, and say a number."""
        os.write(self._writer, b"%d\n" % number)

    def told(self) -> int:
        """Wait for the number."""
        return int(os.read(self._reader, 32))

    def __enter__(self) -> "Gate":  # noqa: PYI034  final in fact
        return self

    def __exit__(self, *exception: object) -> None:
        os.close(self._reader)
        os.close(self._writer)


def _work(work: Callable[[], object]) -> NoReturn:
    code = 99
    try:
        result = work()
        code = result if isinstance(result, int) else 0
    except BaseException:  # noqa: BLE001  whatever it is, the child must end here
        traceback.print_exc()
    finally:
        os._exit(code)


def _report(writer: int, work: Callable[[], object]) -> None:
    try:
        told = (work(), "")
    except BaseException:  # noqa: BLE001  whatever it is, the parent tells it
        told = (None, traceback.format_exc())
    with open(writer, "wb") as pipe:
        pickle.dump(told, pipe)
