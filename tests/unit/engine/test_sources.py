"""The one place that blocks: it wakes for what is readable, forgets what it is told to, with epoll and without."""

import os
import select
from collections.abc import Iterator

import pytest

from ghostd.engine.sources import Poller
from tests.support import deadline


def nothing(_now: float) -> list[object]:
    return []


@pytest.fixture(params=["epoll", "poll"])
def poller(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[Poller]:
    if request.param == "poll":
        monkeypatch.delattr(select, "epoll")
    made = Poller()
    assert (made.fileno() >= 0) is (request.param == "epoll")
    yield made
    made.close()


def test_it_gives_what_gathers_from_the_descriptors_that_are_readable(poller: Poller) -> None:
    pipes = [os.pipe() for _ in range(3)]
    gathers = [lambda _now, number=number: [number] for number in range(3)]
    for (reader, _), gather in zip(pipes, gathers, strict=True):
        poller.watch(reader, gather)
    assert poller.wait(0.0) == []
    os.write(pipes[0][1], b"x")
    os.write(pipes[2][1], b"x")
    assert {id(one) for one in poller.wait(1.0)} == {id(gathers[0]), id(gathers[2])}
    poller.forget(pipes[0][0])
    assert poller.wait(None) == [gathers[2]]
    for reader, writer in pipes:
        os.close(reader)
        os.close(writer)


def test_it_waits_no_longer_than_it_is_told(poller: Poller) -> None:
    reader, writer = os.pipe()
    poller.watch(reader, nothing)  # type: ignore[arg-type]
    with deadline(5.0):
        assert poller.wait(0.05) == []
    os.close(reader)
    os.close(writer)


def test_with_nothing_to_watch_it_only_waits(poller: Poller) -> None:
    assert poller.wait(0.01) == []
