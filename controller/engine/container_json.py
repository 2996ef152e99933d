"""Containers from and into Docker's JSON. Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import datetime
from typing import Any

from controller.engine.containers import ContainerSeen, ContainerSpec, HealthSpec, PublishedPort, VolumeSpec
from controller.labels import SECRET_VARIABLES

_NANOSECONDS = 1_000_000_000
_TIME = re.compile(r"^(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)(?:\.(\d+))?Z$")
_TELLING = 4
"""A line of a secret that is shorter than this tells nothing, and stands in every other text too."""


def wanted_json(spec: ContainerSpec) -> dict[str, Any]:
    """What the engine is asked to create."""
    host: dict[str, Any] = {
        "RestartPolicy": {"Name": spec.restart},
        "NanoCpus": spec.nano_cpus,
        "Memory": spec.memory_bytes,
        "Mounts": [_mount(each) for each in spec.volumes],
    }
    said: dict[str, Any] = {
        "Image": spec.image,
        "Labels": dict(spec.labels),
        "Env": [f"{name}={value}" for name, value in {**spec.environment, **spec.revealed}.items()],
        "StopTimeout": spec.stop_grace_seconds,
        "HostConfig": host,
    }
    if spec.command:
        said["Cmd"] = list(spec.command)
    if spec.health is not None:
        said["Healthcheck"] = _health(spec.health)
    if spec.port is not None:
        key = f"{spec.port}/tcp"
        said["ExposedPorts"] = {key: {}}
        if spec.publish_address is not None:
            public = str(spec.publish_port) if spec.publish_port else ""
            host["PortBindings"] = {key: [{"HostIp": spec.publish_address, "HostPort": public}]}
    if spec.networks:
        # More than one is understood from API 1.44 on only; the others are connected afterwards.
        host["NetworkMode"] = spec.networks[0]
        said["NetworkingConfig"] = {"EndpointsConfig": {spec.networks[0]: {}}}
    return said


def _mount(volume: VolumeSpec) -> dict[str, Any]:
    mount: dict[str, Any] = {"Type": volume.kind, "Target": volume.target, "ReadOnly": volume.read_only}
    if volume.name:
        mount["Source"] = volume.name
    if volume.kind == "volume" and volume.labels:
        mount["VolumeOptions"] = {"Labels": dict(volume.labels)}
    return mount


def secret_values_of(said: Mapping[str, Any]) -> list[str]:
    """The values of the variables that a container's own label calls secret, the longest first.

    From the container itself, so that nobody needs a key to blot them out, nor the value that was current then.
    """
    config = _part(said, "Config")
    labels = _part(config, "Labels")
    secret = {
        variable
        for label, names in labels.items()
        if str(label).endswith(SECRET_VARIABLES)
        for variable in str(names).split(",")
    }
    pairs = (str(each).partition("=") for each in config.get("Env") or ())
    return sorted({value for name, _, value in pairs if name in secret and value}, key=len, reverse=True)


def blotted(text: str, values: list[str]) -> str:
    """A text without these values, nor the lines of those that have several. Pure."""
    parts = [line.strip() for each in values for line in each.splitlines() if len(line.strip()) >= _TELLING]
    for each in [*values, *sorted(set(parts), key=len, reverse=True)]:
        text = text.replace(each, "[secret]")
    return text


def _health(health: HealthSpec) -> dict[str, Any]:
    return {
        "Test": list(health.test),
        "Interval": int(health.interval_seconds * _NANOSECONDS),
        "Timeout": int(health.timeout_seconds * _NANOSECONDS),
        "StartPeriod": int(health.start_period_seconds * _NANOSECONDS),
        "Retries": health.retries,
    }


def seen_of(said: Mapping[str, Any]) -> ContainerSeen:
    """A container as the engine inspects it; what is not there, or has another shape, counts as nothing."""
    state, config = _part(said, "State"), _part(said, "Config")
    network, host = _part(said, "NetworkSettings"), _part(said, "HostConfig")
    networks = _part(network, "Networks")
    health = str(_part(state, "Health").get("Status", ""))
    return ContainerSeen(
        id=str(said.get("Id", "")),
        name=str(said.get("Name", "")).lstrip("/"),
        image_ref=str(config.get("Image", "")),
        image_id=str(said.get("Image", "")),
        state=str(state.get("Status", "")),
        health="" if health == "none" else health,
        exit_code=int(state.get("ExitCode") or 0),
        oom_killed=bool(state.get("OOMKilled")),
        restarts=int(said.get("RestartCount") or 0),
        labels={str(name): str(value) for name, value in _part(config, "Labels").items()},
        addresses={str(name): str((each or {}).get("IPAddress", "")) for name, each in networks.items()},
        ports=_ports(_part(network, "Ports")),
        memory_bytes=int(host.get("Memory") or 0),
        nano_cpus=int(host.get("NanoCpus") or 0),
        stop_grace_seconds=int(config.get("StopTimeout") or 10),
        restart_policy=str(_part(host, "RestartPolicy").get("Name") or "no"),
        error=str(state.get("Error") or ""),
        finished_at=_moment(state.get("FinishedAt")),
    )


def _moment(said: object) -> datetime | None:
    """A time of the engine's, which tells nanoseconds; ``None`` where there was none yet, which is its year 1."""
    found = _TIME.match(str(said or ""))
    if found is None or found[1].startswith("0001-"):
        return None
    return datetime.fromisoformat(f"{found[1]}.{(found[2] or '').ljust(6, '0')[:6]}+00:00")


def _part(said: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    found = said.get(key)
    return found if isinstance(found, Mapping) else {}


def _ports(said: Mapping[str, Any]) -> tuple[PublishedPort, ...]:
    found = []
    for key, bindings in said.items():
        private, _, protocol = key.partition("/")
        for each in bindings or [{}]:
            public = int(each.get("HostPort") or 0)
            found.append(PublishedPort(int(private), protocol, str(each.get("HostIp", "")), public))
    return tuple(sorted(found, key=lambda port: (port.private, port.protocol, port.address, port.public)))
