"""The lines of the log that no page quotes: who, why, how much and what comes next."""

import pytest

from ghostd.core.actions import Abandon, Announce, Halt, News, Reason
from ghostd.core.phases import SpiritId
from ghostd.engine import words
from ghostd.errors import ExitCode
from ghostd.exits import Exit


def test_a_spirit_that_outlived_sigkill_is_critical_and_told_as_left_behind() -> None:
    level, text = words.abandoned(4242, "spirit 17, seat 2", Abandon(SpiritId(17), Reason.OUTLIVED, after=5.0))
    assert level == "crit"
    assert text.startswith("Spirit 4242 cannot be killed (spirit 17, seat 2: ")
    assert text.endswith("by 5 s; going on without it)")


@pytest.mark.parametrize(
    ("halt", "level", "begins"),
    [
        (
            Halt(ExitCode.OK, Reason.STOP, "all spirits have ended"),
            "info",
            "Manager 7 stopped (all spirits have ended)",
        ),
        (
            Halt(ExitCode.BOOT_FAILED, Reason.EARLY_DEATH, "why"),
            "fatal",
            "Spirit stopped too early, shutting down (why)",
        ),
        (Halt(ExitCode.SYSTEM, Reason.OUTLIVED, "who"), "fatal", "Manager 7 stopped ("),
    ],
)
def test_the_end_of_the_pool_is_told_with_its_reason(halt: Halt, level: str, begins: str) -> None:
    told = words.halted(7, halt)
    assert told[0] == level
    assert told[1].startswith(begins)


@pytest.mark.parametrize(
    ("end", "text"),
    [
        (Exit(code=3), "exit code 3"),
        (Exit(signal=9), "killed by SIGKILL"),
        (Exit(signal=11, dumped_core=True), "killed by SIGSEGV, core dumped"),
        (Exit(signal=63), "killed by signal 63"),
        (Exit(), "nobody knows how it ended"),
    ],
)
def test_an_end_is_told_by_its_code_or_the_name_of_its_signal(end: Exit, text: str) -> None:
    assert words.ended(end) == text


def test_each_piece_of_news_has_a_level_and_a_beginning() -> None:
    for news in News:
        level, text = words.announced(Announce(news, Reason.MISSING, "so"))
        assert level in ("info", "notice", "warn", "error")
        assert text.endswith(": so")
