"""`controller.plugins.triggers.git_hooks` and `git`: what forges send, and what proves that it was them."""

from __future__ import annotations

import hashlib
import hmac
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pytest

from controller.plugins.contract import (
    HookMalformed,
    HookRefused,
    HookRequest,
    PluginConfigInvalid,
    TriggerEvent,
    TriggerIntent,
)
from controller.plugins.triggers.git import GitTrigger
from controller.plugins.triggers.git_hooks import Push, push_of, signed
from tests.builders import workload

FORGES = sorted(Path(__file__).with_name("forges").glob("*.json"))
SECRET = b"the secret of the shop"
COMMIT = "1481a2de7b2a7d02428ad93446ab166be7793fbb"


def recorded(name: str) -> dict[str, Any]:
    """A recorded call: headers, body, and the push that it tells."""
    document: dict[str, Any] = json.loads(Path(__file__).with_name("forges").joinpath(f"{name}.json").read_text())
    return document


def call(document: Mapping[str, Any], **headers: str) -> HookRequest:
    """It as it comes in."""
    more = {name.replace("_", "-"): value for name, value in headers.items()}
    return HookRequest({**document["headers"], **more}, json.dumps(document["body"]).encode())


def signature(body: bytes, secret: bytes = SECRET) -> str:
    """What a forge computes."""
    return hmac.new(secret, body, hashlib.sha256).hexdigest()


@pytest.mark.parametrize("path", FORGES, ids=lambda path: path.stem)
def test_what_a_recorded_call_tells(path: Path) -> None:
    """S1: pushes to branches; nothing of pings, tags and deletions."""
    document = recorded(path.stem)
    expected = None if document["expect"] is None else Push(**document["expect"])
    assert push_of(call(document), "main") == expected


def test_a_call_may_be_a_form() -> None:
    """S1: what GitHub sends where nobody chose JSON."""
    document = recorded("github-push")
    headers = document["headers"] | {"content-type": "application/x-www-form-urlencoded"}
    body = urlencode({"payload": json.dumps(document["body"])}).encode()
    assert push_of(HookRequest(headers, body), "main") == Push(**document["expect"])


def test_of_several_branches_the_one_that_is_followed_counts() -> None:
    """S1: Bitbucket tells of all that was pushed at once."""
    document = recorded("bitbucket-push-several")
    found = push_of(call(document), "feature/new")
    assert found is not None
    assert found.branch == "feature/new"


BODY = b'{"ref": "refs/heads/main"}'
RIGHT = signature(BODY)


@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        ({"x-hub-signature-256": f"sha256={RIGHT}"}, True),
        ({"x-hub-signature": f"sha256={RIGHT}"}, True),
        ({"x-gitea-signature": RIGHT, "x-hub-signature-256": f"sha256={RIGHT}"}, True),
        ({"x-gitea-signature": RIGHT, "x-hub-signature-256": f"sha256={signature(b'')}"}, False),
        ({"x-forgejo-signature": RIGHT}, True),
        ({"x-gitlab-token": SECRET.decode()}, True),
        ({"x-gitlab-token": SECRET.decode() + "!"}, False),
        ({"x-gitlab-token": "gehe\xefm"}, False),
        ({"x-hub-signature-256": "sha256=gehe\xefm"}, False),
        ({"x-hub-signature-256": f"sha1={RIGHT}"}, False),
        ({"x-hub-signature-256": ""}, False),
        ({"x-hub-signature-256": f"sha256={signature(BODY, b'another')}"}, False),
        ({}, False),
    ],
)
def test_what_is_signed(headers: dict[str, str], expected: bool) -> None:
    """S1: over the raw body, compared on bytes; every signature that is there has to fit."""
    assert signed(HookRequest(headers, BODY), SECRET) == expected


@pytest.mark.parametrize(
    "body", [b"", b"no json", b"[]", b"\xff", b"{}", b'{"ref": "refs/heads/main"}', b'{"push": {"changes": 3}}']
)
def test_what_cannot_be_read_is_refused(body: bytes) -> None:
    """S1: with a sentence for whoever sent it."""
    with pytest.raises(HookMalformed):
        push_of(HookRequest({"x-github-event": "push"}, body), "main")


@pytest.fixture
def secret_file(tmp_path: Path) -> Path:
    """A file with the secret, and the line end that editors leave."""
    path = tmp_path / "secret"
    path.write_bytes(SECRET + b"\n")
    return path


def shop(secret_file: Path | None = None, **config: Any) -> Any:
    """A workload that follows main."""
    file = {} if secret_file is None else {"secret_file": str(secret_file)}
    return workload("shop", trigger_kind="git", trigger_config={**file, **config})


def test_a_signed_push_becomes_an_event_that_matches(secret_file: Path) -> None:
    """S1, S2: and the same push twice has the same key."""
    document = recorded("github-push")
    body = json.dumps(document["body"]).encode()
    told = call(document, x_hub_signature_256=f"sha256={signature(body)}")
    event = GitTrigger().receive(shop(secret_file), told)
    assert event is not None
    intent = GitTrigger().match(shop(secret_file), event)
    assert intent == TriggerIntent("shop", f"main is at {COMMIT[:12]}", key=f"git:{COMMIT}")


@pytest.mark.parametrize(
    "config", [{"branch": "stable"}, {"forge_repository": "team/other"}], ids=["another branch", "another repository"]
)
def test_a_push_to_something_else_is_no_match(secret_file: Path, config: dict[str, str]) -> None:
    """S2."""
    event = TriggerEvent("git", {"workload_id": "shop", **recorded("github-push")["expect"]})
    assert GitTrigger().match(shop(secret_file, **config), event) is None


def test_what_is_not_signed_well_is_refused(secret_file: Path) -> None:
    """S1: before anything of it is read; so is every call to a workload without a secret."""
    document = recorded("github-push")
    forged = call(document, x_hub_signature_256=f"sha256={signature(b'other')}")
    for bound in (shop(secret_file), shop(repository="https://git.example.org/shop.git")):
        with pytest.raises(HookRefused):
            GitTrigger().receive(bound, forged)


def test_a_secret_that_cannot_be_had_is_told(tmp_path: Path) -> None:
    """S2: the file is named, what is in it is not."""
    short = tmp_path / "short"
    short.write_text("hunter2")
    for path in (tmp_path / "none", short):
        with pytest.raises(PluginConfigInvalid, match=path.name) as told:
            GitTrigger().receive(shop(path), call(recorded("github-push")))
        assert "hunter2" not in str(told.value)


@pytest.mark.parametrize(
    ("config", "said"),
    [
        ({}, "neither repository nor secret_file"),
        ({"repository": "--upload-pack=touch /tmp/x"}, "repository"),
        ({"repository": "https://x", "branch": "-x"}, "branch"),
        ({"repository": "https://x", "branch": "a b"}, "branch"),
        ({"repository": "https://x", "poll_seconds": 0}, "poll_seconds"),
        ({"secret_file": "relative"}, "secret_file"),
        ({"repository": "https://x", "brnach": "main"}, "allowed keys"),
    ],
)
def test_options_that_are_refused(config: dict[str, Any], said: str) -> None:
    """S2: nothing that git would take for an option, and no trigger that hears of nothing."""
    with pytest.raises(PluginConfigInvalid, match=said):
        GitTrigger().validate(config)
