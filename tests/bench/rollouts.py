"""T6: deploys one after the other under a load that never pauses; and how long one takes until all traffic moved."""

from __future__ import annotations

import contextlib
import json
import random
import re
import shutil
import signal
import socket
import statistics
import subprocess
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from controller.clock import CLOCK
from store.records import Workload, WorkloadKind
from store.workloads import apply_workloads
from tests.bench.figures import Result, Target, ratios, summarised
from tests.bench.program import COMMAND, environment_of
from tests.bench.stage import PARENT, Stage, prepare_store, settings_for
from tests.harness import BUSYBOX, wait_until
from tests.harness.nginx import newest_nginx
from tests.harness.wrk import Account, Wrk
from tests.integration.backends import Load, Visitor, free_port
from tests.integration.console import Console, Tallyd

NONE = Target(0.0)
SEED = 6
_PORT = 8080
_HOST = "shop.example"
_WAIT_SECONDS = 60.0
_STARTS_PER_DEPLOY = 3
_STEP = re.compile(r"^(stage|warm|shift|drain|archive)\b", re.MULTILINE)


@dataclass(slots=True)
class Deployed:
    """One run of the command: seconds from its start to each of its lines, and to its end."""

    at: dict[str, float] = field(default_factory=dict)
    seconds: float = 0.0


class Shop:
    """A workload of source `image` on the engine of the benchmark, its store, and a router before it."""

    def __init__(self, stage: Stage, folder: Path) -> None:
        self.port = free_port()
        self.client = stage.world.engine.client()
        self._folder = folder
        self._console = Console()
        url = stage.new_store()
        runtime = folder / "runtime.json"
        self._environment = environment_of(stage.engine.endpoint, url) | {"TALLYD_RUNTIME_CONFIG": str(runtime)}
        self._database = prepare_store(settings_for(url), stage.engine.endpoint)
        where = ("--file", str(runtime), "--listen", f"127.0.0.1:{self.port}", "--nginx", newest_nginx())
        self._router = self._started("router", *where)
        self._version = 0

    def declare(self) -> str:
        """The next version: it tells which one it is."""
        self._version += 1
        name = f"v{self._version}"
        config = {"image": BUSYBOX, "command": serving(name), "port": _PORT, "drain_seconds": 10}
        config |= {"stop_grace_seconds": 1, "start_timeout_seconds": 60}
        made = Workload(
            "shop", "shop", WorkloadKind.PROJECT, "tallyd-shop", source_kind="image", source_config=config,
            trigger_kind="manual", public_faces=[{"host": _HOST}],
        )  # fmt: skip
        apply_workloads(self._database, [made], CLOCK.now())
        return name

    def deploy(self) -> Deployed:
        """Deploy what is declared, as a person does: by a process of its own, from its start.

        :raises RuntimeError: it did not arrive.
        """
        began, deployed = time.perf_counter(), Deployed()
        process = self._started("deploy", "shop", "--output", "json")
        assert process.stderr is not None and process.stdout is not None
        said = ""
        for line in process.stderr:
            said += line
            for step in _STEP.findall(line):
                deployed.at.setdefault(step, time.perf_counter() - began)
        answer, _ = process.communicate()
        deployed.seconds = time.perf_counter() - began
        if process.returncode != 0 or not json.loads(answer)["arrived"]:
            raise RuntimeError(f"the deploy did not arrive: {said}{answer}")
        return deployed

    def deploy_at_once(self, kill_after: float | None = None) -> bool:
        """The same by a process that is forked, which spares it the imports.

        :param kill_after: end it with SIGKILL then, if it still runs.
        :returns: whether it was killed.
        :raises RuntimeError: it did not arrive.
        """
        with Tallyd(self._console, self._folder, self._environment).started(
            "deploy", "shop", "-o", "json"
        ) as pending:
            if kill_after is not None:
                with contextlib.suppress(subprocess.TimeoutExpired):
                    pending.process.wait(kill_after)
                if pending.process.poll() is None:
                    pending.kill()
                    return True
            done = pending()
            if done.exit_code != 0 or not done.json["arrived"]:
                raise RuntimeError(f"the deploy did not arrive: {done}")
            return False

    def shown(self) -> str:
        """The version that a new visitor gets."""
        visitor = Visitor(self.port, _HOST)
        try:
            told = visitor.get()
            return told.name if told.status == 200 else str(told.status)
        except OSError:
            return "nobody"
        finally:
            visitor.close()

    def bare_start(self) -> float:
        """Seconds from start to answering of the same container on the bare engine."""
        made = self.client.create_container(BUSYBOX, serving("bare"), ports=[_PORT])["Id"]
        try:
            began = time.perf_counter()
            self.client.start(made)
            seen = self.client.inspect_container(made)["NetworkSettings"]
            address = seen["IPAddress"]
            while not _answers(address):
                time.sleep(0.001)
            return time.perf_counter() - began
        finally:
            self.client.remove_container(made, force=True, v=True)

    def close(self) -> None:
        """End the router, remove the containers."""
        self._router.send_signal(signal.SIGTERM)
        self._router.communicate(timeout=_WAIT_SECONDS)
        for each in self.client.containers(all=True, filters={"label": "tallyd.workload.id=shop"}):
            self.client.remove_container(each["Id"], force=True, v=True)
        self.client.close()
        self._database.close()
        self._console.close()

    def _started(self, *arguments: str) -> subprocess.Popen[str]:
        log = subprocess.DEVNULL if arguments[0] == "router" else subprocess.PIPE
        return subprocess.Popen(
            [*COMMAND, *arguments],
            env=self._environment,
            cwd=self._folder,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            text=True,
        )


