"""`controller.loop.observe`: what a listing says, container by container."""

from __future__ import annotations

import itertools
import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from controller.labels import LabelNames
from controller.loop.observe import MAX_KEY_CHARACTERS, MAX_LABELS, Unreadable, observe
from store.records import Container
from tests.builders import CREATED, IMAGE, IMAGE_ID, id_of, listed

NAMES = LabelNames()
OURS = {"tallyd.workload.id": "shop"}


def read(item: object) -> Container:
    """The one container of a listing that can be read."""
    seen = observe([item], NAMES)
    assert seen.unreadable == ()
    return seen.containers[0]


def refused(item: object) -> Unreadable:
    """Why an item of a listing cannot be read, with two good neighbours that are."""
    seen = observe([listed("before"), item, listed("after")], NAMES)
    assert [each.name for each in seen.containers] == ["before", "after"]
    assert len(seen.unreadable) == 1
    return seen.unreadable[0]


def port(private: Any, protocol: str = "tcp", public: int | None = None, ip: str | None = None) -> dict[str, Any]:
    """One entry of ``Ports``."""
    told = {"IP": ip, "PrivatePort": private, "PublicPort": public, "Type": protocol}
    return {key: value for key, value in told.items() if value is not None}


def test_every_field_is_read() -> None:
    """R12: all that is Docker-derived, and the labels that dispatch looks at."""
    labels = {
        "tallyd.workload.id": "shop",
        "tallyd.workload.kind": "stack",
        "tallyd.role": "web",
        "tallyd.static-site": "www",
        "tallyd.revision": "r7",
        "com.docker.compose.project": "tallyd-shop",
        "com.docker.compose.service": "front",
        "com.docker.compose.container-number": "3",
        "com.docker.compose.oneoff": "True",
        "other": "x",
    }
    assert read(listed("web", labels, ports=[port(80, public=8080, ip="0.0.0.0")])) == Container(
        id=id_of("web"),
        name="web",
        image_ref=IMAGE,
        image_id=IMAGE_ID,
        state="running",
        health="none",
        port=80,
        ports='[{"private":80,"type":"tcp","ip":"0.0.0.0","public":8080}]',
        created=CREATED,
        workload_id="shop",
        workload_kind="stack",
        role="web",
        static_site="www",
        revision="r7",
        compose_project="tallyd-shop",
        compose_service="front",
        compose_number=3,
        oneoff=True,
    )


def test_labels_are_read_under_the_configured_prefix() -> None:
    """Labels: an existing installation's prefix can be adopted; then the default one means nothing."""
    item = listed(labels={"acme.workload.id": "theirs", "tallyd.workload.id": "ours"})
    assert observe([item], LabelNames("acme")).containers[0].workload_id == "theirs"


@pytest.mark.parametrize("labels", [None, {}, [], "absent"])
def test_a_container_without_labels_is_read(labels: object) -> None:
    """R17: engines leave labels out, or say `null`."""
    item = listed(Labels=labels)
    if labels == "absent":
        del item["Labels"]
    assert read(item).workload_id == ""


@pytest.mark.parametrize(
    ("theirs", "ours"),
    [
        ("running", "running"),
        ("exited", "stopped"),
        ("dead", "stopped"),
        ("stopped", "stopped"),
        ("created", "created"),
        ("restarting", "restarting"),
        ("paused", "paused"),
        ("removing", "removing"),
        ("initialized", "initialized"),
        ("Größe 🐋", "Größe 🐋"),
    ],
)
def test_states(theirs: str, ours: str) -> None:
    """R13: three words become one, the others stay, and an unknown one is kept as it is."""
    assert read(listed(state=theirs)).state == ours


