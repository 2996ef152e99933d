"""`controller.rollout.projection`: from splits to the runtime config, and to its file."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from controller.plugins.contract import WorkloadKind
from controller.rollout.deployer import Deployment, Revision, RuntimeConfig, SplitEntry, TrafficSplit, Workload
from controller.rollout.projection import (
    Targets,
    Written,
    backup_of,
    project,
    render,
    report,
    write_runtime_config,
)
from controller.rollout.routers.document import load_document
from store.rollout_records import RevisionState
from tests.builders import HOST

FACE = {"host": "Shop.example", "path": "/api/"}


def deployment(
    name: str = "shop",
    weights: dict[str, int] | None = None,
    *,
    faces: object = (FACE,),
    states: dict[str, RevisionState] | None = None,
    epoch: int = 0,
) -> Deployment:
    """A workload with a split over revisions; none where no weights are given."""
    entries = [SplitEntry(each, weight) for each, weight in (weights or {}).items()]
    known = {
        entry.revision_id: Revision(
            entry.revision_id,
            name,
            index + 1,
            "img",
            "sha256:0",
            "sha256:1",
            state=(states or {}).get(entry.revision_id, RevisionState.READY),
        )
        for index, entry in enumerate(entries)
    }
    split = TrafficSplit(name, entries, generation=4, stickiness_epoch=epoch) if weights else None
    return Deployment(Workload(name, name, WorkloadKind.PROJECT, name, public_faces=list(faces)), known, split, HOST)


def projected(*each: tuple[Deployment, Targets]) -> dict[str, Any]:
    """The document."""
    return dict(project(HOST, [(one, report(one, targets)) for one, targets in each]).document)


def test_one_block_an_entry_in_its_order() -> None:
    """T2: not filtered by lifecycle, zero weights kept, targets or not."""
    states = {"old": RevisionState.DRAINING, "dead": RevisionState.FAILED, "gone": RevisionState.ARCHIVED}
    shop = deployment(weights={"new": 9_000, "old": 0, "dead": 1_000, "gone": 0}, states=states, epoch=7)
    document = projected((shop, {"old": [("10.0.0.2", 80)], "new": [("10.0.0.3", 80), ("10.0.0.4", 80)]}))
    assert document["workloads"] == [
        {
            "id": "shop",
            "split_generation": 4,
            "stickiness_epoch": 7,
            "faces": [{"host": "shop.example", "path": "/api"}],
            "blocks": [
                {
                    "revision_id": "new",
                    "weight": 9_000,
                    "targets": [{"address": "10.0.0.3", "port": 80}, {"address": "10.0.0.4", "port": 80}],
                    "draining": False,
                },
                {
                    "revision_id": "old",
                    "weight": 0,
                    "targets": [{"address": "10.0.0.2", "port": 80}],
                    "draining": True,
                },
                {"revision_id": "dead", "weight": 1_000, "targets": [], "draining": False},
                {"revision_id": "gone", "weight": 0, "targets": [], "draining": False},
            ],
        }
    ]


def test_a_workload_without_a_split_is_not_told() -> None:
    """T2: nothing is routed to what has no split."""
    assert projected((deployment(), {}))["workloads"] == []
    assert report(deployment(), {}).blocks == []


def test_one_workload_changes_nothing_of_another() -> None:
    """T2: another split, epoch or target of A leaves B's part as it was."""
    other = (deployment("blog", {"b": 10_000}, faces=[{"host": "blog.example"}], epoch=2), {"b": [("10.0.0.9", 80)]})
    before = projected((deployment(weights={"a": 10_000}), {}), other)
    after = projected((deployment(weights={"a": 5_000, "c": 5_000}, epoch=9), {"a": [("10.0.0.1", 80)]}), other)
    assert before["workloads"][0] == after["workloads"][0]
    assert before["workloads"][0]["id"] == "blog"


def test_faces_that_no_router_takes_are_left_out_and_told() -> None:
    """T2, T3: one bad face costs that face, and never the whole document."""
    bad = [{"host": "a..b"}, {"host": "x.example", "path": "/../etc"}, {"host": "x.example", "path": '/"; evil'}]
    shop = deployment(weights={"r": 10_000}, faces=[*bad, FACE, FACE])
    found = project(HOST, [(shop, report(shop, {}))])
    assert found.document["workloads"][0]["faces"] == [{"host": "shop.example", "path": "/api"}]
    assert len(found.problems["shop"]) == len(bad)
    load_document(render(found.document), HOST)


