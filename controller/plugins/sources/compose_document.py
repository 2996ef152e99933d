"""A Compose document as Compose itself resolved it: what a revision keeps, and what is run of it. Pure but for files.

Secret values are never in it. While Compose resolves, a mark stands for each; after that, the variable's name.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from controller.plugins.contract import PluginConfigInvalid
from controller.plugins.sources.compose_options import NO_DIRECTORY, ComposeOptions

PROJECT_MARK = "tallydproject"
"""Stands for the project's name while a document is resolved: a revision does not know it."""

MOST_FILES, MOST_BYTES = 2_000, 32 * 1024 * 1024
_NAMED_SECTIONS = ("networks", "volumes", "configs", "secrets")

Document = Mapping[str, Any]


def mark_of(variable: str) -> str:
    """What stands for a secret while Compose resolves."""
    return f"tallydsecret-{variable}-tallydsecret"


def resolving_values(options: ComposeOptions) -> dict[str, str]:
    """The environment in which a document is resolved: plain values, and marks for secret ones."""
    return {**options.plain, **{each: mark_of(each) for each in options.secrets}}


def document_from(resolved: str, options: ComposeOptions) -> dict[str, Any]:
    """The output of Compose's ``config`` as a document of its own.

    :raises PluginConfigInvalid: it builds images, or has a relative path and no directory.
    """
    marks = {mark_of(each): f"${{{each}}}" for each in options.secrets}
    document: dict[str, Any] = _with_names(yaml.safe_load(resolved) or {}, marks)
    document.pop("name", None)
    for section in _NAMED_SECTIONS:
        for key, each in (document.get(section) or {}).items():
            if isinstance(each, dict) and each.get("name") == f"{PROJECT_MARK}_{key}":
                del each["name"]
    for name, service in services_of(document, options.profiles).items():
        if "build" in service:
            raise PluginConfigInvalid(f"service {name!r} is built from source; tallyd builds nothing: give an image")
    if NO_DIRECTORY in json.dumps(document):
        raise PluginConfigInvalid("inline: it has a relative path; give directory, or write it absolute")
    _check_services(document, options)
    return document


def _with_names(value: Any, marks: Mapping[str, str]) -> Any:
    if isinstance(value, dict):
        return {_with_names(key, marks): _with_names(each, marks) for key, each in value.items()}
    if isinstance(value, list):
        return [_with_names(each, marks) for each in value]
    if isinstance(value, str):
        for mark, name in marks.items():
            value = value.replace(mark, name)
        return value
    return value if isinstance(value, int | float | bool | type(None)) else str(value)


def _check_services(document: Document, options: ComposeOptions) -> None:
    there = services_of(document, options.profiles)
    if not there:
        raise PluginConfigInvalid("there is no service; of those with profiles, only the ones of `profiles` count")
    for name, service in there.items():
        if strange := [each for each in secret_variables(service, options.secrets) if "," in each]:
            raise PluginConfigInvalid(f"service {name!r}: {strange[0]!r} holds a secret; write it without a comma")
    asked = [("jobs", each) for each in options.jobs]
    asked += [("web.service", options.web.service)] if options.web is not None else []
    for key, name in asked:
        if name not in there:
            raise PluginConfigInvalid(f"{key}: there is no service {name!r}; there are: {', '.join(sorted(there))}")


def services_of(document: Document, profiles: Sequence[str]) -> dict[str, dict[str, Any]]:
    """The services that are enabled, by name."""
    found = document.get("services") or {}
    return {
        name: each
        for name, each in found.items()
        if not each.get("profiles") or set(each["profiles"]) & set(profiles) or "*" in profiles
    }


def jobs_of(document: Document, options: ComposeOptions) -> frozenset[str]:
    """The services that run once: those that are named so, and those that others wait for to have ended well."""
    waited_for = set()
    for service in services_of(document, options.profiles).values():
        depends = service.get("depends_on") or {}
        for name, how in depends.items() if isinstance(depends, dict) else ():
            if isinstance(how, dict) and how.get("condition") == "service_completed_successfully":
                waited_for.add(name)
    return frozenset(waited_for | set(options.jobs))


def images_of(document: Document, options: ComposeOptions) -> dict[str, str]:
    """The image of each service."""
    found = services_of(document, options.profiles)
    return {name: str(each["image"]) for name, each in found.items() if each.get("image")}


