"""The plugin pass: every workload gets its `reconcile`, and none can hurt another or the next tick (R15).

A call runs on a thread of its own, because Python can stop no thread: one that outlives its deadline is left
behind, gives its place in the pool free, and keeps its workload from being called again until it ends.
"""

from __future__ import annotations

import copy
import random
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, wait
from dataclasses import dataclass, replace

from controller.errors import PluginError
from controller.plugins.contract import Outcome, ReconcileRequest, Result, Retry, Terminal, parse_faces
from controller.plugins.registry import Registry
from store.records import Assignment, Workload

FIRST_BACKOFF_SECONDS = 5.0
LAST_BACKOFF_SECONDS = 600.0
_POLL_SECONDS = 0.05


@dataclass(frozen=True, slots=True)
class ConvergeLimits:
    """How many calls run at once, how long each may take, how long a whole pass may hold up the tick (seconds)."""

    workers: int = 8
    deadline_seconds: float = 20.0
    pass_seconds: float = 25.0


@dataclass(frozen=True, slots=True)
class Reconciled:
    """What became of one workload in one pass. ``called`` is false where its plugin was not asked."""

    workload_id: str
    source_kind: str
    result: str
    message: str = ""
    called: bool = True


@dataclass(frozen=True, slots=True)
class _Standing:
    """What earlier calls of one workload left behind. Times are of the monotonic clock."""

    failures: int = 0
    not_before: float = 0.0
    terminal_generation: int | None = None


@dataclass(frozen=True, slots=True)
class _Call:
    request: ReconcileRequest
    began: float
    future: Future[Outcome]


def requests_for(workloads: Iterable[Workload], rows: Iterable[Assignment], host: str) -> list[ReconcileRequest]:
    """One request for each workload with a source and a trigger that this host is in charge of."""
    asked = [each for each in workloads if each.source_kind and each.trigger_kind and each.host in (None, host)]
    by_workload: dict[str, list[Assignment]] = {each.id: [] for each in asked}
    for row in rows if asked else ():
        if row.workload_id in by_workload:
            by_workload[row.workload_id].append(row)
    return [
        ReconcileRequest(each, tuple(by_workload[each.id]), parse_faces(each.public_faces)[0], host) for each in asked
    ]


def malformed_faces(workloads: Iterable[Workload]) -> list[str]:
    """A sentence for each workload whose public faces cannot be read, and so count as none."""
    problems = ((each.id, parse_faces(each.public_faces)[1]) for each in workloads)
    return [f"workload {workload_id!r}: {problem}" for workload_id, problem in problems if problem]


