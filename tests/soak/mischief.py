"""What happens: each a thing that people, deployers, kernels and power cuts do to containers. Chance is passed in."""

from __future__ import annotations

import contextlib
import os
import random
import signal
from collections.abc import Callable, Mapping
from typing import Any

from docker.errors import APIError

from tests.soak.stage import Stage

Mischief = Callable[[Stage, random.Random], str]
"""Does it, and says in a few words to what."""


def _pick(stage: Stage, chance: random.Random, *states: str) -> dict[str, Any] | None:
    fitting = sorted((each for each in stage.containers() if each["State"] in states), key=lambda each: each["Names"])
    return chance.choice(fitting) if fitting else None


def _done(container: dict[str, Any]) -> str:
    return str(container["Names"][0]).removeprefix("/")


def kill_process(stage: Stage, chance: random.Random) -> str:
    """The kernel kills a container's process."""
    found = _pick(stage, chance, "running")
    if found is None:
        return ""
    pid = int(stage.client.inspect_container(found["Id"])["State"]["Pid"])
    if pid:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    return _done(found)


def stop_by_hand(stage: Stage, chance: random.Random) -> str:
    """Somebody stops a container."""
    found = _pick(stage, chance, "running")
    if found is None:
        return ""
    stage.client.stop(found["Id"], timeout=0)
    return _done(found)


def remove(stage: Stage, chance: random.Random) -> str:
    """Somebody removes a container."""
    found = _pick(stage, chance, "running", "exited")
    if found is None:
        return ""
    stage.client.remove_container(found["Id"], force=True)
    return _done(found)


def pause(stage: Stage, chance: random.Random) -> str:
    """Somebody freezes a container."""
    found = _pick(stage, chance, "running")
    if found is None:
        return ""
    stage.client.pause(found["Id"])
    return _done(found)


def unpause(stage: Stage, chance: random.Random) -> str:
    """Somebody thaws one."""
    found = _pick(stage, chance, "paused")
    if found is None:
        return ""
    stage.client.unpause(found["Id"])
    return _done(found)


def release(stage: Stage, _chance: random.Random) -> str:
    """Somebody lets everything go that is held."""
    held = stage.tallyd.ok("holds", "-o", "json").json
    for each in held:
        whole = ("--host", each["host"]) if each["scope"] == "host" else (each["workload_id"],)
        stage.tallyd("release", *whole)  # it may be over by now
    return f"{len(held)} holds"


def push(stage: Stage, _chance: random.Random) -> str:
    """A new image is pushed under the tag."""
    return f"web {stage.renew('web')}"


def edit_stack(stage: Stage, _chance: random.Random) -> str:
    """The Compose file is edited."""
    return f"stack {stage.renew('stack')}"


def edit_site(stage: Stage, _chance: random.Random) -> str:
    """A page is edited."""
    return f"site {stage.renew('site')}"


def kill_controller(stage: Stage, _chance: random.Random) -> str:
    """The controller is killed and started again."""
    stage.restart_controller()
    return "tallyd"


WEIGHTS: Mapping[Mischief, int] = {
    kill_process: 6,
    stop_by_hand: 3,
    remove: 4,
    pause: 2,
    unpause: 2,
    release: 2,
    push: 2,
    edit_stack: 2,
    edit_site: 2,
    kill_controller: 1,
}
"""How often each happens, beside the others."""


def happen(stage: Stage, chance: random.Random) -> str:
    """One of them, at random; what it was. A container that ends in the meantime is nobody's fault."""
    (chosen,) = chance.choices(list(WEIGHTS), list(WEIGHTS.values()))
    name = getattr(chosen, "__name__", "")
    try:
        return f"{name} {chosen(stage, chance)}".strip()
    except APIError as error:
        if error.status_code not in (404, 409, 304):
            raise
        return f"{name}: too late"
