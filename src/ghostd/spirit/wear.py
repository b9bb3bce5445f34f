"""When a spirit is worn by what it has done. Where nothing is counted, a tick is as cheap as it was."""

from __future__ import annotations

from ghostd.hints import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable

    from ghostd.spirit.context import Context
    from ghostd.spirit.options import SpiritOptions


class Shares(Protocol):
    """How much of what is allowed each spirit may do."""

    def most_of(self, number: int, serial: int, /) -> int:
        """After how many things, of ``number`` allowed, this spirit is worn; 0: never."""


def tiring(context: Context, options: SpiritOptions, shares: Shares) -> Callable[[int], Callable[..., bool]] | None:
    """What gives the spirit of a serial its limits, and returns its tick; None where there are none."""
    if not (options.max_ticks or options.max_requests):
        return None

    def tire(serial: int) -> Callable[..., bool]:
        context.most_requests = shares.most_of(options.max_requests, serial)
        if options.max_ticks:
            context.tick = counting(context, shares.most_of(options.max_ticks, serial))
        return context.tick

    return tire


def counting(context: Context, most: int) -> Callable[..., bool]:
    """The tick of a spirit that is worn after so many."""
    beat, worn, left = context.beat, context.worn, most

    def tick(finished: bool = False) -> bool:  # noqa: FBT001, FBT002  as the ancestor has it
        nonlocal left
        left -= 1
        if left <= 0:  # below, too: of two threads that count at once one may be missed
            worn()
        return beat(finished)

    return tick
