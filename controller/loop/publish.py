"""Reports → metrics and log lines. One line a change; nothing when nothing changed (O6)."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any, Protocol

from controller.loop.converge import Reconciled
from controller.loop.dispatch import IgnoreReason
from controller.loop.report import TickReport
from controller.metrics import IndexFigures, Metrics

_WORTH_A_WARNING = frozenset({IgnoreReason.KIND_MISMATCH, IgnoreReason.SLOT_TAKEN})
_QUIET_RESULTS = frozenset({"in_sync", "backoff", "in_flight", "deferred"})


class Log(Protocol):
    """The part of a structured logger that is used here."""

    def debug(self, event: str, **fields: Any) -> Any: ...
    def info(self, event: str, **fields: Any) -> Any: ...
    def warning(self, event: str, **fields: Any) -> Any: ...


def publish_metrics(report: TickReport, metrics: Metrics, revisions: Mapping[str, int]) -> None:
    """Feed every metric that a pass concerns."""
    if report.targeted:
        metrics.observe_targeted(str(report.outcome), report.duration_seconds)
    else:
        metrics.observe_tick(str(report.outcome), report.phases)
    for each in report.reconciled:
        if each.called:
            metrics.observe_reconcile(each.source_kind, each.result)
    if report.complete and report.targeted:
        metrics.adjust_index(report.states)
    elif report.complete:
        figures = IndexFigures(report.states, report.ignored_by_reason, len(report.unreadable), revisions)
        metrics.publish_index(figures, report.began_at.timestamp())


class Narrator:
    """Tells the log what changed since the pass before: each trouble once when it begins and once when it ends."""

    def __init__(self, log: Log) -> None:
        self._log = log
        self._trouble = ""
        self._trouble_since: datetime | None = None
        self._told: frozenset[tuple[str, str]] = frozenset()
        self._engine_id = ""

    def tell(self, report: TickReport) -> None:
        """Log what is new in this report."""
        if not report.complete:
            if not report.targeted:
                self._tell_trouble(report)
            return
        if not report.targeted:
            self._tell_recovery(report)
        if report.engine_id != self._engine_id:
            self._log.info("engine connected", engine_id=report.engine_id, host=report.host)
            self._engine_id = report.engine_id
        if not report.change.empty:
            self._log.info(report.summary, host=report.host, seconds=round(report.duration_seconds, 3))
        self._tell_details(report)

    def _tell_trouble(self, report: TickReport) -> None:
        if self._trouble != report.outcome:
            self._log.warning("tick failed", outcome=str(report.outcome), reason="; ".join(report.errors))
            self._trouble_since = self._trouble_since or report.began_at
        self._trouble = report.outcome

    def _tell_recovery(self, report: TickReport) -> None:
        if self._trouble and self._trouble_since is not None:
            down = (report.began_at - self._trouble_since).total_seconds()
            self._log.info("tick works again", after=self._trouble, seconds=round(max(0.0, down), 1))
        self._trouble, self._trouble_since = "", None

    def _tell_details(self, report: TickReport) -> None:
        details: dict[tuple[str, str], tuple[bool, dict[str, str]]] = {}
        for each in report.ignored:
            if each.reason is not IgnoreReason.UNLABELLED:
                fields = {"container": each.container.name, "reason": str(each.reason), "detail": each.detail}
                key = ("container ignored", f"{each.container.id} {each.reason}")
                details[key] = (each.reason in _WORTH_A_WARNING, fields)
        for broken in report.unreadable:
            fields = {"container_id": broken.container_id or "", "reason": broken.reason}
            details["container unreadable", f"{broken.container_id} {broken.reason}"] = (True, fields)
        for text in report.errors:
            details["problem", text] = (True, {"detail": text})
        for done in report.reconciled:
            if done.result not in _QUIET_RESULTS:
                details["workload reconciled", f"{done.workload_id} {done.result} {done.message}"] = _reconciled(done)
        for key in [key for key in details if key not in self._told]:
            loud, fields = details[key]
            (self._log.warning if loud else self._log.debug)(key[0], **fields)
        self._told = (self._told if report.targeted else frozenset()) | frozenset(details)


def _reconciled(done: Reconciled) -> tuple[bool, dict[str, str]]:
    return True, {"workload": done.workload_id, "result": done.result, "detail": done.message}
