"""`tallyd deploy`: a workload goes to what is declared, step by step, or stays where it was."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from typing import Annotated, Any

import typer

from controller.cli.acting import acting
from controller.cli.context import EXIT_ERROR, Format, Invocation, Output, actor_here, invocation, told_errors
from controller.cli.progress import DeployProgress
from controller.cli.render import emit
from controller.cli.rollout import parse_entry, show_split
from controller.clock import CLOCK
from controller.errors import LeaderUnreachable, NotFound, UsageError
from controller.http.control import ask_for_deploy
from controller.rollout.chain import Course
from controller.rollout.gates import Gates
from controller.rollout.rollouts import DeployRequest, Rollouts, told_step
from controller.rollout.walker import Walked
from controller.views import split_view
from store.leases import find_leader
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
    wait: Annotated[
        bool | None,
        typer.Option(
            "--wait/--no-wait",
            help="Wait for another deploy of the workload to end; or have the running controller deploy, and return.",
        ),
    ] = None,
    wait_seconds: Annotated[float, typer.Option(min=0, help="How long --wait waits for its turn.")] = 600,
    output: Format = Output.TABLE,
) -> None:
    """Bring a workload to what is declared: stage, warm, shift the traffic, drain the old, archive the older.

    The new revision is up before any traffic moves. When it does not come up, or a gate closes, whoever served before
    serves everything again, and the command exits 1. A deploy that was killed is resumed by the same command.
    """
    called = invocation(context)
    with told_errors():
        course = Course(weights=_weights(canary), keep=keep)
        request = DeployRequest(
            workload_id, revision, course, _gates(probe, prometheus, query, hold_seconds), actor=actor_here()
        )
        if wait is False:
            _show_accepted(_asked(called, request), output)
            return
        with _deploying(called) as (rollouts, progress):
            done = rollouts.deploy(
                request, progress.told, chose=progress.chose, wait_seconds=wait_seconds if wait else 0.0
            )
            progress.ended(arrived=done.walked.arrived)
    _conclude(done.revision_id, done.walked, output)


def rollback(
    context: typer.Context,
    workload_id: Annotated[str, typer.Argument(metavar="WORKLOAD")],
    wait: Annotated[bool, typer.Option("--wait", help="Wait for another deploy of the workload to end.")] = False,
    wait_seconds: Annotated[float, typer.Option(min=0, help="How long --wait waits for its turn.")] = 600,
    output: Format = Output.TABLE,
) -> None:
    """Go back by one step, and have the routers follow.

    Where all revisions of the split before are up, that split is set again. Where they are not, as after a whole
    deploy, the revision that served before is brought up and gets all the traffic. Once more goes forth again.
    """
    with told_errors(), _deploying(invocation(context)) as (rollouts, progress):
        request = DeployRequest(workload_id, actor=actor_here(), reason="rollback")
        done = rollouts.roll_back(
            request, progress.told, chose=progress.chose, wait_seconds=wait_seconds if wait else 0.0
        )
        progress.ended(arrived=done.deployed is None or done.deployed.walked.arrived)
    if output is not Output.TABLE:
        deployed = None if done.deployed is None else _view(done.deployed.revision_id, done.deployed.walked)
        emit({"split": split_view(done.split), "deploy": deployed}, output)
    else:
        show_split(done.split, output)
    if done.deployed is not None and not done.deployed.walked.arrived:
        _tell_why(done.deployed.revision_id, done.deployed.walked)
        raise typer.Exit(EXIT_ERROR)


@contextmanager
def _deploying(called: Invocation) -> Iterator[tuple[Rollouts, DeployProgress]]:
    """The place that deploys, with its progress shown while the block lasts."""
    progress = DeployProgress(CLOCK.monotonic)
    with acting(called, progress.pulled) as ground, progress.shown():
        yield ground.rollouts, progress


def _asked(called: Invocation, request: DeployRequest) -> dict[str, Any]:
    """Have the controller that leads this host deploy.

    :raises LeaderUnreachable: there is none, or it does not answer.
    """
    host = called.settings().host
    with called.existing_store() as database:
        try:
            leader = find_leader(database, host)
        except NotFound as error:
            raise LeaderUnreachable(f"no controller has ever led host {host!r}; leave --no-wait out") from error
    if not leader.control_token or leader.seconds_left <= 0:
        raise LeaderUnreachable(f"no controller leads host {host!r} now; leave --no-wait out to deploy from here")
    body = {
        "revision_id": request.revision_id,
        "weights": list(request.course.weights),
        "keep": request.course.keep,
        "gates": asdict(request.gates),
        "reason": f"asked for by {request.actor}",
    }
    return ask_for_deploy(leader, request.workload_id, body)


def _show_accepted(accepted: dict[str, Any], output: Output) -> None:
    if output is Output.TABLE:
        typer.echo(accepted["id"])
    else:
        emit(accepted, output)


def _conclude(revision_id: str, walked: Walked, output: Output) -> None:
    if output is not Output.TABLE:
        emit(_view(revision_id, walked), output)
    elif walked.arrived:
        typer.echo(f"{revision_id} serves" if walked.steps else f"{revision_id} serves already")
    else:
        _tell_why(revision_id, walked)
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


def _tell_why(revision_id: str, walked: Walked) -> None:
    typer.secho(f"{revision_id} does not serve: {walked.detail}", err=True, fg="red")
    for name, said in walked.checks.items():
        typer.echo(f"  {name}: {said}", err=True)


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


def _gates(probe: str | None, prometheus: str | None, query: str | None, hold_seconds: float) -> Gates:
    """:raises UsageError: they cannot be looked at."""
    try:
        return Gates(probe, prometheus, query, hold_seconds)
    except ValueError as error:
        raise UsageError(f"gates: {error}") from error
