"""The deployer contract: five verbs and a report (D1). What every deployer checks before it calls its provider.

A deployer changes the world and never the store: whoever calls it moves the revision's state after the verb
succeeded (L2). Every verb may be repeated, and leaves the same world behind (D7).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol, runtime_checkable

from controller.errors import ForeignRevision, RevisionNotFound, SplitNotFound
from store.records import ContainerRow, Workload
from store.rollout_records import BASIS_POINTS, Revision, SplitEntry, TrafficSplit, check_entries

__all__ = [
    "BASIS_POINTS",
    "Applied",
    "Deployer",
    "Deployment",
    "Done",
    "Revision",
    "RuntimeConfig",
    "SplitEntry",
    "TrafficSplit",
    "Workload",
    "revision_of",
    "split_of",
]


@dataclass(frozen=True, slots=True)
class Deployment:
    """A workload as a verb sees it: all its revisions by id, and its split. Read once, before the verb.

    ``rows`` are its rows of this host's index, with what a deployer wrote into them: a router is told of it.
    """

    workload: Workload
    revisions: Mapping[str, Revision]
    split: TrafficSplit | None
    host: str
    rows: Sequence[ContainerRow] = ()


@dataclass(frozen=True, slots=True)
class Done:
    """What a revision verb did. ``changed`` is false where the world was so already; ``checks`` say what was seen."""

    workload_id: str
    revision_id: str
    changed: bool
    message: str = ""
    checks: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Applied:
    """What the split verb enforces now: the workload, and exactly the entries applied (D5)."""

    workload_id: str
    entries: Sequence[SplitEntry]
    changed: bool


@dataclass(frozen=True, slots=True)
class RuntimeConfig:
    """What a router is told about one workload, one block per split entry in its order (T2).

    A block has ``revision_id``, ``weight`` (basis points) and ``targets`` (list of ``{"address", "port"}``).
    """

    workload_id: str
    blocks: Sequence[Mapping[str, Any]]


@runtime_checkable
class Deployer(Protocol):
    """A source that can also deploy."""

    kind: str

    def stage(self, deployment: Deployment, revision_id: str) -> Done:
        """Have everything at hand that the revision needs; returns when its image is present by digest (D8).

        :raises RevisionNotFound: before any call of the provider (D2, D4).
        """

    def warm(self, deployment: Deployment, revision_id: str) -> Done:
        """Start it; returns when it answers (D8).

        :raises RevisionNotFound: before any call of the provider (D2, D4).
        """

    def drain(self, deployment: Deployment, revision_id: str) -> Done:
        """Let it finish; returns when no new session is sent and those in flight ended, or had their time (D8).

        :raises RevisionNotFound: before any call of the provider (D2, D4).
        """

    def archive(self, deployment: Deployment, revision_id: str) -> Done:
        """Take it away; returns when its containers are gone, also when they were already (D7, D8).

        :raises RevisionNotFound: before any call of the provider (D2, D4).
        """

    def apply_traffic_split(self, deployment: Deployment) -> Applied:
        """Enforce the workload's split, and that of no other (D6).

        :raises SplitNotFound: before any call of the provider (D3, D4).
        :raises InvalidSplit: likewise.
        :raises ForeignRevision: likewise.
        """

    def report_runtime_config(self, deployment: Deployment) -> RuntimeConfig:
        """What a router has to know. Pure: no call of the provider (D1)."""


def revision_of(deployment: Deployment, revision_id: str) -> Revision:
    """The revision that a verb is about; the first line of every revision verb.

    :raises RevisionNotFound: it is not one of this workload (D2).
    """
    found = deployment.revisions.get(revision_id)
    if found is None or found.workload_id != deployment.workload.id:
        raise RevisionNotFound(deployment.workload.id, revision_id)
    return found


def split_of(deployment: Deployment) -> TrafficSplit:
    """The split that is to be enforced; the first line of the split verb (D3).

    :raises SplitNotFound: the workload has none.
    :raises InvalidSplit: its weights do not sum up, a weight is out of bounds, or a revision stands twice.
    :raises ForeignRevision: an entry is not a revision of this workload.
    """
    workload_id, split = deployment.workload.id, deployment.split
    if split is None:
        raise SplitNotFound(workload_id)
    check_entries(workload_id, split.entries)
    for entry in split.entries:
        found = deployment.revisions.get(entry.revision_id)
        if found is None or found.workload_id != workload_id:
            raise ForeignRevision(workload_id, entry.revision_id)
    return split