@pytest.mark.parametrize(
    ("status", "health"),
    [
        ("Up 3 seconds", "none"),
        ("Up 3 seconds (healthy)", "healthy"),
        ("Up 3 seconds (unhealthy)", "unhealthy"),
        ("Up Less than a second (health: starting)", "starting"),
        ("Up 3 minutes (Paused)", "none"),
        ("Exited (137) 3 seconds ago", "none"),
        ("Exited (0) 3 seconds ago (healthy) or so", "none"),
        ("", "none"),
        (None, "none"),
        (5, "none"),
    ],
)
def test_health_in_the_status(status: object, health: str) -> None:
    """R13: below API 1.52 the end of the status is the only place."""
    assert read(listed(Status=status)).health == health


@pytest.mark.parametrize(
    ("field", "health"),
    [
        ({"Status": "unhealthy", "FailingStreak": 3}, "unhealthy"),
        ({"Status": "none", "FailingStreak": 0}, "none"),
        ({"Status": "", "FailingStreak": 0}, "none"),
        ({"Status": None}, "healthy"),
        (None, "healthy"),
        ("unhealthy", "healthy"),
    ],
)
def test_health_in_its_own_field(field: object, health: str) -> None:
    """R13: from API 1.52 the field decides; where it is unusable, the status does."""
    assert read(listed(status="Up 3 seconds (healthy)", Health=field)).health == health


PORTS = [
    port(8080, public=49153, ip="0.0.0.0"),
    port(8080, public=49153, ip="::"),
    port(53, "udp"),
    port(53, "tcp"),
]


@pytest.mark.parametrize("order", list(itertools.permutations(range(4))))
def test_the_first_port_does_not_depend_on_the_order(order: tuple[int, ...]) -> None:
    """R13: the engine lists ports in any order; ours is by private port, then protocol."""
    seen = read(listed(ports=[PORTS[number] for number in order]))
    assert seen.port == 53
    assert [(each["private"], each["type"], each["ip"]) for each in json.loads(seen.ports)] == [
        (53, "tcp", ""),
        (53, "udp", ""),
        (8080, "tcp", "0.0.0.0"),
        (8080, "tcp", "::"),
    ]


@pytest.mark.parametrize("ports", [[], None])
def test_without_ports_the_port_is_zero(ports: object) -> None:
    """R13: no port is 0."""
    seen = read(listed(Ports=ports))
    assert (seen.port, seen.ports) == (0, "[]")


@pytest.mark.parametrize(
    ("names", "name"),
    [
        (["/web"], "web"),
        (["web"], "web"),
        (["/other/alias", "/web"], "web"),
        (["/other/alias"], "other/alias"),
        (["/web", "/second"], "web"),
        (["/naïve\n🐋"], "naïve\n🐋"),
    ],
)
def test_names(names: list[str], name: str) -> None:
    """R12: the container's own name, also beside those that legacy links add."""
    assert read(listed(Names=names)).name == name


@pytest.mark.parametrize(
    ("number", "meant"),
    [("1", 1), ("2", 2), ("010", 10), ("0", 0), ("-1", 1), ("", 1), ("two", 1), ("²", 1), ("9" * 30, 1)],
)
def test_replica_numbers(number: str, meant: int) -> None:
    """R10: a container number that is none counts as the first."""
    assert read(listed(labels={"com.docker.compose.container-number": number})).compose_number == meant


