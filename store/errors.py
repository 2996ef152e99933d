"""Root of the project's one exception tree, and the branch that the store raises.

The tree is drawn in :mod:`controller.errors`; it is rooted here because the store may not import the
controller. Driver exceptions are translated into these in :mod:`store.database` and nowhere else.
"""

from collections.abc import Sequence


class TallydError(Exception):
    """Root of every error that tallyd raises on purpose. Its text is written for the person at the terminal."""


class StoreError(TallydError):
    """The store cannot do what was asked."""


class StoreUnavailable(StoreError):
    """The store cannot be reached, is locked past its time-out, is full, or is damaged."""


class StoreUrlInvalid(StoreError):
    """The database URL names something that tallyd cannot use."""


class SchemaOutdated(StoreError):
    """The store has no schema, or one that does not fit this version."""


class RowRejected(StoreError):
    """A value that this store cannot hold, such as text with a NUL byte on PostgreSQL. The store is well."""


class PassSuperseded(StoreError):
    """Another pass of the same host was committed since this one read the store; nothing was written.

    The listing of a superseded pass is older than what the store holds, so writing it could only make the
    index less true (R4).
    """


class LeaseHeld(StoreError):
    """Another controller leads this host (R22)."""

    def __init__(self, host: str, address: str, seconds_left: float) -> None:
        where = f" at {address}" if address else ""
        super().__init__(
            f"host {host!r} is led by another controller{where}; its lease runs out in "
            f"{max(0.0, seconds_left):.0f} s unless it renews it. Two controllers need two names: TALLYD_HOST"
        )
        self.host = host
        self.address = address
        self.seconds_left = seconds_left


class LeaseLost(StoreError):
    """The lease that a write was made under is no longer ours; nothing was written (R22)."""


class EngineRefused(StoreError):
    """The engine behind the socket is not the one that this host was bound to (R18)."""

    def __init__(self, host: str, expected: str, actual: str) -> None:
        super().__init__(
            f"host {host!r} is bound to engine {expected}, but the engine that answers is {actual}; nothing was "
            f"written. If the engine was replaced on purpose, run: tallyd host accept"
        )
        self.host = host
        self.expected = expected
        self.actual = actual


class LockTimeout(StoreError):
    """Somebody else held a lock for longer than anybody should (G1); nothing was done."""


class NotFound(StoreError):
    """No such workload, container or host."""


class Conflict(StoreError):
    """The change does not fit what is stored: a duplicate, or a row that is in use."""


class TriggerSuperseded(Conflict):
    """Somebody else dispatched this workload's trigger since its state was read; nothing was written."""

    def __init__(self, workload_id: str) -> None:
        super().__init__(f"workload {workload_id!r}: its trigger was dispatched by somebody else meanwhile")
        self.workload_id = workload_id


class WorkloadConflict(Conflict):
    """The workload was changed by somebody else since it was read (HTTP 412)."""

    def __init__(self, workload_id: str, expected: int, current: int) -> None:
        super().__init__(f"workload {workload_id!r}: expected generation {expected}, current is {current}")
        self.workload_id = workload_id
        self.expected = expected
        self.current = current


class GenerationConflict(Conflict):
    """The controller config was changed by somebody else since it was read; nothing was stored (G3, HTTP 412)."""

    def __init__(self, expected: int, current: int) -> None:
        super().__init__(
            f"controller config: expected generation {expected}, current is {current}; nothing was stored. Read it "
            "again (tallyd config show), and repeat the change on that"
        )
        self.expected = expected
        self.current = current


class RevisionNotFound(NotFound):
    """No such revision of this workload (D2)."""

    def __init__(self, workload_id: str, revision_id: str) -> None:
        super().__init__(f"workload {workload_id!r} has no revision {revision_id!r}")
        self.workload_id = workload_id
        self.revision_id = revision_id


class SplitNotFound(NotFound):
    """The workload has no traffic split (D3)."""

    def __init__(self, workload_id: str) -> None:
        super().__init__(f"workload {workload_id!r} has no traffic split")
        self.workload_id = workload_id


class SecretNotFound(NotFound):
    """The workload has no secret of this name (S4)."""

    def __init__(self, workload_id: str, name: str) -> None:
        super().__init__(
            f"workload {workload_id!r} has no secret {name!r}; store it with: tallyd secrets set {workload_id} {name}"
        )
        self.workload_id = workload_id
        self.name = name


class InvalidSplit(StoreError):
    """The weights of a split are not what a split may have (D3). ``actual`` is their sum in basis points."""

    def __init__(self, workload_id: str, actual: int, why: str = "") -> None:
        told = why or f"its weights sum up to {actual} basis points, not to 10000"
        super().__init__(f"split of workload {workload_id!r}: {told}")
        self.workload_id = workload_id
        self.actual = actual


class ForeignRevision(StoreError):
    """A split names a revision of another workload (D3)."""

    def __init__(self, workload_id: str, revision_id: str) -> None:
        super().__init__(f"split of workload {workload_id!r}: revision {revision_id!r} is not one of its own")
        self.workload_id = workload_id
        self.revision_id = revision_id


class IllegalTransition(Conflict):
    """A revision cannot go from its state to the wanted one; nothing was saved (L1)."""

    def __init__(self, revision_id: str, current: str, wanted: str, allowed: Sequence[str]) -> None:
        there = ", ".join(allowed) or "nothing: it is archived"
        super().__init__(f"revision {revision_id!r} is {current} and cannot become {wanted}; allowed: {there}")
        self.revision_id = revision_id
        self.current = current
        self.wanted = wanted


class RevisionConflict(Conflict):
    """The revision's state is not what the caller saw (L3), or a split still references it."""


class SplitConflict(Conflict):
    """The idempotency key was used for other entries, or there is nothing to roll back to (T1)."""


class SplitGenerationConflict(SplitConflict):
    """The split was changed by somebody else since it was read (T1, HTTP 412). ``current`` is ``None``: no split."""

    def __init__(self, workload_id: str, expected: int, current: int | None) -> None:
        told = "there is no split yet" if current is None else f"current is {current}"
        super().__init__(f"split of workload {workload_id!r}: expected generation {expected}, {told}")
        self.workload_id = workload_id
        self.expected = expected
        self.current = current


class DeployUnderWay(Conflict):
    """Somebody else deploys this workload; nothing was done. ``doing`` says who, and what."""

    def __init__(self, workload_id: str, doing: str, seconds_left: float) -> None:
        super().__init__(
            f"workload {workload_id!r} is being worked on: {doing}; that turn runs out in "
            f"{max(0.0, seconds_left):.0f} s unless it goes on. Wait for it (tallyd deploy --wait), or try again"
        )
        self.workload_id = workload_id
        self.doing = doing
        self.seconds_left = seconds_left


class TurnLost(StoreError):
    """The turn that a deploy writes under is no longer its own; nothing was written, and the deploy ends there."""

    def __init__(self, workload_id: str) -> None:
        super().__init__(
            f"workload {workload_id!r}: another deploy took the turn, because this one was silent for too long; "
            "look at it (tallyd revision list), and deploy again"
        )
        self.workload_id = workload_id
