"""`doctor` and `migrate`: what to run when something is wrong, and before an upgrade."""

from __future__ import annotations

import os

import typer
from rich.text import Text

from controller.cli.context import EXIT_ERROR, Format, Output, invocation, told_errors
from controller.cli.render import cell, emit, show
from controller.clock import CLOCK
from controller.doctor.examine import examine
from controller.doctor.findings import Finding
from store.database import open_database
from store.schema import head_revision
from store.schema import migrate as migrate_store


def doctor(context: typer.Context, output: Format = Output.TABLE) -> None:
    """Check engine, store, clock, plugins and settings; works when any of them is down.

    Exits 1 when a check fails, 0 when all is well or there are only warnings.
    """
    findings: list[Finding] = []
    with told_errors():
        for finding in examine(invocation(context).loaded(), os.environ, CLOCK.now):
            findings.append(finding)
            if output is Output.TABLE:
                show(*_lines(finding))
    if output is not Output.TABLE:
        emit([{name: getattr(each, name) for name in each.__slots__} for each in findings], output)
    if any(each.status == "fail" for each in findings):
        raise typer.Exit(EXIT_ERROR)


def _lines(finding: Finding) -> list[Text]:
    line = Text.assemble(
        cell(finding.status), " " * (5 - len(finding.status)), f"{finding.check:18} {finding.detail}"
    )
    return [line, Text(f"{'':24}→ {finding.remedy}", style="bold")] if finding.remedy else [line]


def migrate(context: typer.Context) -> None:
    """Bring the store's schema to this version. Safe to run at the same time from several places."""
    with told_errors():
        database = open_database(invocation(context).settings().database_url)
        changed = migrate_store(database)
        database.close()
    typer.echo(f"schema {head_revision()}: {'migrated' if changed else 'nothing to do'}")
