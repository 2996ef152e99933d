"""`tallyd workload …`: what is declared."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.table import Table

from controller.cli.context import EXIT_DRIFT, Format, Output, invocation, told_errors
from controller.cli.render import emit, show, table_of
from controller.clock import CLOCK
from controller.declared.manifests import parse_manifests, read_manifests
from controller.errors import UsageError
from controller.loop.adopt import adopt_container
from controller.plugins.registry import load_registry
from controller.views import workload_view
from store import workloads
from store.declared import read_plan

app = typer.Typer(no_args_is_help=True, help="Declare workloads, and look at those declared.")

_COLUMNS = (
    ("ID", "id"),
    ("KIND", "kind"),
    ("REF", "ref"),
    ("SOURCE", "source"),
    ("TRIGGER", "trigger"),
    ("GEN", "generation"),
)


@app.command()
def apply(
    context: typer.Context,
    files: Annotated[
        list[Path],
        typer.Option("--file", "-f", metavar="FILE", help="YAML file, folder, or - for stdin; repeatable."),
    ],
    output: Format = Output.TABLE,
) -> None:
    """Create or update workloads from manifests: all of them, or none when anything is wrong.

    To have a folder kept in force, give it to the controller instead: TALLYD_MANIFESTS.

    A manifest:

        workloads:
        - id: shop
          kind: project          # project, site or stack
          source: {kind: report}
          trigger: {kind: manual}
    """
    called = invocation(context)
    with told_errors():
        prefix, registry = called.settings().label_prefix, load_registry()
        paths = [path for path in files if str(path) != "-"]
        declared = read_manifests(paths, registry, prefix)
        if len(paths) < len(files):
            declared += parse_manifests({"stdin": sys.stdin.read()}, registry, prefix)
        with called.store() as database:
            applied = workloads.apply_workloads(database, declared, CLOCK.now())
    if output is Output.TABLE:
        for each in applied:
            typer.echo(
                f"{each.result:9} {each.workload.kind} {each.workload.id} (generation {each.workload.generation})"
            )
    else:
        emit([{"result": each.result} | workload_view(each.workload) for each in applied], output)


@app.command()
def plan(
    context: typer.Context,
    files: Annotated[
        list[Path] | None,
        typer.Option("--file", "-f", help="YAML file or folder; default: what TALLYD_MANIFESTS names."),
    ] = None,
    prune: Annotated[bool | None, typer.Option("--prune/--no-prune", help="Default: manifests_prune.")] = None,
    output: Format = Output.TABLE,
) -> None:
    """Show what the manifests would add, change and remove. Writes nothing; exits 3 when there is something to do."""
    called = invocation(context)
    with told_errors():
        settings = called.settings(manifests_prune=prune)
        places = files or ([settings.manifests] if settings.manifests is not None else [])
        if not places:
            raise UsageError("there are no manifests to look at: give --file, or set TALLYD_MANIFESTS")
        declared = read_manifests(places, load_registry(), settings.label_prefix)
        with called.existing_store() as database:
            found = read_plan(database, declared, settings.host, prune=settings.manifests_prune)
    if output is Output.TABLE:
        for result, ids in (("add", found.added), ("change", found.changed), ("remove", found.removed)):
            for workload_id in ids:
                typer.echo(f"{result:7} {workload_id}")
        for workload_id, why in found.kept.items():
            typer.echo(f"keep    {workload_id}: {why}")
        typer.echo(f"{found.summary} ({len(found.unchanged)} unchanged)", err=True)
    else:
        emit({name: getattr(found, name) for name in found.__slots__}, output)
    if not found.empty:
        raise typer.Exit(EXIT_DRIFT)


@app.command("list")
def list_(context: typer.Context, output: Format = Output.TABLE) -> None:
    """List the declared workloads."""
    with told_errors(), invocation(context).existing_store() as database:
        views = [workload_view(each) for each in workloads.list_workloads(database)]
    if output is Output.TABLE:
        show(_table(views))
    else:
        emit(views, output)


def _table(views: Iterable[dict[str, Any]]) -> Table:
    kinds = [view | {noun: view[noun] and view[noun]["kind"] for noun in ("source", "trigger")} for view in views]
    return table_of(kinds, _COLUMNS)


@app.command()
def get(
    context: typer.Context,
    workload_id: Annotated[str, typer.Argument(metavar="ID")],
    output: Format = Output.YAML,
) -> None:
    """Show one workload, in the shape of its manifest."""
    with told_errors(), invocation(context).existing_store() as database:
        view = workload_view(workloads.get_workload(database, workload_id))
    if output is Output.TABLE:
        show(_table([view]))
    else:
        emit(view, output)


@app.command()
def delete(
    context: typer.Context,
    workload_id: Annotated[str, typer.Argument(metavar="ID")],
    force: Annotated[bool, typer.Option("--force", help="Also while it has containers; they go on running.")] = False,
) -> None:
    """Forget a workload and its rows of the index. Containers are never touched."""
    with told_errors(), invocation(context).store() as database:
        rows = workloads.delete_workload(database, workload_id, force=force)
    typer.echo(f"deleted workload {workload_id} and {rows} row(s)")


@app.command()
def adopt(
    context: typer.Context,
    workload_id: Annotated[str, typer.Argument(metavar="WORKLOAD")],
    container: Annotated[str, typer.Argument(help="Name, id, or the beginning of an id.")],
) -> None:
    """Give a container of a project its row.

    A tick never invents rows of projects: otherwise any container could claim to belong to one. A deployer
    makes them for what it starts; this makes one for what was started by other means.
    """
    with told_errors(), invocation(context).activation(writes=True) as activation:
        row_id = adopt_container(activation, workload_id, container, CLOCK)
    typer.echo(f"row {row_id} is filled by the next tick")
