"""`report`: says how a workload differs from what was declared, and changes nothing."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from controller.plugins.contract import (
    JsonSchema,
    Outcome,
    ReconcileRequest,
    Result,
    parse_config,
)


class ReportOptions(BaseModel):
    """What is expected of the workload."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    containers: int | None = Field(default=None, ge=0, description="How many containers should run; none: any")


class ReportSource:
    """Reports containers that do not run, are not healthy, or are too few or too many."""

    kind = "report"

    def validate(self, config: Mapping[str, Any]) -> None:
        """Check the options."""
        parse_config(ReportOptions, config)

    def config_schema(self) -> JsonSchema:
        """JSON Schema of the options."""
        return ReportOptions.model_json_schema()

    def reconcile(self, request: ReconcileRequest) -> Outcome:
        """Compare; never writes."""
        options: ReportOptions = parse_config(ReportOptions, request.workload.source_config)
        drifts = [f"{row.id} is {row.state or 'not there yet'}" for row in request.rows if row.state != "running"]
        drifts += [f"{row.id} is unhealthy" for row in request.rows if row.health == "unhealthy"]
        running = sum(row.state == "running" for row in request.rows)
        if options.containers is not None and running != options.containers:
            drifts.append(f"{running} of {options.containers} containers run")
        return Outcome(Result.DRIFT, "; ".join(drifts)) if drifts else Outcome(Result.IN_SYNC)
