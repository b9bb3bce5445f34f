"""A spirit's voice: each thing is said once, and what is said at the same moment by two is not lost."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING

import pytest

from ghostd.linux.page import BEAT, IN_FLIGHT, LEAVING, READY, SERVED, STATE, WORN
from ghostd.spirit.context import Context
from ghostd.spirit.speaker import Speaker
from ghostd.spirit.wear import counting

if TYPE_CHECKING:
    from collections.abc import Callable


class Words(dict[int, int]):
    """Words of a page; what is to happen in the middle of a store may be given."""

    meanwhile: Callable[[], None] | None = None

    def __missing__(self, word: int) -> int:
        return 0

    def __setitem__(self, word: int, value: int) -> None:
        if self.meanwhile is not None:
            meanwhile, self.meanwhile = self.meanwhile, None
            meanwhile()
        super().__setitem__(word, value)


class Paper:
    """A page that is shared with nobody."""

    def __init__(self) -> None:
        self.words = Words()
        self.moments: dict[int, float] = {}


class Voice:
    """A context, its page and how often it has rung."""

    def __init__(self) -> None:
        self.page = Paper()
        self.rings = 0
        self.context = Context(self.page, self._ring)  # type: ignore[arg-type]  # all that it uses of a page

    def _ring(self) -> None:
        self.rings += 1

    @property
    def state(self) -> int:
        return self.page.words[STATE]


@pytest.mark.parametrize("words", list(itertools.permutations(["ready", "worn", "leave"])))
def test_whatever_is_said_in_whatever_order_is_all_there_and_each_has_rung_once(words: tuple[str, ...]) -> None:
    voice = Voice()
    for word in words * 2:
        getattr(voice.context, word)()
    assert voice.state == READY | WORN | LEAVING
    assert voice.rings == 3


@pytest.mark.parametrize(("first", "second"), list(itertools.permutations(["ready", "worn", "leave"], 2)))
def test_what_is_said_in_the_middle_of_something_else_is_not_lost(first: str, second: str) -> None:
    voice = Voice()
    voice.page.words.meanwhile = getattr(voice.context, second)
    getattr(voice.context, first)()
    bits = {"ready": READY, "worn": WORN, "leave": LEAVING}
    assert voice.state == bits[first] | bits[second]


def test_a_worn_spirit_goes_on() -> None:
    voice = Voice()
    assert voice.context.tick()
    voice.context.worn()
    assert voice.context.tick()
    assert not voice.context.is_leaving


def test_after_so_many_ticks_it_is_worn_and_goes_on() -> None:
    voice = Voice()
    voice.context.tick = counting(voice.context, 3)
    states = []
    for _ in range(5):
        assert voice.context.tick()
        states.append(voice.state)
    assert states == [READY, READY, READY | WORN, READY | WORN, READY | WORN]
    assert voice.rings == 2
    assert not voice.context.tick(finished=True)


def test_a_beat_that_nobody_asked_for_counts_as_no_tick() -> None:
    voice = Voice()
    voice.context.tick = counting(voice.context, 1)
    assert voice.context.beat()
    assert voice.state == READY
    assert voice.page.moments[BEAT] > 0.0


class Silent:
    """A log that nobody reads."""

    def write(self, level: str, text: str, /) -> None: ...

    def exception(self, text: str, error: BaseException, /) -> None: ...


def speaking(most_requests: int) -> tuple[Voice, Speaker]:
    voice = Voice()
    voice.context.most_requests = most_requests
    return voice, Speaker(voice.context, Silent())


def test_after_so_many_requests_a_server_s_spirit_is_worn() -> None:
    voice, speaker = speaking(2)
    for _ in range(2):
        assert not voice.state & WORN
        speaker.took()
        speaker.gave()
    assert voice.state & WORN
    speaker.took()
    assert (voice.page.words[IN_FLIGHT], voice.page.words[SERVED]) == (1, 2)


def test_without_a_number_of_requests_nobody_is_worn_by_them() -> None:
    voice, speaker = speaking(0)
    for _ in range(1000):
        speaker.took()
        speaker.gave()
    assert voice.state == 0
