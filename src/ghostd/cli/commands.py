"""The long way: every command with all of its flags, on the program itself where it is needed.

The commands are one table; a flag of an option comes from the option's declaration. Options are checked before the
program is loaded, and the program before anything is stopped or forked.
"""

from __future__ import annotations

import os

from ghostd import program
from ghostd.cli import asking, output, quick, target
from ghostd.cli import words as plain
from ghostd.cli.target import Said
from ghostd.config import (
    Layer,
    TomlFile,
    as_text,
    class_layer,
    environ_layer,
    gather,
    options,
    problems,
    read_toml,
    settings,
    trace,
)
from ghostd.config.flags import flag_layer
from ghostd.daemon import lsb, stopping
from ghostd.daemon.pidfile import FilePid
from ghostd.daemon.ready import READY_ENDING
from ghostd.errors import ConfigError, ExitCode, OptionError, TargetError, UserError
from ghostd.ghost import Ghost
from ghostd.hints import TYPE_CHECKING
from ghostd.record import Frozen, replace

if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable
    from types import SimpleNamespace
    from typing import Final

    from ghostd.daemon.handle import Handle

    Args = argparse.Namespace | SimpleNamespace


class Sources(Frozen):
    """All that was said about one ghost."""

    said: Said
    file: TomlFile | None
    text: str | None  # the target, as said on the command line or in the file
    pidfile: str | None  # where the short way looks for it; None when only the program can tell

    @property
    def folder(self) -> str:
        """What a file target is relative to: the folder of the file that names it, else the current one."""
        return os.path.dirname(os.path.abspath(self.file.path)) if self.file else os.getcwd()


def run(words: list[str], asked: Handle | None = None) -> int:
    """Do what the words of the command line say; the exit code. ``asked``: the ghost that was asked to quit already."""
    if not words or not (words[0] in COMMANDS or words[0].startswith("-")):
        return output.incorrect(words[0] if words else "", list(COMMANDS))
    args = plain.read(words) or _read(words)
    args.asked = asked
    return COMMANDS[args.command].act(args)


def _read(words: list[str]) -> argparse.Namespace:
    from ghostd.cli import usage  # noqa: PLC0415  argparse takes longer to load than a ghost

    return usage.read(words, {name: command.help for name, command in COMMANDS.items()})


# ── what was said ──
def _sources(args: Args) -> Sources:
    """What the command line, the environment and the file say; all of it is checked before anything is loaded."""
    path = quick.file_of(args.target)
    file = read_toml(path) if path else None
    said = Said(flag_layer(args), environ_layer(os.environ), file.layer if file else Layer({}, str))
    gather(*said.layers)
    text = file.target if file else args.target
    return Sources(said, file, text, _pidfile(args, file, text))


def _pidfile(args: Args, file: TomlFile | None, text: str | None) -> str | None:
    """Where the short way looks for the pidfile of the same command line."""
    in_file = {key: str(value) for key, value in file.layer.items()} if file else {}
    if file and file.target:
        in_file["target"] = file.target
    wanted = quick.Wanted(args.command)
    wanted.pidfile, wanted.name, wanted.target = getattr(args, "pidfile", None), getattr(args, "name", None), text
    return quick.find_pidfile(wanted, dict(os.environ), file.path if file else None, in_file)


def _program(sources: Sources) -> program.Target:
    if sources.text is None:
        where = f"{sources.file.path} names no target" if sources.file else f"there is no ./{quick.DEFAULT_FILE}"
        raise TargetError(f"nothing to run: no TARGET is given, and {where}; it takes {program.FORMS}")
    found = program.parse(sources.text)
    return replace(found, place=os.path.join(sources.folder, found.place)) if found.is_file else found


def _ghost(sources: Sources, *, is_web: bool = False) -> Ghost:
    """The ghost, made from the program and all that was said about it."""
    found, folder = _program(sources), sources.folder
    make = target.make_server if is_web or (sources.file is not None and sources.file.is_web) else target.make
    # A file means the same wherever the command is given: its ghost's pidfile is beside it.
    ghost = make(found, sources.said, folder, pidfile=sources.pidfile if folder != os.getcwd() else None)
    if sources.pidfile not in (None, ghost.filepid.file):
        raise OptionError(
            f"{found.text} keeps its pidfile at {ghost.filepid.file}, but status and stop, which do not load it, "
            f"would look at {sources.pidfile}; say pidfile = {ghost.filepid.file!r} in the file, or give --pidfile"
        )
    return ghost


# ── the commands ──
def _start(args: Args) -> int:
    ghost = _ghost(_sources(args))
    running = ghost.status()
    return output.tell(lsb.already_running(running) if running else lsb.started(ghost.start(), ghost.addresses))


def _restart(args: Args) -> int:
    pid = _ghost(_sources(args)).restart()
    return output.tell(lsb.restarted() if pid > 0 else lsb.restart_failed(-pid))


def _run(args: Args) -> int:
    return _ghost(_sources(args)).run()


