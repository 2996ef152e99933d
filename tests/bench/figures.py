"""What a measurement says: one figure with its spread, the target beside it, and whether that holds. Pure."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Target:
    """A promised limit: at most, or with ``at_least`` at least, so much."""

    limit: float
    at_least: bool = False

    def holds(self, figure: float) -> bool:
        """Whether the figure keeps the promise."""
        return figure >= self.limit if self.at_least else figure <= self.limit

    def __str__(self) -> str:
        return f"{'≥' if self.at_least else '≤'} {self.limit:g}"


@dataclass(frozen=True, slots=True)
class Result:
    """One line of the table. ``low`` and ``high`` are p10 and p90 of the samples, or as ``note`` says."""

    row: str
    name: str
    figure: float
    unit: str
    low: float | None = None
    high: float | None = None
    target: Target | None = None
    note: str = ""

    @property
    def holds(self) -> bool | None:
        """Whether the target is met; ``None`` where there is none."""
        return None if self.target is None else self.target.holds(self.figure)

    @property
    def verdict(self) -> str:
        """As a word."""
        return {None: "", True: "holds", False: "MISSED"}[self.holds]

    @property
    def shown(self) -> str:
        """Figure and unit."""
        return f"{readable(self.figure)} {self.unit}".strip()

    @property
    def spread(self) -> str:
        """Low to high."""
        return "" if self.low is None or self.high is None else f"{readable(self.low)} – {readable(self.high)}"


def summarised(  # every argument is one column of the table
    row: str, name: str, samples: Sequence[float], unit: str, target: Target | None = None, note: str = ""
) -> Result:
    """The median of the samples, with p10 and p90 as spread."""
    low, high = percentile(samples, 10), percentile(samples, 90)
    return Result(row, name, statistics.median(samples), unit, low, high, target, note)


def percentile(samples: Sequence[float], percent: float) -> float:
    """Nearest rank, so that it is always a value which was measured.

    :raises ValueError: there is no sample.
    """
    if not samples:
        raise ValueError("no sample was measured")
    ordered = sorted(samples)
    return ordered[max(1, math.ceil(percent / 100 * len(ordered))) - 1]


def ratios(above: Sequence[float], below: Sequence[float]) -> list[float]:
    """Pair by pair, as they were measured one after the other."""
    return [one / other for one, other in zip(above, below, strict=True)]


def milliseconds(seconds: Sequence[float]) -> list[float]:
    """The same in milliseconds."""
    return [each * 1000 for each in seconds]


def readable(figure: float) -> str:
    """Three significant digits or so, without an exponent."""
    if figure == int(figure) and abs(figure) < 1e6:
        return f"{int(figure):,}"
    digits = 3 if abs(figure) < 10 else 1 if abs(figure) < 100 else 0
    return f"{figure:,.{digits}f}"
