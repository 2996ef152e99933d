"""P1–P9: the benchmark works. A look at its code at a tiny scale; no time is asserted."""

from __future__ import annotations

import io
import math
from pathlib import Path

import pytest
from rich.console import Console

from tests.bench.figures import Result, Target, percentile, ratios
from tests.bench.page import BEGIN, END, table_of, written
from tests.bench.plots import GROWTH, LATENCY, draw
from tests.bench.run import ROWS, Measured, Step, measure_step, run
from tests.bench.scale import SMOKE
from tests.bench.stage import Stage


def test_every_row_is_measured_and_shown(tmp_path: Path) -> None:
    """P1–P9 and T6 are all produced with a figure, and find their way into the table, the page and the plots."""
    measured = run(SMOKE, ROWS, lambda _text: None)

    assert measured.failed == []
    assert {each.row for each in measured.results} == set(ROWS)
    figures = [each for each in measured.results if not math.isnan(each.figure)]
    assert {each.row for each in figures} == set(ROWS)
    assert all(each.figure >= 0 for each in figures)

    terminal = Console(file=io.StringIO(), width=300)
    terminal.print(table_of(measured.in_order))
    page = written(f"before\n{BEGIN}\nold\n{END}\nafter\n", measured.in_order, SMOKE.name)
    assert page.startswith("before\n") and page.endswith("after\n") and "\nold\n" not in page
    assert all(f"| {row} |" in page for row in ROWS)

    draw(tmp_path, measured.points, measured.lags)
    for plot in (GROWTH, LATENCY):
        assert (tmp_path / plot).read_text().rstrip().endswith("</svg>")


def test_a_step_that_fails_costs_its_own_rows_only() -> None:
    """The others are measured, and the run says that it is not whole."""

    def fail(_stage: Stage, _measured: Measured) -> None:
        raise RuntimeError("the engine is gone")

    told: list[str] = []
    stage, measured = Stage(SMOKE), Measured()
    try:
        measure_step(Step("P1", 0, "a tick", fail), stage, measured, told.append)
        measure_step(Step("P2", 0, "another", lambda _s, m: m.lags.append(1.0)), stage, measured, told.append)
    finally:
        stage.close()
    assert (measured.failed, measured.lags) == (["P1  a tick"], [1.0])
    assert "the engine is gone" in "".join(told)


def test_a_page_without_markers_is_refused() -> None:
    """The page of a reader is never overwritten by accident."""
    with pytest.raises(ValueError, match="must have the lines"):
        written("nothing generated here", [], "smoke")


def test_a_target_is_at_most_or_at_least() -> None:
    """The verdict follows the figure, in both directions."""
    assert Result("P1", "a", 1.05, "×", target=Target(1.10)).holds is True
    assert Result("P1", "a", 1.15, "×", target=Target(1.10)).verdict == "MISSED"
    assert Result("P3", "a", 4.0, "×", target=Target(5.0, at_least=True)).holds is False
    assert Result("P3", "a", 4.0, "×").holds is None


def test_percentiles_are_measured_values() -> None:
    """Nearest rank: no value is made up between two samples."""
    samples = [float(each) for each in range(1, 101)]
    assert (percentile(samples, 50), percentile(samples, 99), percentile(samples, 100)) == (50.0, 99.0, 100.0)
    assert percentile([3.0], 99) == 3.0
    assert ratios([2.0, 9.0], [1.0, 3.0]) == [2.0, 3.0]
    with pytest.raises(ValueError, match="no sample"):
        percentile([], 50)
