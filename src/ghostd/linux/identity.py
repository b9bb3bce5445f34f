"""Who a process is, and becoming another: groups, then group, then user, then a look at what the kernel made of it.

Belief is not enough: a library has kept groups that it was told to drop (CVE-2023-6507). /proc/self/status decides.
"""

from __future__ import annotations

import os
import pwd

from ghostd.hints import TYPE_CHECKING
from ghostd.linux import process
from ghostd.record import Frozen

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

Name = str | int

_CAP_SETGID, _CAP_SETUID = 1 << 6, 1 << 7  # linux/capability.h
_NO_ID = 2**32 - 1  # -1 to the kernel: "leave as it is"


class Identity(Frozen):
    """A user, its group, and all groups that it has, the group among them."""

    uid: int
    gid: int
    groups: tuple[int, ...]
    name: str

    def __str__(self) -> str:
        return f"user {self.name} (uid {self.uid}, gid {self.gid}, groups {','.join(map(str, self.groups))})"


def resolve(user: Name | None, groups: Name | Iterable[Name] | None = None) -> Identity:
    """The identity of a user and its groups, each a name or a number; the first group is the primary one.

    Without groups it has those that the user's entry gives it. Without a user it is this process's own. A number needs
    no entry in any file, but then it has no groups to take: LookupError unless they are given, or it is our own number.
    """
    uid, entry = _user(user)
    if groups is not None:
        listed = (groups,) if isinstance(groups, (str, int)) else tuple(groups)
        gids = [_group(one) for one in listed]
        if not gids:
            raise ValueError("groups is an empty list; give at least one, or leave it out")
    elif uid == os.geteuid() and (entry is None or not _may_change()):
        gids = [os.getegid(), *os.getgroups()]  # stay what we are
    elif entry is not None:
        gids = [entry.pw_gid, *os.getgrouplist(entry.pw_name, entry.pw_gid)]
    else:
        raise LookupError(f"uid {uid} has no entry in the user database, so its group is not known: give the group too")
    name = entry.pw_name if entry else str(uid)
    return Identity(uid, gids[0], tuple(sorted(set(gids))), name)


def allowed(identity: Identity) -> bool:
    """Whether this process may become it: it has the right to become anybody, or it is that already."""
    return _may_change() or _is(identity)


def become(identity: Identity) -> None:
    """Become it, for good: no capability is kept unless it is root, and it is proved that nothing leads back.

    PermissionError before anything was changed when the right is missing. Any OSError after that leaves a process that
    is neither the one nor the other: it must end.
    """
    if not _may_change():
        if _is(identity):
            return
        raise PermissionError(
            f"to become {identity} takes root; this process has uid {os.geteuid()}, gid {os.getegid()}"
        )
    os.setgroups(identity.groups)
    os.setresgid(identity.gid, identity.gid, identity.gid)
    os.setresuid(identity.uid, identity.uid, identity.uid)
    if identity.uid != 0:
        process.drop_capabilities()  # the kernel does it for root only, and not under every securebits
    _verify(identity)
    if identity.uid != 0:
        _prove_no_way_back(identity)


def uid_of(user: Name) -> int:
    """The number of this user. LookupError where there is none of that name, ValueError for a number out of range."""
    return _user(user)[0]


def gid_of(group: Name) -> int:
    """The number of this group. LookupError where there is none of that name, ValueError for a number out of range."""
    return _group(group)


def _user(user: Name | None) -> tuple[int, pwd.struct_passwd | None]:
    if isinstance(user, str):
        try:
            entry = pwd.getpwnam(user)
        except KeyError:
            if not _is_number(user):
                raise LookupError(f"there is no user {user!r}") from None
            user = int(user)
        else:
            return entry.pw_uid, entry
    uid = os.geteuid() if user is None else _checked(user, "uid")
    try:
        return uid, pwd.getpwuid(uid)
    except KeyError:
        return uid, None


def _group(group: Name) -> int:
    if isinstance(group, str):
        import grp  # noqa: PLC0415  for groups with a name only

        try:
            return grp.getgrnam(group).gr_gid
        except KeyError:
            if not _is_number(group):
                raise LookupError(f"there is no group {group!r}") from None
    return _checked(int(group), "gid")


def _is_number(text: str) -> bool:
    return text.isascii() and text.isdecimal() and len(text) <= 10  # other digits are somebody's name, if anything


def _checked(number: int, what: str) -> int:
    if not 0 <= number < _NO_ID:
        raise ValueError(f"{what} {number} is not possible; it goes from 0 to {_NO_ID - 1}")
    return number


def _may_change() -> bool:
    effective = _status().get("CapEff")
    if effective is None:
        return os.geteuid() == 0
    needed = _CAP_SETGID | _CAP_SETUID
    return int(effective, 16) & needed == needed


def _is(identity: Identity) -> bool:
    uids, gids, groups = _credentials()
    return uids == {identity.uid} and gids == {identity.gid} and groups | gids == set(identity.groups)


def _verify(identity: Identity) -> None:
    uids, gids, groups = _credentials()
    if uids != {identity.uid} or gids != {identity.gid} or groups != set(identity.groups):
        found = f"uids {sorted(uids)}, gids {sorted(gids)}, groups {sorted(groups)}"
        raise PermissionError(f"asked to become {identity}, the kernel shows {found}; this process must end")


def _prove_no_way_back(identity: Identity) -> None:
    # Each must fail. Without a capability only an id that one has can be set, and root's are those that matter.
    ways: tuple[tuple[str, Callable[[], None], bool], ...] = (
        ("uid 0", lambda: os.setresuid(0, 0, 0), True),
        ("gid 0", lambda: os.setresgid(0, 0, 0), identity.gid != 0),
        ("group 0", lambda: os.setgroups([0]), True),
    )
    for what, attempt, matters in ways:
        if not matters:
            continue
        try:
            attempt()
        except OSError:
            continue
        raise PermissionError(f"became {identity}, but {what} could be taken back; this process must end")


def _credentials() -> tuple[set[int], set[int], set[int]]:
    """Each uid, each gid (real, effective, saved, of files) and the supplementary groups, as the kernel shows them."""
    status = _status()
    if "Uid" not in status:  # no /proc
        return set(os.getresuid()), set(os.getresgid()), set(os.getgroups())
    uids, gids, groups = ({int(one) for one in status[name].split()} for name in ("Uid", "Gid", "Groups"))
    return uids, gids, groups


def _status() -> dict[str, str]:
    try:
        with open("/proc/self/status", encoding="utf-8", errors="replace") as file:
            return {name: value.strip() for name, _, value in (line.partition(":") for line in file)}
    except OSError:
        return {}  # no /proc, or not ours to read: the calls that there are must do
