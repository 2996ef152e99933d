"""The nouns of a rollout: revisions with a lifecycle, and traffic splits over them. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any

from store.errors import IllegalTransition, InvalidSplit

BASIS_POINTS = 10_000
"""What the weights of a split sum up to."""


class RevisionState(StrEnum):
    """Where a revision is in its life (L1)."""

    INACTIVE = "inactive"
    STAGED = "staged"
    WARMING = "warming"
    READY = "ready"
    DRAINING = "draining"
    FAILED = "failed"
    ARCHIVED = "archived"


_S = RevisionState

EDGES: Mapping[RevisionState, frozenset[RevisionState]] = {
    _S.INACTIVE: frozenset({_S.STAGED, _S.FAILED, _S.ARCHIVED}),
    _S.STAGED: frozenset({_S.WARMING, _S.FAILED, _S.ARCHIVED}),
    _S.WARMING: frozenset({_S.READY, _S.FAILED, _S.ARCHIVED}),
    _S.READY: frozenset({_S.DRAINING, _S.FAILED, _S.ARCHIVED}),
    _S.DRAINING: frozenset({_S.INACTIVE}),
    _S.FAILED: frozenset({_S.STAGED, _S.ARCHIVED}),
    _S.ARCHIVED: frozenset(),
}
"""From a state to those that may follow (L1)."""


IN_THE_MIDDLE = frozenset({_S.STAGED, _S.WARMING, _S.DRAINING})
"""States that a revision only passes through: one that stays there was left by a deploy that was cut short (L2)."""


def check_edge(revision_id: str, current: RevisionState, wanted: RevisionState) -> None:
    """Check one step of a revision's life.

    :raises IllegalTransition: no edge of :data:`EDGES` leads there.
    """
    if wanted not in EDGES[current]:
        raise IllegalTransition(revision_id, current, wanted, sorted(EDGES[current]))


@dataclass(frozen=True, slots=True)
class Revision:
    """One immutable version of a workload; only ``state`` and what follows it ever change.

    ``sequence`` rises per workload from 1. ``config`` is the source config that it was made of. ``detail`` and
    ``checks`` (name → what it said) tell why it failed.
    """

    id: str
    workload_id: str
    sequence: int
    image_ref: str
    image_digest: str
    config_digest: str
    config: Mapping[str, Any] = field(default_factory=dict)
    state: RevisionState = RevisionState.INACTIVE
    detail: str = ""
    checks: Mapping[str, str] = field(default_factory=dict)
    created_at: datetime | None = None
    updated_at: datetime | None = None


def secrets_in(config: object) -> set[str]:
    """The secrets that a source config names: values ``{secret: NAME}`` of any mapping under a key ``env``. Pure."""
    found: set[str] = set()
    if isinstance(config, Mapping):
        for key, value in config.items():
            if key == "env" and isinstance(value, Mapping):
                found |= {name for each in value.values() if (name := secret_named(each))}
            else:
                found |= secrets_in(value)
    elif isinstance(config, list | tuple):
        for each in config:
            found |= secrets_in(each)
    return found


def secret_named(value: object) -> str:
    """The name in ``{secret: NAME}``; empty for any other value. Pure."""
    if isinstance(value, Mapping) and set(value) == {"secret"} and isinstance(value["secret"], str):
        return value["secret"]
    return ""


@dataclass(frozen=True, slots=True)
class SplitEntry:
    """A revision's share of the traffic, in basis points; 0 keeps it known to routers without traffic."""

    revision_id: str
    weight: int


@dataclass(frozen=True, slots=True)
class TrafficSplit:
    """Who gets how much of a workload's traffic. ``previous`` is what a rollback goes back to."""

    workload_id: str
    entries: Sequence[SplitEntry]
    generation: int = 0
    idempotency_key: str = ""
    stickiness_epoch: int = 0
    previous: Sequence[SplitEntry] | None = None
    updated_at: datetime | None = None

    @property
    def total(self) -> int:
        """Sum of all weights, in basis points."""
        return sum(each.weight for each in self.entries)


def check_entries(workload_id: str, entries: Sequence[SplitEntry]) -> None:
    """Check the weights of a split, whatever its revisions are. Pure.

    :raises InvalidSplit: no entries, a weight below 0 or over 10,000, a revision twice, or another sum than 10,000.
    """
    total = sum(each.weight for each in entries)
    if not entries:
        raise InvalidSplit(workload_id, 0, "it has no entries")
    for each in entries:
        if not 0 <= each.weight <= BASIS_POINTS:
            why = f"weight {each.weight} of revision {each.revision_id!r}; allowed: 0 to {BASIS_POINTS}"
            raise InvalidSplit(workload_id, total, why)
    ids = [each.revision_id for each in entries]
    if twice := next((each for each in ids if ids.count(each) > 1), None):
        raise InvalidSplit(workload_id, total, f"revision {twice!r} stands twice")
    if total != BASIS_POINTS:
        raise InvalidSplit(workload_id, total)
