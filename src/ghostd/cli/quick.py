"""The short way of ``status``, ``stop``, ``reload`` and ``check``: its files are found without loading the program.

Rule: this file and what it imports load next to nothing, since most of the time of such a command is Python's own start
(docs/dependencies.md has the figures), and what is not plainly understood is left to the long way, by None, which reads
the same flags with argparse and the same file with tomllib, and has words for each mistake.
"""

from __future__ import annotations

import os

from ghostd.hints import TYPE_CHECKING
from ghostd.linux.trust import who_else_writes
from ghostd.naming import stem

if TYPE_CHECKING:
    from ghostd.daemon.handle import Handle

COMMANDS = ("status", "stop", "reload", "check")
PROBES = ("--live", "--ready")
DEFAULT_FILE = "ghostd.toml"
PLAIN_BYTES_MAX = 65_536  # a longer file is left to the long way
BARE = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_-")  # of a bare key in TOML
READ = ("name", "pidfile", "ready_file", "target")  # the keys whose values are wanted here


def run(words: list[str]) -> int | None:
    """Do what the words say, if they are of the plain forms: the exit code. None: the long way has to be taken."""
    wanted = parse(words)
    if wanted is None:
        return None
    file = None if wanted.pidfile else file_of(wanted.target)
    said = read_plain(file) if file else None
    environ = dict(os.environ)
    pidfile = find_pidfile(wanted, environ, file, said)
    if pidfile is None:
        return None
    from ghostd.cli import asking  # noqa: PLC0415  none of it is needed to find out that the long way has to be taken

    if wanted.command == "status":
        return asking.status(pidfile, as_json=wanted.as_json)
    if wanted.command == "check":
        return asking.check(
            pidfile, find_ready_file(wanted, environ, file, said or {}, pidfile), live=wanted.probe == "--live"
        )
    if wanted.command == "reload":
        return asking.reload(pidfile)
    return asking.stop(pidfile, lambda asked: _stop_later(words, asked))


def _stop_later(words: list[str], asked: Handle) -> int:
    from ghostd.cli import commands  # noqa: PLC0415  only the program knows how long this may take

    return commands.run(words, asked=asked)


class Wanted:
    """What the command line asks for; each field is None where nothing was said."""

    __slots__ = ("as_json", "command", "name", "pidfile", "probe", "ready_file", "target")

    def __init__(self, command: str) -> None:
        self.command = command
        self.target: str | None = None
        self.pidfile: str | None = None
        self.name: str | None = None
        self.ready_file: str | None = None
        self.probe: str | None = None
        self.as_json = False


def parse(words: list[str]) -> Wanted | None:
    """Read ``COMMAND [TARGET] [--pidfile FILE] [--name NAME]`` and what status and check take; None for the rest."""
    if not words or words[0] not in COMMANDS:
        return None
    wanted = Wanted(words[0])
    rest = iter(words[1:])
    for word in rest:
        flag, equals, value = word.partition("=")
        if flag in ("--pidfile", "--name") or (flag == "--ready-file" and wanted.command == "check"):
            value = value if equals else next(rest, "")
            if not value or (not equals and value.startswith("-")):
                return None
            setattr(wanted, flag[2:].replace("-", "_"), value)
        elif word == "--json" and wanted.command == "status":
            wanted.as_json = True
        elif word in PROBES and wanted.command == "check" and wanted.probe is None:
            wanted.probe = word
        elif word and not word.startswith("-") and wanted.target is None:
            wanted.target = word
        else:
            return None
    return wanted


def file_of(target: str | None) -> str | None:
    """The configuration file that a command means: the target if it is one, ./ghostd.toml if there is no target."""
    if target is not None:
        return target if target.endswith(".toml") else None
    return DEFAULT_FILE if os.path.lexists(DEFAULT_FILE) else None


