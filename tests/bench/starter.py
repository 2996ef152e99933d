"""Starting real containers as fast as the engine can, in a process of its own, with the engine's time of each start.

`python -m tests.bench.starter ENDPOINT SECONDS` takes container ids on standard input, one a line.
"""

from __future__ import annotations

import json
import subprocess
import sys
import threading
import time
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor

from docker import APIClient

from tests.bench.standin import Started

WORKERS = 2
_SETTLE_SECONDS = 1.0


def start_really(endpoint: str, seconds: float, containers: Iterable[str]) -> list[Started]:
    """Start some of the containers within so many seconds, then kill them again."""
    done = subprocess.run(
        [sys.executable, "-m", "tests.bench.starter", endpoint, str(seconds)],
        input="\n".join(containers),
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    return [Started(*each) for each in json.loads(done.stdout)]


def _start_all(endpoint: str, ends: float, containers: Sequence[str]) -> list[str]:
    client = APIClient(base_url=endpoint, timeout=60)
    started: list[str] = []
    for container in containers:
        if time.time() > ends:
            break
        client.start(container)
        started.append(container)
    client.close()
    return started


def _kill_all(endpoint: str, containers: Sequence[str]) -> None:
    client = APIClient(base_url=endpoint, timeout=60)
    for container in containers:
        client.kill(container)
    client.close()


def _watch(endpoint: str, times: list[tuple[str, float]]) -> None:
    client = APIClient(base_url=endpoint, timeout=60)
    for event in client.events(decode=True, filters={"event": "start", "type": "container"}):
        times.append((event["Actor"]["ID"], event["timeNano"] / 1e9))


def _main() -> None:
    endpoint, seconds = sys.argv[1], float(sys.argv[2])
    containers = sys.stdin.read().split()
    times: list[tuple[str, float]] = []
    threading.Thread(target=_watch, args=(endpoint, times), daemon=True).start()
    time.sleep(_SETTLE_SECONDS)
    ends = time.time() + seconds
    shares = [containers[worker::WORKERS] for worker in range(WORKERS)]
    with ThreadPoolExecutor(WORKERS) as pool:
        started = list(pool.map(lambda share: _start_all(endpoint, ends, share), shares))
        time.sleep(_SETTLE_SECONDS)
        ours = {container for share in started for container in share}
        print(json.dumps([each for each in times if each[0] in ours]), flush=True)
        list(pool.map(lambda share: _kill_all(endpoint, share), started))


if __name__ == "__main__":
    _main()
