"""Data → stdout, as a table, JSON or YAML. Control characters never reach the terminal."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import yaml
from rich.console import Console
from rich.table import Table
from rich.text import Text

from controller.cli.context import Output
from controller.logs import escape_controls

_STYLES = {
    "running": "green",
    "healthy": "green",
    "unhealthy": "red",
    "missing": "red",
    "ready": "green",
    "failed": "red",
    "staged": "yellow",
    "warming": "yellow",
    "draining": "yellow",
    "stopped": "yellow",
    "restarting": "yellow",
    "paused": "yellow",
    "starting": "yellow",
    "ok": "green",
    "warn": "yellow",
    "fail": "red",
    "stale": "red",
}


def emit(data: Any, output: Output) -> None:
    """Print data for a program."""
    if output is Output.YAML:
        sys.stdout.write(yaml.safe_dump(data, sort_keys=False, allow_unicode=True))
    else:
        sys.stdout.write(json.dumps(data, indent=2, ensure_ascii=False) + "\n")


def table_of(rows: Iterable[Mapping[str, Any]], columns: Sequence[tuple[str, str]]) -> Table:
    """Rows as a table; ``columns`` pairs a heading with a key."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    for heading, _ in columns:
        table.add_column(heading, overflow="fold")
    for row in rows:
        table.add_row(*(cell(row.get(key)) for _, key in columns))
    return table


def cell(value: Any) -> Text:
    """One value, escaped, in the colour of what it says."""
    text = "-" if value in (None, "", []) else escape_controls(str(value))
    return Text(text, style=_STYLES.get(text.split(" ", maxsplit=1)[0], ""))


def show(*renderables: Any) -> None:
    """Print for a person, on stdout. Wide where stdout is no terminal, so that nothing is folded."""
    console = Console(width=None if sys.stdout.isatty() else 240, highlight=False, soft_wrap=False)
    for each in renderables:
        console.print(each)


def age(seconds: float | None) -> str:
    """Seconds → ``12s``, ``5m``, ``3h``, ``2d``; ``never`` for none."""
    if seconds is None:
        return "never"
    for unit, size in (("d", 86_400), ("h", 3_600), ("m", 60)):
        if seconds >= size:
            return f"{int(seconds // size)}{unit}"
    return f"{int(seconds)}s"
