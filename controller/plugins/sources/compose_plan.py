"""What there is of a project, and what is to be done to have it as it was declared. Pure."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from controller.plugins.contract import (
    IN_THE_MIDDLE,
    ContainerRow,
    ContainerSeen,
    Deployment,
    InvalidSplit,
    Revision,
    RevisionState,
    TrafficSplit,
)
from controller.plugins.sources.compose_options import ComposeOptions, options_of

PROJECT_LABEL, SERVICE_LABEL = "com.docker.compose.project", "com.docker.compose.service"
_ONE_OFF_LABEL = "com.docker.compose.oneoff"
_LEFT_ALONE = ("paused", "restarting")
_STARTABLE = ("created", "exited")


@dataclass(frozen=True, slots=True)
class Wanted:
    """What a revision wants: a digest and an image for each service that is to have containers, and who runs once."""

    revision_id: str
    specs: Mapping[str, str]
    images: Mapping[str, str]
    jobs: frozenset[str]
    spec_label: str
    project: str = ""


@dataclass(frozen=True, slots=True)
class Broken:
    """A container that is not as it should be, by its name, its service, and why.

    ``start`` is its id where it has only to be started again.
    """

    slot: str
    service: str
    why: str
    start: str = ""


@dataclass(frozen=True, slots=True)
class Plan:
    """Services to bring up, which containers of them are broken, containers of no service, and what is told.

    ``strange`` are containers that Compose would take for right, by their labels, and that are not. ``start`` are ids
    of containers to be started one by one, since others of their service are to be left alone.
    """

    services: Sequence[str] = ()
    broken: Sequence[Broken] = ()
    strange: Sequence[ContainerSeen] = ()
    orphans: Sequence[ContainerSeen] = ()
    told: Sequence[str] = ()
    start: Sequence[str] = ()

    @property
    def why(self) -> Sequence[str]:
        """What is wrong, for people."""
        return [each.why for each in self.broken]

    def without(self, slots: Collection[str]) -> Plan:
        """The same, with these containers left alone (S5).

        Compose brings up whole services. So of a service that has one of them, the others are started one by one, as
        far as they have only to be started.
        """
        if not slots:
            return self
        spared = {each.service for each in self.broken if each.slot in slots}
        begun = [each for each in self.broken if each.service in spared and each.start and each.slot not in slots]
        return replace(
            self,
            services=[each for each in self.services if each not in spared],
            broken=[each for each in self.broken if each.service not in spared or each in begun],
            strange=[each for each in self.strange if service_of(each) not in spared],
            start=[each.start for each in begun],
        )


def service_of(seen: ContainerSeen) -> str:
    """Of which service a container says that it is."""
    return seen.labels.get(SERVICE_LABEL, "")


def made_here(containers: Iterable[ContainerSeen], spec_label: str) -> list[ContainerSeen]:
    """Those that tallyd had made, whatever revision they are of."""
    return [each for each in containers if spec_label in each.labels]


def plan_of(wanted: Wanted, containers: Sequence[ContainerSeen], rows: Iterable[ContainerRow]) -> Plan:
    """What there is to do for a revision to be up. ``rows`` tell how many containers it had."""
    there = {each.id for each in containers}
    missed = [each for each in rows if each.stage_id == wanted.revision_id and each.container_id not in there]
    gone = [Broken(each.name, each.role, f"{each.name} is gone") for each in missed]
    regular = [each for each in containers if each.labels.get(_ONE_OFF_LABEL) != "True"]
    services, broken, told, strange = [], [], [], []
    for name in wanted.specs:
        mine = [each for each in regular if service_of(each) == name]
        ours = made_here(mine, wanted.spec_label)
        wrong, left_alone = _look_at(name, mine, wanted)
        wrong += [each for each in gone if each.service == name]
        if not ours and not wrong:
            wrong = [Broken(_slot_of(name, wanted, containers), name, f"service {name} has no container")]
        told += left_alone
        if wrong and not any(each.state in _LEFT_ALONE for each in mine):
            services.append(name)
            broken += wrong
            strange += [each for each in ours if _is_strange(each, name, wanted)]
        else:
            told += [each.why for each in wrong]
    orphans = [each for each in made_here(regular, wanted.spec_label) if service_of(each) not in wanted.specs]
    return Plan(services, broken, strange, orphans, told)


def _slot_of(service: str, wanted: Wanted, containers: Sequence[ContainerSeen]) -> str:
    """The name that its container will have, as which it has its budget: Compose's first version joins by `_`."""
    first = any(each.name.startswith(f"{wanted.project}_") for each in containers)
    return ("_" if first else "-").join((wanted.project, service, "1"))


def _is_strange(seen: ContainerSeen, name: str, wanted: Wanted) -> bool:
    """Whether a container has our digest, and not the image that goes with it: somebody made it by hand."""
    image = wanted.images.get(name, seen.image_ref)
    return seen.labels[wanted.spec_label] == wanted.specs[name] and seen.image_ref != image


