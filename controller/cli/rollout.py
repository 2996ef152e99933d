"""`tallyd revision …` and `tallyd split …`: the versions of a workload, and who gets how much of its traffic."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Annotated, Any

import typer
from rich.table import Table
from rich.text import Text

from controller.cli.acting import acting
from controller.cli.context import Expected, Format, Output, actor_here, invocation, told_errors
from controller.cli.render import age, cell, emit, show, table_of
from controller.clock import CLOCK
from controller.errors import UsageError
from controller.rollout.rollouts import percent_of
from controller.rollout.tellings import split_events
from controller.telling import tell_history
from controller.views import revision_view, split_view
from store import revisions, splits
from store.rollout_records import Revision, SplitEntry, TrafficSplit

revisions_app = typer.Typer(no_args_is_help=True, help="Look at the revisions of a workload.")
splits_app = typer.Typer(
    no_args_is_help=True,
    help="Look at the traffic split of a workload, set it, and take it back.",
)

WorkloadId = Annotated[str, typer.Argument(metavar="WORKLOAD")]

_COLUMNS = (
    ("ID", "id"),
    ("STATE", "state"),
    ("IMAGE", "image_ref"),
    ("DIGEST", "image_digest"),
    ("AGE", "age"),
    ("DETAIL", "detail"),
)
_SHOWN_OF_DIGEST = len("sha256:") + 12
_ENTRY = re.compile(
    r"(?P<revision>.+)=(?:(?P<whole>[0-9]{1,9})(?:\.(?P<part>[0-9]{1,99}))?%|(?P<points>[0-9]{1,9})bp)"
)
_ALLOWED = "REVISION=10%, REVISION=0.01% or REVISION=1000bp"


def parse_entry(text: str) -> SplitEntry:
    """``shop-2=10%``, ``shop-2=0.01%`` or ``shop-2=1000bp`` → an entry; exact, in whole numbers all the way. Pure.

    Whether the weights are those of a split is for the store to say.

    :raises UsageError: it is none of these, or more precise than a basis point.
    """
    found = _ENTRY.fullmatch(text)
    if found is None:
        raise UsageError(f"{text!r} is no entry of a split; allowed: {_ALLOWED}")
    if found["points"] is not None:
        return SplitEntry(found["revision"], int(found["points"]))
    part = (found["part"] or "").rstrip("0")
    if len(part) > 2:
        raise UsageError(f"{text!r} is more precise than a basis point (0.01%); allowed: {_ALLOWED}")
    return SplitEntry(found["revision"], int(found["whole"]) * 100 + int(part.ljust(2, "0")))


@revisions_app.command("list")
def list_(context: typer.Context, workload_id: WorkloadId, output: Format = Output.TABLE) -> None:
    """List the revisions of a workload, the oldest first."""
    with told_errors(), invocation(context).existing_store() as database:
        found = revisions.list_revisions(database, workload_id)
    if output is Output.TABLE:
        show(table_of(map(_revision_row, found), _COLUMNS))
    else:
        emit([revision_view(each) for each in found], output)


@revisions_app.command()
def get(
    context: typer.Context,
    workload_id: WorkloadId,
    revision_id: Annotated[str, typer.Argument(metavar="REVISION")],
    output: Format = Output.YAML,
) -> None:
    """Show one revision: what it is made of, its state, and why it failed."""
    with told_errors(), invocation(context).existing_store() as database:
        found = revisions.get_revision(database, workload_id, revision_id)
    if output is Output.TABLE:
        show(table_of([_revision_row(found)], _COLUMNS))
    else:
        emit(revision_view(found), output)


def _revision_row(revision: Revision) -> dict[str, Any]:
    made = revision.created_at
    old = age(None if made is None else (CLOCK.now() - made).total_seconds())
    return revision_view(revision) | {"age": old, "image_digest": revision.image_digest[:_SHOWN_OF_DIGEST]}


@splits_app.command("show")
def show_(context: typer.Context, workload_id: WorkloadId, output: Format = Output.TABLE) -> None:
    """Show who gets how much of a workload's traffic."""
    with told_errors(), invocation(context).existing_store() as database:
        found = splits.get_split(database, workload_id)
    show_split(found, output)


@splits_app.command("set")
def set_(
    context: typer.Context,
    workload_id: WorkloadId,
    entries: Annotated[
        list[str], typer.Argument(metavar="REVISION=WEIGHT...", help="10%, 0.01% or 1000bp each; 100% in all.")
    ],
    idempotency_key: Annotated[
        str, typer.Option(help="The same key with the same entries changes nothing; with others it is an error.")
    ] = "",
    expect_generation: Expected = None,
    output: Format = Output.TABLE,
) -> None:
    """Set who gets how much of a workload's traffic.

    tallyd split set shop shop-1=90% shop-2=10%
    tallyd split set shop shop-1=9999bp shop-2=0.01% --expect-generation 3
    """
    with told_errors():
        wanted = [parse_entry(each) for each in entries]
        with acting(invocation(context)) as ground:
            now = CLOCK.now()
            stored = splits.set_split(
                ground.database,
                workload_id,
                wanted,
                now,
                idempotency_key=idempotency_key,
                expected_generation=expect_generation,
            )
            tell_history(ground.database, *split_events(stored, now, actor_here()))
            ground.rollouts.enforce_split(stored)
    show_split(stored, output)


@splits_app.command()
def rollback(
    context: typer.Context,
    workload_id: WorkloadId,
    expect_generation: Expected = None,
    output: Format = Output.TABLE,
) -> None:
    """Go back to the entries before, if their revisions are ready; once more goes forth again."""
    with told_errors(), acting(invocation(context)) as ground:
        now = CLOCK.now()
        stored = splits.rollback_split(ground.database, workload_id, now, expected_generation=expect_generation)
        tell_history(ground.database, *split_events(stored, now, actor_here(), back=True))
        ground.rollouts.enforce_split(stored)
    show_split(stored, output)


def show_split(split: TrafficSplit, output: Output) -> None:
    """A split for a person, or as data."""
    if output is not Output.TABLE:
        emit(split_view(split), output)
        return
    told = f"generation {split.generation}, stickiness epoch {split.stickiness_epoch}"
    show(Text(told, style="bold"), _table(split.entries))
    if split.previous is not None:
        before = ", ".join(f"{each.revision_id}={percent_of(each.weight)}" for each in split.previous)
        show(cell(f"before: {before}"))


def _table(entries: Iterable[SplitEntry]) -> Table:
    rows: list[dict[str, Any]] = [
        {"revision": each.revision_id, "share": percent_of(each.weight), "points": f"{each.weight}bp"}
        for each in entries
    ]
    return table_of(rows, (("REVISION", "revision"), ("SHARE", "share"), ("WEIGHT", "points")))
