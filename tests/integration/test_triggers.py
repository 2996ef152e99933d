"""Triggers of a running controller: a real registry, a real git repository, calls as forges make them, a schedule."""

from __future__ import annotations

import contextlib
import hashlib
import hmac
import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.error import HTTPError
from urllib.request import Request, urlopen

import pytest

from controller.plugins.triggers.schedule import ScheduleTrigger
from store.database import open_database
from store.triggers import get_binding, save_state
from tests.builders import NOW
from tests.harness import BUSYBOX, LABELLED, PrivateRegistry, World, wait_until
from tests.harness.git import Forge
from tests.harness.images import import_images
from tests.integration.console import Console, Controller, Tallyd, settings_of

SECRET = b"the secret of the shop"
TOKEN = "a-token-of-the-tests"
SECONDS = 60.0


class Shop:
    """A workload of source `image` with one trigger or another, its containers on a real engine."""

    def __init__(self, tallyd: Tallyd, world: World) -> None:
        self.tallyd = tallyd
        self.world = world

    def declare(self, trigger: str, image: str = BUSYBOX, options: Any = None, **config: Any) -> None:
        """Declare it."""
        source = {
            "image": image,
            "command": ["httpd", "-f", "-p", "8080", "-h", "/www"],
            "port": 8080,
            "drain_seconds": 0,
            "stop_grace_seconds": 1,
            "start_timeout_seconds": 20,
            **(options or {}),
        }
        self.tallyd.apply(
            {
                "id": "shop",
                "kind": "project",
                "source": {"kind": "image", "config": source},
                "trigger": {"kind": trigger, "config": config},
            }
        )

    def serving(self) -> list[tuple[str, str]]:
        """Reference and digest of the revision that is ready."""
        listed = self.tallyd.ok("revision", "list", "shop", "-o", "json").json
        return [(each["image_ref"], each["image_digest"]) for each in listed if each["state"] == "ready"]

    def trigger(self) -> dict[str, Any]:
        """As `tallyd trigger list` shows it."""
        (shown,) = self.tallyd.ok("trigger", "list", "-o", "json").json
        assert isinstance(shown, dict)
        return shown

    def wait_serving(self, reference: str, digest: str) -> None:
        """Until it serves that, and nothing else."""
        wait_until(lambda: self.serving() == [(reference, digest)], SECONDS, f"{reference} serves")

    def wait_answer(self, answer: str, fired_after: str = "") -> dict[str, Any]:
        """Until its trigger has that answer to something that came later."""

        def there() -> dict[str, Any] | None:
            shown = self.trigger()
            later = not fired_after or (shown["fired_at"] or "") > fired_after
            return shown if shown["answer"] == answer and later else None

        found = wait_until(there, SECONDS, f"the answer is {answer}")
        assert found is not None
        return found

    def remove(self) -> None:
        """Take every container away."""
        with contextlib.closing(self.world.engine.client()) as client:
            label = f"{self.world.prefix}.workload.id=shop"
            for each in client.containers(all=True, filters={"label": label}):
                client.remove_container(each["Id"], force=True, v=True)


@pytest.fixture
def shop(world: World, sqlite_url: str, tmp_path: Path) -> Iterator[Shop]:
    """A shop that nobody has deployed yet."""
    with contextlib.closing(Console()) as console:
        more = {"TALLYD_LABEL_PREFIX": world.prefix, "TALLYD_INTERVAL_SECONDS": "1", "TALLYD_API_TOKEN": TOKEN}
        made = Shop(
            Tallyd(console, tmp_path, settings_of(world.engine.endpoint, sqlite_url, tmp_path, **more)), world
        )
        made.tallyd.tick()
        import_images(world.client, [LABELLED])
        try:
            yield made
        finally:
            made.remove()


@pytest.mark.parametrize("registry", [True], indirect=True, ids=["protected"])
def test_another_image_under_the_tag_is_deployed(shop: Shop, registry: PrivateRegistry, tmp_path: Path) -> None:
    """S1: at a real registry with a password; while that is down nothing is deployed, and it is told."""
    credentials = str(registry.docker_config(tmp_path / "config.json"))
    reference, first = registry.push(shop.world.engine, "team/shop:1.4")
    shop.declare("registry", reference, {"credentials_file": credentials}, poll_seconds=1)
    with shop.tallyd.running() as controller:
        shop.wait_serving(reference, first)
        second = registry.push(shop.world.engine, "team/shop:1.4", LABELLED)[1]
        shop.wait_serving(reference, second)
        assert shop.wait_answer("deployed")["message"] == "shop-2 serves"
        controller.wait_for_metric('tallyd_trigger_looks_total{kind="registry",result="unchanged"}', 1)
        registry.stop()
        shop.wait_answer("errored")
        controller.wait_for_metric('tallyd_trigger_looks_total{kind="registry",result="failed"}', 1)
        registry.start()
        registry.push(shop.world.engine, "team/shop:1.4")
        shop.wait_serving(reference, first)
        assert "a-password-of-the-tests" not in controller.text
        controller.wait_for_metric('tallyd_trigger_dispatches_total{kind="registry",result="deployed"}', 3)


