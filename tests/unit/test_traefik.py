"""`controller.rollout.routers.traefik`: the same document in Traefik's words."""

from __future__ import annotations

import re
from typing import Any

from controller.rollout.routers.document import RouterDocument
from controller.rollout.routers.routing import cookie_name, match, short_name
from controller.rollout.routers.traefik import render_traefik
from tests.routers import block, loaded, workload

SHOP, BLOG = short_name("shop"), short_name("blog")


def _chosen(rendered: dict[str, Any], host: str, path: str) -> str | None:
    """The service of a request: the highest priority of the rules that match, by Traefik's meaning of them."""
    fitting = [each for each in rendered["http"]["routers"].values() if _fits(each["rule"], host, path)]
    return max(fitting, key=lambda each: each["priority"])["service"] if fitting else None


def _fits(rule: str, host: str, path: str) -> bool:
    matchers = {
        "Host": lambda value: host == value,
        "HostRegexp": lambda value: re.search(value, host) is not None,
        "Path": lambda value: path == value,
        "PathPrefix": path.startswith,
    }
    named = re.findall(r"(\w+)\(`([^`]*)`\)", rule)
    host_fits, *paths = [bool(matchers[name](value)) for name, value in named]
    return host_fits and (not paths or any(paths))


def _document() -> RouterDocument:
    all_of_it = [block("r", 10_000, 1)]
    return loaded(
        workload("shop", ["shop.example/", "a.example/api/v1"], all_of_it),
        workload("blog", ["shop.example/api", "*.example/", "*.shop.example/api"], all_of_it),
    )


def test_requests_are_routed_as_the_pure_rules_say() -> None:
    """T4, T5: on segment boundaries, the longest path and the nearest host first."""
    document = _document()
    rendered = render_traefik(document, ())
    for host in ("shop.example", "b.example", "x.shop.example", "example", "nowhere.test"):
        for path in ("/", "/api", "/api/x", "/apis", "/api/v1/x"):
            wanted = match(document, host, path)
            if host == "x.shop.example" and wanted is None:
                continue  # Traefik goes on to the next host that fits: docs/routers.md
            assert _chosen(rendered, host, path) == (short_name(wanted.id) if wanted else None), (host, path)


def test_a_split_is_weights_over_services() -> None:
    """T4, T5: basis points, zero weights listed, one sticky cookie a workload and epoch."""
    blocks = [block("new", 9_000, 1, 2), block("old", 1_000, 3), block("zero", 0, 4), block("gone", 0)]
    services = render_traefik(loaded(workload("shop", ["shop.example/"], blocks, epoch=3)), ())["http"]["services"]
    new, old, zero = (f"{SHOP}-{short_name(each)}" for each in ("new", "old", "zero"))
    assert services == {
        SHOP: {
            "weighted": {
                "services": [
                    {"name": new, "weight": 9_000},
                    {"name": old, "weight": 1_000},
                    {"name": zero, "weight": 0},
                ],
                "sticky": {"cookie": {"name": f"{cookie_name('shop')}_3", "httpOnly": True, "sameSite": "lax"}},
            }
        },
        new: {
            "loadBalancer": {
                "servers": [{"url": "http://127.0.0.1:1"}, {"url": "http://127.0.0.1:2"}],
                "passHostHeader": True,
            }
        },
        old: {"loadBalancer": {"servers": [{"url": "http://127.0.0.1:3"}], "passHostHeader": True}},
        zero: {"loadBalancer": {"servers": [{"url": "http://127.0.0.1:4"}], "passHostHeader": True}},
    }


def test_a_draining_revision_gets_no_new_session() -> None:
    """T4: its weight goes to the others."""
    blocks = [block("a", 5_000, 1), block("b", 2_500, 2), block("c", 2_500, 3, draining=True)]
    weighted = render_traefik(loaded(workload("shop", ["shop.example/"], blocks)), ())["http"]["services"][SHOP]
    assert [each["weight"] for each in weighted["weighted"]["services"]] == [6_667, 3_333, 0]


def test_what_cannot_be_served_is_a_service_without_servers() -> None:
    """T3, T5: quarantine, and a workload where all drain; Traefik answers 503."""
    quarantined = render_traefik(loaded(workload("shop", ["shop.example/"], [block("r", 10_000)])), ("shop",))
    drained = [block("r", 10_000, 1, draining=True)]
    draining = render_traefik(loaded(workload("shop", ["shop.example/"], drained)), ())
    for rendered in (quarantined, draining):
        assert rendered["http"]["services"] == {SHOP: {"loadBalancer": {"passHostHeader": True}}}
        assert _chosen(rendered, "shop.example", "/") == SHOP


def test_nothing_to_serve_is_an_empty_object() -> None:
    """T5: Traefik refuses empty maps."""
    assert render_traefik(loaded(), ()) == {}
    assert render_traefik(loaded(workload("shop", [], [block("r", 10_000, 1)])), ()) == {}


def test_an_address_of_version_six_is_a_url() -> None:
    """T5: in brackets."""
    one = {**block("r", 10_000), "targets": [{"address": "::1", "port": 80}]}
    services = render_traefik(loaded(workload("shop", ["shop.example/"], [one])), ())["http"]["services"]
    assert services[f"{SHOP}-{short_name('r')}"]["loadBalancer"]["servers"] == [{"url": "http://[::1]:80"}]
