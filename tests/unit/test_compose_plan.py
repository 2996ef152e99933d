"""What there is to do for a project to be as it was deployed."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from controller.errors import InvalidSplit
from controller.plugins.contract import ContainerSeen, SplitEntry, TrafficSplit
from controller.plugins.sources.compose_plan import Plan, Wanted, check_split, plan_of, wanted_services

SPEC = "tallyd.spec"
WANTED = Wanted("r1", {"web": "w", "job": "j"}, {"web": "web:1", "job": "job:1"}, frozenset({"job"}), SPEC)


def _seen(service: str, state: str = "running", **more: Any) -> ContainerSeen:
    labels = {"com.docker.compose.service": service, SPEC: {"web": "w", "job": "j"}.get(service, "x")}
    labels |= more.pop("labels", {})
    return ContainerSeen(f"id-{service}", f"c-{service}", f"{service}:1", state=state, labels=labels, **more)


DONE = _seen("job", "exited")


def _plan(*containers: ContainerSeen) -> Plan:
    return plan_of(WANTED, containers, ())


@pytest.mark.parametrize(
    ("web", "why"),
    [
        (_seen("web"), []),
        (_seen("web", "exited"), ["c-web is stopped"]),
        (_seen("web", "created"), ["c-web is created"]),
        (_seen("web", "dead"), ["c-web is dead"]),
        (_seen("web", labels={SPEC: "old"}), ["c-web is not as declared"]),
        (_seen("other"), ["service web has no container"]),
        (_seen("web", labels={"com.docker.compose.oneoff": "True"}), ["service web has no container"]),
    ],
)
def test_what_is_mended(web: ContainerSeen, why: list[str]) -> None:
    """S3: what is gone, stopped, or not as it was deployed."""
    plan = _plan(web, DONE)
    assert (plan.services, plan.why) == (["web"] if why else [], why)


def test_a_job_that_failed_is_run_again_and_one_that_ended_well_is_not() -> None:
    """S3, S5."""
    assert _plan(_seen("web"), DONE).services == []
    assert _plan(_seen("web"), _seen("job", "exited", exit_code=1)).services == ["job"]


def test_what_may_not_be_healed_is_left_out() -> None:
    """S5: Compose brings up whole services; of one that has a held container, the others are started singly."""
    second = replace(_seen("web", "exited"), id="id-2", name="c-2")
    plan = _plan(_seen("web", "exited"), second, _seen("job", "exited", exit_code=1))
    assert [each.slot for each in plan.broken] == ["c-web", "c-2", "c-job"]
    spared = plan.without({"c-web"})
    assert (spared.services, spared.start, spared.why) == (["job"], ["id-2"], ["c-2 is stopped", "c-job is stopped"])
    assert plan.without(()) == plan


@pytest.mark.parametrize("state", ["paused", "restarting"])
def test_what_is_left_alone_is_told(state: str) -> None:
    """S5: a person's, or the engine's."""
    plan = _plan(_seen("web", state), DONE)
    assert (plan.services, plan.told) == ([], [f"c-web is {state}"])


def test_orphans_are_only_those_that_tallyd_made() -> None:
    """S3: a container of a service that is not declared, with our digest; a stranger's is none."""
    stranger = ContainerSeen("id-x", "c-x", labels={"com.docker.compose.service": "x"}, state="running")
    assert [each.name for each in _plan(_seen("web"), DONE, _seen("old"), stranger).orphans] == ["c-old"]


def test_a_container_of_another_image_is_taken_away_first() -> None:
    """S3: its labels were copied, so Compose would take it for right."""
    forged = ContainerSeen("id-web", "c-web", "evil:1", state="running", labels=_seen("web").labels)
    plan = _plan(forged, DONE)
    assert (plan.services, [each.name for each in plan.strange]) == (["web"], ["c-web"])


def test_a_service_that_is_scaled_to_nothing_is_not_missed() -> None:
    """S3: in either form of Compose's."""
    services = {"a": {"scale": 0}, "b": {"deploy": {"replicas": 0}}, "c": {"scale": 2}, "d": {}}
    assert set(wanted_services(dict.fromkeys(services, "x"), services)) == {"c", "d"}


def test_a_split_over_two_is_refused() -> None:
    """D3: entries without weight do no harm."""
    check_split(TrafficSplit("shop", [SplitEntry("a", 10_000), SplitEntry("b", 0)]))
    with pytest.raises(InvalidSplit, match="'a', 'b' share it"):
        check_split(TrafficSplit("shop", [SplitEntry("a", 1), SplitEntry("b", 9_999)]))
