"""`controller.loop.explain`: why a container is in the index, or why not."""

from __future__ import annotations

import json
from typing import Any

import pytest

from controller.errors import NotFound
from controller.loop.explain import Explanation, explain_container, find_container
from controller.loop.tick import preview
from store.database import Database
from store.index import create_row
from tests.builders import HOST, assignment, listed
from tests.fakes import FakeWorld
from tests.unit.passes import OF_PROJECT, OF_SITE, OF_STACK, Passes


def explain(passes: Passes, wanted: str) -> Explanation:
    """What `tallyd explain` finds out."""
    seen = preview(passes.activation, passes.times.clock)
    return explain_container(find_container(seen, wanted), seen, passes.activation.names)


def verdicts(explanation: Explanation) -> list[str]:
    """What came of each rule, shortened."""
    return [each.verdict.split(",")[0].split(" →")[0] for each in explanation.rules]


@pytest.mark.parametrize(
    ("labels", "winner", "row", "tried"),
    [
        ({"tallyd.workload.id": "blog", "tallyd.role": "db", **OF_SITE, **OF_STACK}, "workload-id", "blog:db", [0]),
        ({**OF_SITE, **OF_STACK}, "static-site", "www:site", [1, 0]),
        (OF_STACK, "compose-project", "blog:web", [1, 1, 0]),
    ],
)
def test_the_rule_that_wins(
    passes: Passes, world: FakeWorld, labels: dict[str, str], winner: str, row: str, tried: list[int]
) -> None:
    """O1: each rule tried, which won, and that those behind it were not looked at."""
    container = world.run("web", labels)
    found = explain(passes, "web")
    words = ["decides", "absent or empty"]
    expected = [words[each] for each in tried]
    assert verdicts(found) == expected + ["not tried"] * (3 - len(expected))
    assert (found.winner, found.row_id, found.result) == (winner, row, f"fills row {row}")
    assert (found.container_id, found.state, found.nearest_miss) == (container, "running", "")


def test_values_of_the_labels_are_shown(passes: Passes, world: FakeWorld) -> None:
    """O1: what was found under each label."""
    world.run("web", OF_STACK)
    assert [(each.rule, each.label, each.value) for each in explain(passes, "web").rules] == [
        ("workload-id", "tallyd.workload.id", ""),
        ("static-site", "tallyd.static-site", ""),
        ("compose-project", "com.docker.compose.project", "tallyd-blog"),
    ]


@pytest.mark.parametrize(
    ("labels", "result", "miss"),
    [
        ({"tallyd.workload-id": "shop"}, "unlabelled", "'tallyd.workload-id' looks like 'tallyd.workload.id'"),
        ({"tallyd.workload_id": "shop"}, "unlabelled", "'tallyd.workload_id' looks like 'tallyd.workload.id'"),
        ({"Tallyd.Static-Site": "www"}, "unlabelled", "'Tallyd.Static-Site' looks like 'tallyd.static-site'"),
        ({"tallyd.workload.id": ""}, "unlabelled", "label 'tallyd.workload.id' is there, but empty"),
        ({"tallyd.workload.id": "shp"}, "unknown_workload", "workload 'shop' exists"),
        ({"tallyd.static-site": "site-2"}, "unknown_site", "site with ref 'site-1' exists"),
        ({"com.docker.compose.project": "tallyd-blok"}, "unknown_stack", "stack with ref 'tallyd-blog' exists"),
        ({"com.docker.compose.project": "mail"}, "unlabelled", "'mail' does not start with 'tallyd-'"),
        ({"com.docker.compose.project": "blog"}, "unlabelled", "blog"),
        ({"a": "b"}, "unlabelled", "none of its 1 label(s) is like 'tallyd.workload.id'"),
        ({}, "unlabelled", "none of its 0 label(s)"),
        (OF_PROJECT, "no_project_row", ""),
    ],
)
def test_the_nearest_miss(passes: Passes, world: FakeWorld, labels: dict[str, str], result: str, miss: str) -> None:
    """O1: what was probably meant."""
    world.run("web", labels)
    found = explain(passes, "web")
    assert found.result.startswith(f"ignored ({result})")
    assert miss in found.nearest_miss
    assert found.row_id == ""


