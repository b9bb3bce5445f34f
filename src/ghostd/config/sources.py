"""Where options are written outside of a program's calls: class attributes, the environment, a ghostd.toml."""

from __future__ import annotations

import os
import stat

from ghostd.config.gathering import ALIASES, RECORDS, Layer, options, problems
from ghostd.config.texts import hint, nearest, read_text, shown
from ghostd.errors import ConfigError, OptionError
from ghostd.hints import TYPE_CHECKING
from ghostd.linux.trust import who_else_writes
from ghostd.options import Kind, declared
from ghostd.record import Frozen
from ghostd.serve import passing

if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

ENVIRON_PREFIX = "GHOSTD_"
TARGET_KEY = "target"  # the one key of a file that is no option: what to run
SERVE_TABLE = "serve"  # the table that says that the target is a web application, and how it is served
SERVE_RECORDS = ("serve", "web")  # whose options may stand in it
FILE_BYTES_MAX = 1_048_576  # a longer one is no configuration


def class_layer(cls: type) -> Layer:
    """The class attributes that are options; the most derived class wins. Methods and properties are none.

    Those of the web are options in classes that serve it only: elsewhere ``server`` is a name of the user's.
    """
    homes = [home for home in RECORDS if home != "web" or getattr(cls, "serves_web", False)]
    names = [name for home in homes for name in declared(RECORDS[home])]
    found: dict[str, object] = {}
    owners: dict[str, str] = {}
    for klass in cls.__mro__:
        own = {key: value for key, value in vars(klass).items() if not hasattr(type(value), "__get__")}
        for key in (*names, *ALIASES):
            name = ALIASES.get(key, key)
            if key in own and name not in found:
                found[name] = own[key]
                owners[name] = f"class {klass.__qualname__}"
    return Layer(found, owners.__getitem__)


def environ_layer(environ: Mapping[str, str]) -> Layer:
    """The options in GHOSTD_* variables, typed; raises OptionError naming the variable.

    An empty variable counts as none. A name that is nearly an option's is an error; any other is somebody else's:
    Kubernetes sets GHOSTD_SERVICE_HOST for a service named ghostd.
    """
    found: dict[str, object] = {}
    for variable, text in environ.items():
        if not variable.startswith(ENVIRON_PREFIX) or not text:
            continue
        name = variable.removeprefix(ENVIRON_PREFIX).lower()
        if ALIASES.get(name, name) in options() and variable == variable_of(name):
            found[name] = typed(name, text, variable)
        elif near := nearest(name, [*options(), *ALIASES], cutoff=0.8):
            raise OptionError(f"unknown option {shown(name)} (from {variable}); did you mean {variable_of(near)}?")
    return Layer(found, variable_of)


def typed(name: str, text: str, origin: str) -> object:
    """The value that a text from a flag or variable means for an option; raises OptionError."""
    name = ALIASES.get(name, name)
    opt = options()[name]
    value = read_text(text, opt)
    if value is None:
        raise OptionError(f"option {name}: {shown(text)} is not allowed; it takes {opt.allowed} (from {origin})")
    return value


def variable_of(name: str) -> str:
    """The environment variable of an option."""
    return ENVIRON_PREFIX + name.upper()


class TomlFile(Frozen):
    """A configuration file as read: what to run, if it says so, and the options, not yet checked."""

    path: str
    target: str | None
    layer: Layer
    is_web: bool = False  # whether the target is an application to be served


def toml_layer(path: str) -> Layer:
    """The options of a ghostd.toml, each checked; raises ConfigError naming file, key, value and what is allowed."""
    layer = read_toml(path).layer
    for problem in problems(layer):
        raise problem
    return layer


def read_toml(path: str) -> TomlFile:
    """Read a ghostd.toml; raises ConfigError when it is no TOML or cannot be trusted.

    A relative path in it is relative to the file, so that it means the same wherever the command is given.
    """
    values = _parse(path, _read_regular(path))
    target = values.pop(TARGET_KEY, None)
    if target is not None and not isinstance(target, str):
        raise ConfigError(f'{path}:target: {shown(target)} is not allowed; it takes "module:name" or "file.py:name"')
    where, is_web = {}, SERVE_TABLE in values
    for key, value in _served(path, values.pop(SERVE_TABLE, {})).items():
        if key in values:
            raise ConfigError(f"{path}:{key}: stands at the top and in [{SERVE_TABLE}]; one of them has to go")
        values[key], where[key] = value, f"{path}:{SERVE_TABLE}.{key}"
    here = os.path.dirname(os.path.abspath(path))
    for key, value in values.items():
        kind = options()[key].kind if key in options() else None
        if kind is Kind.PATH and isinstance(value, str) and value:
            values[key] = os.path.join(here, value)
        elif kind is Kind.ADDRESSES:
            values[key] = _anchored(value, here)
        elif kind is Kind.OBJECT:
            raise ConfigError(f"{path}:{key}: {shown(value)} is not allowed; only a program can give this option")
        elif kind is Kind.TABLE and isinstance(value, dict):
            values[key] = passing.settled(value, here)
    return TomlFile(path, target, Layer(values, lambda key: where.get(key, f"{path}:{key}"), ConfigError), is_web)


def _served(path: str, table: object) -> dict[str, object]:
    """What stands in the table of serving."""
    if not isinstance(table, dict):
        raise ConfigError(f"{path}:{SERVE_TABLE}: {shown(table)} is not allowed; it takes a table: [{SERVE_TABLE}]")
    known = [name for home in SERVE_RECORDS if home in RECORDS for name in declared(RECORDS[home])]
    for key in table:
        if key not in known:
            elsewhere = "; it is an option of the ghost: say it at the top of the file." if key in options() else ""
            raise ConfigError(f"{path}:{SERVE_TABLE}.{key}: no option of serving{elsewhere or hint(key, known)}")
    return table


def _anchored(value: object, folder: str) -> object:
    """Addresses whose socket files are below a folder, unless their paths say otherwise."""
    from ghostd.serve.address import anchored  # noqa: PLC0415  only where there is an address

    if isinstance(value, list):
        return [_anchored(one, folder) if isinstance(one, str) else one for one in value]
    return anchored(value, folder) if isinstance(value, str) else value


def _read_regular(path: str) -> bytes:
    """The bytes of a configuration file. A fifo would wait for ever, and a file of others could rule root."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except (OSError, ValueError) as error:  # ValueError: a zero byte in the name
        raise ConfigError(f"{path}: cannot be read: {getattr(error, 'strerror', None) or error}") from error
    try:
        about = os.fstat(fd)
        if not stat.S_ISREG(about.st_mode):
            raise ConfigError(f"{path}: is no regular file")
        if danger := who_else_writes(path, about):
            raise ConfigError(f"{path}: {danger}")
        if about.st_size > FILE_BYTES_MAX:
            raise ConfigError(f"{path}: has {about.st_size} bytes, at most {FILE_BYTES_MAX} are read")
        return os.read(fd, FILE_BYTES_MAX)
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read: {error.strerror}") from error
    finally:
        os.close(fd)


def _parse(path: str, content: bytes) -> dict[str, Any]:
    import tomllib  # noqa: PLC0415  only where there is a file

    try:
        return tomllib.loads(content.decode())
    except RecursionError:
        raise ConfigError(f"{path}: is nested too deeply for a configuration") from None
    except ValueError as error:  # a syntax error, bytes that are no UTF-8, or a number of thousands of digits
        raise ConfigError(f"{path}: is no valid TOML: {error}") from error
