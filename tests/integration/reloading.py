"""A `tallyd run` that follows what is declared, and what can be seen of that from outside."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from tests.fakes import FakeDocker
from tests.harness import wait_until
from tests.integration.console import Answer, Console, Controller, Tallyd, settings_of

API_TOKEN = "a-token-of-the-tests"
RELOAD_TOKEN = "the token of the reload webhook!"
SECONDS = 20.0


@dataclass
class Followed:
    """A running controller, and the files that it follows."""

    tallyd: Tallyd
    controller: Controller
    config: Path
    docker: FakeDocker

    @property
    def status(self) -> dict[str, Any]:
        """What it says of its reloads."""
        found: dict[str, Any] = self.controller.get("/api/v1/config/status").json
        return found

    @property
    def error(self) -> str:
        """What is wrong right now; nothing where the last rebuild went well."""
        last = self.status["last_error"]
        return "" if last is None or last["mended"] else str(last["detail"])

    @property
    def declared(self) -> Mapping[str, Any]:
        """The config as the API shows it."""
        found: dict[str, Any] = self.controller.get("/api/v1/config").json["declared"]
        return found

    @property
    def interval_seconds(self) -> float:
        """The interval in force, as the host's row in the store has it."""
        (host,) = self.controller.get("/api/v1/hosts").json["items"]
        return float(host["interval_seconds"])

    @property
    def rebuilds(self) -> int:
        """How many rebuilds have ended so far."""
        samples = (f'tallyd_config_reloads_total{{result="{each}"}}' for each in ("activated", "unchanged", "error"))
        return int(sum(self.controller.metric(each) for each in samples))

    @property
    def workloads(self) -> dict[str, str]:
        """Names of the workloads by id."""
        return {each["id"]: each["name"] for each in self.controller.get("/api/v1/workloads").json["items"]}

    def becomes(self, interval_seconds: float) -> None:
        """Wait until this interval is in force."""
        wait_until(lambda: self.interval_seconds == interval_seconds, SECONDS, f"the interval is {interval_seconds}")

    def within(self, most: int, change: Callable[[], object], interval_seconds: float) -> None:
        """Change something, which ends in this interval, by so many rebuilds at most.

        What is written after it is a fence: once that is in force, all that came before has been dealt with.
        """
        before = self.rebuilds
        change()
        self.becomes(interval_seconds)
        seen = wait_until(lambda: count if (count := self.rebuilds) > before else 0, SECONDS, "a rebuild has ended")
        assert seen - before <= most
        assert self.put({"interval_seconds": 299}).json["reload"]["result"] == "activated"
        assert self.rebuilds - seen <= 2, "the one of this request, and the one of its file"

    def put(self, content: Mapping[str, Any], **headers: str) -> Answer:
        """Replace the config over HTTP."""
        authorized = {"Authorization": f"Bearer {API_TOKEN}", **headers}
        return self.controller.request("PUT", "/api/v1/config", dict(content), authorized)

    def hook(self, **said: str) -> Answer:
        """Call the webhook."""
        return self.controller.request("POST", "/-/reload", said, {"Authorization": f"Bearer {RELOAD_TOKEN}"})


@contextlib.contextmanager
def following(console: Console, folder: Path, database_url: str = "", **settings: str) -> Iterator[Followed]:
    """A controller on an engine of its own. Its store and config are in the folder unless told otherwise.

    It ticks every five minutes: what it notices, it notices without.
    """
    with FakeDocker() as docker:
        url = database_url or f"sqlite:///{folder}/tallyd.db"
        more = {
            "TALLYD_API_TOKEN": API_TOKEN,
            "TALLYD_RELOAD_TOKEN": RELOAD_TOKEN,
            "TALLYD_RELOAD_DEBOUNCE_SECONDS": "0.1",
            **settings,
        }
        tallyd = Tallyd(console, folder, settings_of(docker.endpoint, url, folder, **more))
        config = Path(settings.get("TALLYD_CONFIG", folder / "config.yaml"))
        if not database_url and not config.exists() and config.parent.exists():
            config.write_text("interval_seconds: 300\n")
        with tallyd.running() as controller:
            yield Followed(tallyd, controller.wait_ready(), config, docker)


def manifest(*ids: str, **names: str) -> str:
    """The text of a manifest of stacks by id, or by id and name."""
    wanted = dict.fromkeys(ids) | names
    return yaml.safe_dump({"workloads": [_stack(each, name) for each, name in wanted.items()]})


def _stack(workload_id: str, name: str | None) -> dict[str, str]:
    return {"id": workload_id, "kind": "stack"} | ({"name": name} if name else {})
