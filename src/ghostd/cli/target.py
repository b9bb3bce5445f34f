"""Makes the ghost that a command is about: from a program, or from what a ghostd.toml names, with what was said."""

from __future__ import annotations

import os

from ghostd.config import Layer, class_layer, gather, options, settings, shown
from ghostd.errors import TargetError
from ghostd.ghost import Ghost
from ghostd.options import Kind
from ghostd.prefork import Prefork
from ghostd.program import Loading, Target, go_by, load, seek
from ghostd.record import Frozen


class Said(Frozen):
    """The options that a command was given, the strongest place first."""

    flags: Layer
    environ: Layer
    file: Layer

    @property
    def layers(self) -> tuple[Layer, ...]:
        """In the order of their strength."""
        return self.flags, self.environ, self.file


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
            "instances, a function or a coroutine function; ghostd serve takes an ASGI or WSGI application"
        )
    else:
        given["spirit"] = found
        found = Prefork
    if pidfile and "pidfile" not in own:
        given.setdefault("pidfile", pidfile)
    with Loading(target):
        return found(**given)


def make_server(target: Target, said: Said, *folders: str, pidfile: str | None = None) -> Ghost:
    """Make the ghost that serves the application, which is not loaded here; raises OptionError, ConfigError."""
    from ghostd.server import Server  # noqa: PLC0415  most ghosts serve no web

    given = {name: setting.value for name, setting in settings(*said.layers).items()}
    if pidfile:
        given.setdefault("pidfile", pidfile)
    go_by(target)
    return Server(seek(target, *folders), **given)


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
