"""`git`: a workload deploys when a branch has another commit: it is asked for now and then, and a forge may tell.

A forge's call says no more than where the branch is now; the same one twice deploys once.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import timedelta
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, model_validator

from controller.plugins.contract import (
    Found,
    HookRefused,
    HookRequest,
    JsonSchema,
    Look,
    PluginConfigInvalid,
    TriggerEvent,
    TriggerIntent,
    Workload,
    asked_by_hand,
    parse_config,
)
from controller.plugins.triggers.git_hooks import Push, push_of, signed

_COMMIT = re.compile(r"[0-9a-f]{40}([0-9a-f]{24})?")
_SHORTEST_SECRET = 16


class GitOptions(BaseModel):
    """Which branch, and how its moves are heard of."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    repository: str | None = Field(
        default=None, pattern=r"^[A-Za-z0-9/]\S*$", max_length=1000, description="URL or path to ask; none: only told"
    )
    branch: str = Field(default="main", pattern=r"^[^\s~^:?*\[\\-][^\s~^:?*\[\\]*$", max_length=200)
    poll_seconds: int = Field(default=60, ge=1, le=86400, description="how often the repository is asked")
    secret_file: str | None = Field(
        default=None, pattern=r"^/", description="file with the secret that a forge signs with; none: no calls taken"
    )
    forge_repository: str | None = Field(
        default=None, max_length=500, description="name at the forge, such as team/shop; other names are no match"
    )

    @model_validator(mode="after")
    def _hears(self) -> GitOptions:
        if self.repository is None and self.secret_file is None:
            raise ValueError("neither repository nor secret_file is given, so no move would ever be heard of")
        return self


class GitTrigger:
    """Fires when the branch has another commit than at the last time."""

    kind = "git"

    def validate(self, config: Mapping[str, Any]) -> None:
        """Check the options."""
        parse_config(GitOptions, config)

    def config_schema(self) -> JsonSchema:
        """JSON Schema of the options."""
        return GitOptions.model_json_schema()

    def look(self, look: Look) -> Found:
        """Where the branch is now."""
        options: GitOptions = parse_config(GitOptions, look.workload.trigger_config)
        if options.repository is None:  # told by a forge, it asks nobody
            return Found(look.state, next_at=look.now + timedelta(days=1))
        commit = look.tools.branch_head(options.repository, options.branch)
        watched = f"{options.repository} {options.branch}"
        before = look.state.get("commit", "") if look.state.get("watched") == watched else ""
        payload = {"workload_id": look.workload.id, "branch": options.branch, "commit": commit}
        events = [TriggerEvent(self.kind, payload)] if commit not in ("", before) else []
        state = {"watched": watched, "commit": commit or before}
        return Found(state, events, look.now + timedelta(seconds=options.poll_seconds))

    def receive(self, workload: Workload, request: HookRequest) -> TriggerEvent | None:
        """The push that a forge tells; its signature is checked over the raw body before that is read."""
        options: GitOptions = parse_config(GitOptions, workload.trigger_config)
        if options.secret_file is None or not signed(request, _secret_of(options.secret_file)):
            raise HookRefused
        push = push_of(request, options.branch)
        return None if push is None else TriggerEvent(self.kind, payload_of(workload.id, push))

    def match(self, workload: Workload, event: TriggerEvent) -> TriggerIntent | None:
        """An intent for a commit on this workload's branch."""
        payload = event.payload
        if event.kind != self.kind:
            return asked_by_hand(workload, event)
        options: GitOptions = parse_config(GitOptions, workload.trigger_config)
        commit = str(payload.get("commit", ""))
        named = payload.get("repository")
        if payload.get("workload_id") != workload.id or payload.get("branch") != options.branch:
            return None
        if named is not None and options.forge_repository not in (None, named):
            return None
        if not _COMMIT.fullmatch(commit):
            return None
        return TriggerIntent(workload.id, f"{options.branch} is at {commit[:12]}", key=f"git:{commit}")


def payload_of(workload_id: str, push: Push) -> dict[str, str]:
    """A forge's push as the payload of an event."""
    return {
        "workload_id": workload_id,
        "branch": push.branch,
        "commit": push.commit,
        "repository": push.repository,
    }


def _secret_of(file: str) -> bytes:
    try:
        secret = Path(file).read_bytes().strip()
    except OSError as error:
        raise PluginConfigInvalid(f"secret_file: {file} cannot be read: {error.strerror}") from error
    if len(secret) < _SHORTEST_SECRET:
        raise PluginConfigInvalid(f"secret_file: {file} holds {len(secret)} bytes; at least {_SHORTEST_SECRET}")
    return secret
