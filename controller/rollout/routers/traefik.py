"""A runtime config in the words of Traefik's HTTP provider, versions 3.x (T5). Pure.

Fields as in Traefik's reference of the dynamic configuration: routers with rule and priority, services that are
``weighted`` over services that are ``loadBalancer``.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator
from typing import Any

from controller.rollout.faces import normal_path
from controller.rollout.routers.document import Block, Face, RoutedWorkload, RouterDocument, address_of
from controller.rollout.routers.routing import cookie_name, routable, shares, short_name

_EXACT_HOST = 1_000_000
"""Priority of a host's own name over ``*.name``; below it come the lengths of hosts, then of paths."""
_PER_HOST_CHARACTER = 2_000


def render_traefik(document: RouterDocument, quarantined: Collection[str]) -> dict[str, Any]:
    """The dynamic configuration. Nothing to serve is an empty object: Traefik refuses empty maps.

    A workload in quarantine keeps its faces and has a service without servers, which Traefik answers with 503. A
    service of weight 0 is listed, but Traefik leaves it out of its pool: a session on it is chosen anew.
    """
    routers: dict[str, Any] = {}
    services: dict[str, Any] = {}
    for workload in document.workloads:
        for index, face in enumerate(workload.faces):
            routers[f"{short_name(workload.id)}-{index}"] = {
                "rule": _rule(face),
                "priority": _priority(face),
                "service": f"{short_name(workload.id)}{_suffix(face.port)}",
            }
        for port in sorted({each.port for each in workload.faces}, key=lambda each: each or 0):
            services |= _services(workload, port, quarantined=workload.id in quarantined)
    return {"http": {"routers": routers, "services": services}} if routers else {}


def _rule(face: Face) -> str:
    """On segment boundaries, which ``PathPrefix`` alone does not keep: it would take ``/apis`` for ``/api``."""
    host = f"Host(`{face.host}`)"
    if face.host.startswith("*."):
        host = f"HostRegexp(`^.+{re.escape(face.host[1:])}$`)"
    prefix = normal_path(face.path)
    return f"{host} && (Path(`{prefix}`) || PathPrefix(`{prefix}/`))" if prefix else host


def _priority(face: Face) -> int:
    own = 0 if face.host.startswith("*.") else _EXACT_HOST
    return own + _PER_HOST_CHARACTER * len(face.host) + len(normal_path(face.path)) + 1


def _services(workload: RoutedWorkload, port: int | None, *, quarantined: bool) -> Iterator[tuple[str, Any]]:
    short = f"{short_name(workload.id)}{_suffix(port)}"
    there = [each for each in workload.blocks if routable(each)]
    weights = {each.block.revision_id: each.weight for each in shares(workload)}
    if quarantined or not weights:
        yield short, {"loadBalancer": {"passHostHeader": True}}
        return
    yield (
        short,
        {
            "weighted": {
                "services": [
                    {"name": _service_name(workload, each, port), "weight": weights.get(each.revision_id, 0)}
                    for each in there
                ],
                "sticky": {"cookie": _cookie(workload, port)},
            }
        },
    )
    for block in there:
        servers = [{"url": f"http://{address_of(each, port)}"} for each in block.targets]
        yield _service_name(workload, block, port), {"loadBalancer": {"servers": servers, "passHostHeader": True}}


def _cookie(workload: RoutedWorkload, port: int | None) -> dict[str, Any]:
    """Traefik chooses the cookie's value itself, so that the epoch is in its name: another one voids all of them.

    The value names a service, and there is another service for each port.
    """
    name = f"{cookie_name(workload.id)}_{workload.stickiness_epoch}{_suffix(port)}"
    return {"name": name, "httpOnly": True, "sameSite": "lax"}


def _service_name(workload: RoutedWorkload, block: Block, port: int | None) -> str:
    return f"{short_name(workload.id)}-{short_name(block.revision_id)}{_suffix(port)}"


def _suffix(port: int | None) -> str:
    return "" if port is None else f"-p{port}"
