"""Waiting until containers answer: by their health check where they have one, else on their port.

A container that ends is a failure at once, with its last lines; one that does not answer, when its time is over.
"""

from __future__ import annotations

from collections.abc import Mapping

from controller.plugins.contract import ContainerSeen, EngineTools
from controller.plugins.sources.image_options import ImageOptions
from controller.plugins.waiting import ENDED, SETTLE_SECONDS, Look, Timing, failure

FIRST_POLL_SECONDS = 0.02
LONGEST_POLL_SECONDS = 0.2


def ended(seen: ContainerSeen | None, look: Look) -> str:
    """Why a container has ended, or an empty text. One that the engine starts again and again has ended too. Pure."""
    if seen is None:
        return "is gone"
    if seen.state in ENDED or (look.restarts is not None and seen.restarts > look.restarts):
        why = f"exited with {seen.exit_code}"
        return f"{why}: out of memory, see `memory`" if seen.oom_killed else why
    return ""


def wait_until_ready(
    tools: EngineTools, containers: Mapping[str, str], options: ImageOptions, timing: Timing
) -> dict[str, str]:
    """Wait for containers, by name and id. Returns what was seen of each.

    :raises VerbFailed: one ended, or did not answer in time; with its last lines.
    """
    ends = timing.monotonic() + options.start_timeout_seconds
    looks = {name: Look() for name in containers}
    pending, poll_seconds = dict(containers), FIRST_POLL_SECONDS
    while pending:
        for name, container_id in list(pending.items()):
            seen = tools.engine.inspect_container(container_id)
            if why := ended(seen, looks[name]):
                raise failure(tools, looks, {name: container_id}, why)
            if seen is not None and _ready(tools, seen, looks[name], options, timing.monotonic()):
                del pending[name]
        if pending and timing.monotonic() >= ends:
            limit = f"did not get ready within {options.start_timeout_seconds} s"
            raise failure(tools, looks, pending, limit)
        if pending:
            timing.pause(poll_seconds)
            poll_seconds = min(1.5 * poll_seconds, LONGEST_POLL_SECONDS)
    return {name: look.said for name, look in looks.items()}


def _ready(tools: EngineTools, seen: ContainerSeen, look: Look, options: ImageOptions, now: float) -> bool:
    look.restarts = seen.restarts if look.restarts is None else look.restarts
    if seen.state != "running":
        look.said = f"is {seen.state}"
        return False
    look.runs_since = now if look.runs_since is None else look.runs_since
    if seen.health:
        look.said = f"its health check says {seen.health}"
        return seen.health == "healthy"
    if options.port is None:
        look.said = "runs"
        return now - look.runs_since >= SETTLE_SECONDS
    for address in filter(None, seen.addresses.values()):
        if tools.answers(address, options.port):
            look.said = f"answers at {address} port {options.port}"
            return True
    look.said = f"does not answer on port {options.port}"
    return False
