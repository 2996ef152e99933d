"""What can be declared of a workload that is a site: files, and the web server that publishes them."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, field_validator, model_validator

from controller.plugins.contract import PluginConfigInvalid, parse_config
from controller.plugins.sizes import bytes_of

DEFAULT_IMAGE = "nginx:1.28-alpine"
FIRST_PREVIEW_PORT = 8079

_REFERENCE = r"^[a-z0-9][A-Za-z0-9._:/-]*(@sha256:[0-9a-f]{64})?$"
_NAME = r"^[A-Za-z0-9][A-Za-z0-9_.-]*$"
_REF = r"^[A-Za-z0-9][A-Za-z0-9._/-]*$"
_URL = re.compile(
    r"(https?|ssh|git|file)://[^\s'\"\\-][^\s'\"\\]*|[A-Za-z0-9._-]+@[A-Za-z0-9.-]+:[^\s'\"\\-][^\s'\"\\]*"
)
_PASSWORD = re.compile(r"^[a-z]+://[^/]*:[^/]*@|^https?://[^/]*@")
_FORBIDDEN_LABELS = ("com.docker.compose.",)


def _size(text: str) -> str:
    bytes_of(text)
    return text


def _within(path: str) -> str:
    if path.startswith("/") or "\x00" in path or ".." in path.split("/"):
        raise ValueError(f"{path!r}; allowed: a path relative to the root of the repository, without `..`")
    return path


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class GitOptions(_Strict):
    """A place in a git repository."""

    url: str = Field(max_length=1000, description="https, ssh or git; file only under `volume_roots`")
    ref: str = Field(default="main", pattern=_REF, max_length=250, description="branch, tag, or a whole commit id")
    path: Annotated[str, AfterValidator(_within)] = Field(
        default="", max_length=1000, description="the folder that is published; empty: all of it"
    )

    @field_validator("url")
    @classmethod
    def _can_be_fetched(cls, value: str) -> str:
        if _PASSWORD.search(value):
            raise ValueError("no user and password in a URL; give git a credential helper, or use ssh")
        if _URL.fullmatch(value) is None:
            raise ValueError("allowed: https://…, http://…, ssh://…, git://…, file:///… and user@host:path")
        return value

    @field_validator("ref")
    @classmethod
    def _is_a_ref(cls, value: str) -> str:
        if ".." in value or "//" in value or value.endswith((".lock", "/", ".")):
            raise ValueError("allowed: the name of a branch or a tag, or a whole commit id")
        return value


class Frozen(_Strict):
    """What a revision keeps of the content: its digest, how much it is, and the commit that it is from."""

    digest: str = Field(pattern=r"^sha256:[0-9a-f]{64}$")
    files: int = Field(ge=0)
    bytes: int = Field(ge=0)
    commit: str = Field(default="", pattern=r"^([0-9a-f]{40}|[0-9a-f]{64})?$")


class StaticOptions(_Strict):
    """Which files, and how they are published."""

    directory: str | None = Field(
        default=None,
        min_length=1,
        max_length=4000,
        description="folder that is published: relative to the folder of the manifests, or absolute and under "
        "`volume_roots`",
    )
    git: GitOptions | None = Field(default=None, description="a repository instead of a folder")
    follow: bool = Field(
        default=True, description="whether changed files of a folder are deployed without being asked"
    )
    image: str = Field(
        default=DEFAULT_IMAGE, pattern=_REFERENCE, max_length=500, description="an image with nginx in it"
    )
    port: int = Field(default=80, ge=1, le=65535, description="the port that it listens on in its container")
    root: str = Field(
        default="/srv/site",
        pattern=r"^/[A-Za-z0-9._/-]*[A-Za-z0-9._-]$",
        max_length=200,
        description="where the site is mounted, read-only; what is published is in `current` there",
    )
    command: list[str] = Field(
        default=[], description="another web server; it must follow the link `current` at each request"
    )
    index: str = Field(
        default="index.html", pattern=_NAME, max_length=100, description="what a folder is answered with"
    )
    spa: bool = Field(default=False, description="whether the index of the root answers where there is no file")
    publish_address: str | None = Field(
        default=None, pattern=r"^[0-9a-fA-F.:]+$", description="address of the host at which the port is published"
    )
    publish_port: int = Field(default=0, ge=0, le=65535, description="the host's port; 0: a free one")
    networks: list[Annotated[str, Field(pattern=_NAME, max_length=200)]] = Field(
        default=[], description="networks that exist; none: the engine's default"
    )
    labels: dict[Annotated[str, Field(min_length=1)], str] = Field(default={}, description="besides our own")
    memory: Annotated[str, AfterValidator(_size)] | None = Field(default=None, description="limit, such as 64m")
    max_files: int = Field(default=20_000, ge=1, le=1_000_000, description="more files are refused")
    max_bytes: Annotated[str, AfterValidator(_size)] = Field(default="1g", description="more content is refused")
    drain_seconds: int = Field(
        default=10, ge=0, le=3600, description="how long a release stays in service after it was replaced"
    )
    start_timeout_seconds: int = Field(default=30, ge=1, le=3600, description="how long a start may take")
    stop_grace_seconds: int = Field(default=10, ge=0, le=600, description="from the stop signal to SIGKILL")
    frozen: Frozen | None = Field(
        default=None, description="what a revision keeps of the content; tallyd writes it, no manifest may"
    )

    @property
    def preview_port(self) -> int:
        """Where our nginx answers for every release by its name; 0 where the server is somebody's own."""
        if self.command:
            return 0
        return FIRST_PREVIEW_PORT if self.port != FIRST_PREVIEW_PORT else FIRST_PREVIEW_PORT - 1

    @property
    def source(self) -> Literal["directory", "git"]:
        """Which of the two was declared."""
        return "git" if self.git is not None else "directory"

    @property
    def content(self) -> Frozen:
        """What a revision keeps.

        :raises PluginConfigInvalid: it is no revision's config.
        """
        if self.frozen is None:
            raise PluginConfigInvalid("frozen: a revision of a site has it; deploy the declaration to make one")
        return self.frozen

    @model_validator(mode="after")
    def _fits_together(self) -> StaticOptions:
        if (self.directory is None) == (self.git is None):
            raise ValueError("give either directory or git")
        if self.publish_port and self.publish_address is None:
            raise ValueError("publish_port is given without publish_address")
        if self.memory is not None and bytes_of(self.memory) < 6 * 1024**2:
            raise ValueError(f"memory {self.memory!r} is less than 6m, which the engine takes for no container")
        if ".." in self.root.split("/"):
            raise ValueError(f"root {self.root!r}; allowed: an absolute path without `..`")
        if self.command and (self.spa or self.index != "index.html"):
            raise ValueError("index and spa are told to our own nginx; with a command they have no effect")
        for each in self.labels:
            if each.startswith(_FORBIDDEN_LABELS):
                raise ValueError(f"label {each!r} is Compose's own")
        return self


def options_of(config: Mapping[str, Any]) -> StaticOptions:
    """The options of a revision's config.

    :raises PluginConfigInvalid: naming the key, the value and what is allowed.
    """
    options: StaticOptions = parse_config(StaticOptions, config)
    return options


def declared_options_of(config: Mapping[str, Any]) -> StaticOptions:
    """The options that somebody declared.

    :raises PluginConfigInvalid: likewise; also for what only a revision has.
    """
    options = options_of(config)
    if options.frozen is not None:
        raise PluginConfigInvalid("frozen: tallyd writes it into a revision; leave it away")
    return options
