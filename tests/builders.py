"""Tiny builders: every argument has a default, so that a test names only what it is about."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from store.records import NO_PORTS, Assignment, Container, Snapshot, Workload, WorkloadKind

HOST = "host-a"
ENGINE_ID = "ENGI:NEID"
IMAGE = "busybox:local"
IMAGE_ID = f"sha256:{'1' * 64}"
CREATED = 1_700_000_000
NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)

_STATUS = {
    "created": "Created",
    "running": "Up 3 seconds",
    "paused": "Up 3 seconds (Paused)",
    "restarting": "Restarting (1) 3 seconds ago",
    "removing": "Removal In Progress",
    "exited": "Exited (137) 3 seconds ago",
    "dead": "Dead",
}


def later(seconds: float) -> datetime:
    """So many seconds after :data:`NOW`."""
    return NOW + timedelta(seconds=seconds)


def id_of(name: str) -> str:
    """The container id (64 hex digits) that the builders give to a name."""
    return hashlib.sha256(name.encode()).hexdigest()


def listed(
    name: str = "web",
    labels: Mapping[str, str] | None = None,
    *,
    container_id: str | None = None,
    state: str = "running",
    status: str | None = None,
    ports: Sequence[Mapping[str, Any]] = (),
    created: int = CREATED,
    image: str = IMAGE,
    command: str = "sleep 86400",
    **replaced: Any,
) -> dict[str, Any]:
    """One item of Docker's ``GET /containers/json`` (API 1.41) with all its keys; ``replaced`` overrides any."""
    item: dict[str, Any] = {
        "Id": id_of(name) if container_id is None else container_id,
        "Names": [f"/{name}"],
        "Image": image,
        "ImageID": IMAGE_ID,
        "Command": command,
        "Created": created,
        "Ports": [dict(port) for port in ports],
        "Labels": dict(labels or {}),
        "State": state,
        "Status": _STATUS.get(state, state.capitalize()) if status is None else status,
        "HostConfig": {"NetworkMode": "default"},
        "NetworkSettings": {"Networks": {"bridge": _network()}},
        "Mounts": [],
    }
    return item | replaced


def _network() -> dict[str, Any]:
    texts = ("NetworkID", "EndpointID", "Gateway", "IPAddress", "IPv6Gateway", "GlobalIPv6Address", "MacAddress")
    numbers = ("IPPrefixLen", "GlobalIPv6PrefixLen")
    absent = ("IPAMConfig", "Links", "Aliases", "DriverOpts")
    return dict.fromkeys(texts, "") | dict.fromkeys(numbers, 0) | dict.fromkeys(absent)


def container(name: str = "web", **replaced: Any) -> Container:
    """A container as `observe` makes it; ``replaced`` overrides any field."""
    fields: dict[str, Any] = {
        "id": id_of(name),
        "name": name,
        "image_ref": IMAGE,
        "image_id": IMAGE_ID,
        "state": "running",
        "health": "none",
        "port": 0,
        "ports": NO_PORTS,
        "created": CREATED,
    }
    return Container(**fields | replaced)


def workload(workload_id: str = "shop", kind: str = "project", **replaced: Any) -> Workload:
    """A workload whose ref is ``tallyd-<id>``; ``replaced`` overrides any field."""
    fields: dict[str, Any] = {
        "id": workload_id,
        "name": workload_id.title(),
        "kind": WorkloadKind(kind),
        "ref": f"tallyd-{workload_id}",
    }
    return Workload(**fields | replaced)


def assignment(row_id: str = "shop:web", container_name: str | None = "web", **replaced: Any) -> Assignment:
    """A row of a running container; ``container_name=None`` makes a row without a container."""
    owner, _, slot = row_id.partition(":")
    fields: dict[str, Any] = {
        "id": row_id,
        "workload_id": owner,
        "workload_kind": "stack",
        "role": slot.partition(":")[0],
        "container_id": None if container_name is None else id_of(container_name),
        "name": container_name or "",
        "image_ref": IMAGE,
        "image_id": IMAGE_ID,
        "state": "running",
        "health": "none",
        "port": 0,
        "ports": NO_PORTS,
        "revision": "",
    }
    return Assignment(**fields | replaced)


def snapshot(rows: Iterable[Assignment] = (), workloads: Iterable[Workload] = (), **replaced: Any) -> Snapshot:
    """A snapshot of :data:`HOST`; ``replaced`` overrides any field."""
    fields: dict[str, Any] = {
        "host": HOST,
        "pass_number": 0,
        "engine_id": "",
        "rows": {row.id: row for row in rows},
        "workloads": {each.id: each for each in workloads},
    }
    return Snapshot(**fields | replaced)
