"""What has to be true when everything is quiet again, and what must never have been. Reads; changes nothing."""

from __future__ import annotations

import urllib.error
import urllib.request
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from datetime import timedelta
from typing import Any

from store.history_records import Event
from tests.soak.stage import ATTEMPTS, REPLICAS, WINDOW_SECONDS, Stage, owner_of

_INDEXED = {"exited": "stopped", "dead": "stopped"}
SERVICES = ("queue", "worker")


def disagreements(stage: Stage) -> list[str]:
    """Where what is declared, what is real and what the index says differ; none when all agree."""
    there = stage.containers()
    found = [*_index(stage, there), *_replicas(stage, there), *_stack(stage, there), *_site(stage)]
    held = stage.tallyd.ok("holds", "-o", "json").json
    found += [f"held: {each['scope']} {each['workload_id']} {each['slot']}" for each in held]
    if not found:
        found += _plugins(stage.tallyd.tick()["plugins"])
    return found


def _index(stage: Stage, there: Iterable[Mapping[str, Any]]) -> list[str]:
    real = {each["Id"]: _INDEXED.get(each["State"], each["State"]) for each in there}
    rows = {row["container_id"]: row["state"] for row in stage.tallyd.ps() if row["state"] != "missing"}
    return [
        f"index: {container[:12]} is {real.get(container, 'gone')}, its row says {rows.get(container, 'nothing')}"
        for container in sorted(real.keys() | rows.keys())
        if real.get(container) != rows.get(container)
    ]


def _replicas(stage: Stage, there: Sequence[dict[str, Any]]) -> list[str]:
    found = []
    for name, wanted in REPLICAS.items():
        up = [each for each in there if owner_of(each) == name and each["State"] == "running"]
        if len(up) != wanted:
            found.append(f"{name}: {len(up)} of {wanted} run")
        if name == "web":
            versions = {_version(stage, each) for each in up}
            if versions != {str(stage.versions["web"])}:
                found.append(f"web: version {stage.versions['web']} is pushed, {sorted(versions)} run")
    return found


def _version(stage: Stage, container: Mapping[str, Any]) -> str:
    return str((stage.client.inspect_image(container["ImageID"])["Config"]["Labels"] or {}).get("version", "none"))


def _stack(stage: Stage, there: Sequence[dict[str, Any]]) -> list[str]:
    wanted = f"VERSION={stage.versions['stack']}"
    up = {
        each["Labels"]["com.docker.compose.service"]
        for each in there
        if owner_of(each) == "stack"
        and each["State"] == "running"
        and wanted in stage.client.inspect_container(each["Id"])["Config"]["Env"]
    }
    return [f"stack: {each} does not run with {wanted}" for each in SERVICES if each not in up]


def _site(stage: Stage) -> list[str]:
    wanted = f"version {stage.versions['site']}\n"
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{stage.port}/", timeout=5) as answer:
            shown = answer.read().decode()
    except (urllib.error.URLError, OSError) as error:
        shown = str(error)
    return [] if shown == wanted else [f"site: {shown!r} instead of {wanted!r}"]


def _plugins(results: Mapping[str, int]) -> list[str]:
    return [] if set(results) <= {"in_sync"} else [f"sources say {dict(results)}"]


def overruns(healings: Iterable[Event], starts: Counter[str], warmed: Counter[str]) -> list[str]:
    """Where more was done than the budget allows. Pure.

    :param healings: history of healing.
    :param starts: how often the engine started each container of `image`, by name.
    :param warmed: how often a deploy brought it up.
    """
    attempts: dict[str, list[Event]] = {}
    for each in healings:
        if each.reason == "attempted":
            attempts.setdefault(each.subject, []).append(each)
    found = []
    for slot, made in attempts.items():
        worst = max(int(each.details["attempts"]) for each in made)
        if worst > ATTEMPTS:
            found.append(f"{slot}: attempt {worst} of {ATTEMPTS}")
        for first, later in zip(made, made[ATTEMPTS:], strict=False):
            if later.at - first.at < timedelta(seconds=WINDOW_SECONDS):
                found.append(f"{slot}: more than {ATTEMPTS} attempts in {WINDOW_SECONDS} s from {first.at}")
    for name, count in starts.items():
        allowed = len(attempts.get(name, ())) + warmed[name]
        if count > allowed:
            found.append(f"{name}: started {count} times; {allowed} were attempts or deploys")
    return found
