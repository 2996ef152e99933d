"""From splits and revisions to what a router is told: the runtime config (T2).

One block per entry of a split, in its order, whatever the revision's state; a weight of zero keeps its block. What
is to be served is decided by the router's loader, not here.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any

from controller.declared.durable import replace_file
from controller.plugins.contract import parse_faces
from controller.rollout.deployer import Deployment, RuntimeConfig, TrafficSplit
from controller.rollout.faces import host_problem, normal_host, normal_path, path_problem
from controller.rollout.routers.document import SCHEMA
from store.rollout_records import RevisionState

Targets = Mapping[str, Sequence[tuple[str, int]]]
"""By revision id: the addresses and ports at which its containers answer. A revision may be missing."""


@dataclass(frozen=True, slots=True)
class Projection:
    """A runtime config, and what had to be left out of it: by workload, one sentence a problem."""

    document: Mapping[str, Any]
    problems: Mapping[str, Sequence[str]]


class Written(StrEnum):
    """What became of the runtime config's file."""

    UNCHANGED = "unchanged"
    WRITTEN = "written"
    REMOVED = "removed"


def report(deployment: Deployment, targets: Targets) -> RuntimeConfig:
    """One workload's blocks: what a deployer's ``report_runtime_config`` answers (D1). None without a split."""
    entries = deployment.split.entries if deployment.split is not None else ()
    blocks = [
        {
            "revision_id": entry.revision_id,
            "weight": entry.weight,
            "targets": [{"address": address, "port": port} for address, port in targets.get(entry.revision_id, ())],
            "draining": _drains(deployment, entry.revision_id),
        }
        for entry in entries
    ]
    return RuntimeConfig(deployment.workload.id, blocks)


def project(host: str, told: Iterable[tuple[Deployment, RuntimeConfig]]) -> Projection:
    """The runtime config of a host, workloads by id. A workload without a split is not in it.

    A face that no router takes is left out, and told; so is one that a workload before it in ``told`` has already:
    whoever comes first keeps it.
    """
    taken: dict[tuple[str, str], str] = {}
    problems: dict[str, list[str]] = {}
    workloads = []
    for deployment, reported in told:
        if (split := deployment.split) is None:
            continue
        wrong = problems.setdefault(deployment.workload.id, [])
        faces = list(_faces(deployment, reported, taken, wrong))
        workloads.append(_workload(split, faces, reported))
    workloads.sort(key=lambda each: str(each["id"]))
    document = {"schema": SCHEMA, "host": host, "workloads": workloads}
    return Projection(document, {name: wrong for name, wrong in problems.items() if wrong})


def render(document: Mapping[str, Any]) -> str:
    """The document's one text: equal documents give equal texts."""
    return json.dumps(document, indent=2, sort_keys=True, ensure_ascii=False) + "\n"


def backup_of(path: Path) -> Path:
    """Where the runtime config is kept as it was before the last change."""
    return path.with_name(f"{path.name}.bak")


def write_runtime_config(path: Path, document: Mapping[str, Any]) -> Written:
    """Bring the file to the document, by one rename; the one before is kept beside it. No workloads: no file.

    :raises OSError: it cannot be written; what was there is untouched.
    """
    try:
        before = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        before = None
    if not document["workloads"]:
        if before is None:
            return Written.UNCHANGED
        path.replace(backup_of(path))
        return Written.REMOVED
    text = render(document)
    if before is not None:
        if _equal(before, document):
            return Written.UNCHANGED
        replace_file(backup_of(path), before)
    replace_file(path, text)
    return Written.WRITTEN


def _workload(split: TrafficSplit, faces: Sequence[Mapping[str, Any]], reported: RuntimeConfig) -> dict[str, Any]:
    return {
        "id": split.workload_id,
        "split_generation": split.generation,
        "stickiness_epoch": split.stickiness_epoch,
        "faces": list(faces),
        "blocks": [dict(each) for each in reported.blocks],
    }


def _faces(
    deployment: Deployment, reported: RuntimeConfig, taken: dict[tuple[str, str], str], wrong: list[str]
) -> Iterator[Mapping[str, Any]]:
    faces, problem = parse_faces(deployment.workload.public_faces)
    if problem:
        wrong.append(problem)
    for face in faces:
        if problem := host_problem(face.host) or path_problem(face.path):
            wrong.append(problem)
            continue
        key = (normal_host(face.host), normal_path(face.path))
        if key in taken:
            if taken[key] != deployment.workload.id:
                wrong.append(f"{face.host}{face.path} is a face of workload {taken[key]!r} already")
            continue
        if face.port is not None and (lacking := _lacking(reported, face.port)):
            wrong.append(
                f"{face.host}{face.path} wants port {face.port}, at which revision {lacking!r} is not reached"
            )
            continue
        taken[key] = deployment.workload.id
        port = {} if face.port is None else {"port": face.port}
        yield {"host": key[0], "path": key[1] or "/", **port}


def _lacking(reported: RuntimeConfig, port: int) -> str:
    """A revision that is reached somewhere, and not at this port of each of its containers; empty where none is."""
    for block in reported.blocks:
        if any(str(port) not in each.get("ports", {}) for each in block["targets"]):
            return str(block["revision_id"])
    return ""


def _drains(deployment: Deployment, revision_id: str) -> bool:
    revision = deployment.revisions.get(revision_id)
    return revision is not None and revision.state is RevisionState.DRAINING


def _equal(text: str, document: Mapping[str, Any]) -> bool:
    try:
        return bool(json.loads(text) == document)
    except (ValueError, RecursionError):
        return False
