"""Containers of one test: made in one line, changed as an operator would, all removed afterwards."""

from __future__ import annotations

import contextlib
import functools
import itertools
import subprocess
import uuid
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from docker.errors import APIError, NotFound

from tests.harness.components import program_path, require
from tests.harness.compose import ComposeStack
from tests.harness.images import BUSYBOX, LABELLED, import_images
from tests.harness.offered import Engine
from tests.harness.waiting import wait_until

SLEEP = ("sleep", "86400")
WORKERS = 4
NOT_YET = 409

Port = int | tuple[int, str]


class World:
    """Makes and changes containers on one engine; ids are full 64-digit ids. `remove_all` undoes it."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self.client = engine.client()
        self.prefix = f"t{uuid.uuid4().hex[:6]}"
        self._ids: list[str] = []
        self._stuck: list[Path] = []
        self._stacks: list[ComposeStack] = []
        self._numbers = itertools.count(1)

    def create(
        self,
        name: str | None = None,
        labels: Mapping[str, str] | None = None,
        *,
        image: str = BUSYBOX,
        command: Sequence[str] = SLEEP,
        exposed: Iterable[Port] = (),
        published: Mapping[Port, int | None] | None = None,
        restart_policy: str = "no",
        healthcheck: Sequence[str] = (),
        environment: Mapping[str, str] | None = None,
    ) -> str:
        """Create a container and return its id; a random name where none is given.

        A port is 80 or (53, "udp"); `published` maps it to a port of 127.0.0.1, None for a free one.
        `healthcheck` is a command that runs every 200 ms.
        """
        published = published or {}
        if image == LABELLED:
            import_images(self.client, [LABELLED])
        made = self.client.create_container(
            image,
            list(command),
            name=name or f"{self.prefix}-{next(self._numbers)}",
            labels=dict(labels or {}),
            ports=[_port(port) for port in (*exposed, *published)],
            environment=dict(environment or {}),
            stop_signal="SIGKILL",
            healthcheck=_healthcheck(healthcheck) if healthcheck else None,
            host_config=self.client.create_host_config(
                port_bindings={_key(port): ("127.0.0.1", host) for port, host in published.items()},
                restart_policy={"Name": restart_policy},
            ),
        )
        self._ids.append(made["Id"])
        return str(made["Id"])

    def run(self, name: str | None = None, labels: Mapping[str, str] | None = None, **options: Any) -> str:
        """`create` and start."""
        container = self.create(name, labels, **options)
        self.client.start(container)
        return container

    def many(
        self,
        count: int,
        labels: Mapping[str, str] | Callable[[int], Mapping[str, str]] | None = None,
        *,
        running: bool = False,
        image: str = BUSYBOX,
    ) -> list[str]:
        """Create (7 ms each) or run (200 ms each) `count` containers; `labels` may depend on the number."""
        batch = f"{self.prefix}-{next(self._numbers)}"

        def make(worker: int) -> list[tuple[int, str]]:
            made: list[tuple[int, str]] = []
            with contextlib.closing(self.engine.client()) as client:
                for number in range(worker, count, WORKERS):
                    own = labels(number) if callable(labels) else labels
                    container = client.create_container(
                        image,
                        list(SLEEP),
                        name=f"{batch}-{number}",
                        labels=dict(own or {}),
                        stop_signal="SIGKILL",
                    )["Id"]
                    self._ids.append(container)
                    made.append((number, container))
                    if running:
                        client.start(container)
            return made

        with ThreadPoolExecutor(WORKERS) as pool:
            return [container for _, container in sorted(itertools.chain(*pool.map(make, range(WORKERS))))]

    def start(self, container: str) -> None:
        """Start a created or stopped container."""
        self.client.start(container)

    def stop(self, container: str) -> None:
        """Stop a container; it is `exited` on return."""
        self.client.stop(container, timeout=5)

    def kill(self, container: str) -> None:
        """SIGKILL a container's process; returns when it has exited."""
        self.client.kill(container)
        self.client.wait(container, timeout=10)

    def rm(self, container: str) -> None:
        """Remove a container by force; it is not listed on return."""
        self.client.remove_container(container, force=True)

    def pause(self, container: str) -> None:
        """Freeze a running container."""
        self.client.pause(container)

    def unpause(self, container: str) -> None:
        """Thaw a paused container."""
        self.client.unpause(container)

    def rename(self, container: str, name: str) -> None:
        """Give a container another name."""
        self.client.rename(container, name)

    def restart(self, container: str) -> None:
        """Restart a container."""
        self.client.restart(container, timeout=5)

    def listing(self) -> list[dict[str, Any]]:
        """The engine's complete listing, as Docker's API gives it."""
        return list(self.client.containers(all=True))

    def state(self, container: str) -> str:
        """The state in the engine's listing, or nothing when the container is not listed."""
        found = self.client.containers(all=True, filters={"id": container})
        return str(found[0]["State"]) if found else ""

    def wait_state(self, container: str, state: str, timeout_seconds: float = 10.0) -> None:
        """Wait until the listing shows `state`."""
        wait_until(lambda: self.state(container) == state, timeout_seconds, f"{container[:12]} is {state}")

    def wait_health(self, container: str, health: str, timeout_seconds: float = 10.0) -> None:
        """Wait until a container with a health check is `healthy` or `unhealthy`."""
        wait_until(
            lambda: self.client.inspect_container(container)["State"]["Health"]["Status"] == health,
            timeout_seconds,
            f"{container[:12]} is {health}",
        )

    def compose_up(self, directory: Path, project: str, scale: Mapping[str, int] | None = None) -> ComposeStack:
        """Start `directory`'s Compose file; the stack is taken down by `remove_all`."""
        stack = ComposeStack(self.engine.endpoint, directory, project)
        self._stacks.append(stack)
        stack.up(scale)
        return stack

    def stick_in_removing(self, container: str) -> None:
        """Make `docker rm` fail half-way: the container stays `removing`, and `dead` after an engine restart.

        Needs root and an engine on this machine. Cured by `unstick` or `remove_all`.
        """
        require("chattr")
        layer = self.client.inspect_container(container)["GraphDriver"]["Data"]["UpperDir"]
        immutable = Path(layer) / "immutable"
        immutable.touch()
        subprocess.run([program_path("chattr"), "+i", str(immutable)], check=True, capture_output=True)
        self._stuck.append(immutable)
        with contextlib.suppress(APIError):
            self.client.remove_container(container, force=True)
        self.wait_state(container, "removing")

    def unstick(self) -> None:
        """Make every stuck container removable again. Idempotent, works with the engine down."""
        while self._stuck:
            immutable = self._stuck.pop()
            if immutable.exists():
                subprocess.run([program_path("chattr"), "-i", str(immutable)], check=True, capture_output=True)

    def remove_all(self) -> None:
        """Remove every container and stack that this world made. Idempotent."""
        self.unstick()
        while self._stacks:
            self._stacks.pop().down()
        ids, self._ids = self._ids, []
        with ThreadPoolExecutor(WORKERS) as pool:
            list(pool.map(self._remove_share, [ids[worker::WORKERS] for worker in range(WORKERS)]))

    def close(self) -> None:
        """Cure what is stuck and close the client, without removing anything."""
        self.unstick()
        self.client.close()

    def _remove_share(self, ids: Sequence[str]) -> None:
        if not ids:
            return
        with contextlib.closing(self.engine.client()) as client:
            for container in ids:
                wait_until(functools.partial(_removed, client, container), 20, f"{container} is removed")


def _removed(client: Any, container: str) -> bool:
    try:
        client.remove_container(container, force=True, v=True)
    except NotFound:
        return True
    except APIError as exc:
        if exc.status_code == NOT_YET:
            return False
        raise
    return True


def _port(port: Port) -> Port:
    return port if isinstance(port, tuple) else (port, "tcp")


def _key(port: Port) -> str:
    number, protocol = _port(port)  # type: ignore[misc]
    return f"{number}/{protocol}"


def _healthcheck(command: Sequence[str]) -> dict[str, Any]:
    milliseconds = 1_000_000
    return {
        "test": ["CMD", *command],
        "interval": 200 * milliseconds,
        "timeout": 2_000 * milliseconds,
        "retries": 1,
    }
