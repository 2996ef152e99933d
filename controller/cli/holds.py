"""`tallyd hold`, `release` and `holds`: what is left alone, by whom, and until when."""

from __future__ import annotations

from typing import Annotated

import typer

from controller.cli.context import Format, Output, invocation, told_errors
from controller.cli.render import emit, show, table_of
from controller.clock import CLOCK
from controller.errors import UsageError
from controller.healing.keeping import Place, hold_place, release_place
from controller.views import hold_view
from store.healing import list_holds

_COLUMNS = (
    ("HOST", "host"),
    ("WORKLOAD", "workload_id"),
    ("SLOT", "slot"),
    ("BY", "author"),
    ("SINCE", "created_at"),
    ("UNTIL", "expires_at"),
    ("REASON", "reason"),
)
Workload = Annotated[str | None, typer.Argument(metavar="WORKLOAD", show_default=False)]
Slot = Annotated[str | None, typer.Option(help="Only this container of the workload, by its name.")]
Host = Annotated[str | None, typer.Option(help="On this host; without WORKLOAD, the host as a whole.")]


def hold(
    context: typer.Context,
    workload_id: Workload = None,
    slot: Slot = None,
    host: Host = None,
    reason: Annotated[str, typer.Option(help="Why, for who finds it.")] = "",
    lasts: Annotated[
        str | None, typer.Option("--for", help="How long, such as 30m, 2h or 1d; without it, until it is released.")
    ] = None,
    output: Format = Output.TABLE,
) -> None:
    """Leave a workload, a container of it, or a whole host alone: nothing of it is healed. Deploys still work."""
    called = invocation(context)
    with told_errors():
        place = _place(workload_id, slot, host, called.settings().host)
        with called.store() as database:
            made = hold_place(database, place, CLOCK.now(), reason=reason, lasts=lasts)
    if output is Output.TABLE:
        until = f"until {made.expires_at:%Y-%m-%d %H:%M:%S} UTC" if made.expires_at else "until it is released"
        typer.echo(f"{made.place} is left alone {until}")
    else:
        emit(hold_view(made), output)


def release(
    context: typer.Context,
    workload_id: Workload = None,
    slot: Slot = None,
    host: Host = None,
    output: Format = Output.TABLE,
) -> None:
    """Look after it again: end the holds of a workload and its containers, of one container, or of a host."""
    called = invocation(context)
    with told_errors():
        place = _place(workload_id, slot, host, called.settings().host)
        with called.store() as database:
            ended = release_place(database, place, CLOCK.now())
    if output is Output.TABLE:
        for each in ended:
            typer.echo(f"{each.place} is looked after again")
    else:
        emit([hold_view(each) for each in ended], output)


def holds(context: typer.Context, output: Format = Output.TABLE) -> None:
    """List what is left alone, by whom, why and until when."""
    now = CLOCK.now()
    with told_errors(), invocation(context).existing_store() as database:
        views = [hold_view(each) for each in list_holds(database, now=now)]
    if output is Output.TABLE:
        shown = [
            view
            | {"created_at": view["created_at"][:19], "expires_at": (view["expires_at"] or "it is released")[:19]}
            for view in views
        ]
        show(table_of(shown, _COLUMNS))
    else:
        emit(views, output)


def _place(workload_id: str | None, slot: str | None, host: str | None, own_host: str) -> Place:
    if workload_id is None and host is None:
        raise UsageError("name a WORKLOAD, or a host with --host for the host as a whole")
    return Place(host or own_host, workload_id or "", slot or "")
