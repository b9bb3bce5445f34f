"""Whether root may obey a file: nobody else may be able to write it, or to put another one in its place."""

from __future__ import annotations

import os
import stat

ROOT_GROUP = 0


def who_else_writes(path: str, about: os.stat_result | None = None) -> str | None:
    """Why a file is not to be obeyed by root, as the end of a sentence with what to do; None when it is, or for a user.

    ``about`` is what fstat says of the file that is open already. A folder with the sticky bit is no danger to a file
    that others do not own. OSError when the file is not there.
    """
    if os.geteuid() != 0:
        return None
    found = os.stat(path) if about is None else about
    if _open_to_others(found.st_mode, found.st_gid):
        return f"others may write it (mode {stat.S_IMODE(found.st_mode):04o}), and root would obey: chmod go-w {path}"
    folder = os.path.dirname(os.path.realpath(path))
    around = os.stat(folder)
    if _open_to_others(around.st_mode, around.st_gid) and not around.st_mode & stat.S_ISVTX:
        mode = f"{stat.S_IMODE(around.st_mode):04o}"
        return f"others may replace it (mode {mode} of its folder), and root would obey: chmod go-w {folder}"
    return None


def _open_to_others(mode: int, group: int) -> bool:
    return bool(mode & stat.S_IWOTH or (mode & stat.S_IWGRP and group != ROOT_GROUP))
