"""Letting sessions in flight end before containers are stopped: for no longer than they take, where that can be seen.

Two things have to be so: no router sends anybody here any more, and nobody is connected. Where either cannot be seen
the whole time passes.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from controller.plugins.contract import ContainerSeen, EngineTools, VerbFailed

POLL_SECONDS = 0.1
SETTLE_SECONDS = 0.5
"""For how long all must have been quiet: between two looks somebody may have come and gone, or come and be counted as
being set up only."""


def let_finish(
    tools: EngineTools, faces: Sequence[ContainerSeen], seconds: float, monotonic: Callable[[], float]
) -> dict[str, str]:
    """Wait until sessions in flight have ended or had their time; returns what was seen in the end.

    :param faces: the containers that routers lead to; none: nothing says when the work is done.
    :param seconds: the most that it takes.
    :raises EngineError: the engine does not tell.
    :raises VerbFailed: the process stops.
    """
    began = monotonic()
    ends, quiet_since = began + seconds, began
    while True:
        why, now = _why_not(tools, faces), monotonic()
        if why:
            quiet_since = now
        elif now - quiet_since >= SETTLE_SECONDS:
            return {"sessions": f"nobody is connected any more, after {now - began:.1f} s"}
        if now >= ends:
            return {"sessions": f"had their {seconds:g} s; {why or 'nobody was connected at last'}"}
        if tools.pause(min(POLL_SECONDS, ends - now)):
            raise VerbFailed("the process stops; sessions in flight keep the rest of their time")


def _why_not(tools: EngineTools, faces: Sequence[ContainerSeen]) -> str:
    """Why they may not be stopped yet; empty when they may."""
    if not faces:
        return "without a port nothing says when the work is done"
    if why := tools.routed_elsewhere():
        return why
    counted = {each.name: tools.engine.open_connections(each.id) for each in faces}
    for name, count in counted.items():
        if count is None:
            return f"connections to {name} cannot be counted from here"
        if count:
            return f"{count} connections to {name}"
    return ""
