"""The settings of one process, and which of them a running one takes up.

Frozen. Where their values come from is the matter of :mod:`controller.settings_sources`.
"""

from __future__ import annotations

import os
import re
import socket
from collections.abc import Mapping
from ipaddress import ip_address
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, SecretStr, field_validator

from controller.labels import DEFAULT_PREFIX

_LISTEN = re.compile(r"^(\[(?P<v6>[0-9A-Fa-f:.]+)\]|(?P<host>[A-Za-z0-9.-]+)):(?P<port>\d{1,5})$")

Seconds = Annotated[float, Field(allow_inf_nan=False)]

DEFAULT_INTERVAL_SECONDS = 30.0
LONGEST_INTERVAL_SECONDS = 300.0

LIVE_SETTINGS = frozenset(
    {
        "interval_seconds",
        "label_prefix",
        "log_level",
        "manifests_prune",
        "plugin_deadline_seconds",
        "plugin_workers",
        "reload_drain_seconds",
    }
)
"""Settings that a reload puts into effect. All others keep their value until a restart, and the log says so."""

SECRET_SETTINGS = frozenset({"api_token", "reload_token", "reload_token_previous"})


def clamp_interval(seconds: float) -> float:
    """The interval that is really used, in seconds (R1)."""
    return DEFAULT_INTERVAL_SECONDS if seconds <= 0 else min(seconds, LONGEST_INTERVAL_SECONDS)


def default_database_url() -> str:
    """The embedded store: under /var/lib for root, else in the user's state folder."""
    if os.geteuid() == 0:
        return "sqlite:////var/lib/tallyd/tallyd.db"
    return f"sqlite:///{Path.home() / '.local' / 'state' / 'tallyd' / 'tallyd.db'}"


def default_sites() -> Path:
    """Beside the embedded store."""
    return Path(default_database_url().removeprefix("sqlite:///")).with_name("sites")


