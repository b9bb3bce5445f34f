"""Everything that can go wrong, told by who must act, and the exit codes that say so.

Three families and no fourth: ``UserError`` (mend your call, file or program), ``SystemFault`` (the machine said no),
``GhostdBug`` (tell us). Each class carries its exit code; the table is the one of LSB and sysexits, so an init system
understands it. docs/reference/exit-codes.md lists the same table and a test compares the two.
"""

from __future__ import annotations

from enum import IntEnum


class ExitCode(IntEnum):
    """What a ghost's process, or the command that talks to it, ends with."""

    OK = 0  # done, or nothing was to be done
    FAILED = 1  # the command was understood and did not succeed (LSB: generic error; status: dead, pidfile left)
    USAGE = 2  # no such command (LSB: invalid argument)
    NOT_RUNNING = 3  # status only (LSB: program is not running)
    BAD_OPTION = 64  # an option's value is wrong (EX_USAGE)
    BAD_TARGET = 66  # the program to run cannot be found, loaded or used (EX_NOINPUT)
    BOOT_FAILED = 69  # a spirit died before it was ready, before the pool was ever whole (EX_UNAVAILABLE)
    BUG = 70  # ghostd itself is wrong (EX_SOFTWARE)
    SYSTEM = 71  # the machine said no: fork, open, write (EX_OSERR)
    NO_ADDRESS = 73  # an address cannot be listened on: it is in use, or not of this machine (EX_CANTCREAT)
    TIMED_OUT = 75  # not whole within start_timeout; trying again may help (EX_TEMPFAIL)
    DENIED = 77  # asked for a right that the caller does not have (EX_NOPERM)
    BAD_CONFIG = 78  # the configuration file is wrong (EX_CONFIG)


class GhostdError(Exception):
    """Parent of the three families; never raised itself."""

    code: ExitCode = ExitCode.FAILED


class UserError(GhostdError):
    """Mend your call, file or program: the message names the thing, its value and what is allowed."""

    code = ExitCode.BAD_OPTION


class OptionError(UserError):
    """An option has a value that is not allowed."""


class ConfigError(UserError):
    """The configuration file has an unknown key or a wrong value."""

    code = ExitCode.BAD_CONFIG


class TargetError(UserError):
    """The program to run cannot be found, loaded or used."""

    code = ExitCode.BAD_TARGET


class DeniedError(UserError):
    """Asked for another user, group or file without the right to it."""

    code = ExitCode.DENIED


class BootError(UserError):
    """The user's program did not come up: init raised, or a spirit died before it was ready."""

    code = ExitCode.BOOT_FAILED


class SystemFault(GhostdError):
    """The machine said no, after what could be tried again was tried again."""

    code = ExitCode.SYSTEM


class ListenError(SystemFault):
    """An address cannot be listened on: somebody else does, or this machine has none such."""

    code = ExitCode.NO_ADDRESS


class StartTimeoutError(SystemFault):
    """The pool was not whole within ``start_timeout``."""

    code = ExitCode.TIMED_OUT


class ThreadedForkError(UserError):
    """A fork was refused because user code runs a second thread in the process that forks."""

    code = ExitCode.BAD_TARGET


class GhostdBug(GhostdError):
    """This should never happen. Please report it with the log."""

    code = ExitCode.BUG


class IllegalMoveError(GhostdBug):
    """A spirit was moved from a phase in a way that the table of moves does not have."""
