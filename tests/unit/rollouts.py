"""A rollout in memory: a ledger that obeys the lifecycle, and a deployer whose world is a set of names."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from controller.errors import RevisionConflict, SplitConflict
from controller.rollout.deployer import Applied, Deployment, Done, RuntimeConfig, revision_of, split_of
from store.records import Workload, WorkloadKind
from store.rollout_records import Revision, RevisionState, SplitEntry, TrafficSplit, check_edge, check_entries
from tests.builders import HOST

SHOP = Workload("shop", "Shop", WorkloadKind.PROJECT, "tallyd-shop")


def revision(sequence: int, state: RevisionState = RevisionState.INACTIVE) -> Revision:
    """A revision of the shop."""
    return Revision(f"shop-{sequence}", "shop", sequence, f"shop:{sequence}", f"sha256:{sequence}", "c", state=state)


class Killed(BaseException):
    """The process ends here."""


@dataclass
class MemoryLedger:
    """What is stored. ``at_write`` is called before each write."""

    revisions: dict[str, Revision]
    split: TrafficSplit | None = None
    at_write: Callable[[], None] = lambda: None

    def read(self) -> Deployment:
        """See `Ledger`."""
        return Deployment(SHOP, dict(self.revisions), self.split, HOST)

    def move(
        self, revision: Revision, wanted: RevisionState, detail: str = "", checks: Mapping[str, str] | None = None
    ) -> None:
        """See `Ledger`."""
        self.at_write()
        current = self.revisions[revision.id]
        if current.state is not revision.state:
            raise RevisionConflict(f"revision {revision.id!r} is {current.state}")
        check_edge(revision.id, current.state, wanted)
        if wanted is RevisionState.ARCHIVED and self.split and revision.id in _ids(self.split.entries):
            raise RevisionConflict(f"revision {revision.id!r} is in the split")
        self.revisions[revision.id] = replace(current, state=wanted, detail=detail, checks=checks or {})

    def set_split(self, entries: Sequence[SplitEntry], seen: TrafficSplit | None) -> None:
        """See `Ledger`."""
        self.at_write()
        if seen != self.split:
            raise SplitConflict("another split was set")
        check_entries("shop", entries)
        unready = [each for each in _ids(entries) if self.revisions[each].state is not RevisionState.READY]
        if unready:
            raise RevisionConflict(f"{unready} are not ready")
        generation = self.split.generation + 1 if self.split else 0
        self.split = TrafficSplit("shop", tuple(entries), generation)

    def states(self) -> dict[str, str]:
        """Revision → state."""
        return {each.id: str(each.state) for each in self.revisions.values()}


def _ids(entries: Sequence[SplitEntry]) -> list[str]:
    return [each.revision_id for each in entries]


@dataclass
class MemoryDeployer:
    """A world of images, running revisions and enforced weights. ``at_call`` is called before each change of it."""

    kind: str = "memory"
    images: set[str] = field(default_factory=set)
    running: set[str] = field(default_factory=set)
    weights: dict[str, int] = field(default_factory=dict)
    served: list[frozenset[str]] = field(default_factory=list)
    at_call: Callable[[str, str], None] = lambda _verb, _revision_id: None

    def stage(self, deployment: Deployment, revision_id: str) -> Done:
        """See `Deployer`."""
        return self._changed("stage", deployment, revision_id, self.images.add)

    def warm(self, deployment: Deployment, revision_id: str) -> Done:
        """See `Deployer`."""
        assert revision_of(deployment, revision_id).state is RevisionState.WARMING
        return self._changed("warm", deployment, revision_id, self.running.add)

    def drain(self, deployment: Deployment, revision_id: str) -> Done:
        """See `Deployer`."""
        assert self.weights.get(revision_id, 0) == 0, "sessions would be cut off"
        return self._changed("drain", deployment, revision_id, self.running.discard)

    def archive(self, deployment: Deployment, revision_id: str) -> Done:
        """See `Deployer`."""
        return self._changed("archive", deployment, revision_id, self.images.discard)

    def apply_traffic_split(self, deployment: Deployment) -> Applied:
        """See `Deployer`."""
        split = split_of(deployment)
        self.at_call("apply", "")
        self.weights = {each.revision_id: each.weight for each in split.entries}
        serving = frozenset(each for each, weight in self.weights.items() if weight > 0)
        assert serving <= self.running, "traffic to what does not run"
        self.served.append(serving)
        return Applied("shop", split.entries, changed=True)

    def report_runtime_config(self, deployment: Deployment) -> RuntimeConfig:
        """See `Deployer`."""
        return RuntimeConfig(deployment.workload.id, [])

    def _changed(self, verb: str, deployment: Deployment, revision_id: str, change: Callable[[str], None]) -> Done:
        revision_of(deployment, revision_id)
        self.at_call(verb, revision_id)
        change(revision_id)
        return Done("shop", revision_id, changed=True)
