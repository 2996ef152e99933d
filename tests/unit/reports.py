"""Reports of passes, with defaults."""

from __future__ import annotations

from typing import Any

from controller.loop.converge import Reconciled
from controller.loop.dispatch import Ignored, IgnoreReason
from controller.loop.report import TickOutcome, TickReport
from tests.builders import ENGINE_ID, HOST, NOW, container


def report(outcome: TickOutcome = TickOutcome.COMPLETE, **replaced: Any) -> TickReport:
    """A report; ``replaced`` overrides any field."""
    fields: dict[str, Any] = {"host": HOST, "outcome": outcome, "began_at": NOW}
    if outcome is TickOutcome.COMPLETE:
        fields["engine_id"] = ENGINE_ID
    return TickReport(**fields | replaced)


def failed(reason: str = "the engine answered 500", outcome: TickOutcome = TickOutcome.LISTING_FAILED) -> TickReport:
    """A report of a pass that wrote nothing."""
    return report(outcome, errors=(reason,))


def ignored(name: str, reason: IgnoreReason) -> Ignored:
    """A container that fills no row."""
    return Ignored(container(name), reason, f"because of {reason}")


def reconciled(workload_id: str, result: str, **replaced: Any) -> Reconciled:
    """What became of a workload."""
    return Reconciled(**{"workload_id": workload_id, "source_kind": "report", "result": result} | replaced)
