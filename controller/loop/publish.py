"""Reports → metrics and log lines. One line a change; nothing when nothing changed (O6)."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any, NamedTuple, Protocol

from controller.loop.dispatch import IgnoreReason
from controller.loop.report import TickReport
from controller.metrics import IndexFigures, Metrics

_WORTH_A_WARNING = frozenset({IgnoreReason.KIND_MISMATCH, IgnoreReason.SLOT_TAKEN})
_RECONCILED = "workload reconciled"


class _Told(NamedTuple):
    """A line of the log: that ``what`` is so of ``subject``."""

    event: str
    subject: str
    what: str


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
        self._told: frozenset[_Told] = frozenset()
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
        details: dict[_Told, tuple[bool, dict[str, str]]] = {}
        for each in report.ignored:
            if each.reason is not IgnoreReason.UNLABELLED:
                fields = {"container": each.container.name, "reason": str(each.reason), "detail": each.detail}
                key = _Told("container ignored", each.container.id, str(each.reason))
                details[key] = (each.reason in _WORTH_A_WARNING, fields)
        for broken in report.unreadable:
            fields = {"container_id": broken.container_id or "", "reason": broken.reason}
            details[_Told("container unreadable", broken.container_id or "", broken.reason)] = (True, fields)
        for text in report.errors:
            details[_Told("problem", "", text)] = (True, {"detail": text})
        for done in report.reconciled:
            if done.called and done.result != "in_sync":
                key = _Told(_RECONCILED, done.workload_id, f"{done.result} {done.message}")
                details[key] = (True, {"workload": done.workload_id, "result": done.result, "detail": done.message})
        for key in [key for key in details if key not in self._told]:
            loud, fields = details[key]
            (self._log.warning if loud else self._log.debug)(key.event, **fields)
        answered = {each.workload_id: each.called for each in report.reconciled}
        kept = {each for each in self._told if _holds(each, answered, targeted=report.targeted)}
        self._told = frozenset(details) | kept


def _holds(told: _Told, answered: Mapping[str, bool], *, targeted: bool) -> bool:
    """Whether what was told before this pass is still so: the pass did not look, or a plugin was not asked."""
    if told.event == _RECONCILED and told.subject in answered:
        return not answered[told.subject]
    return targeted
