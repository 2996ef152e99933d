"""The generated part of `docs/performance.md`, and the table of the terminal. Both show the same lines."""

from __future__ import annotations

import os
import platform
import sqlite3
import subprocess
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

from rich.table import Table

from tests.bench.figures import Result
from tests.bench.plots import GROWTH, LATENCY
from tests.harness.components import postgres_programs, program_path

BEGIN, END = "<!-- bench:begin, written by `python -m tests.bench --write` -->", "<!-- bench:end -->"


def table_of(results: Sequence[Result]) -> Table:
    """For the terminal."""
    table = Table(title="tallyd against its floor and its peers, in one run", title_justify="left")
    for heading in ("", "measured"):
        table.add_column(heading, overflow="fold")
    for heading in ("median", "p10 – p90", "target"):
        table.add_column(heading, justify="right", no_wrap=True)
    for heading in ("", "note"):
        table.add_column(heading, overflow="fold")
    for each in results:
        style = "bold red" if each.holds is False else None
        table.add_row(*_cells(each), style=style)
    return table


def _cells(result: Result) -> tuple[str, ...]:
    target = "" if result.target is None else str(result.target)
    return (result.row, result.name, result.shown, result.spread, target, result.verdict, result.note)


def written(page: str, results: Sequence[Result], scale: str) -> str:
    """The page with its generated part renewed.

    :raises ValueError: the page has no such part.
    """
    before, begins, rest = page.partition(BEGIN)
    _, ends, after = rest.partition(END)
    if not begins or not ends:
        raise ValueError(f"the page must have the lines {BEGIN} and {END}")
    return f"{before}{BEGIN}\n\n{_generated(results, scale)}\n{END}{after}"


def _generated(results: Sequence[Result], scale: str) -> str:
    heading = ("", "measured", "median", "p10 – p90", "target", "", "note")
    lines = [_markdown(heading), "|---|---|---:|---:|---:|---|---|"]
    lines += [_markdown(_cells(each)) for each in results]
    missed = [each for each in results if each.holds is False]
    verdict = (
        "Every target held in this run."
        if not missed
        else "Missed in this run: " + "; ".join(f"{each.row} {each.name}: {each.shown}" for each in missed) + "."
    )
    plots = (
        f"![Milliseconds of a tick and of its floor against the number of containers](performance/{GROWTH})\n\n"
        f"![Distribution of the latency from event to committed row](performance/{LATENCY})"
    )
    return f"{_machine(scale)}\n\n" + "\n".join(lines) + f"\n\n{verdict}\n\n{plots}\n"


def _markdown(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


def _machine(scale: str) -> str:
    postgres = _version([f"{postgres_programs()}/postgres", "--version"]) if postgres_programs() else "no PostgreSQL"
    engine = _version([program_path("dockerd"), "--version"]).partition(",")[0]
    postgres = postgres.partition(" (Debian")[0]
    return (
        f"Measured {datetime.now(UTC):%Y-%m-%d}, run `{scale}`: {os.cpu_count()} cores, Linux {platform.machine()}, "
        f"Python {platform.python_version()}, SQLite {sqlite3.sqlite_version}, {engine}, {postgres}."
    )


def _version(command: Sequence[str]) -> str:
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()


def renew(page: Path, results: Sequence[Result], scale: str) -> None:
    """Write the page."""
    page.write_text(written(page.read_text(encoding="utf-8"), results, scale), encoding="utf-8")
