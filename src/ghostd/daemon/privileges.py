"""The user that a ghost becomes: found by name or number, and become for good, with errors that say who must act.

Rule: before anything forks it is known who that is and whether this process has the right to it. A ghost that stays who
started it looks nobody up, and loads nothing for it.
"""

from __future__ import annotations

import os

from ghostd.errors import DeniedError, OptionError
from ghostd.hints import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

    from ghostd.linux.identity import Identity


class Privileges:
    """What a ghost gives up: the rights of who started it, or nothing when its options name neither user nor group."""

    def __init__(self, user: str | int | None, groups: str | int | Iterable[str | int] | None) -> None:
        self._wanted = None if user is None and groups is None else found(user, groups)

    @property
    def owner(self) -> tuple[int, int]:
        """The uid and gid that the ghost works with."""
        if self._wanted is None:
            return os.geteuid(), os.getegid()
        return self._wanted.uid, self._wanted.gid

    def check_right(self) -> None:
        """DeniedError when this process may not give them up."""
        if self._wanted is not None:
            from ghostd.linux import identity  # noqa: PLC0415  see the rule

            if not identity.allowed(self._wanted):
                raise DeniedError(f"to run as {self._wanted} takes root: start it as root, or leave out user and group")

    def give_up(self) -> None:
        """Give them up, with no way back."""
        if self._wanted is not None:
            become(self._wanted)


def found(user: str | int | None, groups: str | int | Iterable[str | int] | None) -> Identity:
    """Who is meant by the options; OptionError when there is no such user or group."""
    from ghostd.linux import identity  # noqa: PLC0415  see the rule

    try:
        return identity.resolve(user, groups)
    except (LookupError, ValueError) as error:
        option = "user" if groups is None else "user or group"
        raise OptionError(f"option {option}: {error}") from error


def become(wanted: Identity) -> None:
    """Become that user with no way back; DeniedError when the kernel does not let us, or left a way back."""
    from ghostd.linux import identity  # noqa: PLC0415  see the rule

    try:
        identity.become(wanted)
    except PermissionError as error:
        raise DeniedError(str(error)) from error
