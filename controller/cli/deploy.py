"""`tallyd deploy`: a workload goes to what is declared, step by step, or stays where it was."""

from __future__ import annotations

import os
import threading
from getpass import getuser
from typing import Annotated, Any

import typer

from controller.cli.context import EXIT_ERROR, Output, invocation, told_errors
from controller.cli.index import Format
from controller.cli.render import emit
from controller.cli.rollout import parse_entry
from controller.daemon import CLOCK
from controller.engine.endpoint import endpoint_from
from controller.errors import UsageError
from controller.plugins.registry import load_registry
from controller.rollout.chain import Course, Step
from controller.rollout.deployer import Revision
from controller.rollout.equipment import equip
from controller.rollout.gates import HttpProbe, PrometheusQuery, all_of, held_for
from controller.rollout.rollouts import DeployRequest, Rollouts, told_step
from controller.rollout.walker import Gate, Walked
from store.rollout_records import BASIS_POINTS


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
            request = DeployRequest(workload_id, revision, course, gate, actor=f"cli:{getuser()}")
            try:
                rollouts = Rollouts(database, registry, settings.host, CLOCK.now)
                done = rollouts.deploy(request, _tell, chose=_tell_choice)
            finally:
                verbs.cancel()
    _conclude(done.revision_id, done.walked, output)


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
        "steps": [told_step(each) for each in walked.steps],
        "detail": walked.detail,
        "checks": dict(walked.checks),
    }


def _tell(step: Step) -> None:
    typer.echo(told_step(step), err=True)


def _tell_choice(revision: Revision, made: bool) -> None:
    typer.echo(f"{'new' if made else 'known'} revision {revision.id}: {revision.image_ref}", err=True)


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
