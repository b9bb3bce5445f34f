"""The user that a ghost becomes: found by name or number, and become for good, with errors that say who must act.

Rule: before anything forks it is known who that is and whether this process has the right to it.
"""

from __future__ import annotations

from ghostd.errors import DeniedError, OptionError
from ghostd.hints import TYPE_CHECKING
from ghostd.linux import identity

if TYPE_CHECKING:
    from collections.abc import Iterable


def found(user: str | int | None, groups: str | int | Iterable[str | int] | None) -> identity.Identity:
    """Who is meant by the options; OptionError when there is no such user or group."""
    try:
        return identity.resolve(user, groups)
    except (LookupError, ValueError) as error:
        option = "user" if groups is None else "user or group"
        raise OptionError(f"option {option}: {error}") from error


def check_right(wanted: identity.Identity) -> None:
    """DeniedError when this process may not become that user."""
    if not identity.allowed(wanted):
        raise DeniedError(f"to run as {wanted} takes root: start it as root, or leave out user and group")


def become(wanted: identity.Identity) -> None:
    """Become that user with no way back; DeniedError when the kernel does not let us, or left a way back."""
    try:
        identity.become(wanted)
    except PermissionError as error:
        raise DeniedError(str(error)) from error
