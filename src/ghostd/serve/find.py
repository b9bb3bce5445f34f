"""Finds out what an application is: ASGI 3, ASGI 2 or WSGI, by how it can be called. Calls nothing but factories."""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING, Any

from ghostd.errors import TargetError

if TYPE_CHECKING:
    from collections.abc import Callable

_HOW = "say which it is with interface = asgi, asgi2 or wsgi"


def made(found: object, text: str, *, factory: bool) -> Callable[..., Any]:
    """The application: what was found, or what it returns as a factory; TargetError when that cannot be one."""
    if factory:
        found = _call(found, text)
    if not callable(found):
        told = f"what the factory {text} returned" if factory else f"target {text}"
        raise TargetError(f"{told} is {_shown(found)}, which cannot be called; an ASGI or WSGI application can")
    return found


def interface_of(app: Callable[..., Any], text: str) -> str:
    """``asgi``, ``asgi2`` or ``wsgi``; TargetError when it is none of them, or could be several."""
    if _takes(app, 3) and (_is_coroutine(app) or not _takes(app, 2)):
        return "asgi"
    if _takes(app, 2):
        if _is_coroutine(app):
            raise TargetError(f"target {text}: {_shown(app)} is a coroutine of two arguments; ASGI gives three")
        if not _takes(app, 4):  # a third may be optional; one that takes any number tells nothing
            return "wsgi"
        raise TargetError(f"target {text}: {_shown(app)} takes any number of arguments, so it may be either; {_HOW}")
    if inspect.isclass(app) and _takes(app, 1):
        return "asgi2"
    if _takes(app, 0):
        raise TargetError(
            f"target {text}: {_shown(app)} takes no argument, as a factory does; say factory = true if it is one"
        )
    raise TargetError(f"target {text}: {_shown(app)} is no application: ASGI gives three arguments, WSGI two; {_HOW}")


def _call(factory: object, text: str) -> object:
    if not callable(factory) or not _takes(factory, 0):
        raise TargetError(f"target {text}: {_shown(factory)} is no factory: it cannot be called without arguments")
    return factory()


def _takes(app: Callable[..., Any], count: int) -> bool:
    """Whether it can be called with so many arguments; one that cannot be looked into is believed to take any."""
    try:
        inspect.signature(app).bind(*range(count))
    except TypeError:
        return False
    except ValueError:
        return True
    return True


def _is_coroutine(app: Callable[..., Any]) -> bool:
    if inspect.isclass(app):
        return hasattr(app, "__await__")
    return inspect.iscoroutinefunction(app) or inspect.iscoroutinefunction(getattr(app, "__call__", None))  # noqa: B004


def _shown(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 80 else f"{text[:77]}..."
