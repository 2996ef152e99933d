"""`tallyd host …`: the engines that the store knows."""

from __future__ import annotations

import typer

from controller.cli.context import Format, Output, actor_here, invocation, told_errors
from controller.cli.render import age, emit, show, table_of
from controller.clock import CLOCK
from controller.views import host_view
from store import hosts
from store.history import append_events
from store.history_records import Event, EventKind

app = typer.Typer(no_args_is_help=True, help="The hosts of the store, and which engine each is bound to.")

_COLUMNS = (
    ("HOST", "id"),
    ("LISTED", "listed"),
    ("TRUTH", "truth"),
    ("ENDPOINT", "endpoint"),
    ("ENGINE", "engine_id"),
)


@app.command("list")
def list_(context: typer.Context, output: Format = Output.TABLE) -> None:
    """List the hosts, and how old our truth about each is."""
    now = CLOCK.now()
    with told_errors(), invocation(context).existing_store() as database:
        views = [host_view(each, now) for each in hosts.list_hosts(database)]
    if output is Output.TABLE:
        shown = [
            view | {"listed": age(view["age_seconds"]), "truth": "stale" if view["stale"] else "fresh"}
            for view in views
        ]
        show(table_of(shown, _COLUMNS))
    else:
        emit(views, output)


@app.command()
def accept(context: typer.Context) -> None:
    """Bind this host to the engine that answers now.

    Needed once after an engine was replaced on purpose: until then a controller that finds another engine
    behind its socket writes nothing, lest it take every container of the old one for gone.
    """
    called = invocation(context)
    with told_errors(), called.store() as database, called.engine() as engine:
        engine_id = engine.engine_id()
        host = called.settings().host
        before = hosts.accept_engine(database, host, engine_id)
        told = f"bound to engine {engine_id}; it was {before or 'none'}"
        append_events(database, [Event(CLOCK.now(), EventKind.HOST, host, "", host, "accepted", told, actor_here())])
    typer.echo(f"host {called.settings().host}: engine {before or 'none'} → {engine_id}")
