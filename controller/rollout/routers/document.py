"""A router's loader: what it takes of a runtime config, and what it refuses (T3). Pure.

The file may have been written by anybody who can write there, and ends as a proxy's configuration. So every value
that comes out of here is of a grammar in which nothing can be hidden.
"""

from __future__ import annotations

import ipaddress
import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Annotated, Any, NoReturn

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, StringConstraints, ValidationError

from controller.errors import RuntimeConfigInvalid
from controller.rollout.faces import host_problem, normal_host, normal_path, path_problem
from store.rollout_records import BASIS_POINTS

SCHEMA = 1
"""Version of the document's shape; a router refuses another one."""
_MOST_PROBLEMS = 10
_LARGEST_COUNTER = 2**63 - 1


def _host(text: str) -> str:
    if problem := host_problem(text):
        raise ValueError(problem)
    return normal_host(text)


def _path(text: str) -> str:
    if problem := path_problem(text):
        raise ValueError(problem)
    return normal_path(text) or "/"


def _address(text: str) -> str:
    address = ipaddress.ip_address(text)
    if isinstance(address, ipaddress.IPv6Address) and address.scope_id is not None:
        raise ValueError(f"address {text!r} has a zone")
    return str(address)


# In comments and cookies. Revisions are compared without regard to case, since nginx's map does so.
Name = Annotated[str, StringConstraints(pattern=r"\A[A-Za-z0-9][A-Za-z0-9_.:@-]{0,199}\z")]
Port = Annotated[int, Field(ge=1, le=65535)]
Counter64 = Annotated[int, Field(ge=0, le=_LARGEST_COUNTER)]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class Target(_Strict):
    """Where a container of a revision answers. An address, never a name: nginx would not start while DNS is away."""

    address: Annotated[str, AfterValidator(_address)]
    port: Port
    ports: Mapping[str, Port] = Field(default={}, description="where other ports are reached that faces ask for")


class Face(_Strict):
    """A host and a path prefix, normal: lower case, without a slash at the end (the root is ``/``).

    With a ``port`` it leads to that port of the containers.
    """

    host: Annotated[str, AfterValidator(_host)]
    path: Annotated[str, AfterValidator(_path)]
    port: Port | None = None


class Block(_Strict):
    """A revision, its weight in basis points, and where it answers."""

    revision_id: Name
    weight: int = Field(ge=0, le=BASIS_POINTS)
    targets: Annotated[tuple[Target, ...], Field(strict=False)]
    draining: bool = False


class RoutedWorkload(_Strict):
    """One workload as a router sees it."""

    id: Name
    split_generation: Counter64
    stickiness_epoch: Counter64
    faces: Annotated[tuple[Face, ...], Field(strict=False)]
    blocks: Annotated[tuple[Block, ...], Field(strict=False)]


class RouterDocument(_Strict):
    """A whole runtime config."""

    schema_version: int = Field(alias="schema", ge=SCHEMA, le=SCHEMA)
    host: str
    workloads: Annotated[tuple[RoutedWorkload, ...], Field(strict=False)]


def empty_document(host: str) -> RouterDocument:
    """What a router serves while there is no runtime config: nothing, on every host and path."""
    return RouterDocument(schema=SCHEMA, host=host, workloads=())


def load_document(text: str, host: str) -> tuple[RouterDocument, Mapping[str, str]]:
    """Read a runtime config.

    :param host: whose it has to be.
    :returns: the document, and by workload why it is in quarantine: it stays in the document, so that nobody else
        gets its faces, and is answered with 503.
    :raises RuntimeConfigInvalid: nothing of it may be used; one line a problem (T3).
    """
    try:
        document = RouterDocument.model_validate(_parse(text))
    except ValidationError as error:
        _refuse([f"{'.'.join(map(str, each['loc']))}: {each['msg']}" for each in error.errors()])
    problems = list(_problems(document, host))
    if problems:
        _refuse(problems)
    quarantined = {each.id: why for each in document.workloads if (why := _missing(each))}
    return document, quarantined


def _parse(text: str) -> Any:
    try:
        return json.loads(text, object_pairs_hook=_object)
    except (ValueError, RecursionError) as error:
        raise RuntimeConfigInvalid(f"runtime config: not JSON: {error}") from error


def _object(pairs: Sequence[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError(f"key {_twice(key for key, _ in pairs)[0]!r} stands twice")
    return found


def _problems(document: RouterDocument, host: str) -> Iterator[str]:
    if document.host != host:
        yield f"it is for host {document.host!r}, this is {host!r}"
    for name in _twice(each.id for each in document.workloads):
        yield f"workload {name!r} stands twice"
    for face in _twice((face.host, face.path) for each in document.workloads for face in each.faces):
        yield f"face {face[0]}{face[1]} stands twice"
    for workload in document.workloads:
        for name in _twice(each.revision_id.lower() for each in workload.blocks):
            yield f"workload {workload.id!r}: revision {name!r} stands twice"
        yield from (f"workload {workload.id!r}: {each}" for each in _unreached(workload))
        total = sum(each.weight for each in workload.blocks)
        if total != BASIS_POINTS:
            yield f"workload {workload.id!r}: weights sum up to {total}, not to {BASIS_POINTS}"


def _unreached(workload: RoutedWorkload) -> Iterator[str]:
    for port in ports_of(workload):
        for block in workload.blocks:
            if any(str(port) not in each.ports for each in block.targets):
                yield f"a face wants port {port}, at which revision {block.revision_id!r} is not reached"


def ports_of(workload: RoutedWorkload) -> Sequence[int]:
    """The ports that faces ask for besides the one that each target has."""
    return sorted({each.port for each in workload.faces if each.port is not None})


def address_of(target: Target, port: int | None) -> str:
    """Where a target answers, as part of a URL; ``port`` is a face's."""
    host = f"[{target.address}]" if ":" in target.address else target.address
    return f"{host}:{target.port if port is None else target.ports[str(port)]}"


def _missing(workload: RoutedWorkload) -> str:
    """The reference that is missing, if one is: a revision that gets traffic and answers nowhere."""
    gone = [each.revision_id for each in workload.blocks if each.weight and not each.draining and not each.targets]
    return f"no target of {', '.join(gone)}" if gone else ""


def _twice(values: Any) -> list[Any]:
    return [value for value, times in Counter(values).items() if times > 1]


def _refuse(problems: Sequence[str]) -> NoReturn:
    more = [f"and {len(problems) - _MOST_PROBLEMS} more"] if len(problems) > _MOST_PROBLEMS else []
    raise RuntimeConfigInvalid("\n".join(f"runtime config: {each}" for each in [*problems[:_MOST_PROBLEMS], *more]))
