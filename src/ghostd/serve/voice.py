"""What a server inside a spirit can say and ask. It knows nothing of the pool but this."""

from __future__ import annotations

from ghostd.hints import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable


class Log(Protocol):
    """What writes the ghost's log."""

    def write(self, level: str, text: str, /) -> None:
        """One record. Never raises."""

    def exception(self, text: str, error: BaseException, /) -> None:
        """One record with the traceback behind it."""


class Voice(Protocol):
    """The spirit, as the server in it sees it. Everything here may be called from any thread."""

    @property
    def log(self) -> Log:
        """The ghost's log."""

    @property
    def is_leaving(self) -> bool:
        """Whether this spirit was asked to leave."""

    def tick(self) -> bool:
        """A beat; the first one says ready. False once the spirit is leaving."""

    def when_leaving(self, call: Callable[[], None], /) -> None:
        """Call this, once, when the spirit is asked to leave; it is called inside a signal handler."""

    def took(self) -> None:
        """One more connection or request is in hand."""

    def gave(self) -> None:
        """One less is in hand, one more was served."""

    def rest(self) -> float:
        """The main thread waits for somebody else, which is no silence, until :meth:`work` is given what this gives."""

    def work(self, before: float, /) -> None:
        """The wait is over."""
