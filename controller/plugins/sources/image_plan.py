"""What an image workload wants, and what is to be done to have it. Pure: no call of the engine is made here."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from controller.labels import LabelNames
from controller.plugins.contract import (
    ContainerRow,
    ContainerSeen,
    ContainerSpec,
    Deployment,
    HealthSpec,
    Revision,
    RevisionState,
    Workload,
    parse_config,
    parse_faces,
)
from controller.plugins.image_reference import repository_of
from controller.plugins.sizes import bytes_of
from controller.plugins.sources.image_options import ImageOptions, seconds_of
from controller.plugins.sources.image_volumes import volume_spec

_STARTABLE = ("created", "exited")
_SAME_PORT = range(65_536)
_BEYOND_STARTING = ("dead", "removing")


def options_of(config: Mapping[str, Any]) -> ImageOptions:
    """The options in a source config.

    :raises PluginConfigInvalid: naming the key, the value and what is allowed.
    """
    options: ImageOptions = parse_config(ImageOptions, config)
    return options


def pinned(revision: Revision) -> str:
    """The reference of a revision's image, by its digest."""
    return f"{repository_of(revision.image_ref)}@{revision.image_digest}"


def base_name(workload: Workload, revision: Revision, prefix: str) -> str:
    """What the names of a revision's containers begin with."""
    return f"{prefix}-{workload.id}-{revision.sequence}"


def role_of(revision: Revision, number: int) -> str:
    """The role of one container; unlike that of any other of the workload, so that each gets its row."""
    return f"{revision.sequence}-{number}"


def specs_of(
    workload: Workload, revision: Revision, options: ImageOptions, prefix: str, image: str
) -> list[ContainerSpec]:
    """The containers that a revision wants, each labelled with the digest of its own spec."""
    names = LabelNames(prefix)
    specs = []
    for number in range(1, options.replicas + 1):
        ours = {
            names.workload_id: workload.id,
            names.workload_kind: str(workload.kind),
            names.revision: revision.id,
            names.role: role_of(revision, number),
        }
        if options.secrets:
            ours[names.secret_variables] = ",".join(sorted(options.secrets))
        bare = ContainerSpec(
            name=f"{base_name(workload, revision, prefix)}-{number}",
            image=image,
            labels={**options.labels, **ours},
            environment=options.plain_env,
            secrets=options.secrets,
            command=tuple(options.command),
            health=_health(options),
            nano_cpus=round(options.cpus * 1_000_000_000),
            memory_bytes=bytes_of(options.memory) if options.memory else 0,
            networks=tuple(options.networks),
            volumes=tuple(volume_spec(each, workload, revision, number, prefix) for each in options.volumes),
            port=options.port,
            publish_address=options.publish_address,
            publish_port=options.publish_port,
            restart=options.restart,
            stop_grace_seconds=options.stop_grace_seconds,
        )
        specs.append(replace(bare, labels={**bare.labels, names.spec: bare.digest}))
    return specs


def _health(options: ImageOptions) -> HealthSpec | None:
    declared = options.healthcheck
    if declared is None:
        return None
    return HealthSpec(
        declared.command,
        seconds_of(declared.interval),
        seconds_of(declared.timeout),
        seconds_of(declared.start_period),
        declared.retries,
    )


@dataclass(frozen=True, slots=True)
class Plan:
    """What brings a revision's containers up: first what goes, then what is created, and all of ``start`` started.

    ``start`` has the ids of containers that are there; those of ``create`` are started too. ``why`` tells people.
    """

    remove: Sequence[ContainerSeen] = ()
    create: Sequence[ContainerSpec] = ()
    start: Sequence[ContainerSeen] = ()
    why: Sequence[str] = ()

    @property
    def empty(self) -> bool:
        """Whether all is as it should be."""
        return not (self.remove or self.create or self.start)

    @property
    def repaired(self) -> Mapping[str, str]:
        """Name of each container that is started or made anew → what is wrong with it."""
        names = [*(each.name for each in self.create), *(each.name for each in self.start)]
        return {name: next((why for why in self.why if why.startswith(f"{name} ")), "") for name in names}

    def without(self, names: Collection[str]) -> Plan:
        """The same, with these containers left alone."""
        return Plan(
            [each for each in self.remove if each.name not in names],
            [each for each in self.create if each.name not in names],
            [each for each in self.start if each.name not in names],
            [each for each in self.why if each.split(" ", 1)[0] not in names],
        )


