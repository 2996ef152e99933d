"""`controller.rollout.jobs`: deploys that a controller was asked for, a thread a workload, in order, coalesced."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from controller.errors import Conflict, DeployInterrupted, NotFound, VerbFailed
from controller.rollout.chain import Course, Stage, Step
from controller.rollout.jobs import KEPT, DeployJob, DeployJobs, JobState
from controller.rollout.rollouts import Deployed, DeployRequest
from controller.rollout.walker import Walked
from tests.builders import NOW, workload
from tests.harness import wait_until
from tests.unit.plugins import Unspeakable
from tests.unit.rollouts import revision

SECONDS = 30


class Deploying:
    """Where deploys go: they wait until they are let go on, and end as they are told to."""

    def __init__(self) -> None:
        self.begun: list[DeployRequest] = []
        self.go_on = threading.Event()
        self.end: Callable[[], Walked] = lambda: Walked(True, ())

    def check(self, request: DeployRequest) -> None:
        """See `Rollouts`."""
        if request.workload_id == "lost":
            raise NotFound("workload 'lost' is not in the store")

    def deploy(self, request: DeployRequest, told: Callable[[Step], None], **hooks: Any) -> Deployed:
        """See `Rollouts`."""
        self.begun.append(request)
        hooks["chose"](revision(2), True)
        told(Stage(revision(2)))
        assert self.go_on.wait(SECONDS)
        return Deployed(request.workload_id, "shop-2", True, self.end())


@pytest.fixture
def deploying() -> Iterator[Deploying]:
    """Deploys that are all let go on in the end."""
    made = Deploying()
    yield made
    made.go_on.set()


@pytest.fixture
def jobs(deploying: Deploying) -> Iterator[DeployJobs]:
    """Nobody has asked for anything yet."""
    made = DeployJobs(deploying, lambda: NOW, threading.Event())  # type: ignore[arg-type]  # a part of Rollouts
    yield made
    deploying.go_on.set()
    made.stop()


def ended(jobs: DeployJobs, job: DeployJob) -> DeployJob:
    """The job, once it is over."""

    def over() -> DeployJob | None:
        found = jobs.get(job.request.workload_id, job.id)
        return found if found.ended_at is not None else None

    return wait_until(over, SECONDS, "the deploy ends")


def test_a_deploy_shows_how_far_it_is(jobs: DeployJobs, deploying: Deploying) -> None:
    """T6, L2: queued, running with its steps so far, and how it ended."""
    job = jobs.submit(DeployRequest("shop"))
    assert job.state is JobState.QUEUED
    shown = wait_until(lambda: jobs.get("shop", job.id) if jobs.get("shop", job.id).steps else None, SECONDS)
    assert (shown.state, shown.revision_id, shown.made, shown.steps) == ("running", "shop-2", True, ["stage shop-2"])
    deploying.end = lambda: Walked(False, (), "warm failed", {"port": "closed"})
    deploying.go_on.set()
    last = ended(jobs, job)
    assert (last.state, last.detail, last.checks) == (JobState.FAILED, "warm failed", {"port": "closed"})


def test_those_that_wait_are_one(jobs: DeployJobs, deploying: Deploying) -> None:
    """L2: the same is asked for once; what is asked for later takes the place of what did not begin."""
    first = jobs.submit(DeployRequest("shop"))
    wait_until(lambda: deploying.begun, SECONDS, "the first one begins")
    second = jobs.submit(DeployRequest("shop", reason="a"))
    assert jobs.submit(DeployRequest("shop", reason="b")).id == second.id != first.id
    third = jobs.submit(DeployRequest("shop", revision_id="shop-1"))
    assert jobs.get("shop", second.id).state is JobState.SUPERSEDED
    assert third.id in jobs.get("shop", second.id).detail
    deploying.go_on.set()
    assert ended(jobs, first).state is ended(jobs, third).state is JobState.ARRIVED
    assert [each.revision_id for each in deploying.begun] == [None, "shop-1"]


def test_workloads_do_not_wait_for_each_other(jobs: DeployJobs, deploying: Deploying) -> None:
    """L2: a thread each."""
    for each in ("shop", "blog", "mail"):
        jobs.submit(DeployRequest(each))
    wait_until(lambda: len(deploying.begun) == 3, SECONDS, "all three are under way")


def test_a_key_is_one_deploy(jobs: DeployJobs, deploying: Deploying) -> None:
    """T1, L2: asked for again, also when it is over; for another deploy it is refused."""
    deploying.go_on.set()
    first = jobs.submit(DeployRequest("shop"), "k")
    ended(jobs, first)
    assert jobs.submit(DeployRequest("shop"), "k").id == first.id
    with pytest.raises(Conflict, match="'k' was used for another deploy"):
        jobs.submit(DeployRequest("shop", course=Course(keep=3)), "k")
    assert jobs.submit(DeployRequest("blog"), "k").id != first.id


@pytest.mark.parametrize(
    ("error", "state", "detail"),
    [
        (VerbFailed("no image"), JobState.FAILED, "no image"),
        (DeployInterrupted("the process stops"), JobState.INTERRUPTED, "the process stops"),
        (ZeroDivisionError("a defect"), JobState.FAILED, "ZeroDivisionError: a defect"),
        (Unspeakable(), JobState.FAILED, "Unspeakable, which cannot be printed"),
    ],
)
def test_whatever_it_raises_is_told(
    jobs: DeployJobs, deploying: Deploying, error: Exception, state: JobState, detail: str
) -> None:
    """L2, R15: and the next one is done."""

    def fail() -> Walked:
        raise error

    deploying.end = fail
    deploying.go_on.set()
    told = ended(jobs, jobs.submit(DeployRequest("shop")))
    assert (told.state, told.detail) == (state, detail)
    deploying.end = lambda: Walked(True, ())
    assert ended(jobs, jobs.submit(DeployRequest("shop"))).state is JobState.ARRIVED


def test_stopping_takes_no_more(jobs: DeployJobs, deploying: Deploying) -> None:
    """R3: one that did not begin is interrupted; none is taken; one that hangs is left behind."""
    jobs.submit(DeployRequest("shop"))
    wait_until(lambda: deploying.begun, SECONDS, "the first one begins")
    waits = jobs.submit(DeployRequest("shop", revision_id="shop-1"))
    jobs.stop()
    with pytest.raises(DeployInterrupted):
        jobs.submit(DeployRequest("shop"))
    deploying.go_on.set()
    assert ended(jobs, waits).state is JobState.INTERRUPTED


def test_only_so_many_are_remembered(jobs: DeployJobs, deploying: Deploying) -> None:
    """T6: the latest; what was never there, or is forgotten, is not found."""
    deploying.go_on.set()
    first = ended(jobs, jobs.submit(DeployRequest("shop")))
    for _ in range(KEPT):
        ended(jobs, jobs.submit(DeployRequest("shop")))
    jobs.submit(DeployRequest("shop"))
    for wanted in (("shop", first.id), ("blog", first.id)):
        with pytest.raises(NotFound, match="that this controller remembers"):
            jobs.get(*wanted)
    with pytest.raises(NotFound):
        jobs.submit(DeployRequest("lost"))


def test_a_source_asks_once_and_disturbs_nobody(jobs: DeployJobs, deploying: Deploying) -> None:
    """S3, L2: nothing is asked for while a deploy goes on or waits, whoever wanted it; nor when the process stops."""
    assert jobs.ask(workload("shop"), "its files changed")
    wait_until(lambda: deploying.begun, SECONDS, "it begins")
    waits = jobs.submit(DeployRequest("shop", revision_id="shop-1"))
    assert jobs.ask(workload("shop"), "its files changed")
    assert [each.state for each in jobs.of("shop")] == [JobState.RUNNING, JobState.QUEUED]
    assert jobs.get("shop", waits.id).request.revision_id == "shop-1"
    assert deploying.begun[0].reason == "its files changed"
    jobs.halt()
    assert not jobs.ask(workload("blog"), "its files changed")
