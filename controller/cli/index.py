"""`tick`, `plan`, `explain`: passes, run from here."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from typing import Annotated, Any

import typer

from controller.activator import COMMAND_LEASE_SECONDS
from controller.cli.context import EXIT_DRIFT, EXIT_ERROR, Format, Invocation, Output, invocation, told_errors
from controller.cli.render import emit
from controller.clock import CLOCK
from controller.errors import LeaderUnreachable, NotFound
from controller.http.control import ask_for_pass
from controller.logs import escape_controls
from controller.loop.explain import explain_container, find_container
from controller.loop.report import TickOutcome
from controller.loop.schedule import run_pass
from controller.loop.tick import Preview, preview
from store.leases import find_leader
from store.records import MISSING


def tick(context: typer.Context, output: Format = Output.TABLE) -> None:
    """Run one pass now: list the containers, update the index, run the plugins.

    Where a controller runs on this host, it is asked to do it. Exits 0 when the index is true afterwards, 1 when
    the pass failed (and then wrote nothing).
    """
    called = invocation(context)
    with told_errors():
        report = _pass_of_this_host(called)
    if output is Output.TABLE:
        _show_report(report)
    else:
        emit(report, output)
    if report["outcome"] != TickOutcome.COMPLETE:
        raise typer.Exit(EXIT_ERROR)


def _pass_of_this_host(called: Invocation) -> dict[str, Any]:
    """Have the leading controller run it; where none is alive, run it here."""
    with called.store() as database:
        try:
            leader = find_leader(database, called.settings().host)
        except NotFound:
            return _run_here(called)
    if not leader.control_token or leader.seconds_left <= 0:
        return _run_here(called)
    try:
        return ask_for_pass(leader)
    except LeaderUnreachable as error:
        report = _run_here(called)  # works where it is dead; where it is not, its lease is in the way
        if report["outcome"] == TickOutcome.STANDBY:
            raise error from error
        return report


def _run_here(called: Invocation) -> dict[str, Any]:
    """Run it in this process; waits for another such pass to end, and for the lease of one that was killed."""
    pause = threading.Event()
    ends = CLOCK.monotonic() + COMMAND_LEASE_SECONDS + 1.0
    with called.activation(writes=True) as activation:
        report = run_pass(activation, CLOCK)
        while report.outcome is TickOutcome.STANDBY and CLOCK.monotonic() < ends:
            pause.wait(0.1)
            report = run_pass(activation, CLOCK)
    return report.as_dict()


def _show_report(report: Mapping[str, Any]) -> None:
    if report["outcome"] == TickOutcome.COMPLETE:
        typer.echo(f"{report['summary']} ({report['duration_seconds']:.3f} s)")
    for reason, count in report["ignored"].items():
        typer.echo(f"  ignored: {count} {reason}")
    for broken in report["unreadable_containers"]:
        typer.echo(f"  unreadable: {broken['container_id'] or 'no id'}: {escape_controls(broken['reason'])}")
    for done in report["workloads"]:
        told = f": {escape_controls(done['message'])}" if done["message"] else ""
        typer.echo(f"  {done['workload_id']}: {done['result']}{told}")
    for text in report["errors"]:
        typer.secho(f"tallyd: {escape_controls(text)}", err=True, fg="red")


def plan(context: typer.Context, output: Format = Output.TABLE) -> None:
    """Show what a tick would do, and write nothing. Exits 3 when there is drift.

    Goes the same way as a tick up to the write; plugins are not run.
    """
    with told_errors(), invocation(context).activation(writes=False) as activation:
        seen = preview(activation, CLOCK)
    steps = _steps(seen)
    if output is Output.TABLE:
        for step in steps:
            typer.echo(f"{step['action']:9} {step['id']}  {step['detail']}")
        verdict = f"{len(steps)} change(s)" if steps else "no drift: the index is true"
        typer.secho(f"{verdict}; {len(seen.listing.parts)} containers listed", err=True)
    else:
        emit({"drift": bool(steps), "listed": len(seen.listing.parts), "changes": steps}, output)
    if steps:
        raise typer.Exit(EXIT_DRIFT)


def _steps(seen: Preview) -> list[dict[str, Any]]:
    before = seen.snapshot.rows
    steps = [{"action": "insert", "id": row.id, "detail": f"{row.name} {row.state}"} for row in seen.change.inserted]
    for update in seen.change.updated:
        old, new = before[update.row.id], update.row
        changed = [name for name in type(new).__slots__ if getattr(old, name) != getattr(new, name)]
        detail = ", ".join(f"{name}: {getattr(old, name)!r} → {getattr(new, name)!r}" for name in changed)
        steps.append({"action": "recover" if old.state == MISSING else "update", "id": new.id, "detail": detail})
    steps += [
        {"action": "miss", "id": row_id, "detail": f"container {container_id[:12]} is gone"}
        for row_id, container_id in seen.change.missing
    ]
    return steps


def explain(
    context: typer.Context,
    container: Annotated[str, typer.Argument(help="Name, id, or the beginning of an id.")],
    output: Format = Output.TABLE,
) -> None:
    """Say why a container is in the index, or why not: each rule tried, which one won, the nearest miss."""
    with told_errors(), invocation(context).activation(writes=False) as activation:
        seen = preview(activation, CLOCK)
        explanation = explain_container(find_container(seen, container), seen, activation.names)
    if output is Output.TABLE:
        for line in explanation.lines():
            typer.echo(line)
    else:
        emit(explanation.as_dict(), output)
