"""A real Traefik that asks for its configuration over HTTP: it takes ours whole, and routes as the pure rules say."""

from __future__ import annotations

import json
import threading
from collections import Counter
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from controller.rollout.routers.document import RouterDocument
from controller.rollout.routers.routing import cookie_name, match
from controller.rollout.routers.traefik import render_traefik
from tests.harness import wait_until
from tests.harness.traefik import Traefik, traefik_asking
from tests.integration.backends import Backend, Load, Visitor, free_port
from tests.integration.test_deploy import Shop, shop
from tests.routers import block, loaded, workload

__all__ = ["shop"]

WAIT_SECONDS = 60


class Endpoint:
    """Answers with the document in Traefik's words, as the controller's endpoint does."""

    def __init__(self) -> None:
        self.document = loaded()
        self.quarantined: tuple[str, ...] = ()
        endpoint = self

        class Answer(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                told = json.dumps(render_traefik(endpoint.document, endpoint.quarantined)).encode()
                self.send_response(200)
                self.send_header("Content-Length", str(len(told)))
                self.end_headers()
                self.wfile.write(told)

            def log_message(self, *_: object) -> None:
                """Nothing."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Answer)
        self.address = f"http://127.0.0.1:{self._server.server_address[1]}/"
        threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()

    def close(self) -> None:
        """End it."""
        self._server.shutdown()
        self._server.server_close()


class Site:
    """A Traefik, where it asks, and what is behind it."""

    def __init__(self, endpoint: Endpoint, traefik: Traefik) -> None:
        self.endpoint = endpoint
        self.traefik = traefik
        self.backends: dict[str, Backend] = {}
        self.visitors: list[Visitor] = []

    def block(self, name: str, weight: int, *, draining: bool = False) -> dict[str, Any]:
        """A revision with one container."""
        if name not in self.backends:
            self.backends[name] = Backend(name)
        return block(name, weight, self.backends[name].port, draining=draining)

    def serve(self, *workloads: Any, quarantined: tuple[str, ...] = ()) -> RouterDocument:
        """Tell it; it has it when its own account has the same services, enabled."""
        document = loaded(*workloads)
        self.endpoint.document, self.endpoint.quarantined = document, quarantined
        wanted = render_traefik(document, quarantined)["http"]
        wait_until(lambda: self._has(wanted), WAIT_SECONDS, "Traefik has taken it over")
        return document

    def _has(self, wanted: dict[str, Any]) -> bool:
        for kind in ("routers", "services"):
            told = {each["name"].partition("@")[0]: each for each in self.traefik.told(kind)}
            if told.keys() != wanted[kind].keys() or any(each["status"] != "enabled" for each in told.values()):
                return False
            if any(told[name].get(key) != value for name, each in wanted[kind].items() for key, value in each.items()
                   if key in ("rule", "priority", "service")):  # fmt: skip
                return False
            for name, each in wanted[kind].items():
                if "weighted" in each and told[name]["weighted"]["services"] != each["weighted"]["services"]:
                    return False
        return True

    def visitor(self, host: str = "shop.example") -> Visitor:
        """Somebody new."""
        self.visitors.append(Visitor(self.traefik.port, host))
        return self.visitors[-1]

    def close(self) -> None:
        """Nothing of it is left."""
        for visitor in self.visitors:
            visitor.close()
        for backend in self.backends.values():
            backend.close()


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    """Nothing is declared yet."""
    endpoint = Endpoint()
    with traefik_asking(endpoint.address, tmp_path, free_port(), free_port()) as traefik:
        made = Site(endpoint, traefik)
        try:
            yield made
            assert traefik.complaints() == []
        finally:
            made.close()
    endpoint.close()


def test_requests_are_routed_as_the_pure_rules_say(site: Site) -> None:
    """T4, T5: host and path on segment boundaries, by the same rules as nginx; who is nobody's is 404."""
    faces = {
        "root": ["shop.example/", "other.example/x"],
        "api": ["shop.example/api"],
        "deep": ["shop.example/api/v1"],
        "wild": ["*.example/", "*.shop.example/api"],
    }
    served = site.serve(*(workload(name, each, [site.block(name, 10_000)]) for name, each in faces.items()))
    hosts = ["shop.example", "SHOP.Example:8080", "other.example", "third.example", "a.b.example", "example"]
    for host in hosts:
        visitor = site.visitor(host)
        for path in [
            "/",
            "/api",
            "/api/",
            "/api/v2",
            "/apis",
            "/API",
            "/api/v1",
            "/api/v1/x",
            "/api/v10",
            "/x",
            "/x/y",
        ]:
            wanted = match(served, host, path)
            if host == "other.example" and wanted is None:
                continue  # Traefik goes on to the next host that fits: docs/routers.md
            told = visitor.get(path)
            assert told.status == (200 if wanted else 404), (host, path)
            if wanted:
                assert (told.name, told.json["path"]) == (wanted.id, path)


def test_weights_are_kept_and_sessions_stick(site: Site) -> None:
    """T4, T5: over 1,000 visitors to within one; nobody at weight 0; a cookie decides from then on."""
    weights = {"a": 7_000, "b": 2_500, "c": 500, "d": 0}
    site.serve(workload("shop", ["shop.example/"], [site.block(*each) for each in weights.items()], epoch=2))
    visitor = site.visitor()
    counted = Counter(visitor.get().name for _ in range(1_000))
    assert "d" not in counted
    assert all(abs(counted[name] - weight / 10) <= 1 for name, weight in weights.items()), counted
    first = visitor.get()
    assert first.cookie.startswith(f"{cookie_name('shop')}_2=")
    assert {visitor.get(cookie=first.cookie).name for _ in range(20)} == {first.name}


def test_a_face_with_a_port_leads_to_that_port(site: Site) -> None:
    """T4, T5, S1: of the same revisions, by the same weights."""
    blocks = [site.block("a", 10_000), site.block("b", 0)]
    for each in blocks:
        name = f"{each['revision_id']}-admin"
        site.block(name, 0)
        each["targets"][0]["ports"] = {"9090": site.backends[name].port}
    told = workload("shop", ["shop.example/", "shop.example/admin"], blocks)
    told["faces"][1]["port"] = 9090
    site.serve(told)
    assert site.visitor().get("/").name == "a"
    assert site.visitor().get("/admin/x").name == "a-admin"


def test_what_cannot_be_served_is_unavailable(site: Site) -> None:
    """T3, T5: 503 for a workload in quarantine and for one where all drain; nobody else notices."""
    site.serve(
        workload("shop", ["shop.example/"], [site.block("a", 10_000)]),
        workload("api", ["shop.example/api"], [block("r", 10_000)]),
        workload("old", ["old.example/"], [site.block("o", 10_000, draining=True)]),
        quarantined=("api",),
    )
    assert site.visitor().get("/api/x").status == 503
    assert site.visitor("old.example").get().status == 503
    assert site.visitor().get("/apis").name == "a"


def test_a_deploy_behind_traefik_drops_no_request(shop: Shop, tmp_path: Path) -> None:
    """T5, T6: by the controller's own endpoint; drain gives Traefik its whole time, since it never tells."""
    shop.declare("v1", drain_seconds=4)
    shop.deploy()
    with shop.tallyd.running() as controller:
        endpoint = f"{controller.wait_ready().address}/api/v1/routers/traefik"
        with traefik_asking(endpoint, tmp_path, shop.port, free_port()) as traefik:
            wait_until(lambda: shop.shown() == "v1", WAIT_SECONDS, "the first version is served")
            load = Load(shop.port, kept_alive=2, fresh=1, posts=False)
            shop.declare("v2", drain_seconds=4)
            assert shop.deploy()["arrived"]
            wait_until(lambda: shop.shown() == "v2", WAIT_SECONDS, "the second version is served")
            load.stop()
            assert load.trouble == []
            assert {"v1", "v2"} == load.answered.keys()
            assert traefik.complaints() == []
