"""Workloads with revisions in every state, and splits over them."""

from __future__ import annotations

from collections.abc import Sequence

from store.database import Database
from store.revisions import create_revision, move_revision
from store.rollout_records import Revision, RevisionState, SplitEntry
from store.splits import set_split
from store.workloads import apply_workloads
from tests.builders import NOW, workload

S = RevisionState
IMAGE_REF = "shop:2"
DIGEST = f"sha256:{'2' * 64}"

_WAYS = {
    S.INACTIVE: [],
    S.STAGED: [S.STAGED],
    S.WARMING: [S.STAGED, S.WARMING],
    S.READY: [S.STAGED, S.WARMING, S.READY],
    S.DRAINING: [S.STAGED, S.WARMING, S.READY, S.DRAINING],
    S.FAILED: [S.FAILED],
    S.ARCHIVED: [S.ARCHIVED],
}


def any_engine() -> None:
    """Whatever engine answers is the right one."""


def declare(database: Database, *workload_ids: str) -> None:
    """Workloads without revisions."""
    apply_workloads(database, [workload(each) for each in workload_ids], NOW)


def revision(database: Database, workload_id: str = "shop", state: RevisionState = S.READY) -> Revision:
    """The next revision of a workload, brought into a state by the edges that lead there."""
    made = create_revision(database, workload_id, IMAGE_REF, DIGEST, {"port": 80}, NOW)
    for each in _WAYS[state]:
        made = move_revision(database, workload_id, made.id, each, NOW)
    return made


def entries(*weights: int, of: str = "shop") -> list[SplitEntry]:
    """Entries of the first revisions of a workload, in their order."""
    return [SplitEntry(f"{of}-{number}", weight) for number, weight in enumerate(weights, start=1)]


def shop(database: Database, *states: RevisionState, split: Sequence[int] = ()) -> None:
    """A workload `shop` with revisions in these states, and a split over the first of them."""
    declare(database, "shop")
    for state in states:
        revision(database, state=state)
    if split:
        set_split(database, "shop", entries(*split), NOW)
