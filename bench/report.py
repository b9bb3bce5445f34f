"""Figures, and how they are shown: a table for people, JSON for programs, a line of history for later."""

from __future__ import annotations

import dataclasses
import json
import statistics
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path

COLUMNS = ("figure", "{subject}", "baseline", "ratio", "goal", "")


@dataclass(frozen=True, slots=True)
class Spread:
    """Many measurements of one thing: the median, the quartiles, the 99th percentile and the ends."""

    count: int
    least: float
    lower: float
    median: float
    upper: float
    p99: float
    most: float

    @classmethod
    def of(cls, values: Iterable[float]) -> Spread:
        """Make the spread of at least one value."""
        ranked = sorted(values)
        if not ranked:
            raise ValueError("a spread of no values")
        lower, median, upper = statistics.quantiles(ranked, n=4, method="inclusive") if ranked[1:] else ranked * 3
        p99 = ranked[min(len(ranked) - 1, round(0.99 * (len(ranked) - 1) + 0.499))]
        return cls(len(ranked), ranked[0], lower, median, upper, p99, ranked[-1])


@dataclass(frozen=True, slots=True, kw_only=True)
class Figure:
    """One figure: that of ghostd, or of a peer, beside its baseline's; ``met`` is None when there is no goal."""

    name: str
    unit: str
    subject: str = "ghostd"  # whose figure it is
    measured: Spread | None = None
    baseline: Spread | None = None
    against: str = "bare manager"
    ratio: float | None = None
    goal: str = ""
    met: bool | None = None
    note: str = ""
    headline: str = ""  # what a run came to, in a few words, for its last line

    @property
    def verdict(self) -> str:
        """The goal was met, or missed, or there was none."""
        return {True: "met", False: "MISSED", None: "-"}[self.met]


def compared(
    name: str,
    unit: str,
    measured: Sequence[float],
    baseline: Sequence[float],
    most: float | None = None,
    *,
    subject: str = "ghostd",
    note: str = "",
) -> Figure:
    """Make a figure whose goal, if any, is a ratio of medians of at most ``most``."""
    ours, theirs = Spread.of(measured), Spread.of(baseline)
    ratio = ours.median / theirs.median
    goal, met = ("", None) if most is None else (f"<= {most:g} x", ratio <= most)
    return Figure(
        name=name,
        unit=unit,
        subject=subject,
        measured=ours,
        baseline=theirs,
        ratio=ratio,
        goal=goal,
        met=met,
        note=note,
    )


def missing(name: str, why: str) -> Figure:
    """Make a figure that could not be measured."""
    return Figure(name=name, unit="", note=f"not measured: {why}")


@dataclass(slots=True)
class Report:
    """All figures of one run, with what one must know to read them."""

    facts: dict[str, str]
    figures: list[Figure] = field(default_factory=list)

    def table(self) -> str:
        """Return the text for people."""
        own = [figure for figure in self.figures if figure.subject == "ghostd"]
        others = [figure for figure in self.figures if figure.subject != "ghostd"]
        notes = [f"  {figure.name}: {figure.note}" for figure in self.figures if figure.note]
        lines = [", ".join(f"{name} {value}" for name, value in self.facts.items())]
        lines.append("each figure: the median [quartiles] of so many measurements")
        for subject, figures in (("ghostd", own), ("peer", others)):
            lines += ["", *_lines(subject, figures)] if figures else []
        if notes:
            lines += ["", "Notes", *notes]
        return "\n".join([*lines, "", self.summary()]) + "\n"

    def summary(self) -> str:
        """Return how many goals were met, and what it came to."""
        met = [figure.met for figure in self.figures if figure.met is not None]
        told = [figure.headline for figure in self.figures if figure.headline]
        return "; ".join([f"{sum(met)} of {len(met)} goals met", *told])

    def to_json(self) -> str:
        """Return everything, for programs."""
        figures = [dataclasses.asdict(figure) for figure in self.figures]
        return json.dumps({"facts": self.facts, "figures": figures}, indent=1)

    def record(self, history: Path) -> None:
        """Append a line with the ratios: the one thing that may be compared with another day's."""
        ratios = {figure.name: round(figure.ratio, 3) for figure in self.figures if figure.ratio is not None}
        with history.open("a", encoding="utf-8") as file:
            file.write(json.dumps({**self.facts, "ratios": ratios}) + "\n")


def _lines(subject: str, figures: list[Figure]) -> list[str]:
    head = tuple(column.format(subject=subject) for column in COLUMNS)
    rows = [head, *(_row(figure) for figure in figures)]
    widths = [max(len(row[at]) for row in rows) for at in range(len(COLUMNS))]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
    lines.insert(1, "-" * sum(widths, 2 * (len(widths) - 1)))
    return lines


def _row(figure: Figure) -> tuple[str, ...]:
    return (
        figure.name,
        _cell(figure.measured, figure.unit),
        _cell(figure.baseline, figure.unit),
        "" if figure.ratio is None else f"{figure.ratio:.2f}",
        figure.goal,
        figure.verdict,
    )


def _cell(spread: Spread | None, unit: str) -> str:
    if spread is None:
        return "-"
    text = f"{_short(spread.median)} {unit}"
    if spread.count > 1:
        text += f" [{_short(spread.lower)} {_short(spread.upper)}] {spread.count}"
    return text


def _short(value: float) -> str:
    return f"{value:.0f}" if abs(value) >= 100 else f"{value:.3g}"
