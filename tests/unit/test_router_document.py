"""`controller.rollout.routers.document`: what a router's loader takes, refuses, and sets aside."""

from __future__ import annotations

import json
import re
from copy import deepcopy
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from controller.errors import RuntimeConfigInvalid
from controller.rollout.faces import host_problem, path_problem
from controller.rollout.routers.document import load_document
from controller.rollout.routers.nginx import NginxBuild, NginxOptions, render_nginx
from tests.builders import HOST
from tests.routers import block, document, loaded, workload

GOOD = document(
    workload("shop", ["shop.example/"], [block("r1", 9_000, 8001), block("r2", 1_000, 8002)]),
    workload("blog", ["blog.example/x", "blog.example/y"], [block("r1", 10_000, 8003), block("r0", 0)]),
)


def changed(place: str, value: object) -> dict[str, Any]:
    """A good document with one place changed; `place` is a path with dots."""
    copy = deepcopy(GOOD)
    *way, last = [int(step) if step.isdigit() else step for step in place.split(".")]
    at: Any = copy
    for step in way:
        at = at[step]
    at[last] = value
    return copy


def test_a_good_document_is_taken() -> None:
    """T3: all of it, and nothing is in quarantine."""
    found, quarantined = load_document(json.dumps(GOOD), HOST)
    assert found.model_dump(mode="json", by_alias=True, exclude_unset=True) == GOOD
    assert quarantined == {}


FACE = "workloads.0.faces.0"
TARGET = "workloads.0.blocks.0.targets.0"


@pytest.mark.parametrize(
    ("place", "value", "told"),
    [
        ("schema", 2, "schema"),
        ("schema", "1", "schema"),
        ("schema", True, "schema"),
        ("host", "another", "another"),
        ("more", 1, "more"),
        ("workloads", {}, "workloads"),
        ("workloads.1.id", "shop", "workload 'shop' stands twice"),
        ("workloads.0.id", "a b", "workloads.0.id"),
        ("workloads.0.id", "shop\n", "workloads.0.id"),
        ("workloads.0.stickiness_epoch", -1, "stickiness_epoch"),
        ("workloads.0.stickiness_epoch", "1; evil", "stickiness_epoch"),
        ("workloads.0.split_generation", 2**64, "split_generation"),
        ("workloads.0.blocks", [], "weights sum up to 0"),
        ("workloads.0.blocks.0.weight", 9_001, "weights sum up to 10001"),
        ("workloads.0.blocks.0.weight", 8_999, "weights sum up to 9999"),
        ("workloads.0.blocks.0.weight", -1, "weight"),
        ("workloads.0.blocks.0.weight", 9_000.0, "weight"),
        ("workloads.0.blocks.0.weight", True, "weight"),
        ("workloads.0.blocks.1.revision_id", "r1", "revision 'r1' stands twice"),
        ("workloads.0.blocks.1.revision_id", "R1", "revision 'r1' stands twice"),
        ("workloads.0.blocks.0.revision_id", 'r"; }', "revision_id"),
        ("workloads.0.blocks.0.revision_id", "", "revision_id"),
        ("workloads.0.blocks.0.draining", "yes", "draining"),
        ("workloads.1.faces.1.path", "/x", "face blog.example/x stands twice"),
        ("workloads.1.faces.1.path", "/x/", "face blog.example/x stands twice"),
        (f"{FACE}.path", "", "does not begin"),
        (f"{FACE}.path", "x", "does not begin"),
        (f"{FACE}.path", "/..", "segment"),
        (f"{FACE}.path", "/a/../b", "segment"),
        (f"{FACE}.path", "/a/./b", "segment"),
        (f"{FACE}.path", "//a", "segment"),
        (f"{FACE}.path", "/%2e%2e/", "character '%'"),
        (f"{FACE}.path", "/a\n}", "character"),
        (f"{FACE}.path", "/a\x00", "character"),
        (f"{FACE}.path", "/a;", "character"),
        (f"{FACE}.path", "/a\u202e", "character"),
        (f"{FACE}.path", "/$host", "character"),
        (f"{FACE}.path", "/`)", "character"),
        (f"{FACE}.path", "/" + "a" * 2_000, "longer"),
        (f"{FACE}.host", "", "no DNS name"),
        (f"{FACE}.host", "*", "no DNS name"),
        (f"{FACE}.host", "a.*.b", "no DNS name"),
        (f"{FACE}.host", "-a.example", "no DNS name"),
        (f"{FACE}.host", "a_b.example", "no DNS name"),
        (f"{FACE}.host", "a.example\n", "no DNS name"),
        (f"{FACE}.host", "a.example; }", "no DNS name"),
        (f"{FACE}.host", "~^.*$", "no DNS name"),
        (f"{FACE}.host", "a" * 64, "no DNS name"),
        (f"{FACE}.host", ".".join(["abc"] * 64), "no DNS name"),
        (f"{TARGET}.address", "localhost", "address"),
        (f"{TARGET}.address", "127.0.0.1; }", "address"),
        (f"{TARGET}.address", "fe80::1%eth0; }", "zone"),
        (f"{TARGET}.address", "unix:/run/x", "address"),
        (f"{TARGET}.port", 0, "port"),
        (f"{TARGET}.port", 65_536, "port"),
        (f"{TARGET}.port", "80; }", "port"),
    ],
)
def test_what_is_wrong_is_refused_with_its_place(place: str, value: object, told: str) -> None:
    """T3: wrong schema or host, duplicates, bad sums, paths that escape, hosts that are no names: nothing is used."""
    with pytest.raises(RuntimeConfigInvalid) as refused:
        load_document(json.dumps(changed(place, value)), HOST)
    assert told in str(refused.value)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "null",
        "[]",
        "{",
        '"x"',
        "1e999",
        "[" * 100_000,
        '{"schema": 1, "schema": 1, "host": "h", "workloads": []}',
    ],
    ids=["empty", "null", "list", "half", "text", "number", "deep", "twice"],
)
def test_what_is_no_document_is_refused(text: str) -> None:
    """T3: whatever was written there."""
    with pytest.raises(RuntimeConfigInvalid):
        load_document(text, HOST)


