"""Finds the program to run: ``module:name``, ``file.py:name``, or what a ghostd.toml names.

A mistake here is the user's to mend, so each error says what was looked for, where, and what is near. Whatever the
user's module raises while it is loaded becomes a TargetError with the frames that led there; ghostd's own errors pass.
"""

import importlib
import importlib.machinery
import importlib.util
import os
import sys
from types import ModuleType, TracebackType
from typing import NamedTuple

from ghostd.cli.quick import is_file_target, stem
from ghostd.config import Layer, class_layer, gather, hint, options, settings, shown
from ghostd.errors import GhostdError, TargetError
from ghostd.ghost import Ghost
from ghostd.options import Kind
from ghostd.prefork import Prefork

FORMS = "module:name, file.py:name or a ghostd.toml"
FRAMES_SHOWN = 4  # of the user's own code; more would hide the message


class Target(NamedTuple):
    """Where a program is: a module or a file, and the name of the thing in it."""

    text: str
    place: str
    name: str

    @property
    def is_file(self) -> bool:
        """Whether the place is a file rather than a module."""
        return is_file_target(self.place)


class Said(NamedTuple):
    """The options that a command was given, the strongest place first."""

    flags: Layer
    environ: Layer
    file: Layer

    @property
    def layers(self) -> tuple[Layer, ...]:
        """In the order of their strength."""
        return tuple(self)


def parse(text: str) -> Target:
    """Split ``place:name``; raises TargetError when it is neither form."""
    place, _, name = text.rpartition(":")
    if _is_dotted(name) and place and (is_file_target(place) or _is_dotted(place)):
        return Target(text, place, name)
    wanted = text if is_file_target(text) else text.partition(":")[0] or "module"
    raise TargetError(f"target {shown(text)} is no program; it takes {FORMS}, for example {wanted}:main")


def _is_dotted(text: str) -> bool:
    return all(part.isidentifier() for part in text.split("."))


def load(target: Target, *folders: str) -> object:
    """Import the module or file and return the thing that the name stands for; raises TargetError.

    The folders, the current one first, are put on sys.path as ``python -m`` does, and the program's own name becomes
    sys.argv[0], from which a ghost without a name takes one.
    """
    here = [os.path.dirname(os.path.abspath(target.place))] if target.is_file else []
    for folder in reversed([*here, os.getcwd(), *folders]):
        if folder not in sys.path:
            sys.path.insert(0, folder)
    sys.argv[:] = [stem(target.text)]
    module = _load_file(target) if target.is_file else _load_module(target)
    return _find(module, target)


def _load_module(target: Target) -> ModuleType:
    with _Loading(target):
        if _spec_of(target.place) is None:
            raise TargetError(
                f"target {target.text}: no module named {target.place} in {os.getcwd()} or on sys.path"
                f"{hint(target.place, _modules_here())}"
            )
        return importlib.import_module(target.place)


def _spec_of(name: str) -> importlib.machinery.ModuleSpec | None:
    """Where a module is; None when it, or a package on the way to it, is nowhere."""
    parent, _, _ = name.rpartition(".")
    if parent and (_spec_of(parent) is None or not hasattr(importlib.import_module(parent), "__path__")):
        return None
    return importlib.util.find_spec(name)


def _load_file(target: Target) -> ModuleType:
    path = os.path.abspath(target.place)
    if not os.path.isfile(path):
        folder = os.path.dirname(path)
        names = sorted(os.listdir(folder)) if os.path.isdir(folder) else []
        near = hint(os.path.basename(path), [name for name in names if is_file_target(name)])
        raise TargetError(f"target {target.text}: no file {path}{near}")
    name = stem(target.text)
    name = f"ghostd.target.{name}" if name in sys.modules else name  # a file may have the name of a module in use
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise TargetError(f"target {target.text}: {path} is no Python file")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # as an import does: dataclasses and pickle look there
    with _Loading(target):
        spec.loader.exec_module(module)
    return module


def _modules_here() -> list[str]:
    return [stem(f"{name}:") for name in sorted(os.listdir(os.getcwd())) if is_file_target(name)]


def _find(module: ModuleType, target: Target) -> object:
    found: object = module
    for part in target.name.split("."):
        with _Loading(target):  # a module may have a __getattr__ of its own
            if not hasattr(found, part):
                names = [name for name in dir(found) if not name.startswith("_")]
                raise TargetError(f"target {target.text}: {target.place} has no {part}{hint(part, names)}")
            found = getattr(found, part)
    return found


def make(target: Target, said: Said, *folders: str, pidfile: str | None = None) -> Ghost:
    """Load the program and make the ghost of it, with what was said; raises TargetError, OptionError, ConfigError.

    A class is called with the options, a function becomes the spirit of a Prefork, a ghost that is made already stays
    as it is. The pidfile is for a program that names none itself.
    """
    found = load(target, *folders)
    if isinstance(found, Ghost):
        _must_agree(found, target, said)
        return found
    given = {name: setting.value for name, setting in settings(*said.layers).items()}
    own: dict[str, object] = {}
    if isinstance(found, type) and issubclass(found, Ghost):
        own = class_layer(found)
        gather(*said.layers, own)  # its own checks could not say where an option came from
    elif isinstance(found, type) or not callable(found):
        raise TargetError(
            f"target {target.text}: {shown(found)} is no program; it takes a Ghost or Prefork class, one of its "
            "instances, a function or a coroutine function"
        )
    else:
        given["spirit"] = found
        found = Prefork
    if pidfile and "pidfile" not in own:
        given.setdefault("pidfile", pidfile)
    with _Loading(target):
        return found(**given)


def _must_agree(ghost: Ghost, target: Target, said: Said) -> None:
    """A ghost that is made already cannot take other options: its code has seen these. It has read the environment."""
    asked = settings(said.flags, said.file)
    wanted = gather({name: setting.value for name, setting in asked.items()}).flat()
    own = ghost.config.flat() | {"name": ghost.name, "pidfile": ghost.filepid.file}
    for name, setting in asked.items():
        if _comparable(name, wanted[name]) != _comparable(name, own[name]):
            raise setting.error(
                f"option {name}: {shown(setting.value)} (from {setting.origin}) cannot be given to {target.text}, "
                f"which is made already, with {shown(own[name])}; name a class there, or change it where it is made"
            )


def _comparable(name: str, value: object) -> object:
    """A path may be written in several ways."""
    return os.path.abspath(value) if isinstance(value, str) and options()[name].kind is Kind.PATH else value


class _Loading:
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
