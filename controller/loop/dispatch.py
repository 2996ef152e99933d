"""Containers → rows. Pure. The first non-empty label decides, and nothing behind it is tried (R7).

`match` says which workload and row one container claims; `dispatch` settles who gets a row that several claim
(R16). `explain` shows the first to people, so both come from the same code.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import NamedTuple

from controller.labels import LabelNames
from store.records import Assignment, Container, Snapshot, Workload, WorkloadKind


class Rule(StrEnum):
    """The rules in their order of precedence (R7)."""

    WORKLOAD_ID = "workload-id"
    STATIC_SITE = "static-site"
    COMPOSE_PROJECT = "compose-project"


class IgnoreReason(StrEnum):
    """Why a listed container fills no row."""

    UNLABELLED = "unlabelled"
    UNKNOWN_WORKLOAD = "unknown_workload"
    KIND_MISMATCH = "kind_mismatch"
    UNKNOWN_SITE = "unknown_site"
    UNKNOWN_STACK = "unknown_stack"
    NO_PROJECT_ROW = "no_project_row"
    ONE_OFF = "one_off"
    SLOT_TAKEN = "slot_taken"
    SUPERSEDED = "superseded"


@dataclass(frozen=True, slots=True)
class Ignored:
    """A container that fills no row, and why. ``detail`` is a sentence for people.

    ``row_id`` is the row that it claims and another container holds.
    """

    container: Container
    reason: IgnoreReason
    detail: str
    row_id: str = ""


class Claim(NamedTuple):
    """One container's claim to one row."""

    container: Container
    rule: Rule
    workload: Workload
    row_id: str
    role: str


@dataclass(frozen=True, slots=True)
class Dispatched:
    """Who fills which row, and who fills none."""

    assignments: tuple[Assignment, ...]
    ignored: tuple[Ignored, ...]


@dataclass(frozen=True, slots=True)
class Catalog:
    """One pass's view of the workloads and bound rows: every look-up is made once (R11)."""

    host: str
    workloads: Mapping[str, Workload]
    sites: Mapping[str, Workload]
    stacks: Mapping[str, Workload]
    rows: Mapping[str, Assignment]
    row_of_container: Mapping[str, Assignment]


def catalog_of(snapshot: Snapshot) -> Catalog:
    """Index the snapshot by what dispatch looks up."""
    return Catalog(
        host=snapshot.host,
        workloads=snapshot.workloads,
        sites={each.ref: each for each in snapshot.workloads.values() if each.kind is WorkloadKind.SITE},
        stacks={each.ref: each for each in snapshot.workloads.values() if each.kind is WorkloadKind.STACK},
        rows=snapshot.rows,
        row_of_container={row.container_id: row for row in snapshot.rows.values() if row.container_id},
    )


def deciding_rule(container: Container, names: LabelNames) -> Rule | None:
    """The one rule that decides over this container: that of its first non-empty label."""
    if container.workload_id:
        return Rule.WORKLOAD_ID
    if container.static_site:
        return Rule.STATIC_SITE
    if container.compose_project.startswith(names.project_prefix):
        return Rule.COMPOSE_PROJECT
    return None


def match(container: Container, catalog: Catalog, names: LabelNames) -> Claim | Ignored:
    """The row that one container claims on its own, before other claims are looked at."""
    rule = deciding_rule(container, names)
    if rule is None:
        return Ignored(container, IgnoreReason.UNLABELLED, "no label of its own asks for a workload")
    found = _find_workload(rule, container, catalog)
    return found if isinstance(found, Ignored) else _claim(rule, container, found, catalog)


def _find_workload(rule: Rule, container: Container, catalog: Catalog) -> Workload | Ignored:
    if rule is Rule.WORKLOAD_ID:
        return _find_by_id(container, catalog)
    if rule is Rule.STATIC_SITE:
        ref = container.static_site
        return catalog.sites.get(ref) or Ignored(container, IgnoreReason.UNKNOWN_SITE, f"no site has the ref {ref!r}")
    ref = container.compose_project
    return catalog.stacks.get(ref) or Ignored(container, IgnoreReason.UNKNOWN_STACK, f"no stack has the ref {ref!r}")


def _find_by_id(container: Container, catalog: Catalog) -> Workload | Ignored:
    workload = catalog.workloads.get(container.workload_id)
    if workload is None:
        detail = f"no workload has the id {container.workload_id!r}"
        return Ignored(container, IgnoreReason.UNKNOWN_WORKLOAD, detail)
    if container.workload_kind and container.workload_kind != workload.kind:
        detail = f"its label says kind {container.workload_kind!r}, workload {workload.id!r} is a {workload.kind}"
        return Ignored(container, IgnoreReason.KIND_MISMATCH, detail)
    return workload


def _claim(rule: Rule, container: Container, workload: Workload, catalog: Catalog) -> Claim | Ignored:
    bound = catalog.row_of_container.get(container.id)
    if bound is not None and (workload.kind is WorkloadKind.PROJECT or bound.workload_id == workload.id):
        return Claim(container, rule, workload, bound.id, _slot(rule, container, workload)[1])
    return _own_claim(rule, container, workload)