def plan_of(wanted: Sequence[ContainerSpec], seen: Iterable[ContainerSeen], spec_label: str) -> Plan:
    """Compare. Paused and restarting containers are left alone, as far as their spec is right."""
    there = {each.name: each for each in seen}
    remove, create, start, why = [], [], [], []
    for spec in wanted:
        found = there.pop(spec.name, None)
        wrong = "is gone" if found is None else _wrong(spec, found, spec_label)
        if wrong:
            why.append(f"{spec.name} {wrong}")
            create.append(spec)
            remove += [found] if found else []
        elif found is not None and found.state in _STARTABLE:
            why.append(f"{spec.name} is {'stopped' if found.state == 'exited' else found.state}")
            start.append(found)
    for each in there.values():
        why.append(f"{each.name} is one too many")
        remove.append(each)
    return Plan(remove, create, start, why)


def _wrong(spec: ContainerSpec, seen: ContainerSeen, spec_label: str) -> str:
    """What of a container is not as declared, also what can be changed while it runs; empty where nothing is."""
    if seen.state in _BEYOND_STARTING:
        return f"is {seen.state}"
    if seen.labels.get(spec_label) != spec.labels[spec_label]:
        return "is not as declared"
    if missing := [each for each in spec.networks if each not in seen.addresses]:
        return f"is not in network {missing[0]}"
    if (seen.memory_bytes, seen.nano_cpus) != (spec.memory_bytes, spec.nano_cpus):
        return "has other limits"
    return ""


def ours(seen: Iterable[ContainerSeen], workload: Workload, prefix: str) -> list[ContainerSeen]:
    """Of the containers that carry the workload's label, those that this source made: a label alone can be forged."""
    names = LabelNames(prefix)
    return [
        each
        for each in seen
        if names.spec in each.labels and each.name == f"{prefix}-{workload.id}-{each.labels.get(names.role, '')}"
    ]


def of_revision(seen: Iterable[ContainerSeen], revision: Revision, prefix: str) -> list[ContainerSeen]:
    """Those of one revision."""
    label = LabelNames(prefix).revision
    return [each for each in seen if each.labels.get(label) == revision.id]


def blocks_of(deployment: Deployment, prefix: str) -> list[dict[str, Any]]:
    """One block for each entry of the split, in its order (T2)."""
    if deployment.split is None:
        return []
    blocks = []
    for entry in deployment.split.entries:
        revision = deployment.revisions.get(entry.revision_id)
        targets = targets_of(deployment, revision, prefix) if revision is not None else []
        draining = revision is not None and revision.state is RevisionState.DRAINING
        blocks.append(
            {"revision_id": entry.revision_id, "weight": entry.weight, "targets": targets, "draining": draining}
        )
    return blocks


def targets_of(deployment: Deployment, revision: Revision, prefix: str) -> list[dict[str, Any]]:
    """Where a router reaches a revision: at the published ports, or else at the containers' own addresses.

    Both are known from the rows, and left out where they are not: an address never is a name (T3).
    """
    options = options_of(revision.config)
    if options.port is None:
        return []
    names = [f"{base_name(deployment.workload, revision, prefix)}-{n}" for n in range(1, options.replicas + 1)]
    there = {each.name: each for each in deployment.rows if each.stage_id == revision.id}
    rows = [there[each] for each in names if each in there]
    if options.publish_address is None:
        addresses = (_own_address(each, options.networks) for each in rows)
        others = _others(deployment, _SAME_PORT)
        return [{"address": each, "port": options.port, **others} for each in addresses if each]
    address = _reachable(options.publish_address)
    if options.publish_port:
        others = _others(deployment, {options.port: options.publish_port})
        return [{"address": address, "port": options.publish_port, **others}]
    public = (_public_port(each, options.port) for each in rows)
    return [
        {"address": address, "port": each, **_others(deployment, {options.port: each})} for each in public if each
    ]


def _others(deployment: Deployment, reached_at: Mapping[int, int] | range) -> dict[str, Any]:
    """Where the ports are reached that faces ask for; nothing where none does, and no port that is not reached."""
    faces, _ = parse_faces(deployment.workload.public_faces)
    wanted = sorted({each.port for each in faces if each.port is not None})
    ports = {str(each): reached_at[each] for each in wanted if each in reached_at}
    return {"ports": ports} if wanted else {}


def _reachable(address: str) -> str:
    return {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(address, address)


def _own_address(row: ContainerRow, networks: Sequence[str]) -> str:
    """A container's address in its first network, as the verb that started it wrote it down."""
    try:
        addresses = dict(json.loads(row.extra_json).get("addresses", {}))
    except (ValueError, TypeError, AttributeError):
        return ""
    first = (addresses.get(each, "") for each in (*networks, *addresses))
    return next((str(each) for each in first if each), "")


def _public_port(row: ContainerRow, private: int) -> int:
    try:
        ports = json.loads(row.ports)
        return next((int(each["public"]) for each in ports if each["private"] == private and each["public"]), 0)
    except (ValueError, KeyError, TypeError):
        return 0
