"""The pidfile: tells people and init systems which process is the ghost's manager. It never decides; the lock does.

Rule 1: the file is written only by who holds the lock, and removed only by the process that wrote it, and only while it
is still the same file. How it is written, and what lies in its place and is not touched, is the matter of inscription.

Rule 2: a pid that was read is believed only with the start time and the boot that stand beside it, and never enough
to signal it. ``stop`` signals what :meth:`FilePid.holder` says, which comes from the kernel.
"""

from __future__ import annotations

import atexit
import os
import select
import time
from contextlib import ExitStack, contextmanager, suppress

from ghostd.daemon import inscription
from ghostd.daemon.handle import Handle
from ghostd.daemon.lock import GhostLock
from ghostd.daemon.ready import READY_ENDING
from ghostd.errors import DeniedError, GhostdError, SystemFault, UserError
from ghostd.hints import TYPE_CHECKING
from ghostd.linux import procfs

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import Final, Self

_LOOK_EVERY: Final = 0.005  # seconds between looks of who waits for a start to come through


class FilePid:
    """The pidfile at ``file`` of the process ``pid`` (this one), as the ancestor has it, with a lock beside it.

    ``autosave`` saves at once; ``autoremove`` removes at the end of a ``with`` block or of the program; ``auto`` does
    both. Errors are DeniedError, OptionError and SystemFault, with what to do.
    """

    def __init__(
        self,
        file: str | os.PathLike[str],
        pid: int | None = None,
        *,
        autoremove: bool = False,
        autosave: bool = False,
        auto: bool = False,
    ) -> None:
        self.file = os.path.abspath(os.fspath(file))
        self.pid = os.getpid() if pid is None else pid
        self.owner: int | None = None
        self.missing = ""  # why there is no pidfile, where a ghost goes on without
        self._autoremove = autoremove or auto
        self._lock = GhostLock(f"{self.file}.lock")
        self._fd = -1  # of the file as saved: it can be emptied even when it may no longer be removed
        if autosave or auto:
            self.save()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._autoremove:
            self.remove()

    def load(self) -> int | None:
        """The pid that the file says, dead or alive; None when there is no file, or no pid in it."""
        told = self._read()
        return told[0] if told else None

    @property
    def is_left(self) -> bool:
        """Whether a ghost that did not end in order has left its pid in the file. An emptied file says that it did."""
        return self.running() is None and self.load() is not None

    def holder(self) -> int | None:
        """The pid of the living manager by its lock, beyond doubt; DeniedError when the lock is another user's."""
        try:
            return self._lock.holder()
        except OSError as error:
            raise inscription.told(self._lock.path, error) from error

    def running(self) -> int | None:
        """The pid of the living manager; None when there is none. A zombie has ended.

        The lock says so. Where it cannot be asked, because it is another user's or somebody removed its file, the text
        is believed if its process runs and began at the moment that it names.
        """
        try:
            found = self._lock.holder()
        except PermissionError:
            return self._running_by_text()
        except OSError as error:
            raise inscription.told(self._lock.path, error) from error
        if found is None and not self._lock.exists():
            return self._running_by_text()
        return found

    def manager(self, *, use_pidfd: bool = True) -> Handle | None:
        """A handle on the living manager, which the kernel names; None when there is none.

        DeniedError when it is another user's, or runs without its lock, so that nobody can be sure which process it is.
        """
        while (pid := self.holder()) is not None:
            handle = Handle(pid, use_pidfd=use_pidfd)
            # It held the lock before the handle was made and holds it after: the handle is on the holder.
            if self.holder() == pid:
                return handle
            handle.close()
        pid = self.running()
        if pid is not None:
            raise DeniedError(
                f"process {pid} is named by {self.file}, but nobody holds the lock beside it, so it is not signalled; "
                f"make sure that it is the ghost, then: kill -QUIT {pid}"
            )
        return None

    def signal(self, signum: int) -> int:
        """Send a signal to the living manager: its pid, 0 when there is none. DeniedError as :meth:`manager`."""
        handle = self.manager()
        if handle is None:
            return 0
        with handle:
            return handle.pid if handle.send(signum) else 0

    def wait_running(self, timeout: float) -> int | None:
        """The pid of the manager that somebody else is starting, once it has its lock; None when that does not come."""
        until = time.monotonic() + timeout
        while (found := self.running()) is None and self._is_starting() and time.monotonic() < until:
            select.select([], [], [], _LOOK_EVERY)
        return found if found is not None else self.running()

    def acquire(self, patience: float = 0.05) -> bool:
        """Become the one that may start the ghost; False when it runs, or somebody else is starting it.

        The right passes on to every process forked from here on; :meth:`save` or :meth:`adopt_after_fork` makes one of
        them the manager, and :meth:`release` or the end of the process gives it back. ``patience`` seconds are allowed
        to whoever only removes what a dead ghost has left.
        """
        if self.owner == os.getpid():
            return False
        inscription.inspect(self.file)
        until = time.monotonic() + patience
        try:
            while self.running() is None:
                if self._lock.try_start():
                    return True
                if time.monotonic() >= until:
                    return False
                select.select([], [], [], _LOOK_EVERY)
        except OSError as error:
            raise inscription.told(self._lock.path, error) from error
        return False

    def acquire_to_run(self, *, is_wanted: bool) -> bool:
        """As :meth:`acquire`, for a ghost in the foreground: unless a pidfile is wanted, it can do without.

        Where no file can be made, as in a container, there is nobody to ask; ``missing`` then says why.
        """
        try:
            return self.acquire()
        except GhostdError as error:
            if is_wanted or not self.is_out_of_reach():
                raise
            self.missing = str(error)
            return True

    def adopt_after_fork(self, pid: int | None = None) -> bool:
        """In the process that stays, after its last fork: become the manager. False when another is, after all."""
        self.pid = os.getpid() if pid is None else pid
        try:
            if not self._lock.try_sign():
                return False
        except OSError as error:
            raise inscription.told(self._lock.path, error) from error
        self.owner = os.getpid()
        return True

    def refusal(self) -> GhostdError:
        """Why this process may not be the manager, for whoever asked in vain."""
        running = self.running()
        if running is None and not self._is_starting():
            return SystemFault(f"{self._lock.path} was removed while the ghost was starting: start it again")
        who = "being started" if running is None else f"running with pid {running}"
        return UserError(f"already {who} (pidfile {self.file}): stop that one first")

    def save(self) -> None:
        """Write the file, as the manager, which this process becomes when nobody is. DeniedError when somebody is."""
        if self.owner != os.getpid() and not self._become_owner():
            raise DeniedError(
                f"pidfile {self.file} is held by the running process {self.running() or 'of somebody else'}"
            )
        inscription.inspect(self.file)
        try:
            fd = inscription.write(self.file, self.pid)
        except OSError as error:
            raise inscription.told(self.file, error) from error
        self._close_file()
        self._fd = fd
        if self._autoremove:
            atexit.register(self.remove)

    def restore(self) -> bool:
        """Make file and lock anew where somebody removed them under the living manager; whether one was missing.

        Raises what stands in the way: the directory is gone, or belongs to another user, or another ghost is there.
        """
        if self.owner != os.getpid():
            return False
        try:
            has_lock, has_file = self._lock.is_in_place(), self._is_saved()
            if has_lock and has_file:
                return False
            if not has_lock and not self._lock_anew():
                raise DeniedError(f"another ghost has the lock {self._lock.path}: stop one of the two")
        except PermissionError:
            return False  # a place that cannot be looked into: nothing is known to be missing
        except OSError as error:
            raise inscription.told(self._lock.path, error) from error
        if not has_file:
            self.save()
        return True

    def remove(self) -> bool:
        """Remove file and lock, as the process that saved them; False, and nothing done, for anybody else.

        Where the directory belongs to another user by now, the file is emptied instead: an empty one names nobody.
        """
        if self.owner != os.getpid():
            return False
        atexit.unregister(self.remove)
        with suppress(OSError):  # a place that cannot be looked into any more
            if self._is_saved():
                self._unlink()
        with suppress(OSError):
            self._lock.unlink()
        self.release()
        return True

    @contextmanager
    def trying(self, *last: Callable[[], object]) -> Iterator[ExitStack]:
        """A block that starts the ghost: when it fails, the calls that were pushed are made, and no file is left.

        The calls given here come after all of that.
        """
        with ExitStack() as undone:
            for call in (*last, self.give_up):
                undone.callback(call)
            yield undone
            undone.pop_all()

    def give_up(self) -> None:
        """Leave nothing behind of a start that has failed, and give the lock back."""
        with suppress(OSError):  # nobody can be asked
            if self._lock.is_in_place() and self._lock.holder() is None:  # what stands in the file is nobody's
                for path in (self.file, f"{self.file}{READY_ENDING}", self._lock.path):
                    with suppress(OSError):
                        os.unlink(path)
        self.release()

    def sweep(self) -> bool:
        """Remove what a dead ghost has left; False, and nothing done, when one lives or starts, or may not be asked."""
        if not os.path.lexists(self.file) and not self._lock.exists():
            return True
        try:
            if not self.acquire(patience=0.0):
                return False
        except GhostdError:
            return False
        try:
            for path in (self.file, f"{self.file}{READY_ENDING}"):
                with suppress(FileNotFoundError):
                    os.unlink(path)
            self._lock.unlink()
        except OSError:
            return False
        finally:
            self.release()
        return True

    def is_out_of_reach(self) -> bool:
        """Whether this process can make no file in that place, and nobody else has made one."""
        is_empty = not os.path.lexists(self.file) and not self._lock.exists()
        return is_empty and not os.access(os.path.dirname(self.file), os.W_OK, effective_ids=True)

    def release(self) -> None:
        """Give the lock back without removing anything: for a starter whose daemon has it, and for a spirit."""
        self.owner = None
        self._close_file()
        self._lock.close()

    def descriptors(self) -> tuple[int, ...]:
        """Every descriptor that the manager must keep open."""
        return tuple(fd for fd in (self._lock.fileno(), self._fd) if fd >= 0)

    def _become_owner(self) -> bool:
        if self._lock.fileno() < 0 and not self.acquire():
            return False
        return self.adopt_after_fork(self.pid)

    def _lock_anew(self) -> bool:
        fresh = GhostLock(self._lock.path)
        if not fresh.try_start() or not fresh.try_sign():
            fresh.close()
            return False
        self._lock.close()
        self._lock = fresh
        return True

    def _is_starting(self) -> bool:
        try:
            return self._lock.is_starting()
        except OSError:
            return False

    def _running_by_text(self) -> int | None:
        pid, start_ticks, boot_id = self._read() or (0, 0, "")
        if start_ticks <= 0 or boot_id != procfs.boot_id():
            return None
        is_it = procfs.start_ticks(pid) == start_ticks and not procfs.is_zombie(pid)
        return pid if is_it else None

    def _unlink(self) -> None:
        try:
            os.unlink(self.file)
        except FileNotFoundError:
            pass  # somebody was quicker
        except OSError:
            os.ftruncate(self._fd, 0)

    def _is_saved(self) -> bool:
        """Whether the path names the file that this process has written. OSError where nobody can tell."""
        if self._fd < 0:
            return False
        try:
            found = os.stat(self.file, follow_symlinks=False)
        except (FileNotFoundError, NotADirectoryError):
            return False
        own = os.fstat(self._fd)
        return (found.st_dev, found.st_ino) == (own.st_dev, own.st_ino)

    def _read(self) -> tuple[int, int, str] | None:
        return inscription.parsed(inscription.content(self.file))

    def _close_file(self) -> None:
        fd, self._fd = self._fd, -1
        if fd >= 0:
            os.close(fd)
