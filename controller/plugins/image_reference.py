"""References of images, and the credentials for their registries. Nothing of a credential is ever told."""

from __future__ import annotations

import base64
import binascii
import json
from pathlib import Path

from controller.errors import PluginConfigInvalid

DOCKER_HUB = "https://index.docker.io/v1/"


def repository_of(reference: str) -> str:
    """A reference without tag and digest."""
    name = reference.partition("@")[0]
    path, colon, tag = name.rpartition(":")
    return path if colon and "/" not in tag else name


def registry_of(reference: str) -> str:
    """The registry of a reference, as a docker config.json names it."""
    first, slash, _ = reference.partition("/")
    return first if slash and (set(first) & {".", ":"} or first == "localhost") else DOCKER_HUB


def credentials_in(document: str, registry: str) -> dict[str, str] | None:
    """The credentials for a registry in the text of a docker config.json; ``None`` where it has none for it.

    :raises PluginConfigInvalid: the text cannot be read. Nothing of it is told.
    """
    try:
        auths = json.loads(document).get("auths", {})
        found = next((each for name, each in auths.items() if _host(name) == _host(registry)), None)
        if not found:
            return None
        if found.get("identitytoken"):
            return {"identitytoken": str(found["identitytoken"]), "serveraddress": registry}
        name, _, password = base64.b64decode(found["auth"], validate=True).decode().partition(":")
    except (ValueError, KeyError, TypeError, AttributeError, binascii.Error):
        raise PluginConfigInvalid("credentials_file: it is no docker config.json with `auths`") from None
    return {"username": name, "password": password, "serveraddress": registry}


def _host(registry: str) -> str:
    return registry.partition("://")[2].partition("/")[0] if "://" in registry else registry.partition("/")[0]


def credentials_for(reference: str, file: str | None) -> dict[str, str] | None:
    """The credentials for a reference's registry in a docker config.json; ``None`` without a file.

    :raises PluginConfigInvalid: the file cannot be read, or has nothing for that registry.
    """
    if file is None:
        return None
    try:
        document = Path(file).read_text(encoding="utf-8")
    except (OSError, UnicodeError) as error:
        raise PluginConfigInvalid(f"credentials_file: {file} cannot be read: {type(error).__name__}") from error
    found = credentials_in(document, registry_of(reference))
    if found is None:
        raise PluginConfigInvalid(f"credentials_file: {file} has nothing for {registry_of(reference)}")
    return found
