"""Deploys that a running controller was asked for: a thread a workload, in order, waiting ones made one.

Kept in memory: after a restart nobody remembers them, but what they did is stored, and deploying again goes on (L2).
"""

from __future__ import annotations

import secrets
import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from enum import StrEnum

import structlog

from controller.errors import Conflict, DeployInterrupted, NotFound, TallydError
from controller.rollout.chain import Step
from controller.rollout.deployer import Revision, TrafficSplit
from controller.rollout.rollouts import DeployRequest, Rollouts, told_step
from controller.wording import words_of
from store.records import Workload

TURN_SECONDS = 600.0
"""How long a deploy waits for one of another process."""
KEPT = 50
"""How many ended deploys of a workload are remembered."""
_STOP_SECONDS = 0.5

log = structlog.get_logger(__name__)


class JobState(StrEnum):
    """How far a deploy is. All but the first two are ends."""

    QUEUED = "queued"
    RUNNING = "running"
    ARRIVED = "arrived"
    FAILED = "failed"
    SUPERSEDED = "superseded"
    INTERRUPTED = "interrupted"


_OPEN = (JobState.QUEUED, JobState.RUNNING)


@dataclass(frozen=True, slots=True)
class DeployJob:
    """One deploy that was asked for. ``revision_id`` is empty until it is chosen; ``steps`` were begun."""

    id: str
    request: DeployRequest
    created_at: datetime
    idempotency_key: str = ""
    state: JobState = JobState.QUEUED
    revision_id: str = ""
    made: bool = False
    steps: Sequence[str] = ()
    detail: str = ""
    checks: Mapping[str, str] = field(default_factory=dict)
    started_at: datetime | None = None
    ended_at: datetime | None = None


