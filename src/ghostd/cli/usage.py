"""The whole command line by argparse: every form that a flag may have, the help, and words for each mistake."""

from __future__ import annotations

import argparse

from ghostd import __version__, program
from ghostd.cli import quick
from ghostd.config import nearest, options
from ghostd.config.flags import add_flags
from ghostd.errors import OptionError
from ghostd.hints import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import NoReturn

TARGET_HELP = f"what to run: {program.FORMS}; without it ./{quick.DEFAULT_FILE}"


def read(words: list[str], helps: Mapping[str, str]) -> argparse.Namespace:
    """What the words say; raises OptionError. ``helps``: what each command does, in one sentence."""
    args, unknown = parser(helps).parse_known_args(words)
    if unknown:
        if not unknown[0].startswith("-"):
            raise OptionError(f"{unknown[0]!r} is one word too many; ghostd {words[0]} --help tells how it is used")
        near = nearest(unknown[0].partition("=")[0].strip("-"), list(options()))
        meant = f"; did you mean --{near.replace('_', '-')}?" if near else ""
        raise OptionError(f"unknown flag {unknown[0]}{meant} (ghostd {words[0]} --help tells them all)")
    return args


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        """Raise instead of printing the whole usage, so that there is one way in which errors are told."""
        raise OptionError(f"{message}; {self.prog} --help tells how it is used")


def parser(helps: Mapping[str, str]) -> argparse.ArgumentParser:
    """The parser of the whole command line; the flags of options are drawn from their declarations."""
    whole = _Parser(
        prog="ghostd",
        description="Runs Python code in a pool of pre-forked processes and keeps the pool whole.",
        epilog="Options come from flags, GHOSTD_* variables, a ghostd.toml, the class, the defaults; the first wins.",
        allow_abbrev=False,
    )
    whole.add_argument("-V", "--version", action="version", version=f"ghostd {__version__}")
    commands = whole.add_subparsers(dest="command", metavar="COMMAND", required=True)
    for name, words in helps.items():
        sub = commands.add_parser(name, help=words, description=words, allow_abbrev=False)
        if name == "config":
            sub.add_argument("question", choices=("check", "show"), help="check a file, or show every option's value")
        sub.add_argument("target", metavar="TARGET", nargs="?", help=TARGET_HELP)
        if name == "check":
            probe = sub.add_mutually_exclusive_group()
            probe.add_argument("--live", action="store_true", help="ask whether the manager runs")
            probe.add_argument(
                "--ready", action="store_true", help="ask whether the pool can work; this if none is given"
            )
        if name in ("status", "config"):
            sub.add_argument("--json", action="store_true", dest="as_json", help="print JSON")
        add_flags(sub)
    return whole
