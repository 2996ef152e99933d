"""Records → the shapes that people and scripts read, the same in CLI and HTTP (O7)."""

from __future__ import annotations

import json
from collections.abc import Iterable
from datetime import datetime
from typing import Any

from store.healing_records import Budget, Hold
from store.history_records import Event
from store.records import ContainerRow, Host, Workload
from store.rollout_records import Revision, SplitEntry, TrafficSplit
from store.secrets import StoredSecret
from store.triggers import Binding


def host_view(host: Host, now: datetime) -> dict[str, Any]:
    """One host, with the age of our truth about it in seconds (R21)."""
    age = host.age_seconds(now)
    return {
        "id": host.id,
        "engine_id": host.engine_id,
        "endpoint": host.endpoint,
        "address": host.address,
        "interval_seconds": host.interval_seconds,
        "last_listed_at": _time(host.last_listed_at),
        "age_seconds": None if age is None else round(age, 3),
        "stale": host.stale(now),
    }


def container_views(rows: Iterable[ContainerRow], hosts: Iterable[Host], now: datetime) -> list[dict[str, Any]]:
    """Rows of the index; ``stale`` where the row's host was not completely listed within three intervals."""
    by_id = {host.id: host for host in hosts}
    return [_container_view(row, by_id.get(row.host, Host(row.host)), now) for row in rows]


def _container_view(row: ContainerRow, host: Host, now: datetime) -> dict[str, Any]:
    return {
        "id": row.id,
        "host": row.host,
        "workload_id": row.workload_id,
        "workload_kind": row.workload_kind,
        "role": row.role,
        "container_id": row.container_id,
        "name": row.name,
        "image_ref": row.image_ref,
        "image_id": row.image_id,
        "state": row.state,
        "health": row.health,
        "port": row.port,
        "ports": json.loads(row.ports),
        "revision": row.revision,
        "last_seen_at": _time(row.last_seen_at),
        "listed_at": _time(host.last_listed_at),
        "stale": host.stale(now),
        "subdomain": row.subdomain,
        "proxy_route_id": row.proxy_route_id,
        "npm_proxy_id": row.npm_proxy_id,
        "image_tag": row.image_tag,
        "stage_id": row.stage_id,
        "extra_json": row.extra_json,
    }


def workload_view(workload: Workload) -> dict[str, Any]:
    """One workload, in the shape of its manifest, with its generation."""
    return {
        "id": workload.id,
        "name": workload.name,
        "kind": str(workload.kind),
        "ref": workload.ref,
        "source": _plugin_view(workload.source_kind, workload.source_config),
        "trigger": _plugin_view(workload.trigger_kind, workload.trigger_config),
        "public_faces": workload.public_faces,
        "parent": workload.parent,
        "host": workload.host,
        "generation": workload.generation,
        "updated_at": _time(workload.updated_at),
    }


def revision_view(revision: Revision) -> dict[str, Any]:
    """One revision: what it is made of, where it is in its life, and what was told of the last step."""
    return {
        "id": revision.id,
        "workload_id": revision.workload_id,
        "sequence": revision.sequence,
        "state": str(revision.state),
        "image_ref": revision.image_ref,
        "image_digest": revision.image_digest,
        "config_digest": revision.config_digest,
        "config": dict(revision.config),
        "detail": revision.detail,
        "checks": dict(revision.checks),
        "created_at": _time(revision.created_at),
        "updated_at": _time(revision.updated_at),
    }


def split_view(split: TrafficSplit) -> dict[str, Any]:
    """One split, weights in basis points, with both of its counters."""
    return {
        "workload_id": split.workload_id,
        "entries": _entry_views(split.entries),
        "generation": split.generation,
        "idempotency_key": split.idempotency_key,
        "stickiness_epoch": split.stickiness_epoch,
        "previous": None if split.previous is None else _entry_views(split.previous),
        "updated_at": _time(split.updated_at),
    }


def event_view(event: Event) -> dict[str, Any]:
    """One event of history."""
    return {
        "id": event.id,
        "at": _time(event.at),
        "host": event.host,
        "workload_id": event.workload_id,
        "subject": event.subject,
        "kind": event.kind,
        "reason": event.reason,
        "message": event.message,
        "actor": event.actor,
        "tick": event.tick,
        "details": dict(event.details),
    }


def hold_view(hold: Hold) -> dict[str, Any]:
    """One hold."""
    return {
        "host": hold.host,
        "workload_id": hold.workload_id,
        "slot": hold.slot,
        "scope": hold.scope,
        "author": hold.author,
        "reason": hold.reason,
        "created_at": _time(hold.created_at),
        "expires_at": _time(hold.expires_at),
    }


def budget_view(budget: Budget) -> dict[str, Any]:
    """What was spent on one slot."""
    return {
        "host": budget.host,
        "slot": budget.slot,
        "attempts_at": [_time(each) for each in budget.attempts_at],
        "failures": budget.failures,
        "not_before": _time(budget.not_before),
        "asked_at": _time(budget.asked_at),
        "last_answer": budget.reason,
    }


def secret_view(secret: StoredSecret, trouble: str, now: datetime) -> dict[str, Any]:
    """One secret, without its value (S4). ``trouble`` is why it cannot be decrypted; empty where it can."""
    return {
        "workload_id": secret.workload_id,
        "name": secret.name,
        "generation": secret.generation,
        "updated_at": _time(secret.updated_at),
        "age_seconds": round(max(0.0, (now - secret.updated_at).total_seconds()), 3),
        "readable": not trouble,
        "trouble": trouble,
    }


def trigger_view(binding: Binding, now: datetime) -> dict[str, Any]:
    """A workload's trigger: when it fired last, what came of it, and when it is due next, as far as that is known."""
    state = binding.state
    known = [
        state.not_before,
        *(_moment(each) for each in (state.next_at, state.owed.again_at if state.owed else "")),
    ]
    coming = [each for each in known if each is not None and each > now]
    return {
        "workload_id": binding.workload.id,
        "kind": binding.workload.trigger_kind,
        "fired_at": _time(state.fired_at),
        "answer": state.answer,
        "message": state.message,
        "owed": state.owed is not None,
        "failures": state.failures,
        "next_at": _time(min(coming, default=None)),
        "updated_at": _time(state.updated_at),
    }


def _entry_views(entries: Iterable[SplitEntry]) -> list[dict[str, Any]]:
    return [{"revision_id": each.revision_id, "weight": each.weight} for each in entries]


def _plugin_view(kind: str, config: Any) -> dict[str, Any] | None:
    return {"kind": kind, "config": dict(config)} if kind else None


def _time(moment: datetime | None) -> str | None:
    return None if moment is None else moment.isoformat()


def _moment(text: str) -> datetime | None:
    return datetime.fromisoformat(text) if text else None
