"""What an exception says of itself, in lines: its traceback, whatever state this process is in.

Rule: it is told with what can be had. The library's traceback module is loaded when something has failed, not before,
for it is 2 MiB that each spirit would copy; then it may be out of reach: no descriptor is left, or this process became
a user who may not read the library. The lines are plainer then, and as true.
"""

from __future__ import annotations

from ghostd.hints import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator


def told(error: BaseException) -> list[str]:
    """The lines of its traceback, with those of the exceptions that led to it."""
    try:
        import traceback  # noqa: PLC0415  see above
    except (ImportError, OSError, MemoryError):
        return list(_plain(error))
    return "".join(traceback.format_exception(error)).splitlines()


def briefly(error: BaseException) -> str:
    """What it is, what it says and where it was raised, in one piece."""
    at = error.__traceback__
    while at is not None and at.tb_next is not None:
        at = at.tb_next
    where = "" if at is None else f" ({at.tb_frame.f_code.co_filename}, line {at.tb_lineno})"
    return f"{type(error).__qualname__}: {error}{where}"


def _plain(error: BaseException) -> Iterator[str]:
    chain: list[BaseException] = []
    led: BaseException | None = error
    while led is not None and led not in chain:
        chain.append(led)
        led = led.__cause__ or (None if led.__suppress_context__ else led.__context__)
    for one in reversed(chain):
        yield "Traceback (most recent call last):"
        at = one.__traceback__
        while at is not None:
            code = at.tb_frame.f_code
            yield f'  File "{code.co_filename}", line {at.tb_lineno}, in {code.co_name}'
            at = at.tb_next
        yield f"{type(one).__qualname__}: {one}"