def serving(name: str) -> list[str]:
    """A command that serves its name."""
    page = json.dumps({"name": name})
    return ["sh", "-c", f"mkdir -p /site && echo '{page}' > /site/index.html && exec httpd -f -p {_PORT} -h /site"]


def _answers(address: str) -> bool:
    try:
        socket.create_connection((address, _PORT), 1).close()
    except OSError:
        return False
    return True


@contextlib.contextmanager
def a_shop(stage: Stage) -> Iterator[Shop]:
    """With its first version deployed and served. nginx's workers, who are another user, may enter its folder."""
    folder = Path(tempfile.mkdtemp(prefix="tallyd-bench-", dir=PARENT))
    folder.chmod(0o755)
    shop = Shop(stage, folder)
    try:
        name = shop.declare()
        shop.deploy()
        wait_until(lambda: shop.shown() == name, _WAIT_SECONDS, "the first version is served")
        yield shop
    finally:
        shop.close()
        shutil.rmtree(folder)


def measure_rollouts(stage: Stage) -> list[Result]:
    """Deploys without a load, for their time; then under load; then each killed somewhere in its middle."""
    with a_shop(stage) as shop:
        timed, results = _timed(shop, stage.scale.timed_deploys)
        results += _under_load(shop, stage.scale.deploys, None)
        whole = statistics.median(each.seconds - each.at["stage"] for each in timed)
        results += _under_load(shop, stage.scale.deploys_killed, whole)
        return results


def _timed(shop: Shop, count: int) -> tuple[list[Deployed], list[Result]]:
    deployed, starts = [], []
    for _ in range(count):
        starts.append(statistics.median(shop.bare_start() for _ in range(_STARTS_PER_DEPLOY)))
        name = shop.declare()
        deployed.append(shop.deploy())
        if shop.shown() != name:
            raise RuntimeError(f"{name} was deployed, and {shop.shown()} is served")
    moved = [each.at["drain"] for each in deployed]
    worked = [each.at["drain"] - each.at["stage"] for each in deployed]
    parts = {
        "process and resolving": [each.at["stage"] for each in deployed],
        "stage": [each.at["warm"] - each.at["stage"] for each in deployed],
        "warm": [each.at["shift"] - each.at["warm"] for each in deployed],
        "shift": [each.at["drain"] - each.at["shift"] for each in deployed],
        "drain, not counted": [each.seconds - each.at["drain"] for each in deployed],
    }
    told = ", ".join(f"{name} {statistics.median(each):.2f} s" for name, each in parts.items())
    bare = f"{statistics.median(moved):.2f} s against {statistics.median(starts):.3f} s, {count} deploys"
    steps = f"{statistics.median(worked):.2f} s; what a controller that runs already takes"
    return deployed, [
        summarised("T6", "deploy → all traffic moved ÷ start of the bare container", ratios(moved, starts), "×",
                   note=f"{bare}: {told}"),
        summarised("T6", "its first step → all traffic moved ÷ start of the bare container", ratios(worked, starts),
                   "×", note=steps),
    ]  # fmt: skip


def _under_load(shop: Shop, count: int, whole_seconds: float | None) -> list[Result]:
    """:param whole_seconds: how long a deploy takes; each is killed at a random moment within that, then resumed."""
    chance, kills = random.Random(SEED), 0
    keeping, closing = (Wrk(shop.port, _HOST, keep=keep, connections=1) for keep in (True, False))
    load = Load(shop.port, kept_alive=1, fresh=1, posts=False)
    began = time.perf_counter()
    try:
        for _ in range(count):
            name = shop.declare()
            if whole_seconds is not None:
                # Under load it takes longer than without; so the moments reach beyond.
                kills += shop.deploy_at_once(chance.uniform(0.1, 1.5 * whole_seconds))
            shop.deploy_at_once()
            if shop.shown() != name:
                raise RuntimeError(f"{name} was deployed, and {shop.shown()} is served")
    finally:
        seconds = time.perf_counter() - began
        load.stop()
        accounts = [keeping.stop(), closing.stop()]
    return _told(count, kills, whole_seconds is not None, seconds, load, accounts)


def _told(count: int, kills: int, killed: bool, seconds: float, load: Load, accounts: list[Account]) -> list[Result]:
    kept, closed = accounts
    name = f"{count} deploys under load" + (f", {kills} of them killed with -9 and started again" if killed else "")
    rate = f"{(load.total + kept.requests + closed.requests) / seconds:,.0f} requests a second for {seconds:.0f} s"
    visitors = f"of {load.total:,}, by {len(load.answered)} versions; kept connections and fresh ones; {rate}"
    first = f"; {load.trouble[0]}" if load.trouble else ""
    return [
        Result("T6", f"{name}: requests lost", len(load.trouble), "requests", target=NONE, note=visitors + first),
        Result("T6", "the same by wrk, a connection a request", closed.lost, "requests", target=NONE,
               note=f"of {closed.requests:,}; {_kinds(closed)}"),
        Result("T6", "the same by wrk, kept connections", kept.lost, "requests", target=NONE,
               note=f"of {kept.requests:,}; {_kinds(kept)}"),
    ]  # fmt: skip


def _kinds(account: Account) -> str:
    kinds: dict[str, Any] = {
        name: getattr(account, name) for name in ("connect", "read", "write", "timeout", "refused")
    }
    return ", ".join(f"{name} {count}" for name, count in kinds.items())
