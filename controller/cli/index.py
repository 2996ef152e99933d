"""`tick`, `plan`, `ps`, `explain`: the index, brought up to date and looked at."""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from typing import Annotated, Any

import typer
from rich.console import Console, Group
from rich.live import Live

from controller.activator import COMMAND_LEASE_SECONDS
from controller.cli.context import EXIT_DRIFT, EXIT_ERROR, Invocation, Output, invocation, told_errors
from controller.cli.render import age, cell, emit, show, table_of
from controller.daemon import CLOCK
from controller.errors import LeaderUnreachable, NotFound
from controller.http.control import ask_for_pass
from controller.logs import escape_controls
from controller.loop.explain import explain_container, find_container
from controller.loop.report import TickOutcome
from controller.loop.schedule import run_pass
from controller.loop.tick import Preview, preview
from controller.views import container_views, host_view
from store import hosts, index
from store.leases import find_leader
from store.records import MISSING

Format = Annotated[Output, typer.Option("--output", "-o", help="Form of the data on stdout.")]
_COLUMNS = (
    ("WORKLOAD", "workload_id"),
    ("KIND", "workload_kind"),
    ("ROLE", "role"),
    ("NAME", "name"),
    ("STATE", "state"),
    ("HEALTH", "health"),
    ("PORT", "port"),
    ("IMAGE", "image_ref"),
    ("SEEN", "seen"),
)
_TROUBLE_FIRST = {MISSING: 0, "restarting": 1, "stopped": 2, "removing": 3, "paused": 4}


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


def ps(
    context: typer.Context,
    workload: Annotated[str | None, typer.Option(help="Only rows of this workload.")] = None,
    state: Annotated[str | None, typer.Option(help="Only rows in this state, such as running or stopped.")] = None,
    missing: Annotated[bool, typer.Option("--missing", help="Only rows whose container is gone.")] = False,
    all_hosts: Annotated[bool, typer.Option("--all-hosts", help="Rows of every host of the store.")] = False,
    watch: Annotated[bool, typer.Option("--watch", "-w", help="Refresh every two seconds until Ctrl-C.")] = False,
    output: Format = Output.TABLE,
) -> None:
    """Show the index, trouble first. Reads the store only; the last line says how old its truth is."""
    called = invocation(context)
    wanted = {"workload_id": workload, "state": MISSING if missing else state}
    with told_errors():
        if watch and output is Output.TABLE:
            _watch(called, wanted, all_hosts=all_hosts)
            return
        rows, known = _read(called, wanted, all_hosts=all_hosts)
    if output is Output.TABLE:
        show(containers_table(rows, known))
    else:
        emit(rows, output)


def _read(
    called: Invocation, wanted: Mapping[str, str | None], *, all_hosts: bool
) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    host = None if all_hosts else called.settings().host
    with called.existing_store() as database:
        rows = index.list_containers(database, host=host, **wanted)
        known = [each for each in hosts.list_hosts(database) if host in (None, each.id)]
    now = CLOCK.now()
    views = container_views(rows, known, now)
    views.sort(key=lambda row: (_trouble(row), row["host"], row["workload_id"], row["id"]))
    return views, [host_view(each, now) for each in known]


def _trouble(row: Mapping[str, Any]) -> int:
    if row["health"] == "unhealthy" and row["state"] == "running":
        return -1
    return _TROUBLE_FIRST.get(row["state"], 9)


def containers_table(rows: Sequence[Mapping[str, Any]], known: Sequence[Mapping[str, Any]]) -> Group:
    """Rows of the index for a person, and below them the age of the truth of each host (R21)."""
    ages = {each["id"]: each["age_seconds"] for each in known}
    stale = {each["id"] for each in known if each["stale"]}
    shown = [{**row, "seen": _seen(row, ages, stale), "port": row["port"] or None} for row in rows]
    columns = (("HOST", "host"), *_COLUMNS) if len(ages) > 1 else _COLUMNS
    lines = [cell(_freshness(each)) for each in known] or [cell("no host in the store yet: run `tallyd run`")]
    return Group(table_of(shown, columns), *lines)


def _seen(row: Mapping[str, Any], ages: Mapping[str, float | None], stale: set[str]) -> str:
    if row["last_seen_at"] is None:
        return "never"
    return f"stale ({age(ages[row['host']])} old)" if row["host"] in stale else str(row["last_seen_at"])[:19]


def _freshness(host: Mapping[str, Any]) -> str:
    when = age(host["age_seconds"])
    text = f"host {host['id']}: last complete listing {when}{'' if when == 'never' else ' ago'}"
    return f"stale: {text}; what is shown may be false by now" if host["stale"] else text


def _watch(called: Invocation, wanted: Mapping[str, str | None], *, all_hosts: bool) -> None:
    pause = threading.Event()
    with Live(console=Console(highlight=False), refresh_per_second=4, screen=False) as live:
        try:
            while True:
                live.update(containers_table(*_read(called, wanted, all_hosts=all_hosts)))
                pause.wait(2.0)
        except KeyboardInterrupt:
            return


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