@dataclass(frozen=True, slots=True)
class Mount:
    """A path of the project's folder that a service sees."""

    path: str
    read_only: bool


def mounts_of(service: Mapping[str, Any]) -> Iterator[Mount]:
    """The paths of the machine that a service mounts."""
    for each in service.get("volumes") or ():
        if isinstance(each, str):
            source, _, rest = each.partition(":")
            if source.startswith("/") and rest:
                yield Mount(source, "ro" in rest.partition(":")[2].split(","))
        elif each.get("type") == "bind":
            yield Mount(str(each.get("source", "")), bool(each.get("read_only")))


def followed_files(document: Document, directory: str) -> dict[str, str]:
    """What services read of the project's folder while they run: path → digest of its content.

    Mounted files, mounted folders that are read-only, and the files of configs and secrets. A folder that is too
    large is left out, and so is one that a service may write to: what it writes is not a new declaration.
    """
    if directory == NO_DIRECTORY:
        return {}
    root = Path(directory).resolve()
    paths = [each for service in (document.get("services") or {}).values() for each in mounts_of(service)]
    for section in ("configs", "secrets"):
        for each in (document.get(section) or {}).values():
            if isinstance(each, dict) and each.get("file"):
                paths.append(Mount(str(each["file"]), read_only=True))
    return {each.path: told for each in paths if (told := _content(each, root))}


def _content(mount: Mount, root: Path) -> str:
    path = Path(mount.path)
    try:
        if not path.resolve().is_relative_to(root):
            return ""
        if path.is_file():
            return _digest_of_files([path])
        if path.is_dir() and mount.read_only:
            inside = sorted(each for each in path.rglob("*") if each.is_file())
            small = len(inside) <= MOST_FILES and sum(each.stat().st_size for each in inside) <= MOST_BYTES
            return _digest_of_files(inside) if small else ""
    except OSError as error:
        raise PluginConfigInvalid(f"{mount.path} cannot be read: {error.strerror}") from error
    return ""


def _digest_of_files(files: Sequence[Path]) -> str:
    digest = hashlib.sha256()
    for each in files:
        digest.update(f"{each}\0{each.stat().st_size}\0".encode())
        with each.open("rb") as file:
            while part := file.read(1 << 20):
                digest.update(part)
    return digest.hexdigest()


def digest_of(value: Any) -> str:
    """SHA-256 of a value, in hex; equal values have equal ones in every process."""
    return hashlib.sha256(json.dumps(value, sort_keys=True, default=str).encode()).hexdigest()


def specs_of(document: Document, options: ComposeOptions, followed: Mapping[str, str]) -> dict[str, str]:
    """A digest for each enabled service, of all that makes its containers what they are.

    A service is made anew when this changes: its own part of the document, the networks and volumes that it names,
    and the files that it reads. Secret values are not in it: that one changed, Compose sees at the next start.
    """
    specs = {}
    for name, service in services_of(document, options.profiles).items():
        words = set(re.findall(r"[A-Za-z0-9_.-]+", json.dumps(service)))
        sections = {
            section: {key: each for key, each in (document.get(section) or {}).items() if key in words}
            for section in _NAMED_SECTIONS
        }
        files = {each.path: followed.get(each.path, "") for each in mounts_of(service)}
        for section in ("configs", "secrets"):
            named = [each.get("file") for each in sections[section].values() if isinstance(each, dict)]
            files |= {path: followed.get(path, "") for path in named if path}
        specs[name] = digest_of([service, sections, files])
    return specs


def secret_variables(service: Mapping[str, Any], secrets: Collection[str]) -> list[str]:
    """The variables of a service's containers whose values have a secret in them.

    :param secrets: names, as they stand in the document.
    """
    given = service.get("environment") or {}
    pairs = given.items() if isinstance(given, Mapping) else (str(each).partition("=")[::2] for each in given)
    return sorted(str(name) for name, value in pairs if any(f"${{{each}}}" in str(value) for each in secrets))


def runnable(document: Document, more: Mapping[str, Mapping[str, str]]) -> bytes:
    """A document for Compose, with more labels on the containers of these services."""
    services = {}
    for name, service in (document.get("services") or {}).items():
        labels = service.get("labels") or {}
        if isinstance(labels, list):
            labels = dict(each.partition("=")[::2] for each in labels)
        services[name] = {**service, "labels": {**labels, **more[name]}} if name in more else service
    return json.dumps({**document, "services": services}).encode()
