"""What one pass did, for everybody who wants to know: metrics, logs, CLI and HTTP all read this record (O7)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any

from controller.loop.converge import Reconciled, count_results
from controller.loop.dispatch import Ignored
from controller.loop.observe import Unreadable
from store.records import Change


class TickOutcome(StrEnum):
    """How a pass ended. Everything but ``complete`` wrote nothing."""

    COMPLETE = "complete"
    LISTING_FAILED = "listing_failed"
    ENGINE_REFUSED = "engine_refused"
    STORE_FAILED = "store_failed"
    SUPERSEDED = "superseded"
    STANDBY = "standby"
    CANCELLED = "cancelled"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class TickReport:
    """One pass. ``phases`` are seconds by phase.

    ``states`` counts rows by (workload kind, state) afterwards; of a targeted pass it is the difference.
    ``config_generation`` is what the store holds of the config that its controllers share; 0: nothing. ``triggers``
    are the workloads with a trigger: id, kind of the trigger, generation.
    """

    host: str
    outcome: TickOutcome
    began_at: datetime
    engine_id: str = ""
    listed: int = 0
    change: Change = field(default_factory=Change)
    ignored: tuple[Ignored, ...] = ()
    unreadable: tuple[Unreadable, ...] = ()
    reconciled: tuple[Reconciled, ...] = ()
    matched: int = 0
    duration_seconds: float = 0.0
    phases: Mapping[str, float] = field(default_factory=dict)
    states: Mapping[tuple[str, str], int] = field(default_factory=dict)
    errors: tuple[str, ...] = ()
    targeted: bool = False
    config_generation: int = 0
    triggers: tuple[tuple[str, str, int], ...] = ()

    @property
    def complete(self) -> bool:
        """Whether the index is now as true as this listing."""
        return self.outcome is TickOutcome.COMPLETE

    @property
    def ignored_by_reason(self) -> dict[str, int]:
        """How many containers were ignored, by reason; sorted."""
        counts: dict[str, int] = {}
        for each in self.ignored:
            counts[str(each.reason)] = counts.get(str(each.reason), 0) + 1
        return dict(sorted(counts.items()))

    @property
    def summary(self) -> str:
        """One line: what was seen and what changed."""
        change = self.change
        parts = [f"{self.listed} seen"]
        counted = {
            "new": len(change.inserted),
            "updated": len(change.updated) - change.recovered,
            "recovered": change.recovered,
            "missing": len(change.missing),
            "unreadable": len(self.unreadable),
        }
        return ", ".join(parts + [f"{count} {word}" for word, count in counted.items() if count])

    def as_dict(self) -> dict[str, Any]:
        """The shape that scripts rely on (O7)."""
        return {
            "host": self.host,
            "outcome": str(self.outcome),
            "summary": self.summary,
            "began_at": self.began_at.isoformat(),
            "listed": self.listed,
            "matched": self.matched,
            "ignored": self.ignored_by_reason,
            "inserted": len(self.change.inserted),
            "updated": len(self.change.updated),
            "unchanged": self.change.unchanged,
            "missing": len(self.change.missing),
            "recovered": self.change.recovered,
            "unreadable": len(self.unreadable),
            "unreadable_containers": [
                {"container_id": each.container_id, "reason": each.reason} for each in self.unreadable
            ],
            "plugins": count_results(self.reconciled),
            "workloads": [
                {"workload_id": each.workload_id, "result": each.result, "message": each.message}
                for each in self.reconciled
            ],
            "duration_seconds": round(self.duration_seconds, 6),
            "errors": list(self.errors),
        }
