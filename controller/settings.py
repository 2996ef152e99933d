"""The settings of one process: flags, then environment, then the controller config, then defaults (O2).

Frozen. A setting that is unknown or wrong is an error that names it, what is allowed and the nearest name.
"""

from __future__ import annotations

import difflib
import os
import re
import socket
from collections.abc import Mapping
from dataclasses import dataclass
from ipaddress import ip_address
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import Field, SecretStr, ValidationError, field_validator
from pydantic.fields import FieldInfo
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict

from controller.errors import SettingInvalid
from controller.labels import DEFAULT_PREFIX

ENVIRONMENT_PREFIX = "TALLYD_"
_FILE_SUFFIX = "_FILE"
# Kubernetes gives every pod variables for every service; one named tallyd must not stop us from starting.
_SERVICE_LINK = re.compile(r"_(SERVICE_(HOST|PORT.*)|PORT(_\d+_(TCP|UDP|SCTP)(_(PROTO|PORT|ADDR))?)?)$")
_FOR_TESTS = "TALLYD_TEST_"
_LISTEN = re.compile(r"^(\[(?P<v6>[0-9A-Fa-f:.]+)\]|(?P<host>[A-Za-z0-9.-]+)):(?P<port>\d{1,5})$")

Seconds = Annotated[float, Field(allow_inf_nan=False)]


def default_database_url() -> str:
    """The embedded store: under /var/lib for root, else in the user's state folder."""
    if os.geteuid() == 0:
        return "sqlite:////var/lib/tallyd/tallyd.db"
    return f"sqlite:///{Path.home() / '.local' / 'state' / 'tallyd' / 'tallyd.db'}"


class Settings(BaseSettings):
    """Everything that can be set. Each is also ``TALLYD_<NAME>`` and ``TALLYD_<NAME>_FILE``."""

    model_config = SettingsConfigDict(frozen=True, extra="forbid", validate_default=True)

    host: str = Field(
        default_factory=socket.gethostname,
        pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,252}$",
        description="This engine's name in the store; one active controller per host.",
    )
    database_url: str = Field(
        default_factory=default_database_url,
        description="The store: `sqlite:////path/to/file.db`, or `postgresql://user@server/database` for many hosts.",
    )
    config: Path | None = Field(default=None, description="The controller config, a YAML or JSON file of settings.")
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


def address_of(listen: str) -> tuple[str, int]:
    """``host:port`` → (host, port).

    :raises ValueError: it is neither that nor ``[v6]:port``.
    """
    found = _LISTEN.match(listen)
    if found is None or int(found["port"]) > 65535:
        raise ValueError("allowed: host:port or [v6]:port, port 0 to 65535")
    return found["v6"] or found["host"], int(found["port"])


@dataclass(frozen=True, slots=True)
class LoadedSettings:
    """Settings, and for each that is not a default where it came from (a flag, a variable, a file's key)."""

    settings: Settings
    origins: Mapping[str, str]


class _Given(PydanticBaseSettingsSource):
    """Values that were already read; pydantic-settings merges them in our order."""

    def __init__(self, settings_class: type[BaseSettings], values: Mapping[str, Any]) -> None:
        super().__init__(settings_class)
        self._values = dict(values)

    def get_field_value(self, field: FieldInfo, field_name: str) -> tuple[Any, str, bool]:
        return self._values.get(field_name), field_name, False

    def __call__(self) -> dict[str, Any]:
        return self._values


def load_settings(flags: Mapping[str, Any], environment: Mapping[str, str]) -> LoadedSettings:
    """Read all sources and validate the result.

    :param flags: by setting name; ``None`` means "not given".
    :raises SettingInvalid: naming the setting, the value, what is allowed, and the nearest name.
    """
    given = {name: value for name, value in flags.items() if value is not None}
    from_environment, variables = _from_environment(environment)
    config = given.get("config") or from_environment.get("config")
    document = _from_document(Path(config)) if config else {}
    origins = (
        {name: f"key {name} of {config}" for name in document}
        | variables
        | {name: f"--{name.replace('_', '-')}" for name in given}
    )

    class Merged(Settings):
        @classmethod
        def settings_customise_sources(  # type: ignore[override]  # pydantic's own sources are not used
            cls, settings_cls: type[BaseSettings], init_settings: PydanticBaseSettingsSource, **_: Any
        ) -> tuple[PydanticBaseSettingsSource, ...]:
            layers = (from_environment, document)
            return (init_settings, *(_Given(settings_cls, layer) for layer in layers))

    try:
        return LoadedSettings(Merged(**given), origins)
    except ValidationError as error:
        raise SettingInvalid("\n".join(_problem(each, origins) for each in error.errors())) from error


def _from_environment(environment: Mapping[str, str]) -> tuple[dict[str, Any], dict[str, str]]:
    values: dict[str, Any] = {}
    origins: dict[str, str] = {}
    for variable, raw in sorted(environment.items()):
        if not variable.startswith(ENVIRONMENT_PREFIX) or _concerns_others(variable):
            continue
        name, value = _named_value(variable, raw)
        if name in origins:
            raise SettingInvalid(f"{origins[name]} and {variable} are both set; keep one of them")
        values[name], origins[name] = value, variable
    return values, origins


def _concerns_others(variable: str) -> bool:
    return variable.startswith(_FOR_TESTS) or _SERVICE_LINK.search(variable) is not None


def _named_value(variable: str, raw: str) -> tuple[str, str]:
    name = variable.removeprefix(ENVIRONMENT_PREFIX).lower()
    if name in Settings.model_fields:
        return name, raw
    from_file = name.removesuffix(_FILE_SUFFIX.lower())
    if from_file == name or from_file not in Settings.model_fields:
        raise SettingInvalid(
            _unknown(variable, [f"{ENVIRONMENT_PREFIX}{each.upper()}" for each in Settings.model_fields])
        )
    try:
        return from_file, Path(raw).read_text(encoding="utf-8").rstrip("\r\n")
    except (OSError, UnicodeDecodeError) as error:
        raise SettingInvalid(f"{variable} is {raw!r}, which cannot be read: {error}") from error


def _from_document(path: Path) -> dict[str, Any]:
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}  # an absent controller config is defaults (W7)
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise SettingInvalid(f"controller config {path} cannot be read: {error}") from error
    if content is None:
        return {}
    if not isinstance(content, dict):
        raise SettingInvalid(
            f"controller config {path} is a {type(content).__name__}; it must be a mapping of settings"
        )
    for key in content:
        if key not in Settings.model_fields or key == "config":
            names = [name for name in Settings.model_fields if name != "config"]
            raise SettingInvalid(f"controller config {path}: {_unknown(str(key), names)}")
    return content


def _unknown(name: str, allowed: list[str]) -> str:
    near = difflib.get_close_matches(name, allowed, n=1)
    hint = f"did you mean {near[0]}? " if near else ""
    return f"{name} is not a setting; {hint}Allowed: {', '.join(allowed)}"


def _problem(error: Any, origins: Mapping[str, str]) -> str:
    name = str(error["loc"][0]) if error["loc"] else "settings"
    where = origins.get(name, name)
    if name.endswith("_token"):
        return f"{where}: {error['msg'].replace(' items', ' characters')} (its value is not shown)"
    return f"{where} is {error['input']!r}: {error['msg']}"
