"""Containers as tallyd makes them and as it finds them again. Plain records, without Docker's JSON."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import datetime
from typing import Literal

Progress = Callable[[str], None]
"""Told of a pull, layer by layer, in the engine's words."""


@dataclass(frozen=True, slots=True)
class HealthSpec:
    """A health check: what runs in the container, how often, and what counts as unhealthy. Times in seconds."""

    test: tuple[str, ...]
    interval_seconds: float = 30.0
    timeout_seconds: float = 30.0
    start_period_seconds: float = 0.0
    retries: int = 3


@dataclass(frozen=True, slots=True)
class VolumeSpec:
    """A volume, and where it is mounted. ``name`` is empty for one that goes with its container; for ``bind`` a path.

    ``labels`` are those of a volume that is made for it; the engine makes one that has none.
    """

    name: str
    target: str
    read_only: bool = False
    kind: Literal["volume", "bind"] = "volume"
    labels: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class VolumeSeen:
    """A volume as the engine has it."""

    name: str
    labels: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class ContainerSpec:
    """One container as it is wanted. ``image`` is what the engine finds it by: with a digest, or an image id.

    A ``port`` is exposed; with ``publish_address`` it is published there too, at ``publish_port``, 0 for a free one.
    Limits of 0 are none. The first of ``networks`` is the one that it starts in; none: the engine's default.

    ``secrets`` maps variables to the names of secrets. Their values are in ``revealed``, by variable, and only while
    the container is being created: they are in no digest, since a short one could be guessed from it, and in no text.
    """

    name: str
    image: str
    labels: Mapping[str, str] = field(default_factory=dict)
    environment: Mapping[str, str] = field(default_factory=dict)
    command: tuple[str, ...] = ()
    health: HealthSpec | None = None
    nano_cpus: int = 0
    memory_bytes: int = 0
    networks: tuple[str, ...] = ()
    volumes: tuple[VolumeSpec, ...] = ()
    port: int | None = None
    publish_address: str | None = None
    publish_port: int = 0
    restart: str = "no"
    stop_grace_seconds: int = 10
    secrets: Mapping[str, str] = field(default_factory=dict)
    revealed: Mapping[str, str] = field(default_factory=dict, repr=False)

    @property
    def digest(self) -> str:
        """SHA-256 of all of it but what is revealed, in hex. Equal specs have equal digests, in every process.

        What a spec says that an earlier version did not know is left out while it says nothing: an upgrade must not
        make every container anew.
        """
        said = asdict(self)
        del said["revealed"]
        if not said["secrets"]:
            del said["secrets"]
        for each in said["volumes"]:
            if each["kind"] == "volume":
                del each["kind"]
            if not each["labels"]:
                del each["labels"]
        return hashlib.sha256(json.dumps(said, sort_keys=True).encode()).hexdigest()


@dataclass(frozen=True, slots=True)
class PublishedPort:
    """A port of a container; ``public`` is 0 where it is only exposed."""

    private: int
    protocol: str
    address: str = ""
    public: int = 0


@dataclass(frozen=True, slots=True)
class ContainerSeen:
    """One container as the engine inspects it. ``health`` is empty where it has no health check.

    ``addresses`` maps the name of each network to the container's address there, empty while it does not run.
    ``error`` is why the engine could not start it; ``finished_at`` is by the engine's clock.
    """

    id: str
    name: str
    image_ref: str = ""
    image_id: str = ""
    state: str = ""
    health: str = ""
    exit_code: int = 0
    oom_killed: bool = False
    restarts: int = 0
    labels: Mapping[str, str] = field(default_factory=dict)
    addresses: Mapping[str, str] = field(default_factory=dict)
    ports: Sequence[PublishedPort] = ()
    memory_bytes: int = 0
    nano_cpus: int = 0
    stop_grace_seconds: int = 10
    restart_policy: str = "no"
    error: str = ""
    finished_at: datetime | None = None
