"""The work itself: one file in, one tally out.

Rule: a pure function of the file's bytes, so that doing it twice does no harm. It knows of no queue and no process.
"""

import hashlib
import io
import sysconfig
import tokenize
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

FOREIGN = frozenset({"site-packages", "dist-packages"})  # not the standard library, though below its directory


@dataclass(frozen=True, slots=True)
class Tally:
    """What is known of one file: its SHA-256, how many tokens of each type, or the kind of error instead of tokens."""

    sha256: str
    tokens: Mapping[str, int] = field(default_factory=dict)
    error: str | None = None


def tally(path: str) -> Tally:
    """Count the tokens of a file. One that cannot be read or tokenised has the kind of its error as its result."""
    try:
        source = Path(path).read_bytes()
    except OSError as error:
        return Tally("", error=type(error).__name__)
    sha256 = hashlib.sha256(source).hexdigest()
    try:
        types = Counter(token.type for token in tokenize.tokenize(io.BytesIO(source).readline))
    except (SyntaxError, tokenize.TokenError, UnicodeDecodeError) as error:
        return Tally(sha256, error=type(error).__name__)
    return Tally(sha256, {tokenize.tok_name[number]: count for number, count in types.items()})


def corpus(files: int | None = None) -> list[str]:
    """Every .py file of this Python's standard library; with ``files`` an even choice of so many."""
    library = Path(sysconfig.get_path("stdlib"))
    paths = sorted(str(path) for path in library.rglob("*.py") if FOREIGN.isdisjoint(path.relative_to(library).parts))
    if files is None or files >= len(paths):
        return paths
    return [paths[number * len(paths) // files] for number in range(files)]
