"""Volumes of an image workload: how each scope is named, labelled and removed again.

| scope | the volume | ends |
|---|---|---|
| absolute | a path of the machine, under an allow-list | never |
| ephemeral | a nameless one for each container | with its container |
| instance | one for each container of a revision, kept while that container is made anew | with the revision |
| stage | one for each revision | with the revision |
| project | the one of the workload | at a teardown with data |
| project-named | one of the workload for each name | at a teardown with data |
| named | the engine's volume of that name, whoever made it | never |
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from controller.labels import LabelNames
from controller.plugins.contract import (
    ContainerSpec,
    EngineTools,
    Revision,
    VolumeRefused,
    VolumeSpec,
    Workload,
)
from controller.plugins.sources.image_options import Volume

OF_A_REVISION = ("ephemeral", "instance", "stage")
DATA = ("project", "project-named")


def volume_spec(declared: Volume, workload: Workload, revision: Revision, number: int, prefix: str) -> VolumeSpec:
    """What a container mounts. Pure.

    :param number: that of the container within its revision.
    """
    whole = f"{prefix}-{workload.id}"
    names = {
        "absolute": declared.path or "",
        "ephemeral": "",
        "instance": f"{whole}-{revision.sequence}-{number}-{declared.name}",
        "stage": f"{whole}-{revision.sequence}-{declared.name}",
        "project": whole,
        "project-named": f"{whole}-{declared.name}",
        "named": declared.name or "",
    }
    name = names[declared.scope]
    if declared.scope == "absolute":
        return VolumeSpec(name, declared.target, declared.read_only, "bind")
    if declared.scope == "named":
        return VolumeSpec(name, declared.target, declared.read_only)
    known = LabelNames(prefix)
    labels = {known.workload_id: workload.id, known.volume_scope: declared.scope}
    if declared.scope in OF_A_REVISION:
        labels[known.revision] = revision.id
    return VolumeSpec(name, declared.target, declared.read_only, labels=labels)


def with_volumes(tools: EngineTools, spec: ContainerSpec) -> ContainerSpec:
    """Have the volumes that a container mounts; returns its spec with paths as they are once links are followed.

    :raises VolumeRefused: a path is not allowed, or a name belongs to another workload, or to nobody.
    :raises EngineError: the engine failed.
    """
    return replace(spec, volumes=tuple(_ready(tools, each) for each in spec.volumes))


def check_paths(tools: EngineTools, volumes: Sequence[Volume]) -> None:
    """Check the paths of the machine that are to be mounted.

    :raises VolumeRefused: one is not allowed.
    """
    for each in volumes:
        if each.path is not None:
            tools.host_path(each.path)


def _ready(tools: EngineTools, volume: VolumeSpec) -> VolumeSpec:
    if volume.kind == "bind":
        return replace(volume, name=tools.host_path(volume.name))
    if volume.name and volume.labels:
        there = tools.engine.create_volume(volume.name, volume.labels)
        wrong = [name for name, value in volume.labels.items() if there.get(name) != value]
        if wrong:
            said = f"says {there[wrong[0]]!r}" if wrong[0] in there else "is not there"
            raise VolumeRefused(
                f"volume {volume.name!r} was there already and is another one: its label {wrong[0]} {said}; choose "
                "another name, or mount it with scope named"
            )
    return volume


def remove_of_revision(tools: EngineTools, workload: Workload, revision: Revision) -> list[str]:
    """Remove the volumes that end with a revision; returns their names. Its containers are gone."""
    names = LabelNames(tools.prefix)
    return _remove(tools, {names.workload_id: workload.id, names.revision: revision.id}, OF_A_REVISION)


def remove_of_workload(tools: EngineTools, workload: Workload, *, data: bool) -> list[str]:
    """Remove the volumes of a workload; returns their names. Its containers are gone.

    :param data: also those that outlive revisions.
    """
    scopes = (*OF_A_REVISION, *DATA) if data else OF_A_REVISION
    return _remove(tools, {LabelNames(tools.prefix).workload_id: workload.id}, scopes)


def _remove(tools: EngineTools, labels: dict[str, str], scopes: Sequence[str]) -> list[str]:
    found = tools.engine.list_volumes(labels)
    going = [each.name for each in found if each.labels.get(LabelNames(tools.prefix).volume_scope) in scopes]
    for each in going:
        tools.engine.remove_volume(each)
    return going
