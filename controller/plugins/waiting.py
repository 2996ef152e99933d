"""How built-in sources wait for containers: how time passes, what was seen, and what a failure tells."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from controller.plugins.contract import EngineTools, VerbFailed

ENDED = ("exited", "dead", "removing", "restarting")
"""States of a container that does not run, or not for long."""

SETTLE_SECONDS = 2.0
"""How long a container must run that has neither a port nor a health check."""

_NOT_YET = "not looked at yet"
_LOG_LINES = 15


@dataclass(frozen=True, slots=True)
class Timing:
    """How time passes: a monotonic clock, and how to wait so many seconds."""

    monotonic: Callable[[], float]
    pause: Callable[[float], object]


@dataclass(slots=True)
class Look:
    """What earlier looks at one container found."""

    restarts: int | None = None
    runs_since: float | None = None
    said: str = _NOT_YET


def wrote(tools: EngineTools, container_id: str) -> str:
    """The last lines of a container, for a person.

    :raises EngineError: the engine does not tell.
    """
    lines = tools.engine.last_lines(container_id, _LOG_LINES)
    return f"its last lines: {' | '.join(lines)}" if lines else "it wrote nothing"


def failure(tools: EngineTools, looks: Mapping[str, Look], failed: Mapping[str, str], why: str) -> VerbFailed:
    """Why waiting ended without success, with what was seen of each container.

    :param failed: name → id of those that it is about.
    :raises EngineError: the engine does not tell what they wrote.
    """
    checks = {name: look.said for name, look in looks.items()}
    for name, container_id in failed.items():
        told = why if looks[name].said == _NOT_YET else f"{why}; last seen: {looks[name].said}"
        checks[name] = f"{told}; {wrote(tools, container_id)}"
    first = next(iter(failed))
    return VerbFailed(f"{first} {checks[first]}", checks)
