"""Deploys that a source asks for while it reconciles."""

from __future__ import annotations

import threading

from controller.errors import VerbFailed
from controller.rollout.asked import MOST_AT_ONCE, AskedDeploys
from controller.rollout.rollouts import Deployed, DeployRequest
from controller.rollout.walker import Walked
from tests.builders import workload
from tests.harness.waiting import wait_until


class Deploying:
    """Deploys that end when they are told to."""

    def __init__(self) -> None:
        self.asked: list[DeployRequest] = []
        self.go_on = threading.Event()

    def __call__(self, request: DeployRequest) -> Deployed:
        """Deploy."""
        self.asked.append(request)
        self.go_on.wait(20)
        if request.workload_id == "fails":
            raise VerbFailed("the engine is gone")
        return Deployed(request.workload_id, "r", True, Walked(True, ()))


def test_one_deploy_of_a_workload_at_a_time() -> None:
    """S3: what was asked for and goes on is not begun again; what ended may be, also where it failed."""
    deploying = Deploying()
    asked = AskedDeploys(deploying)
    for _ in range(3):
        assert asked.ask(workload("fails"), "its files changed")
    wait_until(lambda: len(deploying.asked) == 1, 20, "it began")
    deploying.go_on.set()
    wait_until(lambda: asked.ask(workload("fails"), "again") and len(deploying.asked) > 1, 20, "it begins anew")
    assert deploying.asked[0].reason == "its files changed"


def test_no_more_than_a_few_at_once() -> None:
    """R15: the others ask again at the next pass."""
    deploying = Deploying()
    asked = AskedDeploys(deploying)
    answers = [asked.ask(workload(f"w{number}"), "") for number in range(MOST_AT_ONCE + 1)]
    assert answers == [True] * MOST_AT_ONCE + [False]
    deploying.go_on.set()
