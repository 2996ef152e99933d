"""`controller.plugins.sources.report`: says how a workload differs, and changes nothing."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from controller.plugins.contract import Outcome, PluginConfigInvalid, ReconcileRequest, Result
from controller.plugins.sources.report import ReportSource
from store.records import Assignment
from tests.builders import HOST, assignment
from tests.unit.plugins import declared

WEB, DB = assignment("blog:web", "web"), assignment("blog:db", "db")


def ask(*rows: Assignment, **config: Any) -> Outcome:
    """What it says of a workload with these rows."""
    return ReportSource().reconcile(
        ReconcileRequest(declared("blog", "report", source_config=config), rows, (), HOST)
    )


def test_all_running_is_in_sync() -> None:
    """S3: nothing to say of a healthy workload, with any number of containers unless one is asked for."""
    assert ask(WEB, replace(DB, health="healthy")) == Outcome(Result.IN_SYNC)
    assert ask() == Outcome(Result.IN_SYNC)
    assert ask(WEB, DB, containers=2) == Outcome(Result.IN_SYNC)
    assert ask(containers=0) == Outcome(Result.IN_SYNC)


@pytest.mark.parametrize(
    ("rows", "config", "message"),
    [
        ((WEB, replace(DB, state="stopped")), {}, "blog:db is stopped"),
        ((replace(WEB, state="missing"),), {}, "blog:web is missing"),
        ((replace(WEB, state=""),), {}, "blog:web is not there yet"),
        ((replace(WEB, health="unhealthy"),), {}, "blog:web is unhealthy"),
        ((WEB,), {"containers": 2}, "1 of 2 containers run"),
        ((WEB, DB), {"containers": 1}, "2 of 1 containers run"),
        (
            (replace(WEB, state="paused"), replace(DB, health="unhealthy")),
            {"containers": 2},
            "blog:web is paused; blog:db is unhealthy; 1 of 2 containers run",
        ),
    ],
)
def test_drift(rows: tuple[Assignment, ...], config: dict[str, Any], message: str) -> None:
    """S3: every difference, in one line."""
    assert ask(*rows, **config) == Outcome(Result.DRIFT, message)


@pytest.mark.parametrize(
    "config", [{"containers": -1}, {"containers": "many"}, {"container": 1}, {"containers": 1.5}]
)
def test_a_configuration_that_is_refused(config: dict[str, Any]) -> None:
    """S2: key, value and what is allowed; also where it got into the store by other ways."""
    with pytest.raises(PluginConfigInvalid, match="allowed keys: containers"):
        ReportSource().validate(config)
    with pytest.raises(PluginConfigInvalid):
        ask(WEB, **config)


def test_a_schema_for_forms() -> None:
    """S2: of every option, with a description."""
    ReportSource().validate({"containers": 3})
    schema = ReportSource().config_schema()
    assert schema["additionalProperties"] is False
    assert "description" in schema["properties"]["containers"]
