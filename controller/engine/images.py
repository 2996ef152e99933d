"""Images on the engine: found by digest, resolved by the registry, pulled. All of it by the engine itself."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from typing import Any
from urllib.parse import quote

import orjson

from controller.engine.containers import Progress
from controller.engine.exchange import Exchange, Request, decoded
from controller.errors import EngineError, EngineNotFound, EngineUnreachable, ImageUnavailable

PULL_SECONDS = 1800.0
_RESOLVE_SECONDS = 30.0

Credentials = Mapping[str, str]
"""What the registry is told: ``username`` and ``password``, or ``identitytoken``; and ``serveraddress``."""


class Images:
    """Verbs about images. Each may be repeated."""

    def __init__(self, exchange: Exchange) -> None:
        self._exchange = exchange

    def find(self, reference: str) -> str:
        """The id of a local image, by any reference or by its id; empty where there is none.

        :raises EngineError: the engine does not tell.
        """
        found = self._inspect(reference)
        return str(found.get("Id", "")) if found else ""

    def resolve(self, reference: str, credentials: Credentials | None = None) -> str:
        """The digest that a reference stands for now, as the registry says.

        An image that was built or imported on this engine has no registry: its id is its digest.

        :raises ImageUnavailable: the registry does not tell.
        :raises EngineError: the engine does not.
        """
        local = self._inspect(reference)
        if local and not _known_by_digest(local, reference):
            return str(local["Id"])
        path = f"/distribution/{_path(reference)}/json"
        request = Request("resolve", "GET", path, headers=_authorised(credentials))
        try:
            said = decoded("resolve", self._exchange.ask(request, _RESOLVE_SECONDS), dict)
            return str(said["Descriptor"]["digest"])
        except (KeyError, TypeError) as error:
            raise ImageUnavailable(f"resolve {reference}: the registry tells no digest") from error
        except EngineUnreachable:
            raise
        except EngineError as error:
            raise ImageUnavailable(f"{_what_to_do(reference, str(error))}") from error

    def pull(
        self, reference: str, credentials: Credentials | None = None, told: Progress = lambda _line: None
    ) -> None:
        """Pull an image; returns when it is there.

        :raises ImageUnavailable: the registry does not give it.
        :raises EngineError: the engine failed.
        """
        name, digest, tag = reference.partition("@")
        if not digest:
            name, tag = _split_tag(reference)
        failures: list[str] = []

        def heard(line: bytes) -> None:
            said = _progress(line)
            if said.get("error"):
                failures.append(str(said["error"]))
            elif said.get("status"):
                told(" ".join(str(said[key]) for key in ("id", "status", "progress") if said.get(key)))

        params = {"fromImage": name, "tag": tag}
        request = Request("pull", "POST", "/images/create", params, headers=_authorised(credentials), line=heard)
        try:
            self._exchange.ask(request, PULL_SECONDS)
        except EngineUnreachable:
            raise
        except EngineError as error:
            raise ImageUnavailable(_what_to_do(reference, str(error))) from error
        if failures:
            raise ImageUnavailable(_what_to_do(reference, f"pull: {failures[-1]}"))

    def _inspect(self, reference: str) -> dict[str, Any] | None:
        try:
            answer = self._exchange.ask(Request("inspect_image", "GET", f"/images/{_path(reference)}/json"))
        except EngineNotFound:
            return None
        found: dict[str, Any] = decoded("inspect_image", answer, dict)
        return found


def _path(reference: str) -> str:
    return quote(reference, safe="/:@")


def _split_tag(reference: str) -> tuple[str, str]:
    name, colon, tag = reference.rpartition(":")
    return (name, tag) if colon and "/" not in tag else (reference, "latest")


def _known_by_digest(image: Mapping[str, Any], reference: str) -> bool:
    """Whether a local image came from, or was pushed to, the repository that a reference names."""
    name = reference.partition("@")[0]
    repository = _familiar(name if "@" in reference else _split_tag(name)[0])
    return any(_familiar(str(each).partition("@")[0]) == repository for each in image.get("RepoDigests") or ())


def _familiar(repository: str) -> str:
    return repository.removeprefix("docker.io/").removeprefix("library/")


def _authorised(credentials: Credentials | None) -> Mapping[str, str]:
    # Without the header the engine asks as nobody; an empty object says the same to all versions.
    return {"X-Registry-Auth": base64.urlsafe_b64encode(orjson.dumps(dict(credentials or {}))).decode()}


def _progress(line: bytes) -> dict[str, Any]:
    try:
        said = orjson.loads(line)
    except orjson.JSONDecodeError:
        return {}
    return said if isinstance(said, dict) else {}


def _what_to_do(reference: str, said: str) -> str:
    low = said.lower()
    if any(each in low for each in ("unauthorized", "no basic auth", "denied", "authentication required")):
        hint = "the registry wants other credentials; see credentials_file"
    elif any(each in low for each in ("connection refused", "no such host", "timeout", "server misbehaving", "eof")):
        hint = "the engine does not reach the registry; is it up, and is its name right?"
    elif any(each in low for each in ("not found", "manifest unknown", "no such image", "does not exist")):
        hint = "the registry has no such image; look at its name and digest"
    else:
        hint = "see what the registry said"
    return f"{reference}: {hint} ({said})"