def _own_claim(rule: Rule, container: Container, workload: Workload) -> Claim | Ignored:
    slot, role = _slot(rule, container, workload)
    if workload.kind is WorkloadKind.PROJECT:
        detail = f"project {workload.id!r} has no row for it; the deployer creates those (tallyd workload adopt)"
        return Ignored(container, IgnoreReason.NO_PROJECT_ROW, detail)
    if container.oneoff and slot != container.id:
        return Ignored(container, IgnoreReason.ONE_OFF, "a one-off container never takes a service's slot")
    return Claim(container, rule, workload, f"{workload.id}:{slot}", role)


def _slot(rule: Rule, container: Container, workload: Workload) -> tuple[str, str]:
    """Slot within the workload, and role (R10)."""
    if rule is Rule.STATIC_SITE:
        return _replica("site", container), ""
    if rule is Rule.COMPOSE_PROJECT:
        return _replica(container.compose_service or container.name, container), container.compose_service
    if workload.kind is WorkloadKind.SITE:
        return _replica("site", container), container.role
    if container.role:
        return _replica(container.role, container), container.role
    return container.id, ""


def _replica(slot: str, container: Container) -> str:
    return f"{slot}:{container.compose_number}" if container.compose_number > 1 else slot


def dispatch(
    containers: Sequence[Container], snapshot: Snapshot, names: LabelNames, unreadable_ids: frozenset[str]
) -> Dispatched:
    """Give every claimed row to exactly one container.

    :param unreadable_ids: containers that are listed but cannot be read; they keep the rows that they have.
    """
    catalog = catalog_of(snapshot)
    claims: defaultdict[str, list[Claim]] = defaultdict(list)
    ignored: list[Ignored] = []
    alive = dict.fromkeys(unreadable_ids, True) | {each.id: each.alive for each in containers}
    found = [match(container, catalog, names) for container in containers]
    wanted = {each.row_id for each in found if isinstance(each, Claim) and alive[each.container.id]}
    for each in found:
        matched = each
        if isinstance(each, Claim) and each.row_id in wanted and not alive[each.container.id]:
            # It gives way now (R16). A row that a deployer named is not its own, so it still has one to take.
            matched = _own_claim(each.rule, each.container, each.workload)
        if isinstance(matched, Ignored):
            ignored.append(matched)
        else:
            claims[matched.row_id].append(matched)
    claimed_elsewhere = {claim.container.id: row_id for row_id, row in claims.items() for claim in row}
    assignments: list[Assignment] = []
    for row_id, rivals in claims.items():
        holder = _holder(catalog.rows.get(row_id), alive, claimed_elsewhere)
        winner = _winner(rivals, holder, alive)
        if winner is not None:
            assignments.append(_assignment(winner))
        if len(rivals) > 1 or winner is None:
            ignored += [_lost(claim, row_id, winner, holder) for claim in rivals if claim is not winner]
    return Dispatched(tuple(assignments), tuple(ignored))


def _holder(row: Assignment | None, alive: Mapping[str, bool], claimed: Mapping[str, str]) -> str | None:
    """Id of the container that the row records, if that is still listed and claims no other row."""
    if row is None or row.container_id is None or row.container_id not in alive:
        return None
    return row.container_id if claimed.get(row.container_id, row.id) == row.id else None


def _winner(rivals: Sequence[Claim], holder: str | None, alive: Mapping[str, bool]) -> Claim | None:
    """Who gets the row (R16): the recorded container while it lives, else the newest alive one, else the newest.

    ``None`` where the recorded container lives but cannot be read or is ignored: the row stays as it is.
    """
    if len(rivals) == 1 and (holder is None or not alive[holder]):
        return rivals[0]
    recorded = next((claim for claim in rivals if claim.container.id == holder), None)
    if holder is not None and alive[holder]:
        return recorded
    living = [claim for claim in rivals if alive[claim.container.id]]
    if not living and recorded is not None:
        return recorded
    return max(living or rivals, key=lambda claim: (claim.container.created, claim.container.id))


def _lost(claim: Claim, row_id: str, winner: Claim | None, holder: str | None) -> Ignored:
    if claim.container.id == holder:
        return Ignored(claim.container, IgnoreReason.SUPERSEDED, f"row {row_id!r} went to a newer container", row_id)
    keeper = winner.container.name if winner is not None else f"{holder}, which cannot be read"
    return Ignored(claim.container, IgnoreReason.SLOT_TAKEN, f"row {row_id!r} is held by {keeper}", row_id)


def _assignment(claim: Claim) -> Assignment:
    container = claim.container
    return Assignment(
        id=claim.row_id,
        workload_id=claim.workload.id,
        workload_kind=str(claim.workload.kind),
        role=claim.role,
        container_id=container.id,
        name=container.name,
        image_ref=container.image_ref,
        image_id=container.image_id,
        state=container.state,
        health=container.health,
        port=container.port,
        ports=container.ports,
        revision=container.revision,
    )
