"""The log as the ghost has it: levels, where it goes, and that it never stands in anybody's way."""

import io
import os
from pathlib import Path
from typing import Any

import pytest

from ghostd.errors import OptionError
from ghostd.log import LEVELS, Log, LogOptions
from ghostd.log.bridge import LoggerSink
from ghostd.log.files import FileSink
from ghostd.log.streams import StreamSink
from ghostd.log.syslog import SyslogSink
from tests.unit.linux.forks import in_child


@pytest.fixture
def shown() -> io.StringIO:
    return io.StringIO()


def log_on(shown: io.StringIO, **options: Any) -> Log:  # noqa: ANN401
    return Log(LogOptions(loghandle=shown, **options))


def levels_of(shown: io.StringIO) -> list[str]:
    return [line.split("] [")[2].partition("]")[0] for line in shown.getvalue().splitlines()]


# ── levels ──
def test_the_levels_are_those_of_the_ancestor() -> None:
    wanted = {"trace": 8, "debug": 7, "info": 6, "notice": 5, "warn": 4, "error": 3, "fatal": 2, "crit": 2}
    assert wanted | {"alert": 1, "emerg": 0} == LEVELS


@pytest.mark.parametrize("level", LEVELS)
def test_each_level_is_a_method_and_a_name(shown: io.StringIO, level: str) -> None:
    log = log_on(shown, loglevel="trace")
    getattr(log, level)("by method", seat=1)
    log.write(level, "by name", seat=1)
    assert levels_of(shown) == [level, level]
    assert shown.getvalue().count("seat=1") == 2


@pytest.mark.parametrize("threshold", LEVELS)
def test_what_is_less_important_than_the_level_is_not_written(shown: io.StringIO, threshold: str) -> None:
    log = log_on(shown)
    log.level = threshold
    assert log.level == threshold
    for level in LEVELS:
        log.write(level, "x")
    assert levels_of(shown) == [level for level in LEVELS if LEVELS[level] <= LEVELS[threshold]]


def test_everything_but_trace_is_written_by_default(shown: io.StringIO) -> None:
    log = log_on(shown)
    log.trace("x")
    log.debug("x")
    assert levels_of(shown) == ["debug"]


@pytest.mark.parametrize("bogus", ["bogus", "", "INFO", 6, None, ["info"]], ids=repr)
def test_a_bogus_level_is_an_error_and_mutes_nothing(shown: io.StringIO, bogus: Any) -> None:  # noqa: ANN401
    log = log_on(shown)
    with pytest.raises(OptionError, match=r"log level: .* is not allowed; it takes one of trace, debug"):
        log.level = bogus
    with pytest.raises(OptionError, match=r"option loglevel: .* is not allowed; it takes one of trace, debug"):
        LogOptions(loglevel=bogus)
    assert log.level == "debug"
    log.info("still heard")
    assert levels_of(shown) == ["info"]


def test_a_bogus_level_of_a_record_is_an_error(shown: io.StringIO) -> None:
    with pytest.raises(OptionError, match="log level: 'bogus' is not allowed"):
        log_on(shown).write("bogus", "x")


def test_fields_may_have_any_name(shown: io.StringIO) -> None:
    log_on(shown).write("info", "x", level=1, text=2, self=3)
    assert shown.getvalue().endswith("x level=1 text=2 self=3\n")


# ── tracebacks ──
def test_an_exception_is_told_with_its_cause_in_one_piece(shown: io.StringIO) -> None:
    log = log_on(shown)
    try:
        try:
            dict[str, int]()["first"]
        except KeyError as error:
            raise ValueError("second\nline") from error
    except ValueError as error:
        log.exception("Hook init failed", error, seat=1)
    lines = [line.partition("[error] ")[2] for line in shown.getvalue().splitlines()]
    assert lines[0] == "Hook init failed seat=1"
    assert "KeyError: 'first'" in lines
    assert lines[-2:] == ["ValueError: second", "line"]
    assert all(line.startswith("[") for line in shown.getvalue().splitlines())
    log.level = "crit"
    log.exception("quiet", ValueError("x"))
    assert "quiet" not in shown.getvalue()


# ── where it goes ──
def test_logger_goes_before_handle_before_file_before_syslog(tmp_path: Path, shown: io.StringIO) -> None:
    class Logger:
        def info(self, text: str) -> None:
            shown.write(text)

        debug = warning = error = critical = info

    path = str(tmp_path / "x.log")
    assert isinstance(Log(LogOptions(logger=Logger(), loghandle=shown, logfile=path))._sink, LoggerSink)
    assert isinstance(Log(LogOptions(loghandle=shown, logfile=path))._sink, StreamSink)
    assert isinstance(Log(LogOptions(logfile=path))._sink, FileSink)
    assert isinstance(Log(name="mailer")._sink, SyslogSink)


@pytest.mark.parametrize(("options", "ident"), [({}, "mailer"), ({"ident": "post"}, "post")], ids=str)
def test_the_system_log_shows_the_ghosts_name_or_the_one_asked_for(options: dict[str, str], ident: str) -> None:
    sink = Log(LogOptions(**options), name="mailer")._sink
    assert isinstance(sink, SyslogSink)
    assert sink._ident == ident


@pytest.mark.parametrize(
    "wrong",
    [
        {"logfile": ""},
        {"logfile": 7},
        {"logfile": "a\0b"},
        {"logformat": "xml"},
        {"loghandle": 7},
        {"loghandle": object()},
        {"facility": ""},
        {"logopt": "what"},
    ],
    ids=str,
)
def test_a_mistake_in_an_option_names_it_and_what_is_allowed(wrong: dict[str, Any]) -> None:
    (name, value), *_ = wrong.items()
    with pytest.raises(OptionError) as told:
        LogOptions(**wrong)
    assert f"option {name}: {value!r} is not allowed; it takes" in str(told.value)


def test_json_is_for_files_and_streams(shown: io.StringIO) -> None:
    log_on(shown, logformat="json").info("x", seat=1)
    assert shown.getvalue().endswith(f'"level":"info","pid":{os.getpid()},"message":"x","seat":1}}\n')


# ── counting what is lost ──
def test_each_process_counts_its_own_losses() -> None:
    log = Log(LogOptions(logfile="/dev/full"))
    log.info("lost")

    def spirit() -> int:
        log.after_fork()
        log.info("lost")
        log.info("lost")
        return log.dropped

    assert in_child(spirit) == 2
    assert log.dropped == 1
    log.close()


def test_the_pid_is_that_of_whoever_writes(tmp_path: Path) -> None:
    log = Log(LogOptions(logfile=str(tmp_path / "x.log")))
    log.info("parent")

    def spirit() -> int:
        log.info("child")
        return os.getpid()

    pid = in_child(spirit)
    pids = [line.split("] [")[1] for line in (tmp_path / "x.log").read_text().splitlines()]
    assert pids == [str(os.getpid()), str(pid)]
    log.close()


def test_a_file_that_cannot_be_opened_anew_is_no_error_of_the_caller(tmp_path: Path) -> None:
    log = Log(LogOptions(logfile=str(tmp_path / "none" / "x.log")))
    log.reopen()
    assert log.dropped == 1
    (tmp_path / "none").mkdir()
    log.info("there now")
    lines = (tmp_path / "none" / "x.log").read_text().splitlines()
    assert lines[0].endswith("[warn] 1 log records were lost (No such file or directory)")
    assert lines[1].endswith("[info] there now")
    log.close()