class Converger:
    """Keeps, between passes, which calls are still in flight and who is in back-off. One pass at a time."""

    def __init__(
        self,
        registry: Registry,
        limits: ConvergeLimits,
        *,
        chance: random.Random,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._registry = registry
        self._limits = limits
        self._chance = chance
        self._monotonic = monotonic
        self._standing: dict[str, _Standing] = {}
        self._running: dict[str, _Call] = {}
        self._overdue: dict[str, _Call] = {}
        self._stopped = threading.Event()

    def under(self, limits: ConvergeLimits) -> Converger:
        """The same calls in flight and the same back-offs, under other limits."""
        twin = copy.copy(self)
        twin._limits = limits
        return twin

    def run_pass(
        self,
        requests: Sequence[ReconcileRequest],
        *,
        of_all: bool = True,
        interrupted: Callable[[], bool] = lambda: False,
    ) -> list[Reconciled]:
        """Call every workload that is due; returns after the last answer, or when the pass has had its time.

        :param of_all: whether ``requests`` are all there are, so that what is known of others can be forgotten.
        :param interrupted: ends the waiting early; calls in flight are taken up by the next pass.
        """
        ends = self._monotonic() + self._limits.pass_seconds
        done = self._harvest()
        due: deque[ReconcileRequest] = deque()
        for request in requests:
            if request.workload.id in self._running:
                continue  # either its answer comes during this pass, or it is told below
            standing_in_the_way = self._why_not(request)
            if standing_in_the_way is None:
                due.append(request)
            else:
                done.append(standing_in_the_way)
        self._start(due)
        while (due or self._running) and self._monotonic() < ends and not self._stopped.is_set():
            if interrupted():
                break
            wait([call.future for call in self._running.values()], _POLL_SECONDS, FIRST_COMPLETED)
            done += self._harvest()
            self._start(due)
        done += [_uncalled(request, "deferred") for request in due]
        done += [_uncalled(call.request, "in_flight") for call in self._running.values()]
        if of_all:
            self._forget_all_but({request.workload.id for request in requests})
        return done

    def stop(self) -> None:
        """End the pass that is going on; calls in flight are left behind."""
        self._stopped.set()

    def _why_not(self, request: ReconcileRequest) -> Reconciled | None:
        workload = request.workload
        if workload.id in self._overdue:
            return _uncalled(request, "in_flight")
        standing = self._standing.get(workload.id, _Standing())
        if standing.terminal_generation == workload.generation:
            return _uncalled(request, "terminal")
        if standing.not_before > self._monotonic():
            return _uncalled(request, "backoff")
        return None

    def _start(self, due: deque[ReconcileRequest]) -> None:
        while due and len(self._running) < self._limits.workers:
            request = due.popleft()
            future: Future[Outcome] = Future()
            self._running[request.workload.id] = _Call(request, self._monotonic(), future)
            name = f"reconcile-{request.workload.id}"
            try:
                threading.Thread(target=self._answer, args=(request, future), name=name, daemon=True).start()
            except RuntimeError as error:  # the system gives no more threads
                future.set_exception(error)

    def _answer(self, request: ReconcileRequest, future: Future[Outcome]) -> None:
        try:
            outcome = self._registry.source(request.workload.source_kind).reconcile(request)
            if not isinstance(outcome, Outcome):
                raise TypeError(f"reconcile returned {type(outcome).__name__} instead of an Outcome")
            Result(outcome.result)  # any other word would become a label of a metric
        except BaseException as error:  # noqa: BLE001  # a plugin ends here, also by sys.exit; it counts as failed
            future.set_exception(error)
        else:
            future.set_result(outcome)

    def _harvest(self) -> list[Reconciled]:
        ended = [call for call in self._running.values() if call.future.done()]
        done = [self._judge(call) for call in ended]
        for call in ended:
            del self._running[call.request.workload.id]
        for call in [each for each in self._overdue.values() if each.future.done()]:
            del self._overdue[call.request.workload.id]
        now = self._monotonic()
        for call in [each for each in self._running.values() if now - each.began > self._limits.deadline_seconds]:
            self._overdue[call.request.workload.id] = self._running.pop(call.request.workload.id)
            late = f"no answer within {self._limits.deadline_seconds:g} s"
            done.append(self._failed(call, "timeout", late))
        return done

    def _judge(self, call: _Call) -> Reconciled:
        try:
            return self._judge_answer(call)
        except Exception as error:  # noqa: BLE001  # what a plugin raises may be unfit even to be looked at
            return self._failed(call, "failed", f"{type(error).__name__} while its answer was read")

    def _judge_answer(self, call: _Call) -> Reconciled:
        workload = call.request.workload
        error = call.future.exception()
        if error is None:
            self._standing.pop(workload.id, None)
            outcome = call.future.result()
            return Reconciled(workload.id, workload.source_kind, str(outcome.result), str(outcome.message))
        if isinstance(error, Retry):
            after_seconds = Retry(error.after_seconds, "").after_seconds
            self._standing[workload.id] = _Standing(not_before=self._monotonic() + after_seconds)
            return Reconciled(workload.id, workload.source_kind, "retry", str(error))
        if isinstance(error, Terminal):
            self._standing[workload.id] = _Standing(terminal_generation=workload.generation)
            return Reconciled(workload.id, workload.source_kind, "terminal", str(error))
        if isinstance(error, PluginError):
            return self._failed(call, "unusable", str(error))
        return self._failed(call, "failed", f"{type(error).__name__}: {error}")

    def _failed(self, call: _Call, result: str, message: str) -> Reconciled:
        workload = call.request.workload
        before = self._standing.get(workload.id, _Standing())
        backoff = min(LAST_BACKOFF_SECONDS, FIRST_BACKOFF_SECONDS * 2 ** min(before.failures, 20))
        not_before = self._monotonic() + backoff * self._chance.uniform(0.5, 1.0)
        self._standing[workload.id] = replace(before, failures=before.failures + 1, not_before=not_before)
        return Reconciled(workload.id, workload.source_kind, result, message)

    def _forget_all_but(self, workload_ids: set[str]) -> None:
        for workload_id in self._standing.keys() - workload_ids:
            del self._standing[workload_id]


def _uncalled(request: ReconcileRequest, result: str) -> Reconciled:
    return Reconciled(request.workload.id, request.workload.source_kind, result, called=False)


def count_results(reconciled: Iterable[Reconciled]) -> Mapping[str, int]:
    """How many workloads had each result."""
    counts: dict[str, int] = {}
    for each in reconciled:
        counts[each.result] = counts.get(each.result, 0) + 1
    return counts
