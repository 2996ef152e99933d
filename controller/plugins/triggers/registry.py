"""`registry`: a workload deploys when a tag stands for another image, or a newer tag fits a pattern."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from controller.plugins.contract import (
    Found,
    JsonSchema,
    Look,
    LookFailed,
    PluginConfigInvalid,
    TriggerEvent,
    TriggerIntent,
    Workload,
    asked_by_hand,
    parse_config,
)
from controller.plugins.image_reference import credentials_for, repository_of
from controller.plugins.triggers.registry_client import RegistryClient, Tagged, repository_at
from controller.plugins.triggers.registry_tags import newest

_REFERENCE = r"^[a-z0-9][A-Za-z0-9._:/-]*$"
_DIGEST = re.compile(r"sha256:[0-9a-f]{64}")
_LATEST = "latest"


class RegistryOptions(BaseModel):
    """Which tag, and how it is asked for."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    image: str | None = Field(
        default=None, pattern=_REFERENCE, max_length=500, description="reference by tag; none: that of the source"
    )
    tags: str | None = Field(
        default=None,
        pattern=r"^[A-Za-z0-9_.*?\[\]!-]{1,128}$",
        description="pattern; the newest tag that fits counts",
    )
    poll_seconds: int = Field(default=60, ge=1, le=86400, description="how often the registry is asked")
    credentials_file: str | None = Field(
        default=None, pattern=r"^/", description="a docker config.json; none: that of the source"
    )
    plain_http: bool = Field(default=False, description="no TLS; a registry on this machine never has any")


@dataclass(frozen=True, slots=True)
class Watched:
    """What is looked at: a repository, and one tag of it or those that fit a pattern."""

    repository: str
    tag: str
    pattern: str | None
    credentials_file: str | None

    def __str__(self) -> str:
        """In one line, as it is remembered."""
        return f"{self.repository}:{self.pattern or self.tag}"


class RegistryTrigger:
    """Fires when what is watched has another digest than at the last time."""

    kind = "registry"

    def validate(self, config: Mapping[str, Any]) -> None:
        """Check the options."""
        parse_config(RegistryOptions, config)

    def config_schema(self) -> JsonSchema:
        """JSON Schema of the options."""
        return RegistryOptions.model_json_schema()

    def look(self, look: Look) -> Found:
        """What the registry says now. Asked by HEAD, which counts as no pull."""
        options: RegistryOptions = parse_config(RegistryOptions, look.workload.trigger_config)
        watched = watched_by(look.workload, options)
        before = look.state if look.state.get("watched") == str(watched) else {}
        credentials = credentials_for(watched.repository, watched.credentials_file)
        repository = repository_at(watched.repository, plain_http=options.plain_http)
        client = RegistryClient(repository, credentials, look.now.timestamp())
        tag, tagged = _ask(client, watched, before)
        pause = max(float(options.poll_seconds), tagged.pause_seconds)
        state = {"watched": str(watched), "tag": tag, "digest": tagged.digest, "etag": tagged.etag}
        payload = {
            "workload_id": look.workload.id,
            "reference": f"{watched.repository}:{tag}",
            "digest": tagged.digest,
        }
        same = (before.get("tag"), before.get("digest")) == (tag, tagged.digest)
        events = [] if same else [TriggerEvent(self.kind, payload)]
        return Found(state, events, look.now + timedelta(seconds=pause))

    def match(self, workload: Workload, event: TriggerEvent) -> TriggerIntent | None:
        """An intent for another image of this workload."""
        payload = event.payload
        if event.kind != self.kind or payload.get("workload_id") != workload.id:
            return asked_by_hand(workload, event)
        reference, digest = str(payload.get("reference", "")), str(payload.get("digest", ""))
        if not _DIGEST.fullmatch(digest):
            return None
        told = (f"{reference} is {digest[:19]}", f"registry:{reference}@{digest}")
        if _is_another_tag(workload, reference):
            return TriggerIntent(workload.id, *told, reference=reference, digest=digest)
        return TriggerIntent(workload.id, *told)


def watched_by(workload: Workload, options: RegistryOptions) -> Watched:
    """What a workload's trigger looks at: of the options, or else of the source's.

    :raises PluginConfigInvalid: neither names an image by tag.
    """
    source = workload.source_config
    reference = options.image or source.get("image")
    if not isinstance(reference, str):
        raise PluginConfigInvalid("image: the source declares none, so the trigger has to")
    if "@" in reference:
        raise PluginConfigInvalid(f"image: {reference} is pinned by its digest, which never changes")
    repository = repository_of(reference)
    tag = reference.removeprefix(repository).removeprefix(":") or _LATEST
    file = options.credentials_file or source.get("credentials_file")
    return Watched(repository, tag, options.tags, file if isinstance(file, str) else None)


def _ask(client: RegistryClient, watched: Watched, before: Mapping[str, Any]) -> tuple[str, Tagged]:
    tag = watched.tag
    if watched.pattern is not None:
        tag = newest(client.tags(), watched.pattern)
        if not tag:
            raise LookFailed(f"no tag of {watched.repository} fits {watched.pattern!r}")
    known = str(before.get("digest", "")) if before.get("tag") == tag else ""
    etag = str(before.get("etag", "")) if known else ""
    found = client.digest_of(tag, etag)
    return tag, Tagged(known, etag) if found is None else found


def _is_another_tag(workload: Workload, reference: str) -> bool:
    """Whether the source would resolve another tag of the same repository: then it has to be told."""
    declared = workload.source_config.get("image")
    if not isinstance(declared, str) or "@" in declared or repository_of(declared) != repository_of(reference):
        return False
    return declared.removeprefix(repository_of(declared)).removeprefix(":") != reference.rpartition(":")[2]
