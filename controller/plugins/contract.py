"""What a plugin is given and what it may answer. All that a plugin needs to import is here.

A source is level-triggered: `reconcile` sees what was declared and what is there, as often as the loop likes,
and must be safe to repeat (S3). It returns an outcome, or raises :class:`Retry` or :class:`Terminal`; anything
else that it raises is a failure and is repeated with back-off (R15). A source that deploys is a `Deployer` as well,
and one that acts on the engine is given :class:`EngineTools`; a source which only reports needs neither.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Protocol, runtime_checkable

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from controller.engine.compose import Compose, ComposeDone, ComposeRun
from controller.engine.containers import ContainerSeen, ContainerSpec, HealthSpec, PublishedPort, VolumeSpec
from controller.errors import (
    DeployUnderWay,
    EngineError,
    GitFailed,
    InvalidSplit,
    LookFailed,
    PluginConfigInvalid,
    SecretUnreadable,
    VerbFailed,
    VolumeRefused,
)
from controller.plugins.environment import EnvValue, SecretRef
from controller.plugins.tools import (
    ActingEngine,
    EngineTools,
    Equippable,
    GitAnswer,
    GitCommand,
    Permission,
    SecretSeen,
    TearsDown,
)
from controller.plugins.trigger import (
    MANUAL,
    Described,
    Found,
    HookMalformed,
    HookRefused,
    HookRequest,
    Look,
    Looking,
    Receiving,
    Trigger,
    TriggerEvent,
    TriggerIntent,
    TriggerTools,
    asked_by_hand,
)
from controller.rollout.deployer import (
    Applied,
    Deployer,
    Deployment,
    Done,
    Revision,
    RuntimeConfig,
    SplitEntry,
    TrafficSplit,
    revision_of,
    split_of,
)
from store.records import MISSING, Assignment, ContainerRow, Workload, WorkloadKind
from store.rollout_records import IN_THE_MIDDLE, RevisionState

__all__ = [
    "IN_THE_MIDDLE",
    "MANUAL",
    "MISSING",
    "ActingEngine",
    "Applied",
    "Assignment",
    "Compose",
    "ComposeDone",
    "ComposeRun",
    "ContainerRow",
    "ContainerSeen",
    "ContainerSpec",
    "DeployUnderWay",
    "Deployer",
    "Deployment",
    "Described",
    "Done",
    "EngineError",
    "EngineTools",
    "EnvValue",
    "Equippable",
    "Found",
    "GitAnswer",
    "GitCommand",
    "GitFailed",
    "HealthSpec",
    "HookMalformed",
    "HookRefused",
    "HookRequest",
    "InvalidSplit",
    "JsonSchema",
    "Look",
    "LookFailed",
    "Looking",
    "Outcome",
    "Permission",
    "PluginConfigInvalid",
    "PublicFace",
    "PublishedPort",
    "Receiving",
    "ReconcileRequest",
    "Result",
    "Retry",
    "Revision",
    "RevisionState",
    "RuntimeConfig",
    "SecretRef",
    "SecretSeen",
    "SecretUnreadable",
    "Source",
    "SplitEntry",
    "TearsDown",
    "Terminal",
    "TrafficSplit",
    "Trigger",
    "TriggerEvent",
    "TriggerIntent",
    "TriggerTools",
    "VerbFailed",
    "VolumeRefused",
    "VolumeSpec",
    "Workload",
    "WorkloadKind",
    "asked_by_hand",
    "parse_config",
    "parse_faces",
    "revision_of",
    "split_of",
]

JsonSchema = dict[str, Any]


class Result(StrEnum):
    """What a reconcile found or did."""

    IN_SYNC = "in_sync"
    DRIFT = "drift"
    REPAIRED = "repaired"


class PublicFace(BaseModel):
    """One address at which a workload is reached from outside."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    host: str = Field(min_length=1, max_length=253, pattern=r"^[A-Za-z0-9.*-]+$")
    path: str = Field(default="/", pattern=r"^/")
    port: int | None = Field(default=None, ge=1, le=65535)


@dataclass(frozen=True, slots=True)
class ReconcileRequest:
    """One workload as declared, and its rows of this host's index as the last complete listing left them."""

    workload: Workload
    rows: Sequence[Assignment]
    public_faces: Sequence[PublicFace]
    host: str


@dataclass(frozen=True, slots=True)
class Outcome:
    """A plugin's answer. ``message`` is shown to people; empty when there is nothing to say."""

    result: Result
    message: str = ""


class Retry(Exception):
    """Not yet: ask again after this many seconds (0 and less: at the next pass). Not a failure.

    :raises ValueError: the time is not a finite number.
    """

    def __init__(self, after_seconds: float, reason: str) -> None:
        super().__init__(reason)
        if not math.isfinite(after_seconds):
            raise ValueError(f"after_seconds is {after_seconds}; it must be a finite number")
        self.after_seconds = max(0.0, float(after_seconds))


class Terminal(Exception):
    """Asking again is useless until the workload's declaration changes."""


@runtime_checkable
class Source(Protocol):
    """What a workload is made of. Made once, without arguments; called from several threads."""

    kind: str

    def validate(self, config: Mapping[str, Any]) -> None:
        """Check a workload's source configuration.

        :raises PluginConfigInvalid: naming the key, the value and what is allowed.
        """

    def config_schema(self) -> JsonSchema:
        """JSON Schema of the configuration, for forms and editors."""

    def reconcile(self, request: ReconcileRequest) -> Outcome:
        """Bring the workload to what was declared, or say what is in the way.

        :raises Retry: to be asked again at a certain time.
        :raises Terminal: to be asked again only after the declaration changed.
        """


def parse_config(model: type[BaseModel], config: Mapping[str, Any]) -> Any:
    """Validate a configuration against a pydantic model and return the model's instance.

    :raises PluginConfigInvalid: one line a problem, with key, value and what is allowed. Values of variables are not
        told, nor what holds others: a secret may stand there by mistake (S4).
    """
    try:
        return model.model_validate(config)
    except ValidationError as error:
        allowed = ", ".join(sorted(model.model_fields)) or "no keys at all"
        problems = "; ".join(_problem(each["loc"], each["msg"], each["input"]) for each in error.errors())
    # Without the cause: it has what was given, and a traceback would show it.
    raise PluginConfigInvalid(f"{problems}; allowed keys: {allowed}")


def _problem(place: Sequence[str | int], said: str, given: object) -> str:
    if "env" in place:
        # A name that is refused may have the value in it, as in a line `NAME=value`.
        known = place[: place.index("env") + 1] if place[-1] == "[key]" else place
        return f"{'.'.join(str(part) for part in known)}: {said}"
    where = ".".join(str(part) for part in place) or "config"
    got = f"a {type(given).__name__}" if given and isinstance(given, dict | list) else repr(given)
    return f"{where}: {said} (got {got})"


_FACES = TypeAdapter(tuple[PublicFace, ...])


def parse_faces(stored: object) -> tuple[tuple[PublicFace, ...], str]:
    """Public faces as stored → faces and an empty text, or none and what is wrong with them (R15)."""
    try:
        return _FACES.validate_python(() if stored is None else stored), ""
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(str(part) for part in first["loc"])
        return (), f"public_faces{'.' + place if place else ''}: {first['msg']} (got {first['input']!r})"
