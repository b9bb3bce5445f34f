"""Loads the user's program: ``module:name`` or ``file.py:name``, in the command, in a manager or in a spirit.

A mistake here is the user's to mend, so each error says what was looked for, where, and what is near. Whatever the
user's module raises while it is loaded becomes a TargetError with the frames that led there; ghostd's own errors pass.
"""

from __future__ import annotations

import importlib
import importlib.machinery
import importlib.util
import os
import sys

from ghostd.config import hint, shown
from ghostd.errors import DeniedError, GhostdError, TargetError
from ghostd.hints import TYPE_CHECKING
from ghostd.linux.trust import who_else_writes
from ghostd.naming import is_file_target, stem
from ghostd.record import Frozen, replace

if TYPE_CHECKING:
    from types import ModuleType, TracebackType

FORMS = "module:name, file.py:name or a ghostd.toml"
FRAMES_SHOWN = 4  # of the user's own code; more would hide the message


class Target(Frozen):
    """Where a program is: a module or a file, and the name of the thing in it."""

    text: str
    place: str
    name: str

    @property
    def is_file(self) -> bool:
        """Whether the place is a file rather than a module."""
        return is_file_target(self.place)


def parse(text: str) -> Target:
    """Split ``place:name``; raises TargetError when it is neither form."""
    place, _, name = text.rpartition(":")
    if _is_dotted(name) and place and (is_file_target(place) or _is_dotted(place)):
        return Target(text, place, name)
    wanted = text if is_file_target(text) else text.partition(":")[0] or "module"
    raise TargetError(f"target {shown(text)} is no program; it takes {FORMS}, for example {wanted}:main")


def _is_dotted(text: str) -> bool:
    return all(part.isidentifier() for part in text.split("."))


def seek(target: Target, *folders: str) -> Target:
    """Look for programs in the folders, the current one first, as ``python -m`` does; the target as it is meant here.

    What it returns means the same after the process has gone to another directory, as a daemon does.
    """
    found = replace(target, place=os.path.abspath(target.place)) if target.is_file else target
    here = [os.path.dirname(found.place)] if target.is_file else []
    for folder in reversed([*here, os.getcwd(), *folders]):
        if folder not in sys.path:
            sys.path.insert(0, folder)
    return found


def load(target: Target, *folders: str) -> object:
    """Import the module or file and return the thing that the name stands for; raises TargetError."""
    found = seek(target, *folders)
    go_by(target)
    return fetch(found)


def go_by(target: Target) -> None:
    """Make the program's own name sys.argv[0], from which a ghost without a name takes one."""
    sys.argv[:] = [stem(target.text)]


def check(target: Target) -> None:
    """Raise TargetError when there is nothing to load; loads nothing of the user's, so that the rest is found later."""
    if target.is_file:
        _must_be_file(target)
    elif importlib.util.find_spec(target.place.partition(".")[0]) is None:
        raise _no_module(target)


def fetch(target: Target) -> object:
    """The same for a target that :func:`seek` has given."""
    return _find(_load_file(target) if target.is_file else _load_module(target), target)


def _load_module(target: Target) -> ModuleType:
    with Loading(target):
        found = _spec_of(target.place)
        if found is None:
            raise _no_module(target)
        if found.has_location and found.origin is not None:
            _trust(target, found.origin)
        return importlib.import_module(target.place)


def _no_module(target: Target) -> TargetError:
    return TargetError(
        f"target {target.text}: no module named {target.place} in {sys.path[0]} or on sys.path"
        f"{hint(target.place, _modules_in(sys.path[0]))}"
    )


def _spec_of(name: str) -> importlib.machinery.ModuleSpec | None:
    """Where a module is; None when it, or a package on the way to it, is nowhere."""
    parent, _, _ = name.rpartition(".")
    if parent and (_spec_of(parent) is None or not hasattr(importlib.import_module(parent), "__path__")):
        return None
    return importlib.util.find_spec(name)


def _must_be_file(target: Target) -> None:
    if not os.path.isfile(target.place):
        folder = os.path.dirname(target.place)
        names = sorted(os.listdir(folder)) if os.path.isdir(folder) else []
        near = hint(os.path.basename(target.place), [name for name in names if is_file_target(name)])
        raise TargetError(f"target {target.text}: no file {target.place}{near}")
    _trust(target, target.place)


def _load_file(target: Target) -> ModuleType:
    _must_be_file(target)
    path = target.place
    name = stem(target.text)
    name = f"ghostd.target.{name}" if name in sys.modules else name  # a file may have the name of a module in use
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise TargetError(f"target {target.text}: {path} is no Python file")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # as an import does: dataclasses and pickle look there
    with Loading(target):
        spec.loader.exec_module(module)
    return module


def _trust(target: Target, path: str) -> None:
    """Raise DeniedError where whoever may write the file could have root run anything."""
    try:
        danger = who_else_writes(path)
    except OSError:
        return  # not a file of its own: a part of an archive, or gone, as the import will tell
    if danger is not None:
        raise DeniedError(f"target {target.text}: {path}: {danger}")


def _modules_in(folder: str) -> list[str]:
    names = sorted(os.listdir(folder)) if os.path.isdir(folder) else []
    return [stem(f"{name}:") for name in names if is_file_target(name)]


def _find(module: ModuleType, target: Target) -> object:
    found: object = module
    for part in target.name.split("."):
        with Loading(target):  # a module may have a __getattr__ of its own
            if not hasattr(found, part):
                names = sorted(_own_names(found))
                raise TargetError(f"target {target.text}: {target.place} has no {part}{hint(part, names)}")
            found = getattr(found, part)
    return found


def _own_names(place: object) -> list[str]:
    """The classes, functions and ghosts that were written there, without what was imported."""
    home = getattr(place, "__module__", None) or getattr(place, "__name__", None)
    things = dict(getattr(place, "__dict__", {}))
    return [
        name
        for name, thing in things.items()
        if not name.startswith("_") and home in (getattr(thing, "__module__", None), type(thing).__module__)
    ]


class Loading:
    """A block in which the user's code runs as it is loaded: what it raises becomes a TargetError."""

    def __init__(self, target: Target) -> None:
        self._text = target.text

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        if isinstance(error, SystemExit):
            raise TargetError(
                f"target {self._text}: it ends the process when it is imported (exit {shown(error.code)}); "
                'put what runs the program under: if __name__ == "__main__":'
            ) from error
        if isinstance(error, Exception) and not isinstance(error, GhostdError):
            raise TargetError(f"target {self._text}: loading it raised {_told(error, at)}") from error


def _told(error: Exception, at: TracebackType | None) -> str:
    """The exception and the last frames that led to it, without those of the machinery that loads modules."""
    import traceback  # noqa: PLC0415  only where something is wrong already

    machinery = ("<frozen importlib", os.path.dirname(__file__), importlib.__file__)
    frames = [frame for frame in traceback.extract_tb(at) if not frame.filename.startswith(machinery)]
    said = "".join(traceback.format_exception_only(error)).strip()
    told = "".join(traceback.format_list(frames[-FRAMES_SHOWN:])).rstrip()
    return f"{said}\n{told}" if told else said