def _look_at(name: str, mine: Sequence[ContainerSeen], wanted: Wanted) -> tuple[list[Broken], list[str]]:
    """What is to be mended in a service, and what is only told."""
    ours = made_here(mine, wanted.spec_label)
    wrong: list[Broken] = []
    told = [f"{each.name} claims service {name} and was not made by tallyd" for each in mine if each not in ours]
    for each in ours:
        if each.labels[wanted.spec_label] != wanted.specs[name]:
            wrong.append(Broken(each.name, name, f"{each.name} is not as declared"))
        elif _is_strange(each, name, wanted):
            wrong.append(Broken(each.name, name, f"{each.name} is of image {each.image_ref}"))
        elif each.state in _LEFT_ALONE:
            told.append(f"{each.name} is {each.state}")
        elif each.state != "running" and not has_done(each, wanted.jobs):
            how = "stopped" if each.state == "exited" else each.state
            start = each.id if each.state in _STARTABLE else ""
            wrong.append(Broken(each.name, name, f"{each.name} is {how}", start))
        elif each.health == "unhealthy":
            told.append(f"{each.name} is unhealthy")
    return wrong, told


def has_done(seen: ContainerSeen, jobs: frozenset[str]) -> bool:
    """Whether a container was to run once, and did, well."""
    return service_of(seen) in jobs and seen.state == "exited" and seen.exit_code == 0


def wanted_services(specs: Mapping[str, str], services: Mapping[str, Mapping[str, Any]]) -> dict[str, str]:
    """Without those that are scaled to nothing."""
    return {name: each for name, each in specs.items() if _scale(services.get(name, {})) != 0}


def _scale(service: Mapping[str, Any]) -> object:
    deploy = service.get("deploy")
    replicas = deploy.get("replicas", 1) if isinstance(deploy, Mapping) else 1
    return service.get("scale", replicas)


def holders(rows: Iterable[ContainerRow]) -> set[str]:
    """The ids of the revisions that the project was brought up for: one, or none."""
    return {each.stage_id for each in rows if each.stage_id}


def serving(deployment: Deployment) -> Revision | None:
    """The revision to look after; none while a deploy is under way."""
    states = {each.state for each in deployment.revisions.values()}
    ready = [each for each in deployment.revisions.values() if each.state is RevisionState.READY]
    return ready[0] if len(ready) == 1 and not states & IN_THE_MIDDLE else None


def check_split(split: TrafficSplit) -> None:
    """One revision has all of it: there is one project.

    :raises InvalidSplit: several have some.
    """
    weighed = [each.revision_id for each in split.entries if each.weight > 0]
    if len(weighed) > 1:
        why = (
            f"revisions {', '.join(map(repr, weighed))} share it, and of a Compose project only one is there at a "
            "time; give one of them 10000, or deploy with the source `image`"
        )
        raise InvalidSplit(split.workload_id, split.total, why)


def blocks_of(deployment: Deployment) -> list[dict[str, Any]]:
    """One block for each entry of the split, in its order (T2)."""
    if deployment.split is None:
        return []
    blocks = []
    for entry in deployment.split.entries:
        revision = deployment.revisions.get(entry.revision_id)
        targets = targets_of(revision, deployment.rows) if revision is not None else []
        draining = revision is not None and revision.state is RevisionState.DRAINING
        blocks.append(
            {"revision_id": entry.revision_id, "weight": entry.weight, "targets": targets, "draining": draining}
        )
    return blocks


def targets_of(revision: Revision, rows: Iterable[ContainerRow]) -> list[dict[str, Any]]:
    """Where a router reaches a revision: where its web service is published, else at its containers' addresses."""
    web = options_of(revision.config).web
    if web is None:
        return []
    mine = [each for each in rows if each.stage_id == revision.id and each.role == web.service]
    found = [_published(each, web.port) or _own_address(each, web.port) for each in sorted(mine, key=lambda r: r.id)]
    return [each for each in found if each]


def _published(row: ContainerRow, private: int) -> dict[str, Any] | None:
    try:
        for each in json.loads(row.ports):
            if each["private"] == private and each["public"]:
                address = {"0.0.0.0": "127.0.0.1", "::": "::1", "": "127.0.0.1"}.get(each["ip"], each["ip"])
                return {"address": address, "port": int(each["public"])}
    except (ValueError, KeyError, TypeError):
        return None
    return None


def _own_address(row: ContainerRow, port: int) -> dict[str, Any] | None:
    address = next((str(each) for _, each in sorted(addresses_in(row).items()) if each), "")
    return {"address": address, "port": port} if address else None


def addresses_in(row: ContainerRow) -> dict[str, Any]:
    """A container's addresses by network, as the verb that started it wrote them down."""
    try:
        return dict(json.loads(row.extra_json).get("addresses", {}))
    except (ValueError, TypeError, AttributeError):
        return {}


def differs(declared: ComposeOptions, deployed: ComposeOptions) -> bool:
    """Whether more was declared anew than the files."""
    return declared.model_copy(update={"frozen": None}) != deployed.model_copy(update={"frozen": None})


def failed_with(digest: str, deployment: Deployment) -> str:
    """Why a deploy of this content failed, where it is the newest revision; trying it again would end the same."""
    newest = max(deployment.revisions.values(), key=lambda each: each.sequence)
    failed = newest.image_digest == digest and newest.state is RevisionState.FAILED
    return (newest.detail or "see its revision") if failed else ""
