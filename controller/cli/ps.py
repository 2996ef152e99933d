"""`tallyd ps`: the index as the store has it, for people who watch it."""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from typing import Annotated, Any

import typer
from rich.console import Console, Group
from rich.live import Live

from controller.cli.context import Format, Invocation, Output, invocation, told_errors
from controller.cli.render import age, cell, emit, show, table_of
from controller.clock import CLOCK
from controller.views import container_views, host_view
from store import hosts, index
from store.records import MISSING

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
