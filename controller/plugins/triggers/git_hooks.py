"""What forges send when somebody pushed, and how they prove that it was them. Pure.

GitHub, Gitea, Forgejo and Bitbucket sign the raw body with HMAC-SHA256; GitLab sends the secret itself. Each of their
documentations calls the shapes stable; nothing but repository, ref and commit is read.
"""

from __future__ import annotations

import hashlib
import hmac
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qs

from controller.plugins.contract import HookMalformed, HookRequest

_SIGNATURES = ("x-hub-signature-256", "x-gitea-signature", "x-forgejo-signature", "x-hub-signature")
_EVENTS = ("x-github-event", "x-gitea-event", "x-forgejo-event", "x-gitlab-event", "x-event-key")
_PUSHES = {"push", "Push Hook", "repo:push", "repo:refs_changed"}
_HEADS = "refs/heads/"
_PREFIX = "sha256="


@dataclass(frozen=True, slots=True)
class Push:
    """That a branch of a repository is at a commit now."""

    repository: str
    branch: str
    commit: str


def signed(request: HookRequest, secret: bytes) -> bool:
    """Whether whoever called knows the secret. Every signature that is there has to fit, and one has to be there.

    Compared on bytes, in constant time: text that is not ASCII would raise.
    """
    expected = hmac.new(secret, request.body, hashlib.sha256).hexdigest().encode()
    compared = [
        hmac.compare_digest(value.strip().removeprefix(_PREFIX).encode("utf-8", "replace"), expected)
        for name in _SIGNATURES
        if (value := request.headers.get(name)) is not None
    ]
    token = request.headers.get("x-gitlab-token")
    if token is not None:
        compared.append(hmac.compare_digest(token.encode("utf-8", "replace"), secret))
    return bool(compared) and all(compared)


def push_of(request: HookRequest, branch: str) -> Push | None:
    """The push that a forge tells, of several the one to this branch.

    ``None`` for a ping, a tag, a deleted branch, and whatever else there is.

    :raises HookMalformed: it is no JSON object, or a push without what a push has.
    """
    said = {request.headers[name] for name in _EVENTS if name in request.headers}
    if said and not said & _PUSHES:
        return None
    document = _document_of(request)
    try:
        return _bitbucket(document, branch) if "push" in document else _of_ref(document)
    except (KeyError, TypeError, AttributeError) as error:
        raise HookMalformed(
            f"a push without {error}, or with it in another shape than the forge documents"
        ) from error


def _document_of(request: HookRequest) -> Mapping[str, Any]:
    text = request.body
    if request.headers.get("content-type", "").partition(";")[0].strip() == "application/x-www-form-urlencoded":
        text = parse_qs(text.decode("utf-8", "replace")).get("payload", [""])[0].encode()
    try:
        document = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise HookMalformed(f"the body is not JSON: {error}") from error
    if not isinstance(document, dict):
        raise HookMalformed("the body is not a JSON object")
    return document


def _of_ref(document: Mapping[str, Any]) -> Push | None:
    """GitHub, GitLab, Gitea, Forgejo: one ref, before and after."""
    ref, commit = str(document["ref"]), str(document["after"])
    if not ref.startswith(_HEADS) or not commit.strip("0"):
        return None
    project = document.get("project")
    name = project["path_with_namespace"] if project else document["repository"]["full_name"]
    return Push(str(name), ref.removeprefix(_HEADS), commit)


def _bitbucket(document: Mapping[str, Any], branch: str) -> Push | None:
    """Bitbucket: a list of changes, of which those of branches that are still there count."""
    heads = [each["new"] for each in document["push"]["changes"] if (each.get("new") or {}).get("type") == "branch"]
    wanted = [each for each in heads if each["name"] == branch] or heads
    if not wanted:
        return None
    name = str(document["repository"]["full_name"])
    return Push(name, str(wanted[-1]["name"]), str(wanted[-1]["target"]["hash"]))
