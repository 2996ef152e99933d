"""Values that make no sense are refused, with a sentence that names the value."""

from __future__ import annotations

import pytest

from tests.chart.rendering import template

REMOTE = "mode=remote,remote.dockerHost=tcp://e:2376,remote.tls.existingSecret=s,"

REFUSED = {
    "mode=clustered": ["mode", "must be one of the following", "sidecar", "daemonset", "remote"],
    "replica=2": ["Additional property replica is not allowed"],
    "replicas=2": ["replicas is 2", "SQLite store has one writer", "store.kind to postgresql"],
    f"{REMOTE}replicas=2": ["replicas is 2", "SQLite store has one writer"],
    "replicas=2,store.kind=postgresql,store.postgresql.existingSecret=s": ["install the chart once for each engine"],
    "replicas=-1": ["replicas", "greater than or equal to 0"],
    "store.kind=mysql": ["store.kind", "sqlite", "postgresql"],
    "store.kind=postgresql": ["store.postgresql.existingSecret"],
    "store.sqlite.size=big": ["store.sqlite.size", "pattern"],
    "mode=daemonset": ["daemonset.socketGroup", "stat -c %g"],
    "mode=daemonset,daemonset.socketGroup=docker": ["daemonset.socketGroup", "integer"],
    "mode=daemonset,daemonset.socketGroup=1,daemonset.socketDirectory=run": ["daemonset.socketDirectory", "pattern"],
    "mode=daemonset,daemonset.socketGroup=1,host=web-1": ["host cannot be set in mode daemonset"],
    "mode=remote": ["remote.dockerHost", "tcp://"],
    "mode=remote,remote.dockerHost=unix:///run/docker.sock": ["remote.dockerHost", "pattern"],
    "mode=remote,remote.dockerHost=tcp://e": ["remote.dockerHost", "pattern"],
    "mode=remote,remote.dockerHost=tcp://e:2376": ["remote.tls.existingSecret", "ca.pem"],
    "config.interval=3": ["Additional property interval is not allowed"],
    "config.log_level=loud": ["config.log_level", "debug"],
    "config.plugin_workers=0": ["config.plugin_workers", "greater than or equal to 1"],
    "config.api_token=secret": ["Additional property api_token is not allowed"],
    "config.database_url=sqlite://": ["Additional property database_url is not allowed"],
    "image.digest=latest": ["image.digest", "pattern"],
    "image.pullPolicy=Sometimes": ["image.pullPolicy", "IfNotPresent"],
    "runAs.user=0": ["runAs.user", "greater than or equal to 1"],
    "port=0": ["port", "greater than or equal to 1"],
    "port=http": ["port", "integer"],
    "metrics.podMonitor.enabled=yes-please": ["metrics.podMonitor.enabled", "boolean"],
    "metrics.podMonitor.enabled=true,metrics.serviceMonitor.enabled=true": ["scraped twice"],
    "mode=daemonset,daemonset.socketGroup=1,metrics.serviceMonitor.enabled=true": ["use metrics.podMonitor instead"],
    "metrics.serviceMonitor.interval=often": ["metrics.serviceMonitor.interval", "pattern"],
    "sidecar.extraArgs={host}": ["sidecar.extraArgs.0", "pattern"],
}


@pytest.mark.parametrize("values", REFUSED)
def test_nonsense_is_refused(values: str) -> None:
    """Issue 4.3: values.schema.json and the templates refuse nonsense, and the message names the value."""
    done = template("--set", values)
    assert done.returncode != 0, done.stdout
    for part in REFUSED[values]:
        assert part in done.stderr
    assert "nil pointer" not in done.stderr
