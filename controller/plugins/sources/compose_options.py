"""What can be declared of a workload that is a Compose project."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import PurePosixPath
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, JsonValue, field_validator, model_validator

from controller.plugins.contract import EnvValue, PluginConfigInvalid, SecretRef, parse_config

NO_DIRECTORY = "/tallyd-no-directory"
"""Stands for the folder of a project that has none: who names it meant a relative path."""

_VARIABLE = r"^[A-Za-z_][A-Za-z0-9_]*$"
_SERVICE = r"^[A-Za-z0-9][A-Za-z0-9._-]*$"

Variable = Annotated[str, Field(pattern=_VARIABLE, max_length=200)]
Service = Annotated[str, Field(pattern=_SERVICE, max_length=200)]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class Web(_Strict):
    """Where the workload is reached."""

    service: Service
    port: int = Field(ge=1, le=65535, description="the port in the container")


class ComposeOptions(_Strict):
    """Which project, with what values, and how it is brought up and taken down."""

    directory: str | None = Field(
        default=None,
        min_length=1,
        description="folder of the project: absolute, or relative to the folder of the manifests",
    )
    files: list[str] = Field(default=[], description="Compose files in that folder; later ones override")
    inline: dict[str, JsonValue] | None = Field(default=None, description="the Compose file itself, instead of files")
    profiles: list[Service] = Field(default=[], description="profiles that are enabled")
    env: dict[Variable, EnvValue] = Field(default={}, description="what `${NAME}` in the files stands for")
    web: Web | None = Field(default=None, description="service and port that the public faces lead to")
    jobs: list[Service] = Field(default=[], description="services that run once and end with 0")
    follow: bool = Field(default=True, description="whether changed files are deployed without being asked")
    remove_orphans: bool = Field(default=False, description="whether containers of undeclared services are removed")
    strategy: Literal["recreate"] = Field(default="recreate", description="the only one that a project has")
    pull: Literal["missing", "always", "never"] = Field(default="missing", description="when stage pulls images")
    docker_config: str | None = Field(
        default=None, pattern=r"^/", description="folder of a `config.json` with the registries' credentials"
    )
    pull_timeout_seconds: int = Field(default=600, ge=1, le=7200, description="how long pulling may take")
    start_timeout_seconds: int = Field(default=120, ge=1, le=3600, description="how long a start may take")
    drain_seconds: int = Field(default=10, ge=0, le=3600, description="how long sessions in flight get to end")
    stop_grace_seconds: int = Field(default=10, ge=0, le=600, description="from the stop signal to SIGKILL")
    frozen: dict[str, JsonValue] | None = Field(
        default=None, description="what a revision keeps of the files; tallyd writes it, no manifest may"
    )

    @field_validator("strategy", mode="before")
    @classmethod
    def _one_at_a_time(cls, value: Any) -> Any:
        if value == "blue-green":
            raise ValueError(
                "blue-green needs two revisions side by side, and a Compose project exists once; write recreate, or "
                "deploy with the source `image`"
            )
        return value

    @field_validator("files")
    @classmethod
    def _inside(cls, value: list[str]) -> list[str]:
        for each in value:
            path = PurePosixPath(each)
            if not each or each == "-" or path.is_absolute() or ".." in path.parts or "\0" in each:
                raise ValueError(f"{each!r} leads out of `directory`; allowed: paths below it, such as compose.yaml")
        return value

    @model_validator(mode="after")
    def _fits_together(self) -> ComposeOptions:
        if self.inline is not None and self.files:
            raise ValueError("inline and files exclude each other")
        if self.inline is None and not self.files:
            raise ValueError("give files (with directory) or inline")
        if self.files and self.directory is None:
            raise ValueError("files lie in directory, which is not given")
        if self.directory is not None and (".." in PurePosixPath(self.directory).parts or "\0" in self.directory):
            raise ValueError(f"directory {self.directory!r} has `..` in it; write the path without")
        return self

    @property
    def secrets(self) -> Mapping[str, str]:
        """Names of secrets, by variable."""
        return {name: each.secret for name, each in self.env.items() if isinstance(each, SecretRef)}

    @property
    def plain(self) -> Mapping[str, str]:
        """The values that are no secrets, by variable."""
        return {name: each for name, each in self.env.items() if isinstance(each, str)}


def options_of(config: Mapping[str, Any]) -> ComposeOptions:
    """The options in a source config, or in what a revision keeps of one.

    :raises PluginConfigInvalid: naming the key, the value and what is allowed.
    """
    options: ComposeOptions = parse_config(ComposeOptions, config)
    return options


def declared_options_of(config: Mapping[str, Any]) -> ComposeOptions:
    """The options in a declaration.

    :raises PluginConfigInvalid: as above, or it has what only a revision may have.
    """
    options = options_of(config)
    if options.frozen is not None:
        raise PluginConfigInvalid("frozen: tallyd writes it into a revision; leave it away")
    return options
