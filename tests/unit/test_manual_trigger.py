"""`controller.plugins.triggers.manual`: a workload deploys when somebody says so."""

from __future__ import annotations

from typing import Any

import pytest

from controller.plugins.contract import PluginConfigInvalid, TriggerEvent, TriggerIntent
from controller.plugins.triggers.manual import ManualTrigger
from tests.builders import workload


@pytest.mark.parametrize(
    ("event", "intent"),
    [
        (TriggerEvent("manual", {"workload_id": "shop"}), TriggerIntent("shop", "asked for by hand")),
        (TriggerEvent("manual", {"workload_id": "shop", "reason": "test"}), TriggerIntent("shop", "test")),
        (TriggerEvent("manual", {"workload_id": "blog"}), None),
        (TriggerEvent("manual", {}), None),
        (TriggerEvent("git", {"workload_id": "shop"}), None),
    ],
)
def test_what_matches(event: TriggerEvent, intent: TriggerIntent | None) -> None:
    """S2: its own kind of event, for the workload that is named."""
    assert ManualTrigger().match(workload("shop"), event) == intent


def test_options() -> None:
    """S2: there are none."""
    ManualTrigger().validate({})
    config: dict[str, Any] = {"x": 1}
    with pytest.raises(PluginConfigInvalid, match="no keys at all"):
        ManualTrigger().validate(config)
