"""`controller.rollout.routers.routing`: host and path to workload, hash to revision, cookie to session."""

from __future__ import annotations

import re
from bisect import bisect_right
from collections import Counter
from itertools import accumulate
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from controller.rollout.routers.document import RoutedWorkload
from controller.rollout.routers.nginx import NginxBuild, NginxOptions, render_nginx
from controller.rollout.routers.routing import (
    HASH_SPACE,
    bounds,
    choose,
    cookie_name,
    cookie_value,
    hash_point,
    held,
    match,
    route,
    shares,
    short_name,
)
from tests.routers import block, key_with_hash, loaded, workload

ALL = [block("r1", 10_000, 1)]
POINTS_OF_A_BASIS_POINT = HASH_SPACE / 10_000


def split(*blocks: dict[str, Any], epoch: int = 0) -> RoutedWorkload:
    """One workload."""
    return loaded(workload("shop", ["shop.example"], blocks, epoch=epoch)).workloads[0]


@st.composite
def weightings(draw: st.DrawFn) -> list[int]:
    """Weights of up to a dozen revisions, some of them 0, that sum up to 10,000."""
    cuts = sorted(draw(st.lists(st.integers(0, 10_000), max_size=11)))
    return [after - before for before, after in zip([0, *cuts], [*cuts, 10_000], strict=True)]


FACES = loaded(
    workload("root", ["shop.example/", "other.example/x"], ALL),
    workload("api", ["shop.example/api"], ALL),
    workload("deep", ["shop.example/api/v1/"], ALL),
    workload("wild", ["*.example/", "*.shop.example/api"], ALL),
    workload("accents", ["shop.example/café"], ALL),
)


@pytest.mark.parametrize(
    ("host", "path", "wanted"),
    [
        ("shop.example", "/", "root"),
        ("SHOP.Example:8080", "/anything", "root"),
        ("shop.example.", "/", "root"),
        ("shop.example", "/api", "api"),
        ("shop.example", "/api/", "api"),
        ("shop.example", "/api/v2", "api"),
        ("shop.example", "/apis", "root"),
        ("shop.example", "/API", "root"),
        ("shop.example", "/api/v1", "deep"),
        ("shop.example", "/api/v1/x", "deep"),
        ("shop.example", "/api/v10", "api"),
        ("shop.example", "/café/au/lait", "accents"),
        ("other.example", "/x/y", "root"),
        ("other.example", "/y", None),
        ("a.shop.example", "/api/x", "wild"),
        ("a.b.shop.example", "/api", "wild"),
        ("a.shop.example", "/", None),
        ("third.example", "/", "wild"),
        ("example", "/", None),
        ("nowhere.test", "/", None),
        ("[::1]:80", "/", None),
        ("", "/", None),
    ],
)
def test_host_and_path_decide(host: str, path: str, wanted: str | None) -> None:
    """T4: host without case and port, longest prefix on segment boundaries, none is 404."""
    found = match(FACES, host, path)
    assert (found.id if found else None) == wanted


