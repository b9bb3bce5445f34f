"""How coroutines wait for the request to leave."""

import asyncio
from collections.abc import Callable

import pytest

from ghostd.spirit.notice import Notice


class Context:
    """The part of a spirit's voice that is needed here."""

    def __init__(self) -> None:
        self.is_leaving = False
        self.calls: list[Callable[[], None]] = []

    def when_leaving(self, call: Callable[[], None]) -> None:
        self.calls.append(call)

    def ask(self) -> None:
        self.is_leaving = True
        for call in self.calls:
            call()


def notice_of(context: Context) -> Notice:
    return Notice(context)  # type: ignore[arg-type]


def test_many_wait_at_once_and_are_told_at_once() -> None:
    async def main() -> None:
        context = Context()
        notice = notice_of(context)
        waiting = [asyncio.ensure_future(notice.wait()) for _ in range(10)]
        await asyncio.sleep(0.01)
        assert not any(one.done() for one in waiting)
        context.ask()
        await asyncio.wait_for(asyncio.gather(*waiting), 5)
        await asyncio.wait_for(notice.wait(), 5)
        assert len(context.calls) == 1, "however many wait"

    asyncio.run(main())


def test_a_wait_may_have_a_limit_and_be_cancelled_without_harm_to_others() -> None:
    async def main() -> None:
        context = Context()
        notice = notice_of(context)
        await notice.wait(0.01)
        cancelled, other = (asyncio.ensure_future(notice.wait()) for _ in range(2))
        await asyncio.sleep(0)
        cancelled.cancel()
        await asyncio.sleep(0)
        assert cancelled.cancelled() and not other.done()
        context.ask()
        await asyncio.wait_for(other, 5)

    asyncio.run(main())


def test_work_is_done_unless_the_request_comes_before() -> None:
    async def main() -> None:
        context = Context()
        notice = notice_of(context)
        reader = asyncio.StreamReader()
        reader.feed_data(b"one\ntwo\nthr")
        assert await notice.unless(reader.readline()) == b"one\n"
        context.ask()
        assert await notice.unless(reader.readline()) == b"two\n", "it has come already"
        assert await notice.unless(reader.readline()) is None
        reader.feed_data(b"ee\n")
        assert await notice.unless(reader.readline()) == b"three\n", "and what was cut short is not lost"

    asyncio.run(main())


def test_the_request_cuts_work_short_that_waits() -> None:
    async def main() -> None:
        context = Context()
        notice = notice_of(context)
        reader = asyncio.StreamReader()
        doing = asyncio.ensure_future(notice.unless(reader.readline()))
        await asyncio.sleep(0.01)
        context.ask()
        assert await asyncio.wait_for(doing, 5) is None
        reader.feed_data(b"late\n")
        assert await reader.readline() == b"late\n", "nobody reads there any more"

    asyncio.run(main())


def test_work_that_fails_fails() -> None:
    async def fail() -> None:
        raise ValueError("on purpose")

    async def main() -> None:
        with pytest.raises(ValueError, match="on purpose"):
            await notice_of(Context()).unless(fail())

    asyncio.run(main())


def test_a_request_after_the_end_of_the_loop_harms_nobody() -> None:
    context = Context()

    async def main() -> None:
        await notice_of(context).wait(0.001)

    asyncio.run(main())
    context.ask()


def test_in_a_spirit_that_leaves_already_nobody_waits() -> None:
    async def main() -> None:
        context = Context()
        context.ask()
        await asyncio.wait_for(notice_of(context).wait(), 5)

    asyncio.run(main())
