"""`manual`: a workload deploys when somebody says so, and at no other time."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel, ConfigDict

from controller.plugins.contract import (
    JsonSchema,
    TriggerEvent,
    TriggerIntent,
    Workload,
    asked_by_hand,
    parse_config,
)


class ManualOptions(BaseModel):
    """There are none."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class ManualTrigger:
    """Matches the event of kind ``manual`` that names the workload."""

    kind = "manual"

    def validate(self, config: Mapping[str, Any]) -> None:
        """Check the options."""
        parse_config(ManualOptions, config)

    def config_schema(self) -> JsonSchema:
        """JSON Schema of the options."""
        return ManualOptions.model_json_schema()

    def match(self, workload: Workload, event: TriggerEvent) -> TriggerIntent | None:
        """An intent if somebody named this workload."""
        return asked_by_hand(workload, event)
