"""`controller.metrics`: names, labels, and no series that outlives its cause."""

from __future__ import annotations

import pytest
from prometheus_client import generate_latest

from controller import __version__
from controller.metrics import IndexFigures, Metrics

EXPECTED = {
    "tallyd_ticks": ("counter", {"outcome"}),
    "tallyd_tick_duration_seconds": ("histogram", {"phase"}),
    "tallyd_last_complete_listing_timestamp_seconds": ("gauge", set()),
    "tallyd_containers": ("gauge", {"workload_kind", "state"}),
    "tallyd_containers_ignored": ("gauge", {"reason"}),
    "tallyd_docker_requests": ("counter", {"operation", "result"}),
    "tallyd_docker_request_duration_seconds": ("histogram", set()),
    "tallyd_event_stream_connected": ("gauge", set()),
    "tallyd_events": ("counter", {"action"}),
    "tallyd_plugin_reconciles": ("counter", {"kind", "result"}),
    "tallyd_config_generation": ("gauge", set()),
    "tallyd_config_reloads": ("counter", {"result"}),
    "tallyd_revisions": ("gauge", {"state"}),
    "tallyd_build": ("info", {"version", "python_version"}),
}
"""O5, with the suffix of counters and of the info metric left out, as the client library keeps them."""


@pytest.fixture
def metrics() -> Metrics:
    """With one series of everything."""
    each = Metrics()
    each.observe_tick("complete", {"list": 0.1})
    each.observe_request("list", "ok", 0.1)
    each.observe_reconcile("report", "in_sync")
    each.events.labels("start").inc()
    each.config_reloads.labels("ok").inc()
    each.publish_index(IndexFigures({("stack", "running"): 1}, {"unlabelled": 2}, 3, {"ready": 4}), 5.0)
    return each


def test_every_metric_of_the_specification_is_there(metrics: Metrics) -> None:
    """O5: by name, type and labels; all begin with the prefix, and have a help text."""
    found = {}
    for family in metrics.registry.collect():
        labels = {name for sample in family.samples for name in sample.labels if name != "le"}
        found[family.name] = (family.type, labels)
        assert family.name.startswith("tallyd_")
        assert len(family.documentation) > 10
    assert {name: found.get(name) for name in EXPECTED} == EXPECTED


def test_no_metric_is_labelled_by_container(metrics: Metrics) -> None:
    """O5: neither id nor name, which would never end."""
    labels = {name for family in metrics.registry.collect() for sample in family.samples for name in sample.labels}
    assert labels <= {
        *("outcome", "phase", "le", "workload_kind", "state", "reason", "operation", "result", "kind", "action"),
        *("version", "python_version"),
    }


def test_series_go_with_their_cause(metrics: Metrics) -> None:
    """O5: a state in which no row is any more, and a reason that no container has, leave no zero behind."""
    metrics.publish_index(IndexFigures({("site", "stopped"): 1}), 6.0)
    text = generate_latest(metrics.registry).decode()
    assert metrics.registry.get_sample_value("tallyd_containers", {"workload_kind": "site", "state": "stopped"}) == 1
    for gone in ("running", "unlabelled", "ready"):
        assert gone not in text


def test_a_difference_that_empties_a_state_removes_its_series(metrics: Metrics) -> None:
    """O5, R20: also after targeted passes."""
    metrics.adjust_index({("stack", "running"): -1, ("stack", "missing"): 1})
    value = metrics.registry.get_sample_value
    assert value("tallyd_containers", {"workload_kind": "stack", "state": "running"}) is None
    assert value("tallyd_containers", {"workload_kind": "stack", "state": "missing"}) == 1


def test_two_processes_worth_of_metrics_do_not_share(metrics: Metrics) -> None:
    """House: the registry is the object's own, so nothing is counted twice."""
    assert Metrics().registry.get_sample_value("tallyd_ticks_total", {"outcome": "complete"}) is None
    assert metrics.registry.get_sample_value("tallyd_ticks_total", {"outcome": "complete"}) == 1


def test_no_created_series(metrics: Metrics) -> None:
    """Pitfall 19: `_created` doubles the number of series and says nothing."""
    assert "_created" not in generate_latest(metrics.registry).decode()


def test_the_build_is_told(metrics: Metrics) -> None:
    """O5: `build_info`."""
    assert 'tallyd_build_info{python_version="3' in generate_latest(metrics.registry).decode()
    assert f'version="{__version__}"' in generate_latest(metrics.registry).decode()


def test_hostile_label_values_are_escaped(metrics: Metrics) -> None:
    """O5, R17: a state is the engine's word, and may hold anything."""
    metrics.publish_index(IndexFigures({("stack", 'a"b\n\\c'): 1}), 6.0)
    assert r'state="a\"b\n\\c"' in generate_latest(metrics.registry).decode()