class Settings(BaseModel):
    """Everything that can be set. Each is also ``TALLYD_<NAME>`` and ``TALLYD_<NAME>_FILE``."""

    model_config = ConfigDict(frozen=True, extra="forbid", validate_default=True)

    host: str = Field(
        default_factory=socket.gethostname,
        pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,252}$",
        description="This engine's name in the store; one active controller per host.",
    )
    database_url: str = Field(
        default_factory=default_database_url,
        description="The store: `sqlite:////path/to/file.db`, or `postgresql://user@server/database` for many hosts.",
    )
    config: Path | None = Field(
        default=None,
        description="The controller config, a YAML or JSON file of settings. None: `config.yaml` beside a SQLite "
        "store, a table in a PostgreSQL store.",
    )
    manifests: Path | None = Field(
        default=None,
        description="A workload manifest, a folder of them, or a folder in a git working tree; kept in force.",
    )
    manifests_prune: bool = Field(
        default=False,
        description="Whether a workload whose manifest is gone is deleted, once it has no container left.",
    )
    runtime_config: Path | None = Field(
        default=None, description="Where routers read what to serve: the file that `tallyd router` follows."
    )
    secrets_key_file: Path | None = Field(
        default=None,
        description="File with the keys of secret values, one Fernet key a line; the first encrypts, all decrypt.",
    )
    volume_roots: tuple[Path, ...] = Field(
        default=(),
        description="Folders of the machine whose contents workloads may mount; in a variable with `:` between them.",
    )
    sites: Path = Field(
        default_factory=default_sites,
        description="Folder in which the source `static` keeps what it serves; web servers mount it, so the engine's "
        "machine must have it at this same path.",
    )
    git_sync_seconds: Seconds = Field(
        default=0.0,
        ge=0,
        le=86_400,
        description="Seconds between fetches of the working tree that holds the manifests; 0: only by the webhook.",
    )
    listen: str = Field(
        default="127.0.0.1:9477",
        description="Address of metrics, probes and API, `host:port`; port 0 takes any.",
    )
    label_prefix: str = Field(
        default=DEFAULT_PREFIX,
        pattern=r"^[a-z0-9]([a-z0-9._-]{0,61}[a-z0-9])?$",
        description="Prefix of the labels that are read.",
    )
    interval_seconds: Seconds = Field(
        default=30.0, description="Seconds between ticks; 0 and less become 30, more than 300 becomes 300."
    )
    reload_token: SecretStr | None = Field(
        default=None, min_length=32, description="Bearer token of the reload webhook; at least 32 characters."
    )
    reload_token_previous: SecretStr | None = Field(
        default=None, min_length=32, description="A second one that is accepted too, while tokens are rotated."
    )
    reload_debounce_seconds: Seconds = Field(
        default=0.25, ge=0.01, le=60, description="Seconds without a further change until changed files are read."
    )
    reload_drain_seconds: Seconds = Field(
        default=10.0,
        ge=0,
        le=3600,
        description="Seconds that what a reload replaced goes on serving those who began with it; 0: none.",
    )
    api_token: SecretStr | None = Field(
        default=None,
        min_length=16,
        description="Bearer token of API writes, and off loopback of API reads; at least 16 characters.",
    )
    engine_timeout_seconds: Seconds = Field(
        default=30.0,
        gt=0,
        le=600,
        description="Seconds until an unfinished answer of the engine is given up.",
    )
    plugin_workers: int = Field(default=8, ge=1, le=256, description="How many plugin calls run at the same time.")
    plugin_deadline_seconds: Seconds = Field(
        default=20.0, gt=0, le=3600, description="Seconds until a plugin call is given up and backed off."
    )
    healing_attempts: int = Field(
        default=5, ge=0, le=1000, description="How often one container is healed within any window; 0: never."
    )
    healing_window_seconds: Seconds = Field(
        default=600.0, ge=1, le=86_400, description="Seconds of the window that these attempts are counted in."
    )
    healing_backoff_seconds: Seconds = Field(
        default=10.0,
        ge=0,
        le=3600,
        description="Seconds between the first attempt and the second; doubles with each, up to 300.",
    )
    hold_seconds: Seconds = Field(
        default=3600.0,
        ge=1,
        le=31_536_000,
        description="Seconds that a container which somebody stopped by hand is left alone.",
    )
    history_days: Seconds = Field(default=30.0, gt=0, le=36_500, description="Days that history is kept.")
    history_rows: int = Field(
        default=200_000, ge=100, le=100_000_000, description="Events of history that are kept at most."
    )
    history_log_lines: int = Field(
        default=5,
        ge=0,
        le=50,
        description="Last log lines of a container that died, kept in history; they may hold secrets; 0: none.",
    )
    log_level: Literal["debug", "info", "warning", "error"] = Field(
        default="info", description="Least severe log level."
    )
    log_format: Literal["auto", "console", "json"] = Field(
        default="auto", description="Form of the log; `auto` is `console` on a terminal and `json` elsewhere."
    )

    @field_validator("listen")
    @classmethod
    def _listen_is_an_address(cls, value: str) -> str:
        address_of(value)
        return value

    @field_validator("volume_roots", mode="before")
    @classmethod
    def _roots_are_listed(cls, value: Any) -> Any:
        return [each for each in value.split(":") if each] if isinstance(value, str) else value

    @field_validator("volume_roots")
    @classmethod
    def _roots_are_folders(cls, value: tuple[Path, ...]) -> tuple[Path, ...]:
        for each in value:
            if not each.is_absolute() or ".." in each.parts or len(each.parts) < 2:
                raise ValueError(f"{str(each)!r}; allowed: absolute paths without `..`, and not `/` itself")
        return value

    @field_validator("sites")
    @classmethod
    def _sites_is_absolute(cls, value: Path) -> Path:
        if not value.is_absolute() or ".." in value.parts or len(value.parts) < 3:
            raise ValueError(f"{str(value)!r}; allowed: an absolute path without `..`, two folders deep or more")
        return value

    @property
    def address(self) -> tuple[str, int]:
        """Host and port to listen on."""
        return address_of(self.listen)

    @property
    def on_loopback(self) -> bool:
        """Whether only this machine can reach the HTTP port."""
        host = self.address[0]
        try:
            return ip_address(host).is_loopback
        except ValueError:
            return host == "localhost"

    @property
    def reload_tokens(self) -> tuple[str, ...]:
        """The secrets of the webhook; none, one, or two while they are rotated (H2)."""
        given = (self.reload_token, self.reload_token_previous)
        return tuple(each.get_secret_value() for each in given if each is not None)

    def live(self) -> Mapping[str, Any]:
        """The part that a reload puts into effect."""
        return {name: getattr(self, name) for name in LIVE_SETTINGS}


def address_of(listen: str) -> tuple[str, int]:
    """``host:port`` → (host, port).

    :raises ValueError: it is neither that nor ``[v6]:port``.
    """
    found = _LISTEN.match(listen)
    if found is None or int(found["port"]) > 65535:
        raise ValueError("allowed: host:port or [v6]:port, port 0 to 65535")
    return found["v6"] or found["host"], int(found["port"])
