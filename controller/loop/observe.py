"""Docker's JSON → containers. Pure; nothing it is given can make it raise.

A container that cannot be read is set aside alone, with the reason (R17), and so is never taken for gone.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import orjson

from controller.labels import COMPOSE_NUMBER, COMPOSE_ONEOFF, COMPOSE_PROJECT, COMPOSE_SERVICE, LabelNames
from store.records import NO_PORTS, Container

MAX_LABELS = 4096
MAX_LABEL_NAME_CHARACTERS = 4096
MAX_LABEL_VALUE_CHARACTERS = 65_536
MAX_KEY_CHARACTERS = 512
"""Cap of what can become part of a row's key: our labels, Compose's, the container's name."""

_STATES = {"exited": "stopped", "dead": "stopped"}
"""The engine's words for one state of ours (R13); every other word is taken as it is, also one not known yet."""

_LAST_PORT = 65_535

_HEALTH_IN_STATUS = (
    ("(healthy)", "healthy"),
    ("(unhealthy)", "unhealthy"),
    ("(health: starting)", "starting"),
)


@dataclass(frozen=True, slots=True)
class Unreadable:
    """A container that could not be read. ``container_id`` is ``None`` where not even that was legible."""

    container_id: str | None
    reason: str


@dataclass(frozen=True, slots=True)
class Observation:
    """What one listing says. ``listed_ids`` are the ids of all containers listed, unreadable ones included."""

    containers: tuple[Container, ...]
    unreadable: tuple[Unreadable, ...]
    listed_ids: frozenset[str]

    @property
    def every_id_legible(self) -> bool:
        """Whether absence can be concluded: an illegible id may be that of any row's container."""
        return all(each.container_id is not None for each in self.unreadable)

    @property
    def unreadable_ids(self) -> frozenset[str]:
        """Ids of the containers that are listed but could not be read."""
        return frozenset(each.container_id for each in self.unreadable if each.container_id is not None)


class _CannotRead(Exception):
    pass


def observe(items: Iterable[object], names: LabelNames) -> Observation:
    """Read each item of a listing (``GET /containers/json``) on its own."""
    return gather(read_container(item, names) for item in items)


def read_container(item: object, names: LabelNames) -> Container | Unreadable:
    """Read one item."""
    try:
        return _container(item, names)
    except _CannotRead as error:
        return Unreadable(_legible_id(item), str(error))


def gather(readings: Iterable[Container | Unreadable]) -> Observation:
    """All readings of one listing, taken together."""
    containers: list[Container] = []
    unreadable: list[Unreadable] = []
    for each in readings:
        if isinstance(each, Container):
            containers.append(each)
        else:
            unreadable.append(each)
    ids = {container.id for container in containers}
    ids.update(each.container_id for each in unreadable if each.container_id is not None)
    return Observation(tuple(containers), tuple(unreadable), frozenset(ids))


def _legible_id(item: object) -> str | None:
    container_id = item.get("Id") if isinstance(item, dict) else None
    return container_id if isinstance(container_id, str) and container_id else None


def _container(item: object, names: LabelNames) -> Container:
    if not isinstance(item, dict):
        raise _CannotRead(f"a container is {_kind(item)} instead of an object")
    labels = item.get("Labels") or {}
    if not isinstance(labels, dict):
        raise _CannotRead(f"Labels is {_kind(labels)} instead of an object")
    name = _name(item.get("Names"))
    if _is_ours(labels, names):
        _check_labels(labels, names)
    else:
        labels = {label: value for label, value in labels.items() if isinstance(value, str)}
    state = _text(item, "State")
    port, ports = _ports(item.get("Ports"))
    get = labels.get
    return Container(
        id=_text(item, "Id"),
        name=name,
        image_ref=_text(item, "Image"),
        image_id=_text(item, "ImageID", optional=True),
        state=_STATES.get(state, state),
        health=_health(item),
        port=port,
        ports=ports,
        created=_created(item.get("Created")),
        workload_id=get(names.workload_id, ""),
        workload_kind=get(names.workload_kind, ""),
        role=get(names.role, ""),
        static_site=get(names.static_site, ""),
        revision=get(names.revision, ""),
        compose_project=get(COMPOSE_PROJECT, ""),
        compose_service=get(COMPOSE_SERVICE, ""),
        compose_number=_number(get(COMPOSE_NUMBER, "")),
        oneoff=get(COMPOSE_ONEOFF, "") == "True",
    )


def _kind(value: object) -> str:
    return "null" if value is None else type(value).__name__


