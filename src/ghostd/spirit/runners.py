"""Runs the user's code in a spirit: a plain function, one that cannot tick, a coroutine. Gives the exit code.

This is the one place in a spirit that catches everything, because it is where code that is not ours ends.
"""

from __future__ import annotations

from collections.abc import Coroutine

from ghostd.errors import ExitCode, UserError
from ghostd.hints import TYPE_CHECKING

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable
    from typing import Any

    from ghostd.spirit.context import Context

    LoopFactory = Callable[[], asyncio.AbstractEventLoop]
    Report = Callable[[BaseException], None]  # takes what the user's code raised


def run(body: Callable[..., object], report: Report, *args: object) -> int:
    """Call the body: the exit code.

    0 when it returns, its own on SystemExit and on an error that its user has to mend, 1 on anything else; errors are
    reported.
    """
    try:
        body(*args)
    except SystemExit as end:
        return _code(end, report)
    except BaseException as error:  # noqa: BLE001  KeyboardInterrupt and GeneratorExit are no better ends
        report(error)
        return error.code if isinstance(error, UserError) else ExitCode.FAILED
    return 0


def living(
    body: Callable[[], object],
    context: Context,
    interval: float,
    choose_loop: Callable[[], LoopFactory | None],  # called in the spirit, where it may import
    *,
    deaf: bool,
) -> Callable[[], None]:
    """What runs the body of a spirit, a coroutine in a fresh event loop that beats every ``interval`` seconds.

    Made ready before the fork. A deaf one cannot tick: it is ready when it has run for a while (as a coroutine, when it
    waits), is never found silent (but as a coroutine), and is ended by SystemExit when asked to leave.
    """

    def live() -> None:
        result = body()
        if isinstance(result, Coroutine):
            _run_loop(result, context, interval, choose_loop())

    def live_deaf() -> None:
        context.begin_unheard(_end)
        if not context.is_leaving:
            live()

    return live_deaf if deaf else live


def _run_loop(
    body: Coroutine[Any, Any, object],
    context: Context,
    interval: float,
    factory: LoopFactory | None,
) -> None:
    """The first beat, which says ready, comes when the coroutine first waits; a loop that is blocked is silent."""
    import asyncio  # noqa: PLC0415  60 ms, for coroutines only

    async def main() -> None:
        loop = asyncio.get_running_loop()

        def beat() -> None:
            context.beat()
            loop.call_later(interval, beat)

        context.judge()
        loop.call_soon(beat)
        await body

    with asyncio.Runner(loop_factory=factory) as runner:
        runner.run(main())


def _end() -> None:
    raise SystemExit(0)


def _code(end: SystemExit, report: Report) -> int:
    """The exit code as the interpreter would make it."""
    if end.code is None:
        return 0
    if isinstance(end.code, int):
        return end.code & 0xFF
    report(end)
    return 1
