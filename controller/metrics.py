"""Every metric (O5), fed by reports rather than by calls sprinkled through the code.

What can disappear (states, reasons) is collected from the last report, so no series outlives its cause.
Never a container id or name as a label.
"""

from __future__ import annotations

import platform
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, Info, disable_created_metrics
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from controller import __version__

_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)


@dataclass(frozen=True, slots=True)
class IndexFigures:
    """The part of the last complete report that becomes gauges."""

    containers: Mapping[tuple[str, str], int] = field(default_factory=dict)
    ignored: Mapping[str, int] = field(default_factory=dict)
    unreadable: int = 0
    revisions: Mapping[str, int] = field(default_factory=dict)


class _IndexCollector(Collector):
    def __init__(self) -> None:
        self.figures = IndexFigures()

    def collect(self) -> Iterable[GaugeMetricFamily]:
        figures = self.figures
        containers = GaugeMetricFamily(
            "tallyd_containers",
            "Rows of this host's index by workload kind and state, missing ones included.",
            labels=("workload_kind", "state"),
        )
        for labels, count in sorted(figures.containers.items()):
            containers.add_metric(labels, count)
        yield containers
        yield _by_one_label("containers_ignored", "Listed containers that fill no row.", "reason", figures.ignored)
        unreadable = "Listed containers that could not be read; their rows are kept as they are."
        yield GaugeMetricFamily("tallyd_containers_unreadable", unreadable, value=figures.unreadable)
        yield _by_one_label("revisions", "Revisions by lifecycle state.", "state", figures.revisions)


def _by_one_label(name: str, text: str, label: str, counts: Mapping[str, int]) -> GaugeMetricFamily:
    family = GaugeMetricFamily(f"tallyd_{name}", text, labels=(label,))
    for value, count in sorted(counts.items()):
        family.add_metric((value,), count)
    return family


class Metrics:
    """All metrics of one process, in a registry of their own."""

    def __init__(self) -> None:
        disable_created_metrics()  # type: ignore[no-untyped-call]  # the library does not annotate it
        self.registry = CollectorRegistry()
        self._index = _IndexCollector()
        self.registry.register(self._index)
        self._ticks = self._counter("ticks", "Passes by outcome; all but `complete` wrote nothing.", "outcome")
        self._phases = Histogram(
            "tallyd_tick_duration_seconds",
            "Seconds that a pass spent in each phase.",
            ("phase",),
            buckets=_SECONDS,
            registry=self.registry,
        )
        self._targeted = self._counter("targeted_passes", "Passes over the containers that events named.", "outcome")
        self._targeted_seconds = Histogram(
            "tallyd_targeted_pass_duration_seconds",
            "Seconds that a targeted pass took, from the end of its coalescing window.",
            buckets=_SECONDS,
            registry=self.registry,
        )
        self.lease_held = self._gauge("lease_held", "Whether this controller leads its host (1) or stands by (0).")
        self._listed = self._gauge(
            "last_complete_listing_timestamp_seconds", "When the last complete listing began; 0: never."
        )
        self._requests = self._counter(
            "docker_requests", "Requests to the engine, by operation and result.", "operation", "result"
        )
        self._request_seconds = Histogram(
            "tallyd_docker_request_duration_seconds",
            "Seconds that requests to the engine took, failed ones included.",
            buckets=_SECONDS,
            registry=self.registry,
        )
        self.event_stream_connected = self._gauge(
            "event_stream_connected", "Whether the engine's event stream is connected (1) or not (0)."
        )
        self.events = self._counter("events", "Events received from the engine.", "action")
        self._reconciles = self._counter(
            "plugin_reconciles", "Reconcile calls that ended or ran out of time.", "kind", "result"
        )
        self._dispatches = self._counter(
            "trigger_dispatches", "Answers of workloads to events that were offered to them.", "kind", "result"
        )
        self._looks = self._counter("trigger_looks", "Looks of triggers, such as at a registry.", "kind", "result")
        self.healings = self._counter("healings", "What sources were answered that asked to heal.", "result")
        self._holds = Gauge("tallyd_holds", "Holds in force, by scope.", ("scope",), registry=self.registry)
        self.config_generation = self._gauge("config_generation", "Generation of the controller config; 0: defaults.")
        self.config_reloads = self._counter("config_reloads", "Reloads of the controller config.", "result")
        build = Info("tallyd_build", "Version of tallyd and of Python.", registry=self.registry)
        build.info({"version": __version__, "python_version": platform.python_version()})

    def observe_request(self, operation: str, result: str, seconds: float) -> None:
        """One request to the engine."""
        self._requests.labels(operation, result).inc()
        self._request_seconds.observe(seconds)

    def observe_tick(self, outcome: str, phases: Mapping[str, float]) -> None:
        """One pass, whatever became of it."""
        self._ticks.labels(outcome).inc()
        for phase, seconds in phases.items():
            self._phases.labels(phase).observe(seconds)

    def observe_targeted(self, outcome: str, seconds: float) -> None:
        """One targeted pass, whatever became of it."""
        self._targeted.labels(outcome).inc()
        self._targeted_seconds.observe(seconds)

    def observe_reconcile(self, kind: str, result: str) -> None:
        """One plugin call that ended."""
        self._reconciles.labels(kind, result).inc()

    def observe_dispatch(self, kind: str, result: str) -> None:
        """One answer of a workload to an event."""
        self._dispatches.labels(kind, result).inc()

    def observe_look(self, kind: str, result: str) -> None:
        """One look of a trigger."""
        self._looks.labels(kind, result).inc()

    def healed(self, answer: str) -> None:
        """A source asked whether it may heal."""
        self.healings.labels(answer).inc()

    def publish_holds(self, scopes: Iterable[str]) -> None:
        """The scope of each hold that is in force."""
        given = list(scopes)
        for scope in ("host", "workload", "slot"):
            self._holds.labels(scope).set(given.count(scope))

    def publish_index(self, figures: IndexFigures, listed_at_timestamp: float) -> None:
        """What the last complete pass left in the index."""
        self._index.figures = figures
        self._listed.set(listed_at_timestamp)

    def adjust_index(self, difference: Mapping[tuple[str, str], int]) -> None:
        """What a targeted pass added to and took from the numbers of rows."""
        figures = self._index.figures
        adjusted = {
            key: figures.containers.get(key, 0) + difference.get(key, 0) for key in {*figures.containers, *difference}
        }
        containers = {key: count for key, count in adjusted.items() if count > 0}
        self._index.figures = replace(figures, containers=containers)

    def _counter(self, name: str, text: str, *labels: str) -> Counter:
        return Counter(f"tallyd_{name}", text, labels, registry=self.registry)

    def _gauge(self, name: str, text: str) -> Gauge:
        return Gauge(f"tallyd_{name}", text, registry=self.registry)
