"""`schedule`: a workload deploys at times that a cron expression names, in a time zone.

The time is stored before the deploy begins, and such a deploy is never repeated: a crash may lose one, it never makes
two.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, model_validator

from controller.plugins.contract import (
    Found,
    JsonSchema,
    Look,
    TriggerEvent,
    TriggerIntent,
    Workload,
    asked_by_hand,
    parse_config,
)
from controller.plugins.triggers.cron import Misfire, due, parse_cron


class ScheduleOptions(BaseModel):
    """When, and what becomes of a time that was missed."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    cron: str = Field(max_length=200, description="minute, hour, day of month, month, weekday; or a word like @daily")
    time_zone: str = Field(default="UTC", max_length=100, description="in which the expression is meant")
    misfire: Misfire = Field(
        default="fire_once", description="a time that was missed: deploy once as soon as possible, or not at all"
    )
    grace_seconds: int = Field(default=60, ge=1, le=86400, description="a time is missed when it is later than this")

    @model_validator(mode="after")
    def _comes(self) -> ScheduleOptions:
        parse_cron(self.cron, self.time_zone)
        return self


class ScheduleTrigger:
    """Fires at the times of its expression."""

    kind = "schedule"

    def validate(self, config: Mapping[str, Any]) -> None:
        """Check the options."""
        parse_config(ScheduleOptions, config)

    def config_schema(self) -> JsonSchema:
        """JSON Schema of the options."""
        return ScheduleOptions.model_json_schema()

    def look(self, look: Look) -> Found:
        """What is due now."""
        options: ScheduleOptions = parse_config(ScheduleOptions, look.workload.trigger_config)
        meant = f"{options.cron} {options.time_zone}"
        stored = look.state.get("mark") if look.state.get("meant") == meant else None
        mark = datetime.fromisoformat(stored) if stored else None
        found = due(
            parse_cron(options.cron, options.time_zone), mark, look.now, options.misfire, options.grace_seconds
        )
        payload = {"workload_id": look.workload.id, "at": found.fire.isoformat()} if found.fire else None
        events = [TriggerEvent(self.kind, payload)] if payload else []
        return Found({"mark": found.mark.isoformat(), "meant": meant}, events, found.next_at)

    def match(self, workload: Workload, event: TriggerEvent) -> TriggerIntent | None:
        """An intent for a time of this workload's own."""
        if event.kind == self.kind and event.payload.get("workload_id") == workload.id:
            at = str(event.payload.get("at", ""))
            return TriggerIntent(workload.id, f"scheduled for {at}", key=f"schedule:{at}", once=True)
        return asked_by_hand(workload, event)
