"""`tallyd run`: the controller, in the foreground."""

from __future__ import annotations

import os
import sys
from typing import Annotated

import typer

from controller.cli.context import invocation, told_errors
from controller.cli.ps import containers_table
from controller.cli.render import show
from controller.clock import CLOCK
from controller.daemon import Daemon
from controller.logs import configure_logs
from controller.loop.report import TickReport
from controller.settings import Settings
from controller.views import container_views, host_view
from store import hosts, index
from store.database import Database


def run(
    context: typer.Context,
    listen: Annotated[str | None, typer.Option(help="Address of metrics, probes and API, host:port.")] = None,
    interval_seconds: Annotated[float | None, typer.Option(help="Seconds between ticks, up to 300.")] = None,
    table: Annotated[
        bool | None,
        typer.Option("--table/--no-table", help="Print the index at each change; default: on a terminal."),
    ] = None,
) -> None:
    """Run the controller in the foreground until Ctrl-C or SIGTERM.

    Keeps the index true every --interval-seconds, serves metrics, probes and the API on --listen, and logs one
    line a change to stderr.
    """
    with told_errors():
        called = invocation(context)
        given = called.given(listen=listen, interval_seconds=interval_seconds)
        settings = called.settings(**given)
        configure_logs(settings.log_level, settings.log_format)
        shown = sys.stdout.isatty() if table is None else table
        daemon = Daemon(settings, os.environ, lambda report: _print_index(daemon, report) if shown else None, given)
        daemon.run_until_signalled()


def _print_index(daemon: Daemon, report: TickReport) -> None:
    """The index after the boot pass and after each pass that changed it."""
    first = daemon.status.last_complete is report and not _printed
    if report.complete and (first or not report.change.empty):
        _printed.append(True)
        show(*_lines(daemon.settings, daemon.database, daemon.address, report))


_printed: list[bool] = []


def _lines(settings: Settings, database: Database, address: str, report: TickReport) -> list[object]:
    now = CLOCK.now()
    known = hosts.list_hosts(database)
    rows = container_views(index.list_containers(database, host=settings.host), known, now)
    heading = f"\n{report.summary}   {address}  (metrics: /metrics, API: /api/docs)"
    return [heading, containers_table(rows, [host_view(each, now) for each in known])]