@pytest.mark.parametrize("registry", [True], indirect=True, ids=["protected"])
def test_wrong_credentials_are_told_and_hidden(shop: Shop, registry: PrivateRegistry, tmp_path: Path) -> None:
    """S1: which registry, and what is wrong; never what was tried."""
    wrong = str(registry.docker_config(tmp_path / "config.json", "hunter2"))
    reference, _ = registry.push(shop.world.engine, "team/shop:1.4")
    shop.declare("registry", reference, {"credentials_file": wrong}, poll_seconds=1)
    with shop.tallyd.running() as controller:
        shown = shop.wait_answer("errored")
        assert "the credentials are not the right ones" in shown["message"]
        assert "hunter2" not in controller.text + json.dumps(shown)
    assert shop.serving() == []


def test_the_newest_tag_that_fits_is_deployed(shop: Shop, registry: PrivateRegistry) -> None:
    """S1: a newer one in place of the declared one, and nothing that does not fit."""
    reference, first = registry.push(shop.world.engine, "shop:1.9")
    shop.declare("registry", reference, poll_seconds=1, tags="1.*")
    with shop.tallyd.running() as controller:
        shop.wait_serving(reference, first)
        registry.push(shop.world.engine, "shop:2.0", LABELLED)
        newer, second = registry.push(shop.world.engine, "shop:1.10", LABELLED)
        shop.wait_serving(newer, second)
        controller.wait_for_metric('tallyd_plugin_reconciles_total{kind="image",result="in_sync"}', 1)


def test_a_branch_that_moves_deploys(shop: Shop, tmp_path: Path) -> None:
    """S1: of a real repository; what is declared by then is deployed."""
    forge = Forge(tmp_path / "forge")
    shop.declare("git", repository=forge.url, poll_seconds=1)
    with shop.tallyd.running():
        before = shop.wait_answer("deployed")
        shop.declare("git", options={"env": {"VERSION": "2"}}, repository=forge.url, poll_seconds=1)
        forge.push({"a.yaml": "other branch"}, "feature/new")
        commit = forge.push({"a.yaml": "second"})
        after = shop.wait_answer("deployed", before["fired_at"])
        assert after["message"] == "shop-2 serves"
        forge.path.rename(tmp_path / "away")
        assert "cannot be fetched" in shop.wait_answer("errored")["message"]
        assert commit not in shop.trigger()["message"]


def test_a_forge_tells_of_a_push(shop: Shop, tmp_path: Path) -> None:
    """S1: signed calls deploy, once each; everybody else is told nothing, whether there is such a workload or not."""
    (tmp_path / "secret").write_bytes(SECRET)
    shop.declare("git", secret_file=str(tmp_path / "secret"))
    pushed = json.loads(Path("tests/unit/forges/github-push.json").read_text())
    ping = json.loads(Path("tests/unit/forges/github-ping.json").read_text())
    body = json.dumps(pushed["body"]).encode()
    with shop.tallyd.running() as controller:
        controller.wait_ready()
        for workload_id, headers in (
            ("shop", {}),
            ("shop", _signed(body, b"another secret that is long")),
            ("shop", _signed(body + b" ")),
            ("nobody", _signed(body)),
        ):
            refused = _call(controller, workload_id, body, {**pushed["headers"], **headers})
            assert refused == (401, {"detail": "a signature with this workload's secret is needed"})
        large = b" " * (1024 * 1024 + 1)
        assert _call(controller, "shop", large, _signed(large))[0] == 413
        assert _call(controller, "shop", b"{", pushed["headers"] | _signed(b"{"))[0] == 422
        quiet = json.dumps(ping["body"]).encode()
        status, told = _call(controller, "shop", quiet, ping["headers"] | _signed(quiet))
        assert (status, told["answer"]) == (200, "no_match")
        assert shop.serving() == []
        status, told = _call(controller, "shop", body, pushed["headers"] | _signed(body))
        assert (status, told["answer"]) == (202, "under_way")
        shop.wait_answer("deployed")
        for _ in range(3):
            status, told = _call(controller, "shop", body, pushed["headers"] | _signed(body))
            assert (status, told["answer"]) == (200, "skipped")
        assert SECRET.decode() not in controller.text
        assert "/-/hooks/{workload}" not in controller.get("/api/openapi.json").json["paths"]