def test_a_face_belongs_to_whoever_came_first() -> None:
    """T3: two workloads with one face would make the document one that no router takes."""
    first, second = deployment("b", {"r": 10_000}), deployment("a", {"r": 10_000})
    found = project(HOST, [(each, report(each, {})) for each in (first, second)])
    assert [len(each["faces"]) for each in found.document["workloads"]] == [0, 1]
    assert found.problems == {"a": ["Shop.example/api/ is a face of workload 'b' already"]}
    load_document(render(found.document), HOST)


@given(st.lists(st.fixed_dictionaries({"host": st.text(), "path": st.text()}), max_size=4), st.text())
def test_whatever_is_declared_makes_a_document_that_loads(faces: list[dict[str, str]], host: str) -> None:
    """T2, T3: what the projection writes, the loader takes."""
    shop = deployment(weights={"r": 10_000}, faces=[*faces, {"host": "ok.example", "path": f"/{host}"}])
    found = project(HOST, [(shop, report(shop, {"r": [("::1", 80)]}))])
    document, quarantined = load_document(render(found.document), HOST)
    assert document.workloads[0].id == "shop"
    assert quarantined == {}


def test_equal_documents_have_one_text() -> None:
    """T2: whatever order the keys were in."""
    shuffled = {"workloads": [], "host": HOST, "schema": 1}
    assert render(shuffled) == render(dict(sorted(shuffled.items())))


def test_a_file_is_written_once_and_its_past_is_kept(tmp_path: Path) -> None:
    """T2: equal content is not rewritten, also where only its form differs; a change keeps a backup."""
    path = tmp_path / "run" / "runtime.json"
    first, second = (projected((deployment(weights={name: 10_000}), {})) for name in ("one", "two"))
    assert write_runtime_config(path, first) is Written.WRITTEN
    assert not backup_of(path).exists()
    path.write_text(json.dumps(first))
    seen = path.stat()
    assert write_runtime_config(path, first) is Written.UNCHANGED
    assert path.stat() == seen
    assert write_runtime_config(path, second) is Written.WRITTEN
    assert json.loads(path.read_text()) == second
    assert json.loads(backup_of(path).read_text()) == first
    assert sorted(each.name for each in path.parent.iterdir()) == ["runtime.json", "runtime.json.bak"]


def test_no_splits_remove_the_file(tmp_path: Path) -> None:
    """T2: and keep what it was as the backup; a second time there is nothing to do."""
    path = tmp_path / "runtime.json"
    document = projected((deployment(weights={"one": 10_000}), {}))
    write_runtime_config(path, document)
    assert write_runtime_config(path, projected()) is Written.REMOVED
    assert not path.exists()
    assert json.loads(backup_of(path).read_text()) == document
    assert write_runtime_config(path, projected()) is Written.UNCHANGED


def test_a_broken_file_is_replaced(tmp_path: Path) -> None:
    """T2: what is no JSON is no equal content."""
    path = tmp_path / "runtime.json"
    path.write_text("{")
    assert write_runtime_config(path, projected((deployment(weights={"one": 10_000}), {}))) is Written.WRITTEN
    assert backup_of(path).read_text() == "{"


def test_a_face_with_a_port_is_told_where_every_revision_is_reached_at_it() -> None:
    """T2, S1: else it is left out, and that is told."""
    shop = deployment(weights={"r": 10_000}, faces=[FACE, {"host": "admin.example", "port": 9090}])
    target = {"address": "10.0.0.1", "port": 80}
    for ports, faces in (({"9090": 9090}, 2), ({"80": 80}, 1), ({}, 1)):
        blocks = [{"revision_id": "r", "weight": 10_000, "targets": [{**target, "ports": ports}], "draining": False}]
        found = project(HOST, [(shop, RuntimeConfig("shop", blocks))])
        assert len(found.document["workloads"][0]["faces"]) == faces
        said = "admin.example/ wants port 9090, at which revision 'r' is not reached"
        assert found.problems == ({} if faces == 2 else {"shop": [said]})
    assert found.document["workloads"][0]["faces"] == [{"host": "shop.example", "path": "/api"}]
