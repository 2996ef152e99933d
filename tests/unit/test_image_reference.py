"""`controller.plugins.image_reference`: which registry, and which credentials, without telling them."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

import pytest

from controller.plugins.contract import PluginConfigInvalid
from controller.plugins.image_reference import DOCKER_HUB, credentials_for, credentials_in, registry_of

SECRET = base64.b64encode(b"me:pass:word").decode()


@pytest.mark.parametrize(
    ("reference", "registry"),
    [
        ("shop:1", DOCKER_HUB),
        ("team/shop", DOCKER_HUB),
        ("registry.example/shop", "registry.example"),
        ("localhost/shop", "localhost"),
        ("127.0.0.1:5000/team/shop@sha256:1", "127.0.0.1:5000"),
    ],
)
def test_registries(reference: str, registry: str) -> None:
    """S1: as the engine reads a reference."""
    assert registry_of(reference) == registry


@pytest.mark.parametrize("name", ["registry.example", "https://registry.example", "https://registry.example/v2/"])
def test_credentials_are_found_by_registry(name: str) -> None:
    """S1: however the client that wrote the file spelt it; a password may have colons."""
    document = json.dumps({"auths": {"other.example": {"auth": "eA=="}, name: {"auth": SECRET}}})
    found = credentials_in(document, "registry.example")
    assert found == {"username": "me", "password": "pass:word", "serveraddress": "registry.example"}
    assert credentials_in(document, "third.example") is None
    token = json.dumps({"auths": {"registry.example": {"identitytoken": "t"}}})
    assert credentials_in(token, "registry.example") == {"identitytoken": "t", "serveraddress": "registry.example"}


@pytest.mark.parametrize(
    "document", ["", "[]", "{", {"auths": []}, {"auths": {"registry.example": {"auth": f"{SECRET}!"}}}]
)
def test_a_file_that_is_none(document: Any, tmp_path: Path) -> None:
    """S2: named by its option; nothing of what it holds is told."""
    path = tmp_path / "config.json"
    path.write_text(document if isinstance(document, str) else json.dumps(document))
    with pytest.raises(PluginConfigInvalid, match="it is no docker config") as refused:
        credentials_for("registry.example/shop", str(path))
    assert SECRET not in str(refused.value)


def test_a_file_without_the_registry_and_one_that_is_not_there(tmp_path: Path) -> None:
    """S2: told before the registry says no."""
    path = tmp_path / "config.json"
    path.write_text("{}")
    with pytest.raises(PluginConfigInvalid, match="has nothing for registry"):
        credentials_for("registry.example/shop", str(path))
    with pytest.raises(PluginConfigInvalid, match="cannot be read: FileNotFoundError"):
        credentials_for("registry.example/shop", str(tmp_path / "none.json"))
    assert credentials_for("registry.example/shop", None) is None
