"""What history is told of a rollout beside the steps of a deploy: splits, promotions, and what gates said. Pure."""

from __future__ import annotations

from datetime import datetime

from controller.rollout.deployer import Revision, TrafficSplit
from controller.rollout.walker import Verdict
from store.history_records import Event, EventKind


def split_events(split: TrafficSplit, now: datetime, actor: str, *, back: bool = False) -> list[Event]:
    """That a split was set, or taken back; nothing where it is one that was stored before ``now``."""
    if split.updated_at != now:
        return []
    reason, doing = ("split_rolled_back", "back to") if back else ("split_set", "set to")
    message = f"split {doing} {shares_of(split)} (generation {split.generation})"
    details = {"generation": split.generation}
    return [Event(now, EventKind.DEPLOY, "", split.workload_id, "", reason, message, actor, details=details)]


def promoted_event(revision: Revision, parent_id: str, now: datetime, actor: str, *, made: bool) -> Event:
    """That a revision of a parent was made one of its child."""
    message = f"revision {revision.sequence} is {'made' if made else 'known'} from {parent_id}: {revision.image_ref}"
    details = {"parent": parent_id, "made": made}
    return Event(
        now,
        EventKind.DEPLOY,
        "",
        revision.workload_id,
        revision.id,
        "promoted",
        message,
        actor,
        details=details,
    )


def gate_words(verdict: Verdict) -> tuple[str, str]:
    """What a gate said, in a word and in a sentence."""
    said = "; ".join(f"{name}: {what}" for name, what in verdict.checks.items())
    reason, told = ("gate_passed", "the gate is passed") if verdict.passed else ("gate_refused", "the gate refuses")
    return reason, f"{told}{': ' if said else ''}{said}"


def shares_of(split: TrafficSplit) -> str:
    """``shop-1 90 %, shop-2 10 %``."""
    return ", ".join(f"{each.revision_id} {each.weight / 100:g} %" for each in split.entries)