def _text(item: Mapping[str, Any], key: str, *, optional: bool = False) -> str:
    value = item.get(key)
    if isinstance(value, str) and (value or optional):
        if "\0" in value:
            raise _CannotRead(f"{key} holds a NUL byte")
        return value
    if optional and value is None:
        return ""
    raise _CannotRead(f"{key} is {'empty' if value == '' else _kind(value)}")


def _name(names: object) -> str:
    if not isinstance(names, list) or not names:
        raise _CannotRead(f"Names is {'empty' if names == [] else _kind(names)}")
    for each in names:
        if not isinstance(each, str):
            raise _CannotRead("Names holds something that is no text")
    # Legacy links add names such as /other/alias; the container's own has one slash, in front.
    own = names if len(names) == 1 else [name for name in names if "/" not in name[1:]] or names
    name: str = own[0].removeprefix("/")
    if not name or "\0" in name or len(name) > MAX_KEY_CHARACTERS:
        raise _CannotRead(f"its name is empty, holds a NUL byte or is over {MAX_KEY_CHARACTERS} characters")
    return name


def _is_ours(labels: Mapping[str, Any], names: LabelNames) -> bool:
    if names.workload_id in labels or names.static_site in labels:
        return True
    project = labels.get(COMPOSE_PROJECT)
    return project is not None and (not isinstance(project, str) or project.startswith(names.project_prefix))


def _check_labels(labels: Mapping[str, Any], names: LabelNames) -> None:
    if not _are_harmless(labels):
        _check_each_label(labels, names)


def _are_harmless(labels: Mapping[str, Any]) -> bool:
    """Whether one look at all of them is enough: what is short as a whole has no part that is over a cap."""
    try:
        text = "".join(labels) + "".join(labels.values())
    except TypeError:
        return False
    return len(labels) <= MAX_KEY_CHARACTERS >= len(text) and "\0" not in text


def _check_each_label(labels: Mapping[str, Any], names: LabelNames) -> None:
    if len(labels) > MAX_LABELS:
        raise _CannotRead(f"{len(labels)} labels, over the cap of {MAX_LABELS}")
    for name, value in labels.items():
        if not isinstance(value, str):
            raise _CannotRead(f"label {name[:80]!r} is {_kind(value)} instead of text")
        if "\0" in value or "\0" in name:
            raise _CannotRead(f"label {name[:80]!r} holds a NUL byte")
        if len(value) > MAX_LABEL_VALUE_CHARACTERS or len(name) > MAX_LABEL_NAME_CHARACTERS:
            raise _CannotRead(
                f"label {name[:80]!r} has {len(value)} characters, over the cap of {MAX_LABEL_VALUE_CHARACTERS}"
            )
    for name in (*names.own, COMPOSE_PROJECT, COMPOSE_SERVICE):
        if len(labels.get(name, "")) > MAX_KEY_CHARACTERS:
            raise _CannotRead(
                f"label {name!r} has {len(labels[name])} characters, over the cap of {MAX_KEY_CHARACTERS}"
            )


def _health(item: Mapping[str, Any]) -> str:
    """From API 1.52 the listing has a field; below, the status text ends with it."""
    field = item.get("Health")
    if isinstance(field, dict) and isinstance(field.get("Status"), str):
        return field["Status"] or "none"
    status = item.get("Status")
    if isinstance(status, str) and status.endswith(")"):
        for ending, health in _HEALTH_IN_STATUS:
            if status.endswith(ending):
                return health
    return "none"


def _created(value: object) -> int:
    if isinstance(value, int):
        return value
    raise _CannotRead(f"Created is {_kind(value)} instead of a number")


def _number(value: str) -> int:
    return int(value) if value.isascii() and value.isdigit() and len(value) < 10 else 1


def _ports(listed: object) -> tuple[int, str]:
    if not listed:
        return 0, NO_PORTS
    if not isinstance(listed, list) or not all(isinstance(each, dict) for each in listed):
        raise _CannotRead(f"Ports is {_kind(listed)} instead of a list of objects")
    try:
        ports = sorted(
            (
                int(each["PrivatePort"]),
                str(each.get("Type", "tcp")),
                each.get("IP") or "",
                each.get("PublicPort") or 0,
            )
            for each in listed
        )
        as_objects = [
            {"private": private, "type": protocol, "ip": ip, "public": public}
            for private, protocol, ip, public in ports
        ]
        text = orjson.dumps(as_objects).decode()
    except (KeyError, TypeError, ValueError, OverflowError):
        raise _CannotRead("Ports holds an entry without a port number") from None
    if not 0 <= ports[0][0] <= ports[-1][0] <= _LAST_PORT:
        raise _CannotRead(f"Ports holds a port number outside 0 to {_LAST_PORT}")
    return ports[0][0], text
