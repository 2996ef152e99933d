"""`controller.cli.render`: data on stdout, as a table, JSON or YAML."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import pytest
import yaml

from controller.cli.context import Output
from controller.cli.ps import containers_table
from controller.cli.render import age, cell, emit, show, table_of
from controller.views import container_views, host_view
from store.records import ContainerRow, Host
from tests.builders import HOST, NOW, later
from tests.unit.test_views import LISTED, ROW

DATA = [{"id": "a", "text": "ü 🐋\n\x1b[31m", "none": None, "number": 1.5, "list": [1, {"x": True}]}]


@pytest.mark.parametrize("output", [Output.JSON, Output.YAML])
def test_data_for_programs_comes_back_as_it_was(capsys: pytest.CaptureFixture[str], output: Output) -> None:
    """O1: on stdout, and nothing else there."""
    emit(DATA, output)
    captured = capsys.readouterr()
    assert (json.loads if output is Output.JSON else yaml.safe_load)(captured.out) == DATA
    assert captured.err == ""
    assert "\x1b" not in captured.out


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [
        (None, "never"),
        (0.0, "0s"),
        (59.9, "59s"),
        (60, "1m"),
        (3599, "59m"),
        (3600, "1h"),
        (86_399, "23h"),
        (86_400, "1d"),
        (1e7, "115d"),
    ],
)
def test_ages(seconds: float | None, shown: str) -> None:
    """R21: short, in one unit."""
    assert age(seconds) == shown


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (None, "-"),
        ("", "-"),
        ([], "-"),
        (0, "0"),
        ("x", "x"),
        ("a\x1b[2Jb\n", "a\\x1b[2Jb\\n"),
        ("[bold]x", "[bold]x"),
    ],
)
def test_cells(value: Any, shown: str) -> None:
    """O1, O6: control characters never reach a terminal, and what looks like markup is none."""
    assert cell(value).plain == shown


def shown(capsys: pytest.CaptureFixture[str], rows: Sequence[ContainerRow], hosts: Sequence[Host], at: Any) -> str:
    """The table of `ps`."""
    show(containers_table(container_views(rows, hosts, at), [host_view(each, at) for each in hosts]))
    return capsys.readouterr().out


def test_a_table_of_the_index(capsys: pytest.CaptureFixture[str]) -> None:
    """O1, R21: one line a row, and how old the truth is."""
    out = shown(capsys, [ROW], [LISTED], later(10))
    heading, line, freshness = out.splitlines()
    assert heading.split() == ["WORKLOAD", "KIND", "ROLE", "NAME", "STATE", "HEALTH", "PORT", "IMAGE", "SEEN"]
    assert line.split()[:7] == ["blog", "stack", "web", "web", "running", "healthy", "80"]
    assert freshness == f"host {HOST}: last complete listing 10s ago"
    assert "\x1b" not in out, "no colours where stdout is no terminal"


def test_stale_truth_is_called_stale(capsys: pytest.CaptureFixture[str]) -> None:
    """R21: at each row and below them, never something false."""
    out = shown(capsys, [ROW], [LISTED], later(3600))
    assert "stale (1h old)" in out.splitlines()[1]
    assert out.splitlines()[2].startswith(f"stale: host {HOST}: last complete listing 1h ago")


def test_several_hosts_have_a_column(capsys: pytest.CaptureFixture[str]) -> None:
    """O3: where there is more than one."""
    out = shown(capsys, [ROW], [LISTED, Host("host-b")], NOW)
    assert out.splitlines()[0].split()[0] == "HOST"
    assert "host host-b: last complete listing never" in out


def test_an_empty_store_says_what_to_do(capsys: pytest.CaptureFixture[str]) -> None:
    """O1: instead of an empty table alone."""
    assert "run `tallyd run`" in shown(capsys, [], [], NOW)


def test_long_values_are_kept_whole(capsys: pytest.CaptureFixture[str]) -> None:
    """O1: a table is folded rather than cut."""
    show(table_of([{"x": "y" * 500}], [("X", "x")]))
    assert "".join(capsys.readouterr().out.split()[1:]) == "y" * 500
