"""Taking a workload away: its children first, then its traffic, its containers, its revisions, and what was declared.

Every step looks at what is there, so that a teardown that was killed is ended by doing it again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from controller.errors import Conflict, TallydError
from controller.labels import LabelNames
from controller.plugins.registry import Registry
from controller.plugins.tools import ActingEngine, TearsDown
from controller.rollout.deployer import Revision, RuntimeConfig, Workload
from controller.rollout.turns import turn_held
from controller.telling import tell_history
from store.database import Database
from store.history_records import Event, EventKind
from store.index import list_containers
from store.records import MISSING
from store.revisions import list_revisions, move_revision
from store.rollout_records import RevisionState
from store.splits import list_splits, remove_split
from store.workloads import delete_workload, get_workload, list_workloads

S = RevisionState

Route = Callable[[RuntimeConfig], bool]
"""Has the routers follow what is stored of a workload."""


@dataclass(frozen=True, slots=True)
class Going:
    """What goes with one workload. ``volumes`` maps the names of those that were made for it to their scopes."""

    workload: Workload
    containers: tuple[str, ...] = ()
    revisions: int = 0
    split: bool = False
    volumes: Mapping[str, str] | None = None


def children_first(workloads: Iterable[Workload], workload_id: str) -> list[str]:
    """A workload and all below it, each after its own children. Pure."""
    children: dict[str, list[str]] = {}
    for each in workloads:
        if each.parent is not None:
            children.setdefault(each.parent, []).append(each.id)
    ordered: list[str] = []
    waiting = [workload_id]
    while waiting:
        above = waiting.pop()
        ordered.append(above)
        waiting += sorted(children.get(above, []))
    return ordered[::-1]


def plan_teardown(
    database: Database, engine: ActingEngine, names: LabelNames, host: str, workload_id: str
) -> list[Going]:
    """What a teardown would take away, in its order. Changes nothing.

    :raises NotFound: no such workload.
    :raises EngineError: the engine does not tell of its volumes.
    """
    get_workload(database, workload_id)
    known = {each.id: each for each in list_workloads(database)}
    with_split = {each.workload_id for each in list_splits(database)}
    going = []
    for each in children_first(known.values(), workload_id):
        rows = list_containers(database, host=host, workload_id=each)
        found = engine.list_volumes({names.workload_id: each})
        going.append(
            Going(
                known[each],
                tuple(row.name for row in rows if row.state != MISSING),
                sum(revision.state is not S.ARCHIVED for revision in list_revisions(database, each)),
                each in with_split,
                {volume.name: volume.labels.get(names.volume_scope, "") for volume in found},
            )
        )
    return going


class Teardown:
    """Takes workloads away on one host."""

    def __init__(
        self, database: Database, registry: Registry, host: str, now: Callable[[], datetime], route: Route
    ) -> None:
        self._database = database
        self._registry = registry
        self._host = host
        self._now = now
        self._route = route

    def run(
        self,
        workload_id: str,
        *,
        data: bool,
        keep_declaration: bool = False,
        actor: str = "somebody",
        told: Callable[[str], None] = lambda _what: None,
    ) -> list[str]:
        """Take a workload and all its children away; returns what was removed, as it was told to ``told``.

        :param data: also volumes that outlive revisions. Somebody was asked.
        :param keep_declaration: what was declared stays, ready to be deployed again.
        :raises NotFound: no such workload.
        :raises Conflict: one of them has containers on another host, or of a source that removes none; nothing of it,
            nor of those after it, was removed.
        :raises DeployUnderWay: somebody deploys one of them.
        :raises VerbFailed: something could not be removed; tear it down again.
        :raises StoreError: the store failed; tear it down again.
        """
        get_workload(self._database, workload_id)
        ordered = children_first(list_workloads(self._database), workload_id)
        self._check([get_workload(self._database, each) for each in ordered])
        removed: list[str] = []

        def say(what: str) -> None:
            removed.append(what)
            told(what)

        for each in ordered:
            before = len(removed)
            try:
                with turn_held(self._database, each, f"{actor} tears down {each}"):
                    self._take_away(get_workload(self._database, each), data, say)
                if not keep_declaration:
                    delete_workload(self._database, each, force=True)
                    say(f"workload {each}")
            except TallydError as error:
                self._tell(each, actor, removed[before:], str(error))
                raise
            self._tell(each, actor, removed[before:])
        return removed

    def _tell(self, workload_id: str, actor: str, removed: Sequence[str], failed: str = "") -> None:
        what = f"removed {', '.join(removed)}" if removed else "nothing of it was there"
        reason, message = ("failed", f"{what}; then: {failed}") if failed else ("torn_down", what)
        details = {"removed": list(removed)}
        event = Event(
            self._now(),
            EventKind.TEARDOWN,
            self._host,
            workload_id,
            "",
            reason,
            message,
            actor,
            details=details,
        )
        tell_history(self._database, event)

    def _check(self, workloads: Sequence[Workload]) -> None:
        for each in workloads:
            alive = [row for row in list_containers(self._database, workload_id=each.id) if row.state != MISSING]
            elsewhere = sorted({row.host for row in alive} - {self._host})
            if elsewhere:
                raise Conflict(
                    f"workload {each.id!r} has containers on {', '.join(elsewhere)}; nothing was removed: tear it "
                    "down there"
                )
            if alive and self._source(each) is None:
                what = f"source {each.source_kind!r} of" if each.source_kind else "the source that is missing of"
                raise Conflict(
                    f"{what} workload {each.id!r} removes no containers, and {len(alive)} are there, "
                    f"{alive[0].name!r} among them; nothing was removed: remove them by other means first"
                )

    def _take_away(self, workload: Workload, data: bool, say: Callable[[str], None]) -> None:
        if remove_split(self._database, workload.id):
            say(f"split of {workload.id}")
        self._route(RuntimeConfig(workload.id, ()))
        # Nobody looks after a workload whose revisions drain: none of it comes back while it is taken away.
        for each in self._in(workload, S.READY):
            self._move(each, S.DRAINING)
        source = self._source(workload)
        if source is not None:
            for what in source.teardown(workload, data=data):
                say(what)
        for each in self._in(workload, S.DRAINING):
            self._move(each, S.INACTIVE)
        for each in list_revisions(self._database, workload.id):
            if each.state is not S.ARCHIVED:
                self._move(each, S.ARCHIVED)
                say(f"revision {each.id}")
        if source is not None:  # a pass that began before may have brought something back
            for what in source.teardown(workload, data=data):
                say(what)

    def _in(self, workload: Workload, state: RevisionState) -> list[Revision]:
        return [each for each in list_revisions(self._database, workload.id) if each.state is state]

    def _move(self, revision: Revision, wanted: RevisionState) -> None:
        move_revision(
            self._database,
            revision.workload_id,
            revision.id,
            wanted,
            self._now(),
            seen=revision.state,
            detail="torn down",
        )

    def _source(self, workload: Workload) -> TearsDown | None:
        if not workload.source_kind:
            return None
        found = self._registry.source(workload.source_kind)
        return found if isinstance(found, TearsDown) else None
