"""Options as flags of a command line, and as the reference page: both are drawn from the declarations."""

from __future__ import annotations

from ghostd.config.gathering import ALIASES, RECORDS, Layer, options
from ghostd.config.sources import typed, variable_of
from ghostd.config.texts import as_text
from ghostd.hints import TYPE_CHECKING
from ghostd.options import Kind, Option, declared
from ghostd.record import default

if TYPE_CHECKING:
    import argparse
    from typing import Any, Final

# Kinds of options that no flag and no variable can give.
UNSPOKEN: Final = {Kind.OBJECT: "in a program only", Kind.TABLE: "in a file or a program"}


def add_flags(parser: argparse.ArgumentParser) -> None:
    """Add a flag for each option that a text can give. What was not given is not in the namespace."""
    for home, record in RECORDS.items():
        group = parser.add_argument_group(f"{home} options")
        for name, opt in declared(record).items():
            if opt.kind in UNSPOKEN:
                continue
            _add_flag(group, name, opt, _help(record, name, opt))
            for alias in (alias for alias, meant in ALIASES.items() if meant == name):
                _add_flag(group, alias, opt, f"The same as {flag_of(name)}, which wins.")


def flag_layer(namespace: object) -> Layer:
    """The options among the attributes of a command line that was read, typed; raises OptionError naming the flag."""
    given = {name: text for name, text in vars(namespace).items() if ALIASES.get(name, name) in options()}
    return Layer({name: typed(name, _joined(text), flag_of(name)) for name, text in given.items()}, flag_of)


def _joined(given: str | list[str]) -> str:
    return given if isinstance(given, str) else ",".join(given)  # of a flag that may be repeated


def flag_of(name: str) -> str:
    """The flag of an option."""
    return "--" + name.replace("_", "-")


def _add_flag(group: Any, dest: str, opt: Option, words: str) -> None:  # noqa: ANN401  argparse hides its type
    import argparse  # noqa: PLC0415  a ghost of a script needs none

    shape: dict[str, Any] = {"metavar": "|".join(opt.choices) or opt.kind.name}
    if opt.kind is Kind.FLAG:
        shape = {"nargs": "?", "const": "true", "metavar": "true|false"}
    elif opt.kind is Kind.ADDRESSES:
        shape = {"action": "append", "metavar": "ADDRESS"}
    group.add_argument(flag_of(dest), dest=dest, default=argparse.SUPPRESS, help=words.replace("%", "%%"), **shape)


def _help(record: Any, name: str, opt: Option) -> str:  # noqa: ANN401  a class of options
    default = _default(record, name, opt)
    return f"{opt.help} Default: {default}." if default else opt.help


def reference() -> str:
    """The reference of all options as Markdown, one table a record; the page of the docs is made of it."""
    parts = []
    for home, record in RECORDS.items():
        rows = [f"| {' | '.join(_row(record, name, opt))} |" for name, opt in declared(record).items()]
        head = "| option | takes | default | flag, variable | what it does, and why so |\n|---|---|---|---|---|"
        parts.append("\n".join([f"## {home}", "", head, *rows, ""]))
    return "\n".join(parts)


def _row(record: Any, name: str, opt: Option) -> tuple[str, ...]:  # noqa: ANN401  a class of options
    spelled = UNSPOKEN.get(opt.kind) or f"`{flag_of(name)}` `{variable_of(name)}`"
    default = _default(record, name, opt)
    cells = (f"`{name}`", opt.allowed, f"`{default}`" if default else "none", spelled, f"{opt.help} *{opt.why}*")
    return tuple(cell.replace("|", "\\|") for cell in cells)


def _default(record: Any, name: str, opt: Option) -> str:  # noqa: ANN401  a class of options
    return as_text(default(record, name), opt)
