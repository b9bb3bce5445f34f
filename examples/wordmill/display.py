"""What a person sees while the mill works: a table on a terminal that rich can draw on, plain lines anywhere else."""

import sys
import time
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Protocol, Self

LINES = 12  # of the newest events on a terminal
PLAIN_EVERY = 2.0  # seconds between two plain lines of progress: readable in the log of a build


@dataclass(frozen=True, slots=True)
class View:
    """One moment of the job."""

    done: int
    files: int
    spirits: list[tuple[int, str, int]]  # pid, state, files done


class Display(Protocol):
    """Shows views and events; a context manager, so that a terminal is left as it was found."""

    def say(self, text: str) -> None:
        """Tell something that happened."""

    def show(self, view: View) -> None:
        """Show how far the job is."""

    def __enter__(self) -> Self: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None
    ) -> None: ...


def display() -> Display:
    """The display that fits standard output."""
    if sys.stdout.isatty():
        try:
            return Table()
        except ModuleNotFoundError:
            print("(with the package rich installed this would be a table)")
    return Plain()


class Plain:
    """Lines, for a pipe or a file."""

    def __init__(self) -> None:
        self._start = time.monotonic()
        self._next = 0.0

    def say(self, text: str) -> None:
        print(f"[{time.monotonic() - self._start:5.1f} s] {text}", flush=True)

    def show(self, view: View) -> None:
        if time.monotonic() < self._next:
            return
        self._next = time.monotonic() + PLAIN_EVERY
        states = ", ".join(f"{pid} {state}" for pid, state, _ in view.spirits)
        self.say(f"{view.done} of {view.files} files; spirits: {states or 'none'}")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        pass


class Table:
    """A live table, drawn by rich."""

    def __init__(self) -> None:
        from rich.live import Live  # noqa: PLC0415  only a terminal needs it
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn  # noqa: PLC0415

        self._bar = Progress(TextColumn("files"), BarColumn(None), MofNCompleteColumn(), TimeElapsedColumn())
        self._task = self._bar.add_task("files", total=None)
        self._live = Live(self._bar, refresh_per_second=8)
        self._start = time.monotonic()
        self._events: list[str] = []

    def say(self, text: str) -> None:
        self._events.append(f"[{time.monotonic() - self._start:5.1f} s] {text}")

    def show(self, view: View) -> None:
        self._bar.update(self._task, completed=view.done, total=view.files)
        self._live.update(self._layout(view))

    def __enter__(self) -> Self:
        self._live.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self._live.stop()

    def _layout(self, view: View) -> Any:  # noqa: ANN401  rich's own kinds stay inside this class
        from rich.console import Group  # noqa: PLC0415
        from rich.markup import escape  # noqa: PLC0415
        from rich.table import Table as Grid  # noqa: PLC0415

        spirits = Grid("spirit", "state", "files", title="pool")
        for pid, state, done in view.spirits:
            colour = {"stopped": "red", "ended": "red", "works": "green"}.get(state, "default")
            spirits.add_row(str(pid), f"[{colour}]{state}[/]", str(done))
        events = Grid("event", title=f"{len(self._events)} events so far", expand=True)
        for text in self._events[-LINES:]:
            events.add_row(escape(text))
        both = Grid.grid(padding=(0, 2), expand=True)
        both.add_row(spirits, events)
        return Group(self._bar, both)
