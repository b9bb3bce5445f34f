"""The ready file: has something in it while the ghost can work, and is empty or gone otherwise. For probes.

A probe must cost milliseconds and may be another program: ``test -s FILE`` in a shell, a page of a spirit, or
``ghostd check --ready``, which also believes the text only if the process that it names still lives.

Rule: the file is made while the right to its directory is there and is then written to through its descriptor: a ghost
that has become another user can still say that it is not ready any more. What it says it writes at once and whole.
"""

from __future__ import annotations

import os
from contextlib import suppress

from ghostd.daemon import inscription
from ghostd.hints import TYPE_CHECKING
from ghostd.linux import procfs

if TYPE_CHECKING:
    from typing import Final

READY_ENDING: Final = ".ready"  # beside the pidfile
_MODE: Final = 0o644  # everybody may know


class ReadyFile:
    """The file at ``path``, which is not touched before :meth:`make`."""

    def __init__(self, path: str) -> None:
        self.path = path
        self._fd = -1
        self._says_ready = False

    def make(self) -> None:
        """Make it, empty, in the place of one that a dead ghost has left. Raises who must act when that cannot be."""
        inscription.inspect(self.path, "ready file")
        flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        try:
            with suppress(FileNotFoundError):
                os.unlink(self.path)
            fd = os.open(self.path, flags, _MODE)
        except OSError as error:
            raise inscription.told(self.path, error, "ready file") from error
        self.close()
        self._fd = fd

    def say(self, is_ready: bool) -> None:  # noqa: FBT001  it says one thing
        """Say whether the ghost is ready. OSError when the disk is full; then it says that it is not."""
        if self._fd < 0 or is_ready == self._says_ready:
            return
        os.ftruncate(self._fd, 0)
        self._says_ready = False
        if is_ready:
            os.pwrite(self._fd, inscription.text(os.getpid()), 0)
            self._says_ready = True

    def restore(self) -> bool:
        """Make it anew where somebody has removed it; whether that was so. Raises what stands in the way."""
        if self._fd < 0 or self._is_in_place():
            return False
        was_ready = self._says_ready
        self.make()
        with suppress(OSError):  # what is not said now is said with the next look
            self.say(was_ready)
        return True

    def remove(self) -> None:
        """Remove it; where its directory belongs to another user by now it is only emptied."""
        if self._fd < 0:
            return
        with suppress(OSError):
            os.ftruncate(self._fd, 0)
        with suppress(OSError):
            if self._is_in_place():
                os.unlink(self.path)
        self.close()

    def close(self) -> None:
        """Give the descriptor back, and leave the file as it is."""
        fd, self._fd, self._says_ready = self._fd, -1, False
        if fd >= 0:
            os.close(fd)

    def descriptors(self) -> tuple[int, ...]:
        """What the manager must keep open."""
        return () if self._fd < 0 else (self._fd,)

    def _is_in_place(self) -> bool:
        """Whether the path names the file that was made here; believed where it cannot be looked into."""
        try:
            found = os.stat(self.path, follow_symlinks=False)
        except (FileNotFoundError, NotADirectoryError):
            return False
        except OSError:
            return True
        own = os.fstat(self._fd)
        return (found.st_dev, found.st_ino) == (own.st_dev, own.st_ino)


def ready_pid(path: str, holder: int | None = None) -> int:
    """The pid of the living manager that the file says is ready; 0 when it says nothing, or names one that has ended.

    ``holder`` is known to be the manager, by its lock. Of another the boot must be the same, too; of a holder that says
    nothing, since a service whose /proc/sys is protected may see another boot than we do. DeniedError or SystemFault
    when the file may not be read.
    """
    pid, ticks, boot_id = inscription.parsed(inscription.content(path)) or (0, 0, "")
    if not pid or procfs.start_ticks(pid) != ticks or procfs.is_zombie(pid):
        return 0
    return pid if pid == holder or boot_id == procfs.boot_id() else 0
