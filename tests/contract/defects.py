"""Single defects, each as members that replace those of the reference deployer.

What is a verb takes its parameters; what is a step of one (`start`, `enforce`, …) takes that step's.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from controller.errors import InvalidSplit
from controller.rollout.deployer import (
    BASIS_POINTS,
    Applied,
    Deployment,
    Done,
    RuntimeConfig,
    SplitEntry,
    revision_of,
)
from store.rollout_records import RevisionState
from tests.contract.folders import FolderDeployer, name_of

Method = Callable[..., Any]
PROVIDER_IS_BACK = threading.Event()
"""Ends what hangs."""


def _good(verb: str) -> Method:
    method: Method = getattr(FolderDeployer, verb)
    return method


def before(verb: str, first: Callable[[Any, Deployment, str], Done | None]) -> dict[str, Method]:
    """A verb that does something first, and only that where it gives an answer."""

    def broken(self: FolderDeployer, deployment: Deployment, revision_id: str) -> Done:
        answer = first(self, deployment, revision_id)
        return answer if answer is not None else _good(verb)(self, deployment, revision_id)

    return {verb: broken}


def takes_unknown(_self: Any, deployment: Deployment, revision_id: str) -> Done | None:
    """An id without a number is nothing to do."""
    return None if revision_id[-1].isdigit() else Done(deployment.workload.id, revision_id, False)


def key_error(_self: Any, deployment: Deployment, revision_id: str) -> None:
    if not revision_id[-1].isdigit():
        _ = deployment.revisions[revision_id]


def takes_foreign(_self: Any, deployment: Deployment, revision_id: str) -> Done | None:
    found = deployment.revisions.get(revision_id)
    return None if found is None or found.workload_id == deployment.workload.id else Done("", revision_id, True)


def looks_first(self: Any, deployment: Deployment, revision_id: str) -> None:
    with self.told(deployment, revision_id, "look"):
        self.folders.read(name_of(deployment, revision_id, "image"))


def splits(apply: Method) -> dict[str, Method]:
    return {"apply_traffic_split": apply}


def tolerates(off_by: int) -> Method:
    def apply(self: FolderDeployer, deployment: Deployment) -> Applied:
        split = deployment.split
        if split and split.total == BASIS_POINTS + off_by:
            mended = (replace(split.entries[0], weight=split.entries[0].weight - off_by), *split.entries[1:])
            deployment = replace(deployment, split=replace(split, entries=mended))
        return _good("apply_traffic_split")(self, deployment)

    return apply


def answers_to(kind: type[Exception]) -> Method:
    """A split verb that takes one kind of refusal for success."""

    def apply(self: FolderDeployer, deployment: Deployment) -> Applied:
        try:
            return _good("apply_traffic_split")(self, deployment)
        except kind as error:
            if isinstance(error, InvalidSplit) and error.actual != BASIS_POINTS:
                raise
            return Applied(deployment.workload.id, (), False)

    return apply


def looks_before_the_split(self: Any, deployment: Deployment) -> Applied:
    with self.told(deployment, "", "look"):
        self.folders.read(f"{deployment.workload.id}/split")
    return _good("apply_traffic_split")(self, deployment)


def lies_about_entries(self: Any, deployment: Deployment) -> Applied:
    applied = _good("apply_traffic_split")(self, deployment)
    return replace(applied, entries=tuple(each for each in applied.entries if each.weight))


def never_changed(self: Any, deployment: Deployment) -> Applied:
    return replace(_good("apply_traffic_split")(self, deployment), changed=False)


def enforces_for_all(self: Any, deployment: Deployment, entries: Any) -> bool:
    changed: bool = _good("enforce")(self, deployment, entries)
    text = json.dumps({each.revision_id: each.weight for each in entries})
    for each in self.folders.root.glob("*/split"):
        self.folders.write(f"{each.parent.name}/split", text)
    return changed


def enforces_percents(self: Any, deployment: Deployment, entries: Any) -> bool:
    rounded = [replace(each, weight=each.weight // 100 * 100) for each in entries]
    return _good("enforce")(self, deployment, rounded)


def first_split_goes_to_the_first(self: Any, deployment: Deployment, entries: Any) -> bool:
    asked = self.__dict__.setdefault("asked", {})
    last = asked.get(deployment.workload.id)
    asked[deployment.workload.id] = tuple(entries)
    if last == tuple(entries):
        return False
    taken = entries if last else (SplitEntry(entries[0].revision_id, BASIS_POINTS),)
    return _good("enforce")(self, deployment, taken)


def outcome(verb: str, change: Callable[[Done], Any]) -> dict[str, Method]:
    def broken(self: FolderDeployer, deployment: Deployment, revision_id: str) -> Any:
        return change(_good(verb)(self, deployment, revision_id))

    return {verb: broken}


def names_another(done: Done) -> Done:
    return replace(done, workload_id="another")


def stages_more_each_time(self: Any, deployment: Deployment, revision_id: str) -> Done:
    done: Done = _good("stage")(self, deployment, revision_id)
    name = name_of(deployment, revision_id, "log")
    self.folders.write(name, f"{self.folders.read(name) or ''}staged;")
    return done


def stages_later(self: Any, deployment: Deployment, revision_id: str) -> Done:
    revision_of(deployment, revision_id)
    with self.told(deployment, revision_id, "stage"):
        changed = self.folders.write(name_of(deployment, revision_id, "image"), "pulling")
    return Done(deployment.workload.id, revision_id, changed)


def answers_later() -> dict[str, Method]:
    """Warm starts; whichever verb comes next finds that it answers by now."""

    def start(self: Any, deployment: Deployment, revision_id: str) -> bool:
        name = name_of(deployment, revision_id, "up")
        self.__dict__.setdefault("starting", []).append(name)
        return self.folders.write(name, "starting")

    def then(member: str) -> Method:
        def later(self: Any, *arguments: Any) -> Any:
            for name in self.__dict__.pop("starting", []):
                self.folders.write(name, "answers")
            return _good(member)(self, *arguments)

        return later

    return {"start": start} | {each: then(each) for each in ("enforce", "wait_for_sessions", "take_away")}


def drains_traffic(self: Any, deployment: Deployment, revision_id: str) -> None:
    _good("wait_for_sessions")(self, deployment, revision_id)
    name = f"{deployment.workload.id}/split"
    weights = json.loads(self.folders.read(name) or "{}")
    self.folders.write(name, json.dumps(weights | {revision_id: 1}))


def drains_more_each_time(self: Any, deployment: Deployment, revision_id: str) -> None:
    _good("wait_for_sessions")(self, deployment, revision_id)
    name = name_of(deployment, revision_id, "log")
    self.folders.write(name, f"{self.folders.read(name) or ''}drained;")


def leaves_it_running(self: Any, deployment: Deployment, revision_id: str) -> bool:
    return self.folders.remove(name_of(deployment, revision_id, "image"))


def takes_the_workload(self: Any, deployment: Deployment, revision_id: str) -> bool:
    each_one = [_good("take_away")(self, deployment, each) for each in (revision_id, *deployment.revisions)]
    return any(each_one)


def insists_on_the_image(self: Any, deployment: Deployment, revision_id: str) -> bool:
    if self.folders.read(name_of(deployment, revision_id, "image")) is None and not self.__dict__.get("archived"):
        raise FileNotFoundError("no such image")
    self.archived = True
    return _good("take_away")(self, deployment, revision_id)


def archives_once(self: Any, deployment: Deployment, revision_id: str) -> bool:
    archived = self.__dict__.setdefault("archived", [])
    if revision_id in archived:
        raise FileNotFoundError("archived already")
    archived.append(revision_id)
    return _good("take_away")(self, deployment, revision_id)


def reports(change: Callable[[Any, Deployment, list[Any]], list[Any]]) -> dict[str, Method]:
    def report(self: Any, deployment: Deployment) -> RuntimeConfig:
        config = _good("report_runtime_config")(self, deployment)
        return RuntimeConfig(config.workload_id, change(self, deployment, list(config.blocks)))

    return {"report_runtime_config": report}


def asks_the_provider(self: Any, deployment: Deployment, blocks: list[Any]) -> list[Any]:
    self.folders.read(f"{deployment.workload.id}/split")
    return blocks


def remembers(self: Any, deployment: Deployment, blocks: list[Any]) -> list[Any]:
    remembered: list[Any] = self.__dict__.setdefault("reported", {}).setdefault(deployment.workload.id, blocks)
    return remembered


def only_ready(_self: Any, deployment: Deployment, blocks: list[Any]) -> list[Any]:
    states = {each.id: each.state for each in deployment.revisions.values()}
    return [each for each in blocks if states[each["revision_id"]] is RevisionState.READY]


def without_zeros(_self: Any, _deployment: Deployment, blocks: list[Any]) -> list[Any]:
    return [each for each in blocks if each["weight"]]


def wrong_ports(_self: Any, _deployment: Deployment, blocks: list[Any]) -> list[Any]:
    return [each | {"targets": [{"address": "shop", "port": "8080"}]} for each in blocks]


def waits_for_the_provider(self: Any, deployment: Deployment, revision_id: str, verb: str) -> Any:
    if not self.folders.root.exists():
        PROVIDER_IS_BACK.wait()
    return _good("told")(self, deployment, revision_id, verb)


def swallows(self: Any, deployment: Deployment, revision_id: str) -> Done | None:
    return None if self.folders.root.exists() else Done(deployment.workload.id, revision_id, False)