def find_pidfile(wanted: Wanted, environ: dict[str, str], file: str | None, said: dict[str, str] | None) -> str | None:
    """Where the ghost's pidfile is; None when only the program itself can tell. ``said`` is what the file says."""
    if given := wanted.pidfile or environ.get("GHOSTD_PIDFILE"):
        return os.path.abspath(given)
    name = wanted.name or environ.get("GHOSTD_NAME")
    folder = ""
    if file is not None:
        if said is None:
            return None
        name = name or said.get("name") or stem(said.get("target", ""))
        folder = os.path.dirname(file)
        if given := said.get("pidfile"):
            return os.path.abspath(os.path.join(folder, given))
    return os.path.abspath(os.path.join(folder, f"{name}.pid")) if name and "/" not in name else None


def find_ready_file(
    wanted: Wanted, environ: dict[str, str], file: str | None, said: dict[str, str], pidfile: str
) -> str:
    """Where the ghost with this pidfile says that it is ready."""
    if given := wanted.ready_file or environ.get("GHOSTD_READY_FILE"):
        return os.path.abspath(given)
    if given := said.get("ready_file"):
        return os.path.abspath(os.path.join(os.path.dirname(file or ""), given))
    return f"{pidfile}.ready"


def read_plain(path: str) -> dict[str, str] | None:
    """The texts that a ghostd.toml says at its top; None unless the whole file is of the plainest form.

    Reading it with tomllib takes longer than all the rest of the command.
    """
    try:
        fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except (OSError, ValueError):
        return None
    try:
        about = os.fstat(fd)
        is_plain_file = about.st_mode & 0o170000 == 0o100000 and about.st_size <= PLAIN_BYTES_MAX
        if not is_plain_file or who_else_writes(path, about):
            return None
        content = os.read(fd, PLAIN_BYTES_MAX)
        return parse_plain(content.decode())
    except (OSError, UnicodeDecodeError):
        return None
    finally:
        os.close(fd)


def parse_plain(content: str) -> dict[str, str] | None:
    """The same of a content; the keys that matter here are texts that say something."""
    found: dict[str, str] = {}
    keys: set[str] = set()
    for line in content.replace("\r\n", "\n").split("\n"):
        text = line.strip(" \t")
        if not text.replace("\t", " ").isprintable():
            return None
        if not text or text.startswith("#"):
            continue
        key, equals, value = text.partition("=")
        key, value = key.rstrip(" \t"), value.lstrip(" \t")
        if not equals or not key or not BARE.issuperset(key) or key in keys:
            return None
        keys.add(key)
        if value[:1] in ("'", '"'):
            inner = _quoted(value)
            if inner is None:
                return None
            found[key] = inner
        elif key in READ or not _is_passed_over(value):
            return None
    return found if all(found.get(key, "some") for key in READ) else None


def _are_texts(rest: str) -> bool:
    """Whether these are plain texts with commas between them, and the bracket that closes the list."""
    while rest[:1] in ("'", '"'):
        inner, closed, rest = rest[1:].partition(rest[0])
        if not closed or "\\" in inner or not inner.isprintable():
            return False
        rest = rest.lstrip(" \t")
        if not rest.startswith(","):
            break
        rest = rest[1:].lstrip(" \t")
    after = rest[1:].lstrip(" \t")
    return rest.startswith("]") and (not after or after.startswith("#"))


def _quoted(value: str) -> str | None:
    """The text between quotes; None where it has escapes, or more than a comment follows."""
    inner, closed, after = value[1:].partition(value[0])
    after = after.lstrip(" \t")
    if not closed or "\\" in inner or not inner.isprintable() or (after and not after.startswith("#")):
        return None
    return inner


def _is_passed_over(value: str) -> bool:
    """Whether it is true, false, a list of texts, or a number: digits, perhaps a sign, a point, an exponent."""
    if value.startswith("["):
        return _are_texts(value[1:].lstrip(" \t"))
    text = value.partition("#")[0].rstrip(" \t")
    number, exponential, power = _unsigned(text).replace("E", "e").partition("e")
    whole, point, fraction = number.partition(".")
    return text in ("true", "false") or (
        _are_digits(whole)
        and (whole == "0" or whole[0] != "0")
        and (not point or _are_digits(fraction))
        and (not exponential or _are_digits(_unsigned(power)))
    )


def _unsigned(text: str) -> str:
    return text[1:] if text[:1] in ("+", "-") else text


def _are_digits(text: str) -> bool:
    return text.isascii() and text.isdigit()