def test_firing_by_hand(shop: Shop) -> None:
    """O1, S1: by the controller that runs, by a token, and by the command alone where none runs."""
    shop.declare("manual")
    told = shop.tallyd.ok("trigger", "fire", "shop", "--reason", "first", "-o", "json").json
    assert (told["answer"], told["revision_id"]) == ("deployed", "shop-1")
    shop.declare("manual", options={"env": {"VERSION": "2"}})
    with shop.tallyd.running() as controller:
        controller.wait_ready()
        assert shop.tallyd.ok("trigger", "fire", "shop").stdout == "shop: deployed: shop-2 serves\n"
        path = "/api/v1/workloads/shop/trigger"
        assert controller.request("POST", path, None, {}).status == 401
        right = {"Authorization": f"Bearer {TOKEN}"}
        again = controller.request("POST", f"{path}?wait_seconds=30", {"reason": "again"}, right)
        assert (again.status, again.json["answer"], again.json["message"]) == (
            200,
            "skipped",
            "shop-2 serves already",
        )
        assert controller.request("POST", path.replace("shop", "nobody"), None, right).status == 404
        assert "not in the store" in shop.tallyd("trigger", "fire", "nobody").expect(1).stderr
        assert controller.get("/api/v1/triggers").json["items"] == [shop.trigger()]
        schema = controller.get("/api/v1/plugins/schedule/schema").json
        assert schema == ScheduleTrigger().config_schema()
    assert shop.tallyd.ok("trigger", "list").stdout.split()[:6] == [
        "WORKLOAD",
        "KIND",
        "FIRED",
        "ANSWER",
        "NEXT",
        "MESSAGE",
    ]


def test_a_schedule_is_never_fired_twice(shop: Shop, sqlite_url: str) -> None:
    """S1: a time that was missed is fired once, whoever is killed and started again after it was stored."""
    meant = {"cron": "0 0 1 1 *", "time_zone": "Europe/Berlin"}
    shop.declare("schedule", **meant)
    with contextlib.closing(open_database(sqlite_url)) as database:
        seen = {"mark": NOW.replace(year=2025).isoformat(), "meant": "0 0 1 1 * Europe/Berlin"}
        save_state(database, replace(get_binding(database, "shop").state, seen=seen), NOW)
    with shop.tallyd.running() as controller:
        wait_until(lambda: shop.trigger()["fired_at"], SECONDS, "it fires")
        fired_at = shop.trigger()["fired_at"]
        controller.kill()
    with shop.tallyd.running() as controller:
        controller.wait_for_metric('tallyd_trigger_looks_total{kind="schedule",result="unchanged"}', 1)
        shown = shop.trigger()
        assert shown["fired_at"] == fired_at
        assert shown["next_at"].endswith("-12-31T23:00:00+00:00")


def test_stopping_does_not_wait_for_a_look_or_a_deploy(shop: Shop, registry: PrivateRegistry) -> None:
    """R3: a deploy in flight is ended, stays owed, and is gone on with at the next start."""
    reference, digest = registry.push(shop.world.engine, "shop:1")
    slow = {"command": ["sh", "-c", "sleep 6; exec httpd -f -p 8080 -h /www"]}
    shop.declare("registry", reference, slow, poll_seconds=1)
    with shop.tallyd.running() as controller:
        wait_until(lambda: shop.trigger()["answer"] == "under_way", SECONDS, "the deploy began")
        code, seconds = controller.terminate()
        assert (code, seconds < 3) == (0, True)
    assert shop.trigger()["owed"] is True
    with shop.tallyd.running():
        shop.wait_serving(reference, digest)
        wait_until(lambda: not shop.trigger()["owed"], SECONDS, "it is settled")


def _signed(body: bytes, secret: bytes = SECRET) -> dict[str, str]:
    return {"x-hub-signature-256": f"sha256={hmac.new(secret, body, hashlib.sha256).hexdigest()}"}


def _call(controller: Controller, workload_id: str, body: bytes, headers: dict[str, str]) -> tuple[int, Any]:
    request = Request(f"{controller.address}/-/hooks/{workload_id}", body, headers, method="POST")
    try:
        with urlopen(request, timeout=20) as answer:
            return answer.status, json.load(answer)
    except HTTPError as error:
        with error:
            return error.code, json.load(error)