def test_names_of_workloads_may_differ_in_case_alone() -> None:
    """T3: as they may in the store."""
    found, _ = load_document(json.dumps(changed("workloads.1.id", "SHOP")), HOST)
    assert [each.id for each in found.workloads] == ["shop", "SHOP"]


def test_a_missing_reference_sets_its_workload_aside() -> None:
    """T3: a revision with weight and without targets; the rest is served, and its faces stay its own."""
    found, quarantined = load_document(json.dumps(changed("workloads.0.blocks.1.targets", [])), HOST)
    assert quarantined == {"shop": "no target of r2"}
    assert [each.id for each in found.workloads] == ["shop", "blog"]


def test_what_gets_no_traffic_may_lack_targets() -> None:
    """T3: a zero weight, and a revision that drains and is gone already."""
    gone = [block("r1", 10_000, 8_001), block("r0", 0)]
    drained = [block("r1", 5_000, 8_001), block("r0", 5_000, draining=True)]
    for blocks in (gone, drained):
        text = json.dumps(document(workload("shop", ["shop.example/"], blocks)))
        assert load_document(text, HOST)[1] == {}


def test_many_problems_are_told_in_few_lines() -> None:
    """T3: ten, and how many more."""
    many = document(*(workload(f"w{each}", [], [block("r", 1)]) for each in range(50)))
    with pytest.raises(RuntimeConfigInvalid) as refused:
        load_document(json.dumps(many), HOST)
    assert str(refused.value).endswith("runtime config: and 40 more")


ANYTHING = st.text(min_size=1) | st.text(alphabet="abc./;{}\"'\\$`\n #~*-_:%", min_size=1)


TAKEN = {
    "host": ("h.example", "*.h.example"),
    "path": ("/p", "/p/q", "/café"),
    "name": ("w", "w.x-y_z"),
    "revision": ("r", "r:1@2"),
    "address": ("127.0.0.1", "::1"),
}


