"""`tallyd events` and `tallyd why`: what happened, and why a workload is as it is."""

from __future__ import annotations

import json
import re
import sys
import threading
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Annotated

import typer

from controller.cli.context import Format, Output, invocation, told_errors
from controller.cli.render import emit, show, table_of
from controller.clock import CLOCK
from controller.errors import UsageError
from controller.healing.keeping import standing_of
from controller.healing.story import line_of, standing_lines, story_of
from controller.logs import escape_controls
from controller.rollout.equipment import rules_of
from controller.views import budget_view, event_view, hold_view
from store.database import Database
from store.history import last_event_id, read_events
from store.history_records import MOST_READ, Event, EventFilter
from store.hosts import list_hosts

_COLUMNS = (
    ("ID", "id"),
    ("AT", "at"),
    ("WORKLOAD", "workload_id"),
    ("KIND", "kind"),
    ("REASON", "reason"),
    ("BY", "actor"),
    ("TICK", "tick"),
    ("MESSAGE", "message"),
)
_AGO = re.compile(r"^(\d{1,9})([smhd])$")
_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86_400}
_POLL_SECONDS = 0.5


def events(
    context: typer.Context,
    workload: Annotated[str | None, typer.Option(help="Of this workload only.")] = None,
    host: Annotated[str | None, typer.Option(help="Of this host only.")] = None,
    kind: Annotated[list[str] | None, typer.Option(help="Of this kind only; may be repeated.")] = None,
    since: Annotated[str | None, typer.Option(help="Not older: such as 10m, 2h, 3d, or a date and time.")] = None,
    limit: Annotated[int, typer.Option(min=1, max=MOST_READ, help="The newest so many.")] = 100,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on with what is written from now on.")] = False,
    output: Format = Output.TABLE,
) -> None:
    """Show history: state transitions, causes, deploys, healing, holds and triggers, the oldest first.

    With --follow one line an event; as JSON, one object a line.
    """
    now = CLOCK.now()
    wanted_kinds = tuple(kind or ())
    with told_errors(), invocation(context).existing_store() as database:
        wanted = EventFilter(workload, host, wanted_kinds, _since(since, now), limit=limit)
        if follow:
            _follow(database, wanted, output)
            return
        views = [event_view(each) for each in read_events(database, wanted)]
    if output is Output.TABLE:
        show(table_of([view | {"at": view["at"][:19]} for view in views], _COLUMNS))
    else:
        emit(views, output)


def why(
    context: typer.Context,
    workload_id: Annotated[str, typer.Argument(metavar="WORKLOAD")],
    limit: Annotated[int, typer.Option(min=1, max=MOST_READ, help="The newest so many events.")] = 40,
    output: Format = Output.TABLE,
) -> None:
    """Tell why a workload is as it is: what happened, by whom, what was done about it, and how it stands now."""
    now = CLOCK.now()
    called = invocation(context)
    with told_errors():
        settings = called.settings()
        with called.existing_store() as database:
            standing = standing_of(database, workload_id, settings.host, now, limit)
            stale = [each.id for each in list_hosts(database) if each.stale(now)]
    lines = standing_lines(standing, now, rules_of(settings).limits)
    if output is not Output.TABLE:
        emit(
            {
                "workload_id": workload_id,
                "events": [event_view(each) for each in standing.events],
                "containers": [
                    {"id": each.id, "host": each.host, "state": each.state, "health": each.health}
                    for each in standing.rows
                ],
                "holds": [hold_view(each) for each in standing.holds],
                "budgets": [budget_view(each) for each in standing.budgets],
                "standing": lines,
                "stale_hosts": stale,
            },
            output,
        )
        return
    for line in [*story_of(standing, now), *lines]:
        typer.echo(escape_controls(line))
    for host in {row.host for row in standing.rows} & set(stale):
        typer.echo(f"stale: host {host} was not listed for a while; what is said of it may be old")


def _follow(database: Database, wanted: EventFilter, output: Output) -> None:
    """Until the reader goes or Ctrl-C."""
    shown = read_events(database, wanted) if wanted.since is not None else []
    after = shown[-1].id if shown else last_event_id(database)
    pause = threading.Event()
    try:
        while True:
            for each in shown:
                _tell(each, output)
            shown = read_events(database, replace(wanted, after_id=after, newest=False, limit=MOST_READ))
            after = shown[-1].id if shown else after
            if not shown:
                pause.wait(_POLL_SECONDS)
    except (KeyboardInterrupt, BrokenPipeError):
        return


def _tell(event: Event, output: Output) -> None:
    if output is Output.TABLE:
        where = f"{event.workload_id} " if event.workload_id else ""
        typer.echo(escape_controls(where + line_of(event, CLOCK.now())))
    else:
        sys.stdout.write(json.dumps(event_view(event), ensure_ascii=False) + "\n")
    sys.stdout.flush()


def _since(given: str | None, now: datetime) -> datetime | None:
    if given is None:
        return None
    found = _AGO.match(given)
    try:
        if found:
            return now - timedelta(seconds=int(found[1]) * _SECONDS[found[2]])
        moment = datetime.fromisoformat(given)
    except (ValueError, OverflowError) as error:
        allowed = "such as 10m, 2h, 3d, 2026-01-31 or 2026-01-31T12:00:00Z"
        raise UsageError(f"--since {given!r} is no time; allowed: {allowed}") from error
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)
