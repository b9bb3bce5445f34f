"""Layers of options become one Config, or one error that says whose line is to be mended.

A layer is a mapping of names to values together with where each came from. Whatever it holds, the outcome is a Config
or a UserError: never another exception.
"""

from __future__ import annotations

import functools
import os

from ghostd.config.texts import nearest, shown
from ghostd.core.policy import Policy
from ghostd.daemon.options import DaemonOptions
from ghostd.errors import OptionError, UserError
from ghostd.hints import TYPE_CHECKING
from ghostd.log.options import LogOptions
from ghostd.options import FLOATS, Kind, Option, declared
from ghostd.record import Frozen
from ghostd.serve.options import ServeOptions
from ghostd.serve.web import WebOptions
from ghostd.spirit.options import SpiritOptions

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from typing import Any, Final

RECORDS: Final[dict[str, Any]] = {
    "policy": Policy,
    "spirit": SpiritOptions,
    "serve": ServeOptions,
    "web": WebOptions,
    "daemon": DaemonOptions,
    "log": LogOptions,
}
ALIASES: Final[dict[str, str]] = {"workers": "spirits"}  # the field's word and ours; ours wins where both stand
DEFAULT_ORIGIN = "default"
WHOLE_BITS_MAX = 63  # a larger number fits no call of the kernel, and Python may refuse even to print it


class Config(Frozen, kw_only=True):
    """Every option of a ghost, checked. Never changes once made."""

    policy: Policy
    spirit: SpiritOptions
    serve: ServeOptions
    web: WebOptions
    daemon: DaemonOptions
    log: LogOptions

    def flat(self) -> dict[str, object]:
        """All options by name, in the order of the reference page."""
        homes = {name: home for home, record in RECORDS.items() for name in declared(record)}
        return {name: getattr(getattr(self, home), name) for name, home in homes.items()}


class Layer(dict[str, object]):
    """Options from one place; knows where each came from and which error to raise for it."""

    def __init__(
        self,
        values: Mapping[str, object],
        origin: Callable[[str], str],
        error: type[UserError] = OptionError,
    ) -> None:
        super().__init__(values)
        self.origin = origin
        self.error = error


class Setting(Frozen):
    """One option as it was found: its value, where it came from, and the error to raise when it is wrong."""

    name: str
    value: object
    origin: str
    error: type[UserError] = OptionError


@functools.cache
def options() -> dict[str, Option]:
    """The declarations of all options, by name."""
    return {name: opt for record in RECORDS.values() for name, opt in declared(record).items()}


def gather(*layers: Mapping[str, object]) -> Config:
    """Make the Config in which the first layer that has an option wins; raise OptionError or ConfigError.

    A plain mapping counts as keyword arguments.
    """
    found = settings(*layers)
    return Config(**{home: _build(record, found) for home, record in RECORDS.items()})


def settings(*layers: Mapping[str, object]) -> dict[str, Setting]:
    """What the layers say, by name: the first one that has an option wins. Options that none has are left out."""
    found: dict[str, Setting] = {}
    for layer in layers:
        for setting in _read(layer):
            if setting.name not in options():
                raise _unknown(setting)
            found.setdefault(setting.name, setting)
    return found


def problems(layer: Mapping[str, object]) -> list[UserError]:
    """Every error in a layer, where gather() raises the first."""
    found: list[UserError] = []
    for setting in _read(layer):
        if setting.name not in options():
            found.append(_unknown(setting))
        elif complaint := _complaint(setting):
            found.append(complaint)
    return found


def trace(config: Config, *layers: Mapping[str, object]) -> dict[str, Setting]:
    """Every option with its value and where that came from; the layers are those the config was gathered from."""
    found = settings(*layers)
    return {
        name: Setting(name, value, found[name].origin if name in found else DEFAULT_ORIGIN)
        for name, value in config.flat().items()
    }


def _read(layer: Mapping[str, object]) -> Iterator[Setting]:
    """The settings of a layer under their own names; an alias is left out where the name itself is there."""
    origin = layer.origin if isinstance(layer, Layer) else _keyword_origin
    error = layer.error if isinstance(layer, Layer) else OptionError
    for key, value in layer.items():
        name = ALIASES.get(key, key)
        if name == key or name not in layer:
            yield Setting(name, _plain(name, value), origin(key), error)


def _unknown(setting: Setting) -> UserError:
    known = sorted([*options(), *ALIASES])
    near = nearest(setting.name, known)
    meant = f"; did you mean {near}?" if near else "."
    return setting.error(
        f"unknown option {shown(setting.name)} (from {setting.origin}){meant} The options are {', '.join(known)}."
    )


def _build(record: Any, found: Mapping[str, Setting]) -> Any:  # noqa: ANN401  a class of options, and one of it
    given = [found[name] for name in declared(record) if name in found]
    for setting in given:
        if not _is_bounded(setting.value):
            raise _refusal(setting)
    try:
        return record(**{setting.name: setting.value for setting in given})
    except OptionError:
        for setting in given:  # the record names the option but cannot know where it came from: ask it one by one
            if complaint := _complaint(setting):
                raise complaint from None
        raise  # only together are they wrong; the record's own words say how


def _complaint(setting: Setting) -> UserError | None:
    """What is wrong with one option by itself."""
    if not _is_bounded(setting.value):
        return _refusal(setting)
    record = next(record for record in RECORDS.values() if setting.name in declared(record))
    try:
        record(**{setting.name: setting.value})
    except OptionError as error:
        return setting.error(f"{error} (from {setting.origin})")
    return None


def _refusal(setting: Setting) -> UserError:
    allowed = options()[setting.name].allowed
    return setting.error(
        f"option {setting.name}: {shown(setting.value)} is not allowed; it takes {allowed} (from {setting.origin})"
    )


def _is_bounded(value: object) -> bool:
    """Whether a check can compare the value and an error can show it."""
    if isinstance(value, int):
        return value.bit_length() <= WHOLE_BITS_MAX
    if isinstance(value, (list, tuple)):
        return all(not isinstance(one, (list, tuple)) and _is_bounded(one) for one in value)
    if isinstance(value, dict):
        return all(_is_bounded(one) for one in value.values())
    return True


def _plain(name: str, value: object) -> object:
    """The value as the records have it: a path object as its text, what is no whole number as a float."""
    kind = options()[name].kind if name in options() else None
    if kind is Kind.PATH and isinstance(value, os.PathLike):
        return os.fspath(value)
    if kind in FLOATS and isinstance(value, int) and not isinstance(value, bool) and _is_bounded(value):
        return float(value)
    return value


def _keyword_origin(name: str) -> str:
    return f"keyword {name}"