def test_who_holds_the_row(passes: Passes, world: FakeWorld) -> None:
    """O1, R16: a newcomer is told who is in its way."""
    world.run("real", OF_SITE)
    passes.tick()
    world.run("forged", OF_SITE)
    found = explain(passes, "forged")
    assert found.result == "ignored (slot_taken): row 'www:site' is held by real"
    assert found.winner == "static-site"


def test_a_container_that_made_way_is_where_the_pass_puts_it(
    passes: Passes, world: FakeWorld, database: Database
) -> None:
    """O1, R10: the explanation is of what dispatch decides, also where a row that a deployer named is lost."""
    old = world.run("old", {"tallyd.workload.id": "blog"})
    row = assignment("blog:web", workload_kind="stack")
    create_row(
        database, HOST, type(row)(**{name: getattr(row, name) for name in row.__slots__} | {"container_id": old})
    )
    assert explain(passes, "old").row_id == "blog:web"
    world.kill(old)
    world.run("new", OF_STACK)
    assert explain(passes, "old").result == f"fills row blog:{old}"
    assert explain(passes, "new").row_id == "blog:web"
    passes.tick()
    assert passes.states == {"blog:web": "running", f"blog:{old}": "stopped"}


def test_an_unreadable_container_is_explained_too(passes: Passes, world: FakeWorld) -> None:
    """O1, R17: with the reason, by name as by id."""
    world.add_raw(listed("broken", OF_STACK, State=None))
    found = explain(passes, "broken")
    assert "set aside" in found.result
    assert "State is null" in found.result
    assert explain(passes, found.container_id) == found
    assert "unreadable" in found.lines()[0]


def test_finding_a_container(passes: Passes, world: FakeWorld) -> None:
    """O1: by name, with or without its slash, by id, or by four characters of it at least."""
    container = world.run("web", OF_STACK)
    for wanted in ("web", "/web", container, container[:12], container[:4]):
        assert explain(passes, wanted).container_id == container


@pytest.mark.parametrize("wanted", ["", "/", "w", "we", "nothing"])
def test_what_is_not_found(passes: Passes, world: FakeWorld, wanted: str) -> None:
    """O1: neither guessed nor taken for the beginning of everything."""
    world.run("web", OF_STACK)
    world.add_raw(listed("broken", State=None))
    with pytest.raises(NotFound, match="no container"):
        explain(passes, wanted)


def test_a_name_that_is_nearly_right(passes: Passes, world: FakeWorld) -> None:
    """O1: the nearest names are told."""
    world.run("frontend", OF_STACK)
    with pytest.raises(NotFound, match=r"did you mean frontend\?"):
        explain(passes, "frontent")


def test_the_beginning_of_several_ids(passes: Passes, world: FakeWorld) -> None:
    """O1: an ambiguous one is refused; an exact name is not."""
    for suffix in ("a", "b"):
        world.add_raw(listed(f"c{suffix}", container_id="abcd" + suffix * 60))
    with pytest.raises(NotFound, match="2 container ids"):
        explain(passes, "abcd")
    world.add_raw(listed("abcd", container_id="f" * 64))
    assert explain(passes, "abcd").container_id == "f" * 64


@pytest.mark.parametrize(
    "item", [None, {"Id": ["x"], "Names": ["/web"]}, {"Id": None, "Names": ["/web"]}, {"Names": 7}]
)
def test_hostile_items_are_in_nobodys_way(passes: Passes, world: FakeWorld, item: Any) -> None:
    """R17: whatever else is listed, a good container is found."""
    world.add_raw(item)
    world.run("web", OF_STACK)
    assert explain(passes, "web").row_id == "blog:web"


def test_for_programs_and_for_people(passes: Passes, world: FakeWorld) -> None:
    """O1: the same facts as JSON and as lines."""
    world.run("web", OF_STACK)
    found = explain(passes, "web")
    shape = json.loads(json.dumps(found.as_dict()))
    assert (shape["winner"], shape["row_id"], len(shape["rules"])) == ("compose-project", "blog:web", 3)
    assert set(shape["rules"][0]) == {"rule", "label", "value", "verdict"}
    lines = found.lines()
    assert lines[0].startswith("container web (")
    assert any("winner: compose-project" in line for line in lines)
    assert any("com.docker.compose.project = 'tallyd-blog'" in line for line in lines)
