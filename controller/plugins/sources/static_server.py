"""The web server of a site: the container that is wanted, what is wrong with it, and what routers are told. Pure.

One container serves a site for as long as its server is declared the same; another release is another target of the
link that it follows at each request. A server that is declared otherwise is another container, under another name.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from controller.labels import LabelNames
from controller.plugins.contract import (
    IN_THE_MIDDLE,
    ContainerRow,
    ContainerSeen,
    ContainerSpec,
    Deployment,
    Revision,
    RevisionState,
    VolumeSpec,
    Workload,
)
from controller.plugins.sizes import bytes_of
from controller.plugins.sources.static_options import StaticOptions, options_of
from controller.plugins.sources.static_releases import conf_name

RUNNING = ("running", "paused", "restarting")
WHOLE = 10_000
_STARTABLE = ("created", "exited")
_BEYOND_STARTING = ("dead", "removing")

_CONFIGURATION = """\
pid /tmp/nginx.pid;
error_log stderr warn;
worker_processes 2;
events {{}}
http {{
    include /etc/nginx/mime.types;
    default_type application/octet-stream;
    access_log off;
    server_tokens off;
    sendfile on;
    # Behind a router, host and port are not those that a visitor knows.
    absolute_redirect off;
    index {index};
    server {{
        listen {port};
        root {root}/current;
        error_page 404{fallback};
    }}
    server {{
        listen {preview_port};
        root {root}/releases;
    }}
}}
"""


@dataclass(frozen=True, slots=True)
class Server:
    """What a revision wants of its web server, apart from the content."""

    spec: ContainerSpec
    configuration: str


def configuration_of(options: StaticOptions) -> str:
    """What our nginx is told; empty where the server is somebody's own.

    A missing file is answered by the page of another one only after it was looked for: asking first whether it is
    there, as ``try_files`` does, would ask one release and answer from the next.
    """
    if options.command:
        return ""
    fallback = f" =200 /{options.index}" if options.spa else " /404.html"
    return _CONFIGURATION.format(
        index=options.index,
        port=options.port,
        preview_port=options.preview_port,
        root=options.root,
        fallback=fallback,
    )


def pinned(revision: Revision) -> str:
    """The reference of a revision's image, by its digest."""
    name = revision.image_ref.partition("@")[0]
    path, colon, tag = name.rpartition(":")
    return f"{path if colon and '/' not in tag else name}@{revision.image_digest}"


def server_of(workload: Workload, revision: Revision, prefix: str, folder: Path) -> Server:
    """The web server of a revision."""
    options, names = options_of(revision.config), LabelNames(prefix)
    configuration = configuration_of(options)
    command = tuple(options.command)
    if configuration:
        place = f"{options.root}/conf/{conf_name(configuration)}"
        command = ("nginx", "-e", "stderr", "-c", place, "-g", "daemon off;")
    bare = ContainerSpec(
        name="",
        image=pinned(revision),
        labels={**options.labels, names.static_site: workload.ref},
        command=command,
        memory_bytes=bytes_of(options.memory) if options.memory else 0,
        networks=tuple(options.networks),
        volumes=(VolumeSpec(str(folder), options.root, read_only=True, kind="bind"),),
        port=options.port,
        publish_address=options.publish_address,
        publish_port=options.publish_port,
        restart="unless-stopped",
        stop_grace_seconds=options.stop_grace_seconds,
    )
    name = name_of(workload, prefix, bare.digest)
    return Server(replace(bare, name=name, labels={**bare.labels, names.spec: bare.digest}), configuration)


def name_of(workload: Workload, prefix: str, digest: str) -> str:
    """The name of a container, by the digest of its spec."""
    return f"{prefix}-{workload.id}-site-{digest[:8]}"


def ours(seen: Iterable[ContainerSeen], workload: Workload, prefix: str) -> list[ContainerSeen]:
    """Of the containers that carry the site's label, those that this source made: a label alone can be forged."""
    spec, name = LabelNames(prefix).spec, re.compile(re.escape(f"{prefix}-{workload.id}-site-") + "[0-9a-f]{8}")
    return [each for each in seen if spec in each.labels and name.fullmatch(each.name)]


def wrong_with(spec: ContainerSpec, seen: ContainerSeen | None, image_id: str) -> str:
    """What is not as declared, or an empty text. A paused or restarting container is left alone otherwise."""
    if seen is None:
        return "is gone"
    if seen.state in _BEYOND_STARTING:
        return f"is {seen.state}"
    if any(seen.labels.get(name) != value for name, value in spec.labels.items()):
        return "has other labels"
    if image_id and seen.image_id and seen.image_id != image_id:
        return "has another image"
    if missing := [each for each in spec.networks if each not in seen.addresses]:
        return f"is not in network {missing[0]}"
    return "has another limit" if seen.memory_bytes != spec.memory_bytes else ""


def stopped(seen: ContainerSeen | None) -> str:
    """How a container is that has only to be started; else an empty text."""
    if seen is None or seen.state not in _STARTABLE:
        return ""
    return "stopped" if seen.state == "exited" else seen.state


def serving(deployment: Deployment) -> Revision | None:
    """The revision that has the traffic and is ready; none while a deploy is under way, whose business it is then."""
    if {each.state for each in deployment.revisions.values()} & IN_THE_MIDDLE or deployment.split is None:
        return None
    whole = next((each.revision_id for each in deployment.split.entries if each.weight == WHOLE), "")
    found = deployment.revisions.get(whole)
    return found if found is not None and found.state is RevisionState.READY else None


def blocks_of(deployment: Deployment) -> list[dict[str, Any]]:
    """One block for each entry of the split, in its order (T2). Only the one with the traffic is reached anywhere."""
    blocks = []
    for entry in deployment.split.entries if deployment.split is not None else ():
        revision = deployment.revisions.get(entry.revision_id)
        reached = revision is not None and entry.weight == WHOLE
        targets = targets_of(deployment.rows, options_of(revision.config)) if revision is not None and reached else []
        draining = revision is not None and revision.state is RevisionState.DRAINING
        blocks.append(
            {"revision_id": entry.revision_id, "weight": entry.weight, "targets": targets, "draining": draining}
        )
    return blocks


def targets_of(rows: Sequence[ContainerRow], options: StaticOptions) -> list[dict[str, Any]]:
    """Where a router reaches the site: at the published port, or else at the container's own address."""
    for row in rows:
        if options.publish_address is None:
            addresses = addresses_in(row)
            first = (addresses.get(each, "") for each in (*options.networks, *addresses))
            found = [{"address": each, "port": options.port} for each in first if each]
        else:
            address = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(options.publish_address, options.publish_address)
            public = options.publish_port or _public_port(row, options.port)
            found = [{"address": address, "port": public}] if public else []
        if found:
            return found[:1]
    return []


def addresses_in(row: ContainerRow) -> Mapping[str, str]:
    """A container's addresses by network, as the verb that bound its row wrote them down."""
    try:
        told = json.loads(row.extra_json).get("addresses", {})
    except (ValueError, AttributeError):
        return {}
    return {str(name): str(each) for name, each in told.items()} if isinstance(told, dict) else {}


def _public_port(row: ContainerRow, private: int) -> int:
    try:
        ports = json.loads(row.ports)
        return next((int(each["public"]) for each in ports if each["private"] == private and each["public"]), 0)
    except (ValueError, KeyError, TypeError):
        return 0
