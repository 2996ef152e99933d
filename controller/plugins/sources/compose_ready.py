"""Waiting until a project is up: services are healthy, answer, or go on running; jobs have ended well."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from controller.plugins.contract import ContainerSeen, EngineTools
from controller.plugins.sources.compose_options import Web
from controller.plugins.sources.compose_plan import has_done, service_of
from controller.plugins.waiting import ENDED, SETTLE_SECONDS, Look, Timing, failure

POLL_SECONDS = 0.1


@dataclass(frozen=True, slots=True)
class Patience:
    """What is waited for, and until when by the monotonic clock."""

    jobs: frozenset[str]
    web: Web | None
    ends: float
    seconds: float


def wait_until_up(
    tools: EngineTools, containers: Sequence[ContainerSeen], patience: Patience, timing: Timing
) -> dict[str, str]:
    """Wait for containers; returns what was seen of each.

    :raises VerbFailed: one ended, or did not get ready in time; with its last lines.
    """
    looks = {each.name: Look() for each in containers}
    pending = {each.name: each.id for each in containers}
    while pending:
        for name, container_id in list(pending.items()):
            seen = tools.engine.inspect_container(container_id)
            if why := ended(seen, looks[name], patience.jobs):
                raise failure(tools, looks, {name: container_id}, why)
            if seen is not None and _ready(tools, seen, looks[name], patience, timing.monotonic()):
                del pending[name]
        if pending and timing.monotonic() >= patience.ends:
            raise failure(tools, looks, pending, f"did not get ready within {patience.seconds:g} s")
        if pending:
            timing.pause(POLL_SECONDS)
    return {name: look.said for name, look in looks.items()}


def ended(seen: ContainerSeen | None, look: Look, jobs: frozenset[str]) -> str:
    """Why a container has ended that was not to, or an empty text. Pure."""
    if seen is None:
        return "is gone"
    again = look.restarts is not None and seen.restarts > look.restarts
    if seen.state not in ENDED and not again:
        return ""
    if has_done(seen, jobs):
        return ""
    why = f"exited with {seen.exit_code}"
    if seen.oom_killed:
        return f"{why}: out of memory"
    if seen.exit_code == 0 and seen.state == "exited" and service_of(seen) not in jobs:
        return f"{why}; if it is to run once and end, name its service in `jobs`"
    return why


def _ready(tools: EngineTools, seen: ContainerSeen, look: Look, patience: Patience, now: float) -> bool:
    look.restarts = seen.restarts if look.restarts is None else look.restarts
    if has_done(seen, patience.jobs):
        look.said = "has ended with 0"
        return True
    if service_of(seen) in patience.jobs or seen.state != "running":
        look.said = f"is {seen.state}"
        return False
    look.runs_since = now if look.runs_since is None else look.runs_since
    if seen.health:
        look.said = f"its health check says {seen.health}"
        return seen.health == "healthy"
    if patience.web is None or service_of(seen) != patience.web.service:
        look.said = "runs"
        return now - look.runs_since >= SETTLE_SECONDS
    for address in filter(None, seen.addresses.values()):
        if tools.answers(address, patience.web.port):
            look.said = f"answers at {address} port {patience.web.port}"
            return True
    look.said = f"does not answer on port {patience.web.port}"
    return False
