"""Gathers the options that each package owns into one frozen Config.

Keyword arguments, the TOML schema, the flags, the environment and the reference page all come from the declarations in
the records; nothing about a single option is said here. What a manager does not need, the flags, is imported from where
it is.
"""

from ghostd.config.gathering import (
    Config,
    Layer,
    Setting,
    gather,
    options,
    problems,
    settings,
    trace,
)
from ghostd.config.sources import TomlFile, class_layer, environ_layer, read_toml, toml_layer
from ghostd.config.texts import as_text, hint, nearest, shown

__all__ = [
    "Config",
    "Layer",
    "Setting",
    "TomlFile",
    "as_text",
    "class_layer",
    "environ_layer",
    "gather",
    "hint",
    "nearest",
    "options",
    "problems",
    "read_toml",
    "settings",
    "shown",
    "toml_layer",
    "trace",
]
