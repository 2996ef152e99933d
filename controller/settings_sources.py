"""Where settings come from: flags, then environment, then the controller config, then defaults (O2).

A setting that is unknown or wrong is an error that names it, where it stands, what is allowed and the nearest name.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from controller.errors import ConfigInvalid, SettingInvalid
from controller.settings import LIVE_SETTINGS, SECRET_SETTINGS, Settings
from controller.yamls import read_documents

ENVIRONMENT_PREFIX = "TALLYD_"
_FILE_SUFFIX = "_FILE"
# Kubernetes gives every pod variables for every service; one named tallyd must not stop us from starting.
_SERVICE_LINK = re.compile(r"_(SERVICE_(HOST|PORT.*)|PORT(_\d+_(TCP|UDP|SCTP)(_(PROTO|PORT|ADDR))?)?)$")
_FOR_TESTS = "TALLYD_TEST_"
_SQLITE_FILE = re.compile(r"sqlite:///(?P<path>[^?%:]+)")
_NAMES_IN_CONFIG = tuple(name for name in Settings.model_fields if name != "config")


@dataclass(frozen=True, slots=True)
class LoadedSettings:
    """Settings, and for each that is not a default where it came from (a flag, a variable, a file's key)."""

    settings: Settings
    origins: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class ConfigContent:
    """What a controller config says: values by setting, and where it stands, for messages and origins."""

    values: Mapping[str, Any] = field(default_factory=dict)
    place: str = ""


def load_settings(
    flags: Mapping[str, Any], environment: Mapping[str, str], content: ConfigContent | None = None
) -> LoadedSettings:
    """Merge all sources and validate the result.

    :param flags: by setting name; ``None`` means "not given".
    :param content: the controller config; none: the file that the setting ``config`` names is read.
    :raises SettingInvalid: naming the setting, the value, what is allowed, and the nearest name.
    """
    given = {name: value for name, value in flags.items() if value is not None}
    from_environment, variables = _from_environment(environment)
    path = given.get("config") or from_environment.get("config")
    if content is None:
        content = read_config(Path(path)) if path else ConfigContent()
    origins = (
        {name: f"key {name} of {content.place}" for name in content.values}
        | variables
        | {name: f"--{name.replace('_', '-')}" for name in given}
    )
    try:
        return LoadedSettings(Settings(**{**content.values, **from_environment, **given}), origins)
    except ValidationError as error:
        problems = (_problem(each, lambda name: origins.get(name, name)) for each in error.errors())
        raise SettingInvalid("\n".join(problems)) from error


def config_file_of(settings: Settings) -> Path | None:
    """The config file of these settings, told without opening the store; None where only the store can tell."""
    if settings.config is not None:
        return settings.config
    plain = _SQLITE_FILE.fullmatch(settings.database_url)
    return None if plain is None else Path(plain["path"]).with_name("config.yaml")


def read_config(path: Path) -> ConfigContent:
    """A controller config from its file; one that is absent is defaults (W7).

    :raises ConfigInvalid: it cannot be read, or something in it is not allowed.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        return ConfigContent(place=str(path))
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigInvalid(f"controller config {path} cannot be read: {error}") from error
    return ConfigContent(parse_config(text, str(path)), str(path))


def parse_config(text: str, source: str) -> dict[str, Any]:
    """The text of a controller config → values by setting. JSON is YAML too.

    :raises ConfigInvalid: every problem, each with file, line, value and what is allowed.
    """
    documents = read_documents(text, source, ConfigInvalid)
    if len(documents) > 1:
        raise ConfigInvalid(f"{source}: {len(documents)} YAML documents; the controller config is a single one")
    if not documents:
        return {}
    document = documents[0]
    if not isinstance(document.value, dict):
        told = f"is a {type(document.value).__name__}; it must be a mapping of settings"
        raise ConfigInvalid(f"controller config {source} {told}")
    problems = [f"{source}:{document.line_of([key])}: {text}" for key, text in config_problems(document.value)]
    if problems:
        raise ConfigInvalid("\n".join(problems))
    return document.value


def check_config(values: Mapping[str, Any]) -> None:
    """Check a controller config that comes from no file.

    :raises ConfigInvalid: every problem, one a line.
    """
    if problems := [text for _, text in config_problems(values)]:
        raise ConfigInvalid("\n".join(problems))


def config_problems(values: Mapping[Any, Any]) -> Iterable[tuple[str, str]]:
    """What is wrong with a controller config: the key, and a sentence that names value and what is allowed."""
    for key in values:
        if key not in _NAMES_IN_CONFIG:
            yield key, unknown_setting(str(key), _NAMES_IN_CONFIG)
    known = {name: value for name, value in values.items() if name in _NAMES_IN_CONFIG}
    try:
        Settings(**known)
    except ValidationError as error:
        for each in error.errors():
            yield str(each["loc"][0]), _problem(each, str)


def config_schema() -> dict[str, Any]:
    """JSON schema of the controller config, for editors and forms."""
    schema = Settings.model_json_schema()
    schema["properties"] = {name: schema["properties"][name] for name in _NAMES_IN_CONFIG}
    for name in schema["properties"]:
        schema["properties"][name]["x-tallyd-live"] = name in LIVE_SETTINGS
    return (
        {"$schema": "https://json-schema.org/draft/2020-12/schema"} | schema | {"title": "tallyd controller config"}
    )


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
        allowed = [f"{ENVIRONMENT_PREFIX}{each.upper()}" for each in Settings.model_fields]
        raise SettingInvalid(unknown_setting(variable, allowed))
    try:
        return from_file, Path(raw).read_text(encoding="utf-8").rstrip("\r\n")
    except (OSError, UnicodeDecodeError) as error:
        raise SettingInvalid(f"{variable} is {raw!r}, which cannot be read: {error}") from error


def unknown_setting(name: str, allowed: Iterable[str]) -> str:
    """What somebody is told who names a setting that there is not: what is allowed, and the nearest name."""
    near = difflib.get_close_matches(name, list(allowed), n=1)
    hint = f"did you mean {near[0]}? " if near else ""
    return f"{name} is not a setting; {hint}Allowed: {', '.join(allowed)}"


def _problem(error: Any, told: Callable[[str], str]) -> str:
    name = str(error["loc"][0]) if error["loc"] else "settings"
    if name in SECRET_SETTINGS:
        return f"{told(name)}: {error['msg'].replace(' items', ' characters')} (its value is not shown)"
    return f"{told(name)} is {error['input']!r}: {error['msg']}"
