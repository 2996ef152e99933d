"""Asking the controller that leads this host: for a pass, a deploy, a trigger, or what became of reloads."""

from __future__ import annotations

import json
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any
from urllib.error import HTTPError, URLError
from urllib.parse import quote
from urllib.request import Request, urlopen

from controller.errors import LeaderUnreachable, NotFound, StoreError
from store.leases import Leader

PASS_SECONDS = 120.0
FIRE_SECONDS = 110.0
DEPLOY_SECONDS = 30.0
STATUS_SECONDS = 3.0


def ask_for_pass(leader: Leader) -> dict[str, Any]:
    """Have the leader run a pass; returns its report, in the shape of O7.

    :raises LeaderUnreachable: it does not answer.
    :raises StoreError: it answered that it could not.
    """
    instead = f"its lease runs out in {max(0.0, leader.seconds_left):.0f} s unless it lives"
    return _asked(leader, "/api/v1/tick", None, PASS_SECONDS, "ran no pass", instead)


def ask_to_fire(leader: Leader, workload_id: str, reason: str) -> dict[str, Any]:
    """Have the leader fire a workload's trigger by hand; returns the answer, or that the deploy goes on.

    :raises LeaderUnreachable: it does not answer.
    :raises NotFound: it knows no such workload, or not with a trigger.
    :raises StoreError: it answered that it could not.
    """
    path = f"/api/v1/workloads/{quote(workload_id, safe='')}/trigger?wait_seconds={FIRE_SECONDS:g}"
    return _asked(leader, path, {"reason": reason}, PASS_SECONDS, "fired nothing")


def ask_for_deploy(leader: Leader, workload_id: str, body: Mapping[str, Any]) -> dict[str, Any]:
    """Have the leader deploy; returns what the API answers: the deploy, with its id.

    :raises LeaderUnreachable: it does not answer.
    :raises NotFound: it knows no such workload.
    :raises StoreError: it answered that it would not, and why.
    """
    path = f"/api/v1/workloads/{quote(workload_id, safe='')}/deploys"
    instead = "leave --no-wait out to deploy from here"
    return _asked(leader, path, body, DEPLOY_SECONDS, "does not deploy", instead)


def _asked(
    leader: Leader, path: str, body: Mapping[str, Any] | None, seconds: float, refused: str, instead: str = ""
) -> dict[str, Any]:
    """What the leader answers to a call that only it knows the token of.

    :param refused: that it does not do it, in words.
    :param instead: what comes, or is to be done, where it cannot be asked.
    """
    headers = {"Authorization": f"Bearer {leader.control_token}", "Content-Type": "application/json"}
    data = None if body is None else json.dumps(body).encode()
    try:
        with urlopen(Request(f"{leader.address}{path}", data, headers, method="POST"), timeout=seconds) as answer:
            told: dict[str, Any] = json.load(answer)
            return told
    except HTTPError as error:
        said = _detail_of(error)
        if error.code == HTTPStatus.NOT_FOUND:
            raise NotFound(said) from error
        raise StoreError(f"the controller at {leader.address} {refused}: {said}") from error
    except (URLError, OSError, ValueError) as error:
        raise LeaderUnreachable(
            f"this host is led by a controller at {leader.address}, which cannot be asked from here ({error})"
            + (f"; {instead}" if instead else "")
        ) from error


def _detail_of(error: HTTPError) -> str:
    try:
        return str(json.load(error)["detail"])
    except (OSError, ValueError, KeyError, TypeError):
        return f"{error.code} {error.reason}"


def ask_for_reload_status(leader: Leader) -> dict[str, Any]:
    """What the leader says of its last reload, in the shape of ``/api/v1/config/status``.

    :raises LeaderUnreachable: it does not answer, or does not tell everybody.
    """
    try:
        with urlopen(f"{leader.address}/api/v1/config/status", timeout=STATUS_SECONDS) as answer:
            status: dict[str, Any] = json.load(answer)
            return status
    except (HTTPError, URLError, OSError, ValueError) as error:
        raise LeaderUnreachable(f"the controller at {leader.address} does not tell its reloads: {error}") from error