class DeployJobs:
    """Safe from several threads."""

    def __init__(self, rollouts: Rollouts, now: Callable[[], datetime], halt: threading.Event) -> None:
        """:param halt: that of ``rollouts``; set by :meth:`halt`."""
        self.rollouts = rollouts
        self._now = now
        self._halt = halt
        self._lock = threading.Lock()
        self._jobs: dict[str, dict[str, DeployJob]] = {}
        self._threads: dict[str, threading.Thread] = {}

    def submit(self, request: DeployRequest, idempotency_key: str = "") -> DeployJob:
        """Ask for a deploy; returns at once. One that waits already and asks for the same is returned instead.

        One that waits and asks for something else is superseded: it would be undone by this one.

        :param idempotency_key: who comes with the key of an earlier one that is remembered gets that one.
        :raises Conflict: the key was used for another deploy.
        :raises DeployInterrupted: this process stops.
        :raises TallydError: as :meth:`Rollouts.check`.
        """
        self.rollouts.check(request)
        with self._lock:
            if self._halt.is_set():
                raise DeployInterrupted("the controller stops; ask again when it is back")
            jobs = self._jobs.setdefault(request.workload_id, {})
            known = _known(jobs.values(), request, idempotency_key)
            if known is not None:
                return known
            made = DeployJob(secrets.token_hex(8), request, self._now(), idempotency_key)
            for each in [each for each in jobs.values() if each.state is JobState.QUEUED]:
                told = f"deploy {made.id} was asked for before this one began"
                jobs[each.id] = replace(each, state=JobState.SUPERSEDED, detail=told, ended_at=self._now())
            jobs[made.id] = made
            _forget(jobs)
            if request.workload_id not in self._threads:
                self._start(request.workload_id)
        return made

    def roll_back(self, request: DeployRequest) -> TrafficSplit | DeployJob:
        """Go back by one step: at once where the split before is up, else by a deploy, which is returned.

        :raises DeployInterrupted: this process stops.
        :raises TallydError: as :meth:`Rollouts.check` and :meth:`Rollouts.step_back`.
        """
        back = self.rollouts.step_back(request)
        return back if isinstance(back, TrafficSplit) else self.submit(back)

    def ask(self, workload: Workload, reason: str) -> bool:
        """Have a declaration deployed that a source asks for; nothing is done where a deploy of it goes on or waits.

        :returns: false where nobody does that, because the process stops. Who asks will ask again.
        """
        if any(each.state in _OPEN for each in self.of(workload.id)):
            return True
        try:
            self.submit(DeployRequest(workload.id, actor=f"source:{workload.source_kind}", reason=reason))
        except DeployInterrupted:
            return False
        return True

    def of(self, workload_id: str) -> list[DeployJob]:
        """The deploys of a workload that are remembered, the oldest first."""
        with self._lock:
            return list(self._jobs.get(workload_id, {}).values())

    def get(self, workload_id: str, job_id: str) -> DeployJob:
        """One of them.

        :raises NotFound: it is not remembered.
        """
        with self._lock:
            found = self._jobs.get(workload_id, {}).get(job_id)
        if found is None:
            raise NotFound(f"workload {workload_id!r} has no deploy {job_id!r} that this controller remembers")
        return found

    def halt(self) -> None:
        """Take no more, and end those under way where they are (R3). The engine's calls are for others to cancel."""
        self._halt.set()

    def stop(self) -> None:
        """Wait for them, not for long; one that does not end is left behind."""
        self._halt.set()
        with self._lock:
            threads = list(self._threads.values())
        for each in threads:
            each.join(_STOP_SECONDS / len(threads))

    def _start(self, workload_id: str) -> None:
        name = f"deploy-{workload_id}"
        self._threads[workload_id] = threading.Thread(target=self._run, args=(workload_id,), name=name, daemon=True)
        self._threads[workload_id].start()

    def _run(self, workload_id: str) -> None:
        while (job := self._next(workload_id)) is not None:
            try:
                self._deploy(job)
            except DeployInterrupted as error:
                self._change(job, state=JobState.INTERRUPTED, detail=str(error), ended_at=self._now())
            except TallydError as error:
                self._change(job, state=JobState.FAILED, detail=str(error), ended_at=self._now())
            except Exception as error:  # a thread ends here; a defect leaves its traceback
                log.error("a deploy failed by a defect", workload=workload_id, exc_info=error)
                detail = words_of(error)
                self._change(job, state=JobState.FAILED, detail=detail, ended_at=self._now())

    def _next(self, workload_id: str) -> DeployJob | None:
        """The one to be done now; with none the thread is forgotten, under the same lock that one is asked for."""
        with self._lock:
            jobs = self._jobs[workload_id]
            queued = [each for each in jobs.values() if each.state is JobState.QUEUED]
            if not queued or self._halt.is_set():
                for each in queued:
                    told = "the controller stopped before it began; deploy again"
                    jobs[each.id] = replace(each, state=JobState.INTERRUPTED, detail=told, ended_at=self._now())
                del self._threads[workload_id]
                return None
            job = replace(queued[0], state=JobState.RUNNING, started_at=self._now())
            jobs[job.id] = job
            return job

    def _deploy(self, job: DeployJob) -> None:
        def told(step: Step) -> None:
            self._change(job, steps=[*self.get(job.request.workload_id, job.id).steps, told_step(step)])

        def chose(revision: Revision, made: bool) -> None:
            self._change(job, revision_id=revision.id, made=made)

        walked = self.rollouts.deploy(job.request, told, chose=chose, wait_seconds=TURN_SECONDS).walked
        state = JobState.ARRIVED if walked.arrived else JobState.FAILED
        self._change(job, state=state, detail=walked.detail, checks=dict(walked.checks), ended_at=self._now())

    def _change(self, job: DeployJob, **values: object) -> None:
        with self._lock:
            jobs = self._jobs[job.request.workload_id]
            jobs[job.id] = replace(jobs[job.id], **values)  # type: ignore[arg-type]  # names are those of the record


def _known(jobs: Iterable[DeployJob], request: DeployRequest, key: str) -> DeployJob | None:
    """The deploy that this one is: by its key, or because one that waits asks for the same."""
    for each in jobs:
        same = _what(each.request) == _what(request)
        if key and each.idempotency_key == key:
            if not same:
                raise Conflict(f"idempotency key {key!r} was used for another deploy; give this one another")
            return each
        if not key and same and each.state is JobState.QUEUED:
            return each
    return None


def _what(request: DeployRequest) -> tuple[object, ...]:
    """What is asked for, apart from who asks and why."""
    return request.revision_id, request.course, request.gates


def _forget(jobs: dict[str, DeployJob]) -> None:
    ended = [each.id for each in jobs.values() if each.state not in _OPEN]
    for job_id in ended[: max(0, len(ended) - KEPT)]:
        del jobs[job_id]
