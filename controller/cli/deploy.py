"""`tallyd deploy`: a workload goes to what is declared, step by step, or stays where it was."""

from __future__ import annotations

import os
import threading
from typing import Annotated, Any

import typer

from controller.cli.context import EXIT_ERROR, Output, invocation, told_errors
from controller.cli.index import Format
from controller.cli.render import emit
from controller.cli.rollout import parse_entry, percent_of
from controller.daemon import CLOCK
from controller.engine.endpoint import endpoint_from
from controller.errors import UsageError
from controller.plugins.registry import load_registry
from controller.rollout.chain import Archive, Course, Drain, Shift, Stage, Step, Warm
from controller.rollout.deploy import deployer_of, known_revision, revision_for
from controller.rollout.equipment import equip
from controller.rollout.gates import HttpProbe, PrometheusQuery, all_of, held_for
from controller.rollout.ledger import StoreLedger
from controller.rollout.walker import Gate, Walk, Walked
from store.rollout_records import BASIS_POINTS
from store.workloads import get_workload

_DOING = {Stage: "stage", Warm: "warm", Drain: "drain", Archive: "archive"}


def deploy(
    context: typer.Context,
    workload_id: Annotated[str, typer.Argument(metavar="WORKLOAD")],
    revision: Annotated[
        str | None, typer.Option(help="Deploy this revision again, instead of what is declared now.")
    ] = None,
    canary: Annotated[
        str, typer.Option(help="Traffic of the new revision, step by step, such as 1%,10%,50%; then all of it.")
    ] = "",
    probe: Annotated[
        str | None, typer.Option(help="URL that has to answer well after each step; {revision} becomes its id.")
    ] = None,
    prometheus: Annotated[str | None, typer.Option(help="URL of a Prometheus, for --query.")] = None,
    query: Annotated[str | None, typer.Option(help="PromQL condition that has to hold after each step.")] = None,
    hold_seconds: Annotated[
        float, typer.Option(min=0, help="How long the gates have to stay open at each step.")
    ] = 0,
    keep: Annotated[int, typer.Option(min=0, help="How many earlier revisions stay, to go back to.")] = 1,
    output: Format = Output.TABLE,
) -> None:
    """Bring a workload to what is declared: stage, warm, shift the traffic, drain the old, archive the older.

    The new revision is up before any traffic moves. When it does not come up, or a gate closes, whoever served before
    serves everything again, and the command exits 1. A deploy that was killed is resumed by the same command.
    """
    called = invocation(context)
    with told_errors():
        settings = called.settings()
        course = Course(weights=_weights(canary), keep=keep)
        gate = _gate(probe, prometheus, query, hold_seconds)
        registry = load_registry()
        with called.store() as database:
            verbs = equip(registry, settings, endpoint_from(os.environ), database)
            try:
                workload = get_workload(database, workload_id)
                deployer = deployer_of(registry, workload)
                if revision is not None:
                    target, made = known_revision(database, workload_id, revision), False
                else:
                    target, made = revision_for(database, deployer, workload, CLOCK.now)
                typer.echo(f"{'new' if made else 'known'} revision {target.id}: {target.image_ref}", err=True)
                ledger = StoreLedger(database, workload_id, settings.host, CLOCK.now)
                walked = Walk(ledger, deployer, target.id, course, gate, _tell).walk()
            finally:
                verbs.cancel()
    _conclude(target.id, walked, output)


def _conclude(revision_id: str, walked: Walked, output: Output) -> None:
    if output is not Output.TABLE:
        emit(_view(revision_id, walked), output)
    elif walked.arrived:
        typer.echo(f"{revision_id} serves" if walked.steps else f"{revision_id} serves already")
    else:
        typer.secho(f"{revision_id} does not serve: {walked.detail}", err=True, fg="red")
        for name, said in walked.checks.items():
            typer.echo(f"  {name}: {said}", err=True)
    if not walked.arrived:
        raise typer.Exit(EXIT_ERROR)


def _view(revision_id: str, walked: Walked) -> dict[str, Any]:
    return {
        "revision_id": revision_id,
        "arrived": walked.arrived,
        "steps": [_told(each) for each in walked.steps],
        "detail": walked.detail,
        "checks": dict(walked.checks),
    }


def _tell(step: Step) -> None:
    typer.echo(_told(step), err=True)


def _told(step: Step) -> str:
    if isinstance(step, Shift):
        shares = ", ".join(f"{each.revision_id} {percent_of(each.weight)}" for each in step.entries)
        return f"shift traffic: {shares}"
    assert isinstance(step, Stage | Warm | Drain | Archive)
    return f"{_DOING[type(step)]} {step.revision.id}"


def _weights(canary: str) -> tuple[int, ...]:
    """``1%,10%`` → basis points, and all of it at last.

    :raises UsageError: a part that is no share, or parts that do not rise.
    """
    weights = [parse_entry(f"new={part.strip()}").weight for part in canary.split(",") if part.strip()]
    if weights[-1:] != [BASIS_POINTS]:
        weights.append(BASIS_POINTS)
    if sorted(set(weights)) != weights or weights[0] <= 0:
        raise UsageError(f"--canary {canary!r}: the steps have to rise, above 0% and up to 100%")
    return tuple(weights)


def _gate(probe: str | None, prometheus: str | None, query: str | None, hold_seconds: float) -> Gate:
    if (prometheus is None) != (query is None):
        raise UsageError("--prometheus and --query belong together; give both or none")
    gates: list[Gate] = [HttpProbe(probe)] if probe is not None else []
    if prometheus is not None and query is not None:
        gates.append(PrometheusQuery(prometheus, query))
    together = all_of(gates)
    return held_for(together, hold_seconds, threading.Event().wait) if hold_seconds > 0 else together
