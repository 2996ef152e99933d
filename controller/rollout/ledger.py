"""What is stored of a workload's rollout, as a walk reads and writes it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from controller.rollout.deployer import Deployment, Revision, SplitEntry, TrafficSplit
from controller.rollout.tellings import gate_words
from controller.rollout.walker import Verdict
from controller.telling import tell_history
from store.database import Database
from store.history_records import Event, EventKind
from store.index import list_containers
from store.revisions import move_revision
from store.rollout_records import IN_THE_MIDDLE, RevisionState
from store.splits import deployment_of, set_split
from store.turns import Turn


@dataclass(frozen=True, slots=True)
class Asked:
    """Who asked for a deploy, and why."""

    actor: str = ""
    reason: str = ""


def read_deployment(database: Database, workload_id: str, host: str) -> Deployment:
    """A workload, its revisions and its split, of one moment, and its rows of this host's index.

    :raises NotFound: no such workload, or it is declared for another host.
    :raises StoreError: the store cannot be read.
    """
    workload, revisions, split = deployment_of(database, workload_id, host)
    return Deployment(
        workload, revisions, split, host, tuple(list_containers(database, host=host, workload_id=workload_id))
    )


class StoreLedger:
    """The :class:`~controller.rollout.walker.Ledger` of one workload, in the store."""

    def __init__(
        self,
        database: Database,
        workload_id: str,
        host: str,
        now: Callable[[], datetime],
        turn: Turn | None = None,
        asked: Asked = Asked(),
    ) -> None:
        """:param turn: that of the deploy; every write is fenced with it.
        :param asked: who asked for it, for history.
        """
        self._asked = asked
        self._turn = turn
        self._database = database
        self._workload_id = workload_id
        self._host = host
        self._now = now

    def read(self) -> Deployment:
        """The workload, its revisions and its split, of one moment.

        :raises NotFound: no such workload, or it is declared for another host.
        :raises StoreError: the store cannot be read.
        """
        return read_deployment(self._database, self._workload_id, self._host)

    def move(
        self, revision: Revision, wanted: RevisionState, detail: str = "", checks: Mapping[str, str] | None = None
    ) -> None:
        """Move a revision on, if its state is still the one that was seen.

        :raises IllegalTransition: no edge leads there.
        :raises RevisionConflict: somebody else moved it, or a split references it.
        :raises TurnLost: another deploy took the turn.
        :raises StoreError: the store cannot be written.
        """
        move_revision(
            self._database,
            self._workload_id,
            revision.id,
            wanted,
            self._now(),
            seen=revision.state,
            detail=detail,
            checks=checks or {},
            turn=self._turn,
        )
        said = f"revision {revision.sequence} is {wanted}{': ' if detail else ''}{detail}"
        self._tell(revision.id, str(wanted), said, {"checks": dict(checks or {}), "image": revision.image_ref})

    def set_split(self, entries: Sequence[SplitEntry], seen: TrafficSplit | None) -> None:
        """Store a split in place of the one that was seen.

        :raises SplitGenerationConflict: somebody else set another one since.
        :raises RevisionConflict: a revision that would get traffic is not ready.
        :raises TurnLost: another deploy took the turn.
        :raises StoreError: the store cannot be written.
        """
        expected = seen.generation if seen is not None else None
        set_split(
            self._database, self._workload_id, entries, self._now(), expected_generation=expected, turn=self._turn
        )
        shares = ", ".join(f"{each.revision_id} {each.weight / 100:g} %" for each in entries)
        self._tell("", "shift", f"traffic goes to {shares}")

    def tell_begun(self, revision: Revision, *, made: bool) -> None:
        """That a revision was made to be deployed, by whom, and why; or that a deploy of it is gone on with."""
        why = f": {self._asked.reason}" if self._asked.reason else ""
        if made:
            self._tell(revision.id, "made", f"revision {revision.sequence} is made, to be deployed{why}")
        elif revision.state in IN_THE_MIDDLE:
            self._tell(
                revision.id, "resumed", f"revision {revision.sequence}, {revision.state}, is gone on with{why}"
            )

    def tell_gate(self, revision_id: str, verdict: Verdict) -> None:
        """What a gate said of a revision under traffic."""
        reason, said = gate_words(verdict)
        self._tell(revision_id, reason, said, {"checks": dict(verdict.checks)})

    def _tell(self, subject: str, reason: str, message: str, details: Mapping[str, object] | None = None) -> None:
        asked = self._asked
        told = {**(details or {}), **({"asked": asked.reason} if asked.reason else {})}
        actor = asked.actor or "deploy"
        event = Event(
            self._now(),
            EventKind.DEPLOY,
            self._host,
            self._workload_id,
            subject,
            reason,
            message,
            actor,
            details=told,
        )
        tell_history(self._database, event)