@pytest.mark.parametrize(("value", "meant"), [("True", True), ("False", False), ("true", False), ("", False)])
def test_one_off(value: str, meant: bool) -> None:
    """R10: Compose writes `True` for what `docker compose run` started."""
    assert read(listed(labels={"com.docker.compose.oneoff": value})).oneoff is meant


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"Names": None}, "Names is null"),
        ({"Names": []}, "Names is empty"),
        ({"Names": [None]}, "Names holds something that is no text"),
        ({"Names": "web"}, "Names is str"),
        ({"Names": ["/"]}, "name is empty"),
        ({"Names": ["/a\0b"]}, "NUL byte"),
        ({"Names": ["/" + "n" * (MAX_KEY_CHARACTERS + 1)]}, "over 512 characters"),
        ({"State": None}, "State is null"),
        ({"State": ""}, "State is empty"),
        ({"State": 7}, "State is int"),
        ({"State": "run\0ning"}, "State holds a NUL byte"),
        ({"Image": None}, "Image is null"),
        ({"Image": "a\0"}, "Image holds a NUL byte"),
        ({"ImageID": 7}, "ImageID is int"),
        ({"Created": None}, "Created is null"),
        ({"Created": "yesterday"}, "Created is str"),
        ({"Created": 1.5}, "Created is float"),
        ({"Ports": "80"}, "Ports is str"),
        ({"Ports": [80]}, "Ports is list"),
        ({"Ports": [{}]}, "without a port number"),
        ({"Ports": [port(None)]}, "without a port number"),
        ({"Ports": [port("http")]}, "without a port number"),
        ({"Ports": [port(80), {"PrivatePort": 80, "Type": "tcp", "IP": 7}]}, "port number"),
        ({"Ports": [port(70_000)]}, "port number"),
        ({"Ports": [port(-1)]}, "port number"),
        ({"Ports": [port(2**70)]}, "port number"),
        ({"Ports": [port(1e300)]}, "port number"),
        ({"Labels": "tallyd.workload.id=shop"}, "Labels is str"),
        ({"Labels": {**OURS, "x": None}}, "label 'x' is null"),
        ({"Labels": {**OURS, "x": 7}}, "label 'x' is int"),
        ({"Labels": {"tallyd.workload.id": 7}}, "label 'tallyd.workload.id' is int"),
        ({"Labels": {"tallyd.workload.id": None}}, "label 'tallyd.workload.id' is null"),
        ({"Labels": {"com.docker.compose.project": ["tallyd-x"]}}, "is list instead of text"),
        ({"Labels": {**OURS, "x": "a\0b"}}, "label 'x' holds a NUL byte"),
        ({"Labels": {**OURS, "a\0b": ""}}, "holds a NUL byte"),
        ({"Labels": {**OURS, "x": "v" * 1_000_000}}, "1000000 characters, over the cap"),
        ({"Labels": {**OURS, "n" * 5000: ""}}, "over the cap"),
        ({"Labels": OURS | {f"label-{n}": "" for n in range(20_000)}}, f"20001 labels, over the cap of {MAX_LABELS}"),
        ({"Labels": {"tallyd.workload.id": "w" * 513}}, "513 characters, over the cap of 512"),
        ({"Labels": {**OURS, "tallyd.role": "r" * 513}}, "over the cap of 512"),
        ({"Labels": {**OURS, "com.docker.compose.service": "s" * 513}}, "over the cap of 512"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_what_cannot_be_read_is_set_aside_alone(change: dict[str, Any], reason: str) -> None:
    """R17: counted with a reason, its neighbours are read, and its id protects its row from the sweep."""
    unreadable = refused(listed("hostile") | change)
    assert reason in unreadable.reason
    assert len(unreadable.reason) < 300
    assert unreadable.container_id == id_of("hostile")


@pytest.mark.parametrize(
    "item", [None, 7, "web", [], {}, listed(Id=None), listed(Id=""), listed(Id=7)], ids=lambda item: str(item)[:20]
)
def test_an_id_that_is_illegible_means_that_nothing_is_known_to_be_gone(item: object) -> None:
    """R6, R14, R17: it may be the id of any row's container, so absence cannot be concluded."""
    assert refused(item).container_id is None
    seen = observe([listed("good"), item], NAMES)
    assert not seen.every_id_legible
    assert seen.unreadable_ids == frozenset()
    assert seen.listed_ids == {id_of("good")}


def test_an_id_with_a_nul_byte_is_set_aside() -> None:
    """R17: PostgreSQL could not hold it."""
    assert refused(listed(Id="a\0b")).container_id == "a\0b"


def test_every_listed_id_is_known() -> None:
    """R14: a container that was listed is never swept, readable or not."""
    seen = observe([listed("good"), listed("bad", Names=None), listed("worse", State=None)], NAMES)
    assert seen.listed_ids == {id_of("good"), id_of("bad"), id_of("worse")}
    assert seen.unreadable_ids == {id_of("bad"), id_of("worse")}
    assert seen.every_id_legible


@pytest.mark.parametrize(
    "labels",
    [
        {"x": "a\0b"},
        {"x": "v" * 1_000_000},
        {f"label-{n}": "" for n in range(20_000)},
        {"x": None},
        {"tallyd.role": 7},
        {"com.docker.compose.container-number": 7},
        {"com.docker.compose.project": None},
        {"com.docker.compose.service": ["web"]},
        {"com.docker.compose.oneoff": True},
    ],
    ids=lambda labels: str(labels)[:40],
)
def test_a_container_that_is_not_ours_is_not_judged(labels: dict[str, Any]) -> None:
    """R7, R17: what it carries reaches neither key nor column, so it is read, and later ignored."""
    seen = read(listed("theirs", Labels=labels))
    assert (seen.workload_id, seen.static_site) == ("", "")
    assert isinstance(seen.compose_project + seen.compose_service + seen.role, str)


@pytest.mark.parametrize("text", ["emoji 🐋", "line\nbreak", "\u202egnp.exe", "tab\t", "x" * 512])
def test_strange_but_legible_labels_are_kept(text: str) -> None:
    """R17: only what cannot be stored or exceeds the caps is set aside."""
    assert read(listed(labels={**OURS, "tallyd.role": text})).role == text


# A pool rather than `st.recursive`: every shape that matters, and a hundred times as fast.
JSON: st.SearchStrategy[Any] = st.sampled_from(
    [
        *(None, True, False, 0, -1, 7, 80, 65_536, 2**63, 2**70, 0.5, 1e300),
        *("", "x", "\0", "/web", "running", "tallyd-x", "9" * 40, "é🐋", "v" * 70_000),
        *([], [None], ["/web"], ["/web", 7], ["\0"], [[]], [{}], [{"PrivatePort": 80}], {}, {"Status": "healthy"}),
        *({"a": None}, {"tallyd.workload.id": "shop"}, {"tallyd.workload.id": "\0"}, {"\0": "x"}),
    ]
)
LABELS = st.dictionaries(
    st.sampled_from([*NAMES.own, "com.docker.compose.project", "com.docker.compose.container-number", "x"]),
    JSON | st.sampled_from(["shop", "tallyd-x", "2", "\0", ""]),
    max_size=4,
)
MUTATIONS = st.dictionaries(st.sampled_from(list(listed())), JSON, max_size=3)
PORT_LISTS = st.lists(st.fixed_dictionaries({"PrivatePort": JSON}, optional={"IP": JSON, "Type": JSON}), max_size=2)


HOSTILE = st.builds(
    lambda change, labels, ports: listed() | {"Labels": labels, "Ports": ports} | change,
    MUTATIONS,
    LABELS,
    PORT_LISTS,
)


@settings(max_examples=400)
@given(items=st.lists(JSON | HOSTILE, max_size=3))
def test_nothing_makes_it_raise(items: list[Any]) -> None:
    """R17: whatever JSON an engine sends, each item is either read or set aside, and what is read can be stored."""
    seen = observe(items, NAMES)
    assert len(seen.containers) + len(seen.unreadable) == len(items)
    for each in seen.containers:
        ours = bool(each.workload_id or each.static_site or each.compose_project.startswith("tallyd-"))
        stored = (each.id, each.name, each.image_ref, each.image_id, each.state, each.health, each.ports)
        assert not any("\0" in text for text in stored)
        assert not (ours and "\0" in each.workload_id + each.role + each.static_site + each.compose_service)
        assert 0 <= each.port <= 65_535
        assert isinstance(json.loads(each.ports), list)
