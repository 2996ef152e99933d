"""`tallyd trigger …`: what makes workloads deploy, what came of it, and firing one by hand."""

from __future__ import annotations

import os
from datetime import datetime
from typing import Annotated, Any

import typer

from controller.cli.acting import acting
from controller.cli.context import EXIT_ERROR, Format, Invocation, Output, actor_here, invocation, told_errors
from controller.cli.render import age, emit, show, table_of
from controller.clock import CLOCK
from controller.errors import LeaderUnreachable, NotFound
from controller.http.control import ask_to_fire
from controller.http.triggers import shown
from controller.logs import escape_controls
from controller.metrics import Metrics
from controller.triggering import Ground, Triggering
from controller.triggers.answers import UNDER_WAY, Answer
from controller.views import trigger_view
from store.leases import Leader, find_leader
from store.triggers import list_bindings

app = typer.Typer(no_args_is_help=True, help="Look at triggers, and fire one by hand.")

_COLUMNS = (
    ("WORKLOAD", "workload_id"),
    ("KIND", "kind"),
    ("FIRED", "fired"),
    ("ANSWER", "answer"),
    ("NEXT", "next_at"),
    ("MESSAGE", "message"),
)
_ALL_IS_WELL = (Answer.DEPLOYED, Answer.SKIPPED, UNDER_WAY)


@app.command("list")
def list_(context: typer.Context, output: Format = Output.TABLE) -> None:
    """List the workloads with a trigger: when it fired last, what came of it, and when it is due next."""
    with told_errors(), invocation(context).existing_store() as database:
        views = [trigger_view(each, CLOCK.now()) for each in list_bindings(database)]
    if output is Output.TABLE:
        show(table_of([_row(each) for each in views], _COLUMNS))
    else:
        emit(views, output)


@app.command()
def fire(
    context: typer.Context,
    workload_id: Annotated[str, typer.Argument(metavar="WORKLOAD")],
    reason: Annotated[str, typer.Option(help="Why, for whoever looks at it later.")] = "",
    output: Format = Output.TABLE,
) -> None:
    """Fire a workload's trigger by hand, whatever its kind: what is declared is deployed.

    Where a controller runs on this host, it is asked to do it. Exits 0 when the workload serves what is declared, or
    will, and 1 when it does not.
    """
    called = invocation(context)
    with told_errors():
        told = _fired(called, workload_id, reason)
    if output is Output.TABLE:
        typer.echo(f"{told['workload_id']}: {told['answer']}: {escape_controls(told['message'])}")
    else:
        emit(told, output)
    if told["answer"] not in _ALL_IS_WELL:
        raise typer.Exit(EXIT_ERROR)


def _row(view: dict[str, Any]) -> dict[str, Any]:
    fired = view["fired_at"]
    ago = None if fired is None else (CLOCK.now() - datetime.fromisoformat(fired)).total_seconds()
    return view | {"fired": "" if ago is None else f"{age(ago)} ago", "next_at": str(view["next_at"] or "")[:19]}


def _fired(called: Invocation, workload_id: str, reason: str) -> dict[str, Any]:
    """Have the leading controller do it; where none is alive, do it here."""
    with called.store() as database:
        try:
            leader: Leader | None = find_leader(database, called.settings().host)
        except NotFound:
            leader = None
    if leader is not None and leader.control_token and leader.seconds_left > 0:
        try:
            return ask_to_fire(leader, workload_id, reason)
        except LeaderUnreachable as error:
            # One that lives after all is in nobody's way: a deploy takes its workload's turn.
            typer.echo(f"tallyd: {error}; deploying from here", err=True)
    return _fire_here(called, workload_id, reason)


def _fire_here(called: Invocation, workload_id: str, reason: str) -> dict[str, Any]:
    with acting(called) as here:
        ground = Ground(here.registry, here.database, here.settings.host, os.environ)
        triggering = Triggering(ground, here.rollouts, Metrics(), lambda: True, CLOCK)
        try:
            future = triggering.dispatcher.by_hand(workload_id, reason, actor_here())
            return shown(future, workload_id, None)
        finally:
            triggering.stop()