def test_a_million_points_of_the_hash_space() -> None:
    """T4: a million evenly spaced points give each weight to within one basis point, and zero nothing."""
    weights = {"a": 1, "b": 0, "c": 3_333, "d": 6_665, "e": 1}
    parts = shares(split(*(block(name, weight, 1) for name, weight in weights.items())))
    many = 1_000_000
    counted = Counter(
        chosen.revision_id
        for point in range(0, HASH_SPACE, HASH_SPACE // many)
        if (chosen := choose(parts, point)) is not None
    )
    total = counted.total()
    assert "b" not in counted
    assert all(abs(counted[name] / total * 10_000 - weight) < 1 for name, weight in weights.items())


@given(weightings())
def test_the_parts_of_the_hash_space_are_exact(weights: list[int]) -> None:
    """T4: whatever the weights: each part's size is its weight to a ten-thousandth of a basis point."""
    parts = [weight for weight in weights if weight]
    ends = bounds(parts)
    sizes = [end - start for start, end in zip([0, *ends], ends, strict=False)]
    assert sum(sizes) == HASH_SPACE
    for weight, size in zip(parts, sizes, strict=True):
        assert abs(size / POINTS_OF_A_BASIS_POINT - weight) < 1e-4


@given(st.integers(0, HASH_SPACE - 1))
def test_a_key_can_be_made_for_each_point(point: int) -> None:
    """T4: so that the bounds can be tried on nginx itself."""
    assert hash_point(key_with_hash(point).encode()) == point


@given(weightings(), st.lists(st.booleans(), min_size=12, max_size=12))
def test_what_drains_is_shared_out(weights: list[int], draining: list[bool]) -> None:
    """T4: a draining revision gets no new session, the others get its part, to within a basis point."""
    blocks = [block(f"r{index}", weight, 1, draining=draining[index]) for index, weight in enumerate(weights)]
    parts = shares(split(*blocks))
    alive = {each["revision_id"]: each["weight"] for each in blocks if each["weight"] and not each["draining"]}
    assert {each.block.revision_id for each in parts} == set(alive)
    if alive:
        assert sum(each.weight for each in parts) == 10_000
        total = sum(alive.values())
        assert all(abs(each.weight - alive[each.block.revision_id] * 10_000 / total) < 1 for each in parts)


def test_nobody_takes_new_sessions() -> None:
    """T4: where all drain, a new session is not sent anywhere, and one that is there may stay."""
    drained = split(block("r1", 10_000, 1, draining=True))
    assert route(drained, {}, 0) is None
    stays = route(drained, {cookie_name("shop"): "0.r1"}, 0)
    assert stays is not None
    assert (stays.block.revision_id, stays.cookie) == ("r1", "")


def test_a_session_sticks_while_its_revision_is_routable() -> None:
    """T4: weight 0 keeps it, a draining revision keeps it, one without targets does not, nor another epoch."""
    moved = [block("new", 10_000, 1), block("old", 0, 2), block("draining", 0, 3, draining=True), block("gone", 0)]
    shop = split(*moved, epoch=3)
    cookie = cookie_name("shop")
    for value, wanted in {
        "3.old": "old",
        "3.draining": "draining",
        "3.new": "new",
        "3.OLD": "old",
        "3.gone": "new",
        "2.old": "new",
        "33.old": "new",
        "old": "new",
        "": "new",
        "3.": "new",
    }.items():
        routed = route(shop, {cookie: value}, 0)
        assert routed is not None
        assert routed.block.revision_id == wanted
        assert bool(routed.cookie) == (held(shop, value) is None)


def test_a_new_session_gets_a_cookie_that_holds() -> None:
    """T4: the cookie that an answer sets brings the next request to the same revision, wherever its hash falls."""
    shop = split(block("r1", 5_000, 1), block("r2", 5_000, 2), epoch=1)
    first = route(shop, {}, 0)
    assert first is not None
    assert first.cookie == cookie_value(shop, first.block) == "1.r1"
    again = route(shop, {cookie_name("shop"): first.cookie}, HASH_SPACE - 1)
    assert again is not None
    assert again.block is first.block


def test_names_are_safe_and_never_shared() -> None:
    """T4: workloads that differ in one character, or in case, have cookies of their own."""
    names = ["shop", "Shop", "sh-op", "sh.op", "sh_op", "x" * 63, "x" * 62 + "y"]
    assert len({short_name(each) for each in names}) == len(names)
    assert all(short_name(each).replace("_", "").isalnum() and len(short_name(each)) < 50 for each in names)


def test_a_million_points_through_the_rendered_split() -> None:
    """T4: what stands in nginx's configuration, by nginx's own arithmetic, gives each weight to one basis point."""
    weights = {"a": 1, "b": 0, "c": 3_333, "d": 6_665, "e": 1}
    blocks = [block(name, weight, 1) for name, weight in weights.items()]
    text = render_nginx(loaded(workload("shop", ["shop.example"], blocks)), (), NginxOptions(), NginxBuild())
    lines = re.search(r"split_clients \S+ \$new_\w+ \{\n(.*?)\}", text, re.DOTALL)
    assert lines
    buckets = [line.strip().removesuffix(";").split() for line in lines[1].splitlines() if line.strip()]
    # ngx_http_split_clients_module.c: bounds add up, each of so many hundredths of a percent of 2**32 - 1.
    ends = list(accumulate(round(float(part[:-1]) * 100) * (HASH_SPACE - 1) // 10_000 for part, _ in buckets[:-1]))
    assert buckets[-1][0] == "*"
    names = [name.rpartition(".")[2] for _, name in buckets]
    many = 1_000_000
    counted = Counter(names[bisect_right(ends, number * HASH_SPACE // many)] for number in range(many))
    for name, weight in weights.items():
        assert abs(counted[short_name(name)] / many * 10_000 - weight) < 1
    assert short_name("b") not in counted