@given(st.fixed_dictionaries({key: st.sampled_from(good) for key, good in TAKEN.items()}), st.data())
def test_nothing_that_is_taken_can_speak_to_nginx(values: dict[str, str], data: st.DataObject) -> None:
    """T3, T5: whatever the loader lets pass is one token each; no directive is added, none gets another argument."""
    hostile = data.draw(st.sampled_from(sorted(values)))
    values[hostile] = data.draw(ANYTHING | ANYTHING.map(values[hostile].__add__))
    host, path, name, revision, address = (values[key] for key in TAKEN)
    one = workload(name, [], [{**block(revision, 10_000), "targets": [{"address": address, "port": 80}]}])
    one["faces"] = [{"host": host, "path": path}]
    try:
        taken, _ = load_document(json.dumps(document(one)), HOST)
    except RuntimeConfigInvalid:
        return
    plain = workload("w", ["h.example/p" if taken.workloads[0].faces[0].path != "/" else "h.example/"], ONE)
    directives = _directives(render_nginx(taken, (), NginxOptions(), NginxBuild()))
    assert _shape(directives) == _shape(_directives(render_nginx(loaded(plain), (), NginxOptions(), NginxBuild())))
    face = taken.workloads[0].faces[0]
    assert ["server_name", face.host] in [tokens for tokens, _ in directives]
    assert ["location", "^~", f"{face.path.rstrip('/')}/"] in [tokens for tokens, _ in directives]


ONE = [block("r", 10_000, 80)]
_TOKEN = re.compile(
    r"""\s+|\#[^\n]*|(?P<end>[{};])|"(?P<double>(?:\\.|[^"\\])*)"|'(?P<single>[^']*)'|(?P<plain>[^\s{};"']+)"""
)


def _directives(configuration: str) -> list[tuple[list[str], str]]:
    """Tokens and end of each directive, by nginx's rules of quoting; comments are nothing."""
    found: list[tuple[list[str], str]] = []
    tokens: list[str] = []
    at = 0
    while at < len(configuration):
        token = _TOKEN.match(configuration, at)
        assert token is not None, configuration[at : at + 80]
        at = token.end()
        if token["end"]:
            found.append((tokens, token["end"]))
            tokens = []
        elif token["double"] is not None:
            tokens.append(re.sub(r"\\(.)", r"\1", token["double"]))
        elif (text := token["single"] if token["single"] is not None else token["plain"]) is not None:
            tokens.append(text)
    assert tokens == []
    return found


def _shape(directives: list[tuple[list[str], str]]) -> list[tuple[int, str]]:
    return [(len(tokens), end) for tokens, end in directives]


@pytest.mark.parametrize("character", [*"\"'`\\{}$;#?%<>|^* \t\r\n\0\x7f\x85\u2028\u202e", "\ud800"], ids=ascii)
def test_no_path_has_a_character_of_a_configuration_language(character: str) -> None:
    """T3: quoting would do, and is done as well."""
    assert "has the character" in path_problem(f"/a{character}b")


@given(st.text())
def test_a_host_or_path_is_good_or_has_a_reason(text: str) -> None:
    """T3: never an exception, and nothing good has a character of a configuration language."""
    for problem in (host_problem(text), path_problem(text)):
        assert problem or not set(text) & set("\n\r\t\0 ;{}\"'`\\$#")


def test_a_face_wants_a_port_at_which_a_revision_is_not_reached() -> None:
    """T3: refused; with the port it is taken."""
    good = changed("workloads.0.faces.0.port", 9090)
    for number in (0, 1):
        good["workloads"][0]["blocks"][number]["targets"][0]["ports"] = {"9090": 9000 + number}
    assert load_document(json.dumps(good), HOST)[0].workloads[0].faces[0].port == 9090
    good["workloads"][0]["blocks"][1]["targets"][0]["ports"] = {"80": 80}
    with pytest.raises(RuntimeConfigInvalid, match="a face wants port 9090, at which revision 'r2' is not reached"):
        load_document(json.dumps(good), HOST)
