"""P3's neighbour: how long Prometheus' own `docker_sd` takes to refresh, by its own metric."""

from __future__ import annotations

import contextlib
import re
import socket
import subprocess
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

from tests.bench.figures import Result
from tests.bench.stage import Stage
from tests.harness import wait_until
from tests.harness.components import program_path

_START_SECONDS = 30.0
_LONGEST_REFRESH_SECONDS = 5.0
_METRIC = re.compile(
    r'^prometheus_sd_refresh_duration_seconds_(sum|count)\{[^}]*mechanism="docker"[^}]*\} (\S+)$', re.M
)
_QUANTILE = re.compile(r"^prometheus_sd_refresh_duration_seconds_(sum|count) (\S+)$", re.M)

_CONFIGURATION = """\
scrape_configs:
  - job_name: docker
    docker_sd_configs:
      - host: {endpoint}
        refresh_interval: 1s
    relabel_configs:
      - action: drop
"""


def measure_refresh(stage: Stage, tick_milliseconds: float) -> list[Result]:
    """The mean of its refreshes ÷ our tick; no line where Prometheus is not installed."""
    name = "Prometheus docker_sd refresh ÷ tick"
    if not program_path("prometheus"):
        return [
            Result("P3", name, float("nan"), "", note="Prometheus is not installed here (apt-get install prometheus)")
        ]
    with _running(stage) as address:
        wanted = stage.scale.prometheus_refreshes
        wait_until(
            lambda: _refreshes(address)[1] >= wanted,
            _START_SECONDS + wanted * _LONGEST_REFRESH_SECONDS,
            f"Prometheus has refreshed {wanted} times",
        )
        seconds, count = _refreshes(address)
    mean = seconds / count * 1000
    note = (
        f"mean of {count:g} refreshes {mean:.1f} ms, from its own metric; it lists networks and running containers "
        f"only: {len(stage.running)} of {len(stage.containers):,}"
    )
    return [Result("P3", name, mean / tick_milliseconds, "×", note=note)]


@contextlib.contextmanager
def _running(stage: Stage) -> Iterator[str]:
    folder = stage.folder / "prometheus"
    folder.mkdir(exist_ok=True)
    configuration = folder / "prometheus.yml"
    configuration.write_text(_CONFIGURATION.format(endpoint=stage.engine.endpoint))
    address = f"127.0.0.1:{_free_port()}"
    arguments = [
        program_path("prometheus"),
        f"--config.file={configuration}",
        f"--storage.tsdb.path={folder}/data",
        f"--web.listen-address={address}",
        "--log.level=error",
    ]
    with Path(folder / "log").open("wb") as log:
        process = subprocess.Popen(arguments, cwd=folder, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
    try:
        yield address
    finally:
        process.kill()
        process.wait()


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _refreshes(address: str) -> tuple[float, float]:
    """Seconds and number of the refreshes so far; zeros while it starts."""
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(f"http://{address}/metrics", timeout=5) as answer:
            text = answer.read().decode()
    except (OSError, urllib.error.URLError):
        return 0.0, 0.0
    found = dict(_METRIC.findall(text) or _QUANTILE.findall(text))
    return float(found.get("sum", 0)), float(found.get("count", 0))
