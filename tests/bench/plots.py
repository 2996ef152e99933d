"""The two plots of `docs/performance.md`, as SVG that loads nothing from anywhere.

Drawn by a process of its own: pygal brings a back-port of `importlib.metadata` that takes the place of Python's.
"""

from __future__ import annotations

import json
import math
import subprocess
import sys
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from tests.bench.growth import Point

GROWTH = "growth.svg"
LATENCY = "latency.svg"

_OPTIONS: dict[str, Any] = {
    "js": (),
    "no_prefix": True,
    "disable_xml_declaration": False,
    "legend_at_bottom": True,
    "width": 820,
    "height": 460,
    "show_minor_x_labels": True,
}


def _style() -> Any:
    from pygal.style import Style

    return Style(
        background="white",
        plot_background="white",
        colors=("#0b6e99", "#b34700", "#5aa9c7", "#e08a4f"),
        font_family="sans-serif",
        foreground="#24292f",
        foreground_strong="#24292f",
        foreground_subtle="#57606a",
    )


def draw(folder: Path, points: Sequence[Point], lags: Sequence[float]) -> None:
    """Write both plots.

    :raises subprocess.CalledProcessError: the drawing process failed; its standard error says why.
    """
    folder.mkdir(parents=True, exist_ok=True)
    order = json.dumps({"folder": str(folder), "points": [asdict(each) for each in points], "lags": list(lags)})
    subprocess.run([sys.executable, "-m", __name__], input=order, text=True, check=True)


def _draw(order: dict[str, Any]) -> None:
    folder = Path(order["folder"])
    points = [Point(**each) for each in order["points"]]
    (folder / GROWTH).write_bytes(_growth(points).render())
    (folder / LATENCY).write_bytes(_latency(order["lags"]).render())


def _growth(points: Sequence[Point]) -> Any:
    import pygal

    chart = pygal.XY(
        logarithmic=True,
        title="Milliseconds against the number of containers",
        x_title="containers",
        y_title="ms",
        x_labels=sorted({point.containers for point in points}),
        x_value_formatter=lambda value: f"{value:,.0f}",
        value_formatter=lambda value: f"{value:g}",
        style=_style(),
        **_OPTIONS,
    )
    for stand_in in (False, True):
        chosen = sorted((each for each in points if each.stand_in is stand_in), key=lambda each: each.containers)
        of = " (stand-in)" if stand_in else ""
        chart.add(f"tick{of}", [(each.containers, each.tick) for each in chosen])
        chart.add(f"floor: the bare listing{of}", [(each.containers, each.floor) for each in chosen])
    return chart


def _latency(lags: Sequence[float]) -> Any:
    buckets = Counter(math.floor(lag) for lag in lags)
    last = min(max(buckets), 40)
    counts = [buckets[each] for each in range(last)] + [sum(n for each, n in buckets.items() if each >= last)]
    import pygal

    chart = pygal.Bar(
        title=f"Event to committed row, {len(lags)} renames",
        x_title="ms, up to the next",
        y_title="renames",
        x_labels=[str(each) for each in range(last)] + [f"{last} and more"],
        show_legend=False,
        style=_style(),
        **_OPTIONS,
    )
    chart.add("renames", counts)
    return chart


if __name__ == "__main__":
    _draw(json.load(sys.stdin))
