"""What can be declared of a workload that is made of an image. Durations and sizes are written as in Compose."""

from __future__ import annotations

import re
from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator

from controller.plugins.contract import EnvValue, SecretRef
from controller.plugins.sizes import bytes_of

_DURATION = re.compile(r"(?:(\d+)h)?(?:(\d+)m(?!s))?(?:(\d+(?:\.\d+)?)s)?(?:(\d+)ms)?")
_REFERENCE = r"^[a-z0-9][A-Za-z0-9._:/-]*(@sha256:[0-9a-f]{64})?$"
_NAME = r"^[A-Za-z0-9][A-Za-z0-9_.-]*$"
_VARIABLE = r"^[^=\x00]+$"
_FORBIDDEN_LABELS = ("com.docker.compose.",)


def seconds_of(text: str) -> float:
    """A duration such as ``1m30s`` or ``500ms`` in seconds.

    :raises ValueError: it is none.
    """
    found = _DURATION.fullmatch(text)
    if not text or found is None:
        raise ValueError(f"{text!r} is no duration; write for example 10s, 1m30s or 500ms")
    hours, minutes, seconds, milliseconds = (float(each or 0) for each in found.groups())
    return hours * 3600 + minutes * 60 + seconds + milliseconds / 1000


def _duration(text: str) -> str:
    seconds_of(text)
    return text


def _memory(text: str) -> str:
    if bytes_of(text) < 6 * 1024**2:
        raise ValueError(f"{text!r} is less than 6m, which the engine takes for no container")
    return text


Duration = Annotated[str, AfterValidator(_duration)]
Name = Annotated[str, Field(pattern=_NAME, max_length=200)]


class Healthcheck(BaseModel):
    """A health check as Compose has it."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    test: str | list[str] = Field(description="what runs: a line for the shell, or a list that begins with CMD")
    interval: Duration = "30s"
    timeout: Duration = "30s"
    start_period: Duration = "0s"
    retries: int = Field(default=3, ge=1, le=100)

    @property
    def command(self) -> tuple[str, ...]:
        """As the engine takes it."""
        return ("CMD-SHELL", self.test) if isinstance(self.test, str) else tuple(self.test)

    @model_validator(mode="after")
    def _begins_well(self) -> Healthcheck:
        if len(self.command) < 2 or self.command[0] not in ("CMD", "CMD-SHELL"):
            raise ValueError("test must be a line, or a list that begins with CMD or CMD-SHELL and goes on")
        return self


def _path(text: str) -> str:
    """Absolute, and without a step back: what it says is where it leads, symbolic links aside."""
    parts = text.split("/")
    if not text.startswith("/") or ".." in parts or "\x00" in text or not any(parts):
        raise ValueError(f"{text!r} is no path that may be mounted: absolute, without `..` and NUL, not `/` itself")
    return text


AbsolutePath = Annotated[str, AfterValidator(_path), Field(max_length=4096)]
Scope = Literal["absolute", "ephemeral", "instance", "stage", "project", "project-named", "named"]
_NAMELESS = ("absolute", "ephemeral", "project")


class Volume(BaseModel):
    """A volume. Its scope says what it is shared by, and how long it lives."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    scope: Scope = Field(default="named", description="what it is shared by, and how long it lives")
    name: Name | None = Field(default=None, description="for instance, stage, project-named and named")
    path: AbsolutePath | None = Field(default=None, description="for absolute: a path of the machine")
    target: AbsolutePath = Field(description="absolute path in the container")
    read_only: bool = False

    @model_validator(mode="after")
    def _fits_its_scope(self) -> Volume:
        if (self.path is not None) != (self.scope == "absolute"):
            raise ValueError("path belongs to scope absolute, and that one needs it")
        if self.scope in _NAMELESS and self.name is not None:
            raise ValueError(f"a volume of scope {self.scope} has no name")
        if self.scope not in _NAMELESS and self.name is None:
            raise ValueError(f"a volume of scope {self.scope} needs a name")
        return self


class ImageOptions(BaseModel):
    """What the workload is made of, and how it is brought up and taken down."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    image: str = Field(pattern=_REFERENCE, max_length=500, description="reference of the image, by tag or by digest")
    port: int | None = Field(default=None, ge=1, le=65535, description="the TCP port that it answers on")
    replicas: int = Field(default=1, ge=1, le=50, description="how many containers of each revision")
    strategy: Literal["blue-green", "recreate"] = Field(
        default="blue-green", description="the new revision starts beside the old one, or after it was stopped"
    )
    publish_address: str | None = Field(
        default=None,
        pattern=r"^[0-9a-fA-F.:]+$",
        description="address of the host at which the port is published; none: it is only exposed",
    )
    publish_port: int = Field(
        default=0, ge=0, le=65535, description="the host's port; 0: a free one, another for each container"
    )
    command: list[str] = Field(default=[], description="instead of the image's own")
    env: dict[Annotated[str, Field(pattern=_VARIABLE)], EnvValue] = Field(
        default={}, description="environment variables: text, or {secret: NAME}"
    )
    labels: dict[Annotated[str, Field(min_length=1)], str] = Field(default={}, description="besides our own")
    healthcheck: Healthcheck | None = Field(default=None, description="instead of the image's own")
    cpus: float = Field(default=0, ge=0, le=1024, description="limit in processors; 0: none")
    memory: Annotated[str, AfterValidator(_memory)] | None = Field(default=None, description="limit, such as 256m")
    networks: list[Name] = Field(default=[], description="networks that exist; none: the engine's default")
    volumes: list[Volume] = Field(default=[], description="volumes, each with its scope")
    restart: Literal["no", "on-failure", "unless-stopped", "always"] = Field(
        default="unless-stopped", description="what the engine does when a container ends by itself"
    )
    drain_seconds: int = Field(default=10, ge=0, le=3600, description="how long sessions in flight get to end")
    start_timeout_seconds: int = Field(default=60, ge=1, le=3600, description="how long a start may take")
    stop_grace_seconds: int = Field(default=10, ge=0, le=600, description="from the stop signal to SIGKILL")
    credentials_file: str | None = Field(
        default=None, pattern=r"^/", description="a docker config.json with the registry's credentials"
    )

    @model_validator(mode="after")
    def _fits_together(self) -> ImageOptions:
        if self.publish_address is not None and self.port is None:
            raise ValueError("publish_address says where to publish port, which is not given")
        if self.publish_port and self.publish_address is None:
            raise ValueError("publish_port is given without publish_address")
        if self.publish_port and (self.replicas > 1 or self.strategy != "recreate"):
            raise ValueError("one publish_port holds one container: replicas must be 1 and strategy recreate")
        if theirs := [each for each in self.labels if each.startswith(_FORBIDDEN_LABELS)]:
            raise ValueError(f"label {theirs[0]!r} is Compose's own")
        if len(set(self.networks)) < len(self.networks):
            raise ValueError("a network stands twice")
        if len({each.target.rstrip("/") for each in self.volumes}) < len(self.volumes):
            raise ValueError("two volumes have the same target")
        if any("," in each for each in self.secrets):
            raise ValueError("a variable that holds a secret has no comma in its name")
        return self

    @property
    def plain_env(self) -> dict[str, str]:
        """The variables whose values stand in the manifest."""
        return {name: each for name, each in self.env.items() if isinstance(each, str)}

    @property
    def secrets(self) -> dict[str, str]:
        """The names of the secrets, by variable."""
        return {name: each.secret for name, each in self.env.items() if isinstance(each, SecretRef)}
