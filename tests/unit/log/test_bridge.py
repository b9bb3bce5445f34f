"""The log in a logger of the user's: by what it can do, not by what it is."""

import io
import logging
import os
import subprocess
import sys
from typing import Any

import pytest

from ghostd.errors import OptionError
from ghostd.log import LEVELS, Log, LogOptions
from ghostd.log.bridge import LoggerSink


class Recorder:
    """Takes any method named in it."""

    def __init__(self, *names: str) -> None:
        self.calls: list[tuple[Any, ...]] = []
        for name in names:
            setattr(self, name, lambda *args, _name=name, **fields: self.calls.append((_name, *args, fields)))


def log_in(logger: object) -> Log:
    return Log(LogOptions(logger=logger, loglevel="trace"))


@pytest.fixture
def standard() -> tuple[logging.Logger, io.StringIO]:
    logger = logging.Logger("ghost", level=1)
    stream = io.StringIO()
    handler = logging.StreamHandler(stream)
    handler.setFormatter(logging.Formatter("%(levelname)s %(message)s"))
    logger.addHandler(handler)
    return logger, stream


def test_logging_gets_each_level_by_its_nearest_name(standard: tuple[logging.Logger, io.StringIO]) -> None:
    logger, stream = standard
    log = log_in(logger)
    for level in LEVELS:
        log.write(level, level, seat=1)
    assert stream.getvalue().splitlines() == [
        "DEBUG trace seat=1",
        "DEBUG debug seat=1",
        "INFO info seat=1",
        "INFO notice seat=1",
        "WARNING warn seat=1",
        "ERROR error seat=1",
        *(f"CRITICAL {level} seat=1" for level in ("fatal", "crit", "alert", "emerg")),
    ]


def test_a_percent_sign_is_a_percent_sign(standard: tuple[logging.Logger, io.StringIO]) -> None:
    logger, stream = standard
    log_in(logger).info("50 % done %s")
    assert stream.getvalue() == "INFO 50 % done %s\n"


def test_a_traceback_comes_with_the_record(standard: tuple[logging.Logger, io.StringIO]) -> None:
    logger, stream = standard
    log_in(logger).exception("failed", ValueError("why"))
    assert stream.getvalue().splitlines() == ["ERROR failed", "ValueError: why"]


def test_own_names_of_a_logger_are_preferred() -> None:
    logger = Recorder("trace", "debug", "info", "notice", "warning", "error", "critical", "alert", "emerg")
    log = log_in(logger)
    for level in LEVELS:
        log.write(level, "x")
    names = [call[0] for call in logger.calls]
    assert names == ["trace", "debug", "info", "notice", "warning", "error", "critical", "critical", "alert", "emerg"]


def test_a_logger_with_log_alone_gets_numbers() -> None:
    logger = Recorder("log")
    log = log_in(logger)
    for level in ("trace", "info", "emerg"):
        log.write(level, level)
    assert [call[1:3] for call in logger.calls] == [(5, "trace"), (20, "info"), (50, "emerg")]


def test_structlog_gets_the_fields_as_they_are() -> None:
    made = type("Bound", (Recorder,), {"__module__": "structlog._config"})
    logger = made("debug", "info", "warning", "error", "critical")
    log = log_in(logger)
    log.info("gone\n", seat=2, why={"a": 1})
    log.exception("failed", ValueError("why"), seat=3)
    assert logger.calls == [
        ("info", "gone\n", {"seat": 2, "why": {"a": 1}}),
        ("error", "failed", {"seat": 3, "traceback": "ValueError: why"}),
    ]


def test_the_real_structlog_takes_every_level() -> None:
    structlog = pytest.importorskip("structlog", reason="structlog is not installed")
    with structlog.testing.capture_logs() as captured:
        log = log_in(structlog.get_logger())
        for level in LEVELS:
            log.write(level, level, seat=1)
        assert log.dropped == 0
    assert [one["event"] for one in captured] == list(LEVELS)
    assert {one["seat"] for one in captured} == {1}


def test_the_levels_of_the_log_come_first(standard: tuple[logging.Logger, io.StringIO]) -> None:
    logger, stream = standard
    log = Log(LogOptions(logger=logger, loglevel="warn"))
    log.info("quiet")
    log.warn("loud")
    assert stream.getvalue() == "WARNING loud\n"


def test_a_logger_whose_stream_is_closed_loses_records_and_nothing_else() -> None:
    class Broken:
        def info(self, _: str) -> None:
            raise ValueError("I/O operation on closed file.")

        debug = warning = error = critical = info

    log = log_in(Broken())
    log.info("lost")
    assert log.dropped == 1


def test_it_has_nothing_to_open_or_to_close(standard: tuple[logging.Logger, io.StringIO]) -> None:
    log = log_in(standard[0])
    log.open()
    log.reopen()
    log.give_to(0, 0)
    assert (log.fileno(), log.descriptors()) == (None, ())
    log.close()


@pytest.mark.parametrize("wrong", [7, "logger", object()], ids=repr)
def test_what_is_no_logger_is_an_error_of_the_option(wrong: object) -> None:
    with pytest.raises(OptionError, match=r"option logger: .* is not allowed"):
        LogOptions(logger=wrong)


def test_a_logger_without_a_level_is_an_error_of_the_option() -> None:
    with pytest.raises(OptionError, match=r"option logger: .* has neither error nor log"):
        LoggerSink(Recorder("debug", "info", "warning"))


def test_logging_is_not_loaded_for_those_who_do_not_use_it() -> None:
    program = (
        "import sys; from ghostd.log import Log, LogOptions; Log(LogOptions(logfile='/dev/null')).info('x');"
        "sys.exit(bool({'logging', 'json', 'socket', 'syslog'} & set(sys.modules)))"
    )
    environ = {name: value for name, value in os.environ.items() if not name.startswith("COVERAGE")}
    subprocess.run([sys.executable, "-c", program], check=True, env=environ)