def _serve(args: Args) -> int:
    return _ghost(_sources(args), is_web=True).run()


def _status(args: Args) -> int:
    sources = _sources(args)
    return asking.status(sources.pidfile or _ghost(sources).filepid.file, as_json=args.as_json)


def _probe(args: Args) -> int:
    sources = _sources(args)
    pidfile = sources.pidfile
    if pidfile is None:
        raise OptionError(
            "check does not load the program, so it cannot tell which ghost is meant; say --pidfile FILE or --name NAME"
        )
    found = settings(*sources.said.layers).get("ready_file")
    ready_file = f"{pidfile}{READY_ENDING}" if found is None else os.path.abspath(str(found.value))
    return asking.check(pidfile, ready_file, live=args.live)


def _stop(args: Args) -> int:
    sources = _sources(args)
    if args.asked is None and sources.pidfile is not None:
        return asking.stop(sources.pidfile, lambda asked: _stop_later(sources, asked))
    return _stop_later(sources, args.asked)


def _stop_later(sources: Sources, asked: Handle | None) -> int:
    """It takes longer than a moment: now it matters how long, and only the program knows all its options."""
    pid = stopping.stop(*_limits(sources), asked=asked).answer
    return output.tell(lsb.stopped(pid) if pid > 0 else lsb.still_there(-pid) if pid else lsb.not_running())


def _limits(sources: Sources) -> tuple[FilePid, float, float]:
    """The pidfile, how long a graceful stop takes, and stop_margin, as the program has them where nothing else says."""
    config = gather(*sources.said.layers)
    pidfile = None if sources.pidfile is None else FilePid(sources.pidfile)
    if pidfile is None or (
        sources.text and not {"graceful_timeout", "drain_delay"} <= set(settings(*sources.said.layers))
    ):
        ghost = _ghost(sources)
        config, pidfile = ghost.config, ghost.filepid
    return pidfile, config.policy.stop_limit, config.daemon.stop_margin


def _reload(args: Args) -> int:
    sources = _sources(args)
    if sources.pidfile is not None and (code := asking.reload(sources.pidfile)) is not None:
        return code
    if sources.text is None:
        raise TargetError("the ghost is not running, and there is no TARGET to start")
    ghost = _ghost(sources)
    code = asking.reload(ghost.filepid.file)
    return output.tell(lsb.started(ghost.start(), ghost.addresses)) if code is None else code


def _config(args: Args) -> int:
    return _check(args) if args.question == "check" else _show(args)


def _check(args: Args) -> int:
    """Tell every mistake in a file; the program is not loaded."""
    file = read_toml(args.target or quick.DEFAULT_FILE)
    found: list[UserError] = problems(file.layer)
    if file.target is not None:
        found += _mistakes(file)
    for problem in found:
        output.complain(str(problem))
    if found:
        return ExitCode.BAD_CONFIG
    output.say(
        f"{file.path}: {len(file.layer)} options are right; it runs {file.target or 'nothing, without a target'}"
    )
    return ExitCode.OK


def _mistakes(file: TomlFile) -> list[UserError]:
    try:
        program.parse(file.target or "")
    except TargetError as error:
        return [ConfigError(f"{file.path}:target: {error}")]
    return []


def _show(args: Args) -> int:
    """Tell every option's value, and where it comes from."""
    sources = _sources(args)
    layers: list[Layer] = list(sources.said.layers)
    if sources.text is not None:
        found = program.load(_program(sources), sources.folder)
        if isinstance(found, type):
            layers.append(class_layer(found))
        elif isinstance(found, Ghost):
            layers.append(Layer(found.config.flat(), lambda _name: f"made in {sources.text}"))
    traced = trace(gather(*layers), *layers)
    if args.as_json:
        output.say_json({name: {"value": found.value, "origin": found.origin} for name, found in traced.items()})
    else:
        known = options()
        output.table([(name, as_text(one.value, known[name]) or "none", one.origin) for name, one in traced.items()])
    return ExitCode.OK


class Command(Frozen):
    """A command: what it does in one sentence, and the function that does it and gives the exit code."""

    help: str
    act: Callable[[Args], int]


COMMANDS: Final[dict[str, Command]] = {
    "run": Command("Run the ghost in the foreground, for an init system, a container or a terminal.", _run),
    "serve": Command("Serve an ASGI or WSGI application, in the foreground.", _serve),
    "start": Command("Start the ghost as a daemon; returns once the pool is whole.", _start),
    "stop": Command("Stop the ghost: gracefully first, then at once.", _stop),
    "restart": Command("Stop the ghost and start it again.", _restart),
    "reload": Command("Replace the spirits one by one; starts the ghost if it is not running.", _reload),
    "status": Command("Tell whether the ghost runs: 0 running, 3 not running, 1 dead with its pidfile left.", _status),
    "check": Command("Answer a probe: 0 ready, or with --live running; 1 not ready; 3 not running.", _probe),
    "config": Command("Check a configuration file, or show the value and the origin of every option.", _config),
}
