"""Whether a function of the user's can be called with so many values. Rule: the usual one is not worth an import."""

from __future__ import annotations

from types import FunctionType

from ghostd.hints import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable


def fit(function: Callable[..., object], *args: object) -> bool:
    """Whether the function can be called with these; what cannot be looked into is believed to take nothing."""
    plain = getattr(function, "__func__", function)
    if isinstance(plain, FunctionType) and not vars(plain):
        return _has_room(plain, len(args) + (plain is not function))
    import inspect  # noqa: PLC0415  as long as all the rest to load; for partials, decorated functions, callable objects

    try:
        signature = inspect.signature(function)
    except (TypeError, ValueError):
        return not args
    try:
        signature.bind(*args)
    except TypeError:
        return False
    return True


def _has_room(function: FunctionType, count: int) -> bool:
    """Whether a plain function can be called with so many values by position."""
    code, defaults = function.__code__, function.__defaults__ or ()
    if code.co_kwonlyargcount > len(function.__kwdefaults__ or ()):
        return False
    has_rest = bool(code.co_flags & 0x04)  # inspect.CO_VARARGS
    return code.co_argcount - len(defaults) <= count and (count <= code.co_argcount or has_rest)
