"""The words of the commands that load a program, read without argparse: ``COMMAND [TARGET] [--OPTION VALUE]...``.

Rule: light, for a ghost that is started keeps what its command has loaded, and so does each of its spirits. What is not
plainly understood is left to cli/usage.py, by None, which reads the same words with argparse and has words for each
mistake.
"""

from __future__ import annotations

from types import SimpleNamespace

from ghostd.config import options
from ghostd.config.flags import UNSPOKEN, flag_of
from ghostd.config.gathering import ALIASES
from ghostd.options import Kind

COMMANDS = ("run", "serve", "start", "restart", "reload")


def read(words: list[str]) -> SimpleNamespace | None:
    """What argparse would make of the words, if they are of the plain form."""
    if not words or words[0] not in COMMANDS:
        return None
    found = SimpleNamespace(command=words[0], target=None)
    rest = iter(words[1:])
    for word in rest:
        flag, equals, value = word.partition("=")
        if flag.startswith("-"):
            name = flag.removeprefix("--").replace("-", "_")
            kind = _kind_of(name)
            value = value if equals else next(rest, "")
            if flag != flag_of(name) or kind is None or not value or (not equals and value.startswith("-")):
                return None
            setattr(found, name, [*getattr(found, name, ()), value] if kind is Kind.ADDRESSES else value)
        elif word and found.target is None:
            found.target = word
        else:
            return None
    return found


def _kind_of(name: str) -> Kind | None:
    """What the option of that name takes; None when there is none, or its flag needs no value."""
    opt = options().get(ALIASES.get(name, name))
    return None if opt is None or opt.kind is Kind.FLAG or opt.kind in UNSPOKEN else opt.kind
