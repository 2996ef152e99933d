"""`tallyd promote` and `tallyd teardown`: along a chain of parent and child workloads."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Annotated

import typer

from controller.cli.acting import acting
from controller.cli.context import EXIT_ERROR, Format, Output, actor_here, invocation, told_errors
from controller.cli.render import emit
from controller.clock import CLOCK
from controller.errors import UsageError
from controller.labels import LabelNames
from controller.rollout.equipment import router_of
from controller.rollout.promote import promote_revision
from controller.rollout.rollouts import DeployRequest, told_step
from controller.rollout.teardown import Going, Teardown, plan_teardown
from controller.rollout.tellings import promoted_event
from controller.telling import tell_history
from controller.views import revision_view
from store.revisions import get_revision

DATA_SCOPES = ("project", "project-named")

WorkloadId = Annotated[str, typer.Argument(metavar="WORKLOAD")]


def promote(
    context: typer.Context,
    workload_id: WorkloadId,
    to: Annotated[str, typer.Option("--to", metavar="CHILD", help="The workload whose parent this one is.")],
    revision: Annotated[
        str | None, typer.Option(help="The revision to promote; default: the one with most of the traffic.")
    ] = None,
    deploy: Annotated[bool, typer.Option("--deploy", help="Deploy it in the child at once.")] = False,
    output: Format = Output.TABLE,
) -> None:
    """Make a revision of a child workload: the parent's image and config, with the child's own environment.

    tallyd promote shop-staging --to shop --deploy
    """
    with told_errors(), acting(invocation(context)) as here:
        database = here.database
        made, new = promote_revision(
            database,
            here.registry,
            here.settings.host,
            CLOCK.now,
            parent_id=workload_id,
            child_id=to,
            revision_id=revision,
        )
        tell_history(database, promoted_event(made, workload_id, CLOCK.now(), actor_here(), made=new))
        typer.echo(f"{'new' if new else 'known'} revision {made.id}: {made.image_ref}", err=True)
        failed = ""
        if deploy:
            request = DeployRequest(to, made.id, actor=actor_here(), reason=f"promoted from {workload_id}")
            walked = here.rollouts.deploy(request, lambda step: typer.echo(told_step(step), err=True)).walked
            failed = "" if walked.arrived else walked.detail
        stored = get_revision(database, to, made.id)
    if output is not Output.TABLE:
        emit(revision_view(stored), output)
    elif not failed:
        typer.echo(
            f"{made.id} serves" if deploy else f"{made.id} is {stored.state}; tallyd deploy {to} --revision {made.id}"
        )
    if failed:
        typer.secho(f"{made.id} does not serve: {failed}", err=True, fg="red")
        raise typer.Exit(EXIT_ERROR)


def teardown(
    context: typer.Context,
    workload_id: WorkloadId,
    with_data: Annotated[
        bool,
        typer.Option("--with-data", help="Also the volumes that outlive revisions: scopes project, project-named."),
    ] = False,
    keep_declaration: Annotated[
        bool, typer.Option("--keep-declaration", help="What was declared stays, ready to be deployed again.")
    ] = False,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
) -> None:
    """Take a workload away, its children first: traffic, containers, rows, revisions, and what was declared.

    Shows what goes, and asks; for data it asks once more, for the workload's name.
    """
    with told_errors(), acting(invocation(context)) as here:
        settings, database, registry = here.settings, here.database, here.registry
        here.rollouts.check_engine()
        going = plan_teardown(database, here.verbs, LabelNames(settings.label_prefix), settings.host, workload_id)
        for each in going:
            typer.echo(told_going(each, with_data, keep_declaration), err=True)
        if not yes:
            _ask(workload_id, going, with_data)
        taking = Teardown(database, registry, settings.host, CLOCK.now, router_of(settings, database, registry))
        removed = taking.run(
            workload_id,
            data=with_data,
            keep_declaration=keep_declaration,
            actor=actor_here(),
            told=lambda what: typer.echo(f"removed {what}", err=True),
        )
    typer.echo(f"{workload_id} is torn down" if removed else f"nothing of {workload_id} was there")


def told_going(going: Going, with_data: bool, keep_declaration: bool) -> str:
    """One workload, and what goes with it, for a person. Pure."""
    volumes = going.volumes or {}
    data = sorted(name for name, scope in volumes.items() if scope in DATA_SCOPES)
    others = sorted(name for name, scope in volumes.items() if scope not in DATA_SCOPES)
    lines = [f"workload {going.workload.id}{' (its declaration stays)' if keep_declaration else ''}"]
    if going.workload.declared_by and not keep_declaration:
        lines.append(
            f"  declared by manifests of {going.workload.declared_by}: comes back unless it is taken out there"
        )
    lines += ["  its share of the traffic"] if going.split else []
    lines += [f"  container {each}" for each in going.containers]
    lines += [f"  {going.revisions} revision(s)"] if going.revisions else []
    lines += [f"  volume {each}" for each in others]
    lines += [f"  volume {each}, WITH ITS DATA" if with_data else f"  (volume {each} stays)" for each in data]
    return "\n".join(lines)


def _ask(workload_id: str, going: Sequence[Going], with_data: bool) -> None:
    """:raises UsageError: there is nobody to ask, or the answer is another one."""
    if not sys.stdin.isatty():
        raise UsageError("nobody can be asked here, stdin is no terminal; nothing was removed. To go on, give --yes")
    if not typer.confirm(f"Take away {len(going)} workload(s)?", err=True):
        raise UsageError("nothing was removed")
    if with_data and typer.prompt(f"To remove data too, type {workload_id}", err=True) != workload_id:
        raise UsageError(f"that is not {workload_id}; nothing was removed")
