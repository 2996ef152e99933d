"""`controller.declared.manifests`: YAML → workloads, all of it or none."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
import yaml

from controller.declared.manifests import parse_manifests, parse_workload, read_manifests
from controller.errors import ManifestInvalid
from controller.plugins.registry import Registry, load_registry
from controller.views import workload_view
from store.records import Workload, WorkloadKind
from tests.unit.plugins import Beast, Unspeakable

REGISTRY = load_registry()

FULL = """\
workloads:
- id: blog
  name: Our blog
  kind: stack
  ref: tallyd-blog-2
  source: {kind: report, config: {containers: 2}}
  trigger: {kind: manual}
  public_faces:
  - {host: blog.example, path: /en, port: 8080}
  - host: www.blog.example
  parent: shop
  host: host-a
- name: shop
  kind: project
"""


def parse(text: str, prefix: str = "tallyd", registry: Registry = REGISTRY) -> list[Workload]:
    """One text, as a file of that name."""
    return parse_manifests({"m.yaml": text}, registry, prefix)


def problems(text: str, registry: Registry = REGISTRY) -> list[str]:
    """What is wrong with a text, line by line."""
    with pytest.raises(ManifestInvalid) as refused:
        parse(text, registry=registry)
    return str(refused.value).splitlines()


def one(**fields: Any) -> str:
    """A manifest of one workload."""
    return yaml.safe_dump({"workloads": [{"id": "w", "kind": "project", **fields}]}, sort_keys=False)


def test_every_field_of_a_manifest() -> None:
    """O7: the shape that others script against."""
    blog, shop = parse(FULL)
    assert blog == Workload(
        id="blog",
        name="Our blog",
        kind=WorkloadKind.STACK,
        ref="tallyd-blog-2",
        source_kind="report",
        source_config={"containers": 2},
        trigger_kind="manual",
        trigger_config={},
        public_faces=[
            {"host": "blog.example", "path": "/en", "port": 8080},
            {"host": "www.blog.example", "path": "/"},
        ],
        parent="shop",
        host="host-a",
    )
    assert (shop.id, shop.name, shop.ref, shop.parent) == ("shop", "shop", "tallyd-shop", None)


def test_id_and_name_stand_for_each_other() -> None:
    """O7: `id` defaults to `name`, and the other way round."""
    assert [(w.id, w.name) for w in parse("workloads: [{name: a, kind: site}, {id: b, kind: site}]")] == [
        ("a", "a"),
        ("b", "b"),
    ]


def test_the_default_ref_follows_the_prefix() -> None:
    """O7: `<p>-<id>`, which dispatch looks at."""
    assert parse("workloads: [{id: a, kind: stack}]", prefix="acme")[0].ref == "acme-a"


def test_a_view_is_a_manifest() -> None:
    """O7: what `workload get` prints can be applied again, without what the store added."""
    for workload in parse(FULL):
        view = workload_view(workload)
        del view["generation"], view["updated_at"]
        assert parse_workload(view, REGISTRY, "tallyd") == workload


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("[]", ["m.yaml:1: document: Input should be", "got []"]),
        ("7", ["m.yaml:1: document"]),
        ("workloads: {}", ["m.yaml:1: workloads: Input should be a valid tuple"]),
        ("workload: []", ["unknown key 'workload'; did you mean 'workloads'?"]),
        ("workloads: [7]", ["m.yaml:1: workloads.0: Input should be"]),
        ("workloads: [{kind: site}]", ["workloads.0.id", "workloads.0.name"]),
        ("workloads:\n- id: a\n", ["m.yaml:2: workloads.0.kind: Field required"]),
        ("workloads:\n- id: a\n  kind: sight\n", ["m.yaml:3: workloads.0.kind", "'project', 'site' or 'stack'"]),
        ("workloads:\n- id: a\n  kind: site\n  sorce: {}\n", ["m.yaml:4", "'sorce'; did you mean 'source'?"]),
        (one(source={"kind": "report", "conf": {}}), ["unknown key 'conf'; did you mean 'config'? allowed: kind"]),
        (one(public_faces=[{"host": "a", "prot": 1}]), ["unknown key 'prot'; did you mean 'port'? allowed: host"]),
        (one(id="a:b"), ["workloads.0.id", "'a:b'"]),
        (one(id="a b"), ["workloads.0.id"]),
        (one(id="-a"), ["workloads.0.id"]),
        (one(id="a" * 64), ["workloads.0.id"]),
        (one(id="a\n"), ["workloads.0.id"]),
        (one(name="a\x07b"), ["workloads.0.name"]),
        (one(name=""), ["workloads.0.name"]),
        (one(parent="w"), ["'w' cannot be its own parent"]),
        (one(public_faces=[{"host": "a b"}]), ["public_faces.0.host"]),
        (one(public_faces=[{"host": "a", "port": 0}]), ["public_faces.0.port"]),
        (
            one(source={"kind": "reprot"}),
            ["source 'reprot' is not installed; there are: compose, image, report, static", "'report'?"],
        ),
        (
            one(trigger={"kind": "cron"}),
            ["trigger 'cron' is not installed; there are: git, manual, registry, schedule"],
        ),
        (one(source={"kind": "report", "config": {"contaners": 1}}), ["contaners", "allowed keys: containers"]),
        (one(source={"kind": "report", "config": {"containers": -1}}), ["containers", "(got -1)"]),
        (one(trigger={"kind": "manual", "config": {"x": 1}}), ["trigger: x", "no keys at all"]),
        (one(kind="stack", ref="blog"), ["ref is 'blog'", "starts with 'tallyd-'"]),
        ("workloads: [{id: a, kind: site}, {id: a, kind: site}]", ["workload 'a' is declared in m.yaml:1 already"]),
    ],
    ids=lambda value: " ".join(value.split())[:40] if isinstance(value, str) else "",
)
def test_what_is_wrong(text: str, expected: list[str]) -> None:
    """O1: file, line, what was found, what is allowed, and the nearest key."""
    said = "\n".join(problems(text))
    for each in expected:
        assert each in said
    assert said.startswith("m.yaml:")


def test_every_problem_is_told_at_once() -> None:
    """O1: one line each, over all documents."""
    text = "workloads: [{id: a, kind: x}, {id: 'b b', kind: site}]\n---\nworkloads: [{id: c, kind: site, x: 1}]"
    assert len(problems(text)) == 3


@pytest.mark.parametrize(
    "value",
    ["2026-01-01", "2026-01-01T00:00:00Z", ".nan", ".inf", "!!binary aGk=", "!!set {a}", "{1: 2}", "[{2: 3}]"],
)
def test_a_configuration_is_json(value: str) -> None:
    """O7: YAML knows more than the store can hold; the place is told, not a failure of the store."""
    text = f"workloads:\n- id: w\n  kind: site\n  source:\n    kind: any\n    config: {{x: {value}}}\n"
    registry = Registry(sources={"any": Beast("any", lambda _request: None)})
    said = problems(text, registry)
    assert all(line.startswith(("m.yaml:5", "m.yaml:6")) for line in said)
    assert "config" in said[0]


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (KeyError("colour"), "KeyError: 'colour'"),
        (SystemExit(3), "SystemExit: 3"),
        (Unspeakable(), "Unspeakable, which cannot be printed"),
    ],
)
def test_a_plugin_that_fails_to_validate_is_a_problem_of_the_manifest(error: BaseException, said: str) -> None:
    """R15, W9: a stranger's code ends here, with the workload's name; it ends neither thread nor process."""

    class Broken(Beast):
        def validate(self, config: Any) -> None:
            raise error

    registry = Registry(sources={"broken": Broken("broken", lambda _request: None)})
    assert problems(one(source={"kind": "broken"}), registry) == [
        f"m.yaml:2: workload 'w': source: the plugin failed: {said}"
    ]


def test_the_api_takes_the_same_shape() -> None:
    """O4: one workload as JSON, with the same errors."""
    assert parse_workload({"id": "w", "kind": "site"}, REGISTRY, "tallyd").ref == "tallyd-w"
    for body, said in [
        ({"id": "w"}, "kind: Field required"),
        ({"id": "w", "kind": "site", "naem": 1}, "unknown key 'naem'; did you mean 'name'?"),
        ({"id": "w", "kind": "site", "source": {"kind": "x"}}, "'x' is not installed"),
        ({"id": "w", "kind": "site", "source": {"kind": "x", "config": {"x": float("nan")}}}, "source.config"),
    ]:
        with pytest.raises(ManifestInvalid) as refused:
            parse_workload(body, REGISTRY, "tallyd")
        assert said in str(refused.value)


def test_files_and_folders(tmp_path: Path) -> None:
    """O1: a folder is its YAML files by name; the whole is one set."""
    (tmp_path / "b.yaml").write_text("workloads: [{id: b, kind: site, parent: a}]")
    (tmp_path / "a.yml").write_text("workloads: [{id: a, kind: site}]")
    (tmp_path / "notes.txt").write_text("no yaml: [")
    assert [w.id for w in read_manifests([tmp_path], REGISTRY, "tallyd")] == ["a", "b"]
    (tmp_path / "c.yaml").write_text("workloads: [{id: a, kind: site}]")
    with pytest.raises(ManifestInvalid, match=r"c\.yaml:1: workload 'a' is declared in .*a\.yml:1 already"):
        read_manifests([tmp_path], REGISTRY, "tallyd")


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    """O1: the path and why."""
    (tmp_path / "latin.yaml").write_bytes(b"name: \xe4\xff")
    (tmp_path / "empty").mkdir()
    for odd in ("pipe", "dangling"):
        (tmp_path / odd).mkdir()
    os.mkfifo(tmp_path / "pipe" / "a.yaml")
    (tmp_path / "dangling" / "a.yaml").symlink_to("nowhere")
    for path, said in [
        ("nowhere.yaml", "cannot be read"),
        ("latin.yaml", "cannot be read"),
        ("empty", "no \\*.yaml file"),
        ("pipe", "a.yaml: not a regular file"),
        ("dangling", "a.yaml: not a regular file"),
    ]:
        with pytest.raises(ManifestInvalid, match=f"{path}.*{said}"):
            read_manifests([tmp_path / path], REGISTRY, "tallyd")
