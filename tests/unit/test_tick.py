"""`controller.loop.tick`: one pass from the engine to the report."""

from __future__ import annotations

from dataclasses import replace

from controller.engine.client import EngineClient
from controller.loop.tick import preview
from controller.plugins.contract import Outcome, ReconcileRequest, Result
from store import hosts
from store.database import Database
from store.index import create_row, read_snapshot
from store.records import MISSING
from store.workloads import apply_workloads, delete_workload
from tests.builders import ENGINE_ID, HOST, NOW, assignment, id_of, listed, workload
from tests.fakes import FakeDocker, FakeWorld
from tests.unit.passes import OF_PROJECT, OF_SITE, OF_STACK, SITE, STACK, Passes
from tests.unit.plugins import Zoo, declared

LISTING = "/containers/json"


def test_a_pass_writes_what_is_there(passes: Passes, world: FakeWorld) -> None:
    """R5, R10: rows of sites and stacks make themselves; everything else is counted by reason."""
    site, stack = world.run("site", OF_SITE), world.create("web", OF_STACK)
    world.run("forged", OF_PROJECT)
    world.run("lost", {"tallyd.workload.id": "nothing"})
    world.run("other")
    report = passes.tick()
    assert report.complete
    assert {row.id: (row.container_id, row.state) for row in passes.rows.values()} == {
        "www:site": (site, "running"),
        "blog:web": (stack, "created"),
    }
    assert (report.listed, report.matched, report.engine_id) == (5, 2, ENGINE_ID)
    assert report.ignored_by_reason == {"no_project_row": 1, "unknown_workload": 1, "unlabelled": 1}
    assert report.states == {("site", "running"): 1, ("stack", "created"): 1}


def test_phases_come_in_order(passes: Passes, world: FakeWorld) -> None:
    """R5: list → dispatch → write → plugins, each with its seconds."""
    world.run("site", OF_SITE)
    assert list(passes.tick().phases) == ["read", "list", "dispatch", "write", "plugins"]


def test_plugins_see_what_was_written(database: Database, client: EngineClient, world: FakeWorld) -> None:
    """R5: the plugin pass comes last, on the rows as the write left them."""
    seen: list[dict[str, str]] = []

    def look(request: ReconcileRequest) -> Outcome:
        seen.append({row.id: row.state for row in request.rows})
        return Outcome(Result.IN_SYNC)

    passes = Passes.of(database, client, Zoo(looks=look).registry)
    apply_workloads(database, [replace(STACK, source_kind="looks", trigger_kind="manual")], NOW)
    container = world.run("web", OF_STACK)
    passes.tick()
    world.pause(container)
    passes.tick()
    world.rm(container)
    passes.tick()
    assert seen == [{"blog:web": "running"}, {"blog:web": "paused"}, {"blog:web": MISSING}]


def test_an_unchanged_world_changes_nothing_but_last_seen(passes: Passes, world: FakeWorld) -> None:
    """R12: a second identical pass has an empty change."""
    world.run("site", OF_SITE)
    world.run("web", OF_STACK)
    passes.tick()
    before = passes.rows
    report = passes.tick()
    assert report.change.empty
    assert report.change.unchanged == 2
    assert report.summary == "2 seen"
    assert passes.rows == {key: replace(row, last_seen_at=passes.times.now) for key, row in before.items()}


def test_gone_and_back(passes: Passes, world: FakeWorld) -> None:
    """R14: a removed container's row is missing; a new container of the same service recovers it."""
    first = world.run("web", OF_STACK)
    passes.tick()
    world.rm(first)
    report = passes.tick()
    assert (passes.states, len(report.change.missing)) == ({"blog:web": MISSING}, 1)
    second = world.run("web", OF_STACK)
    report = passes.tick()
    assert report.change.recovered == 1
    assert (passes.rows["blog:web"].container_id, passes.states) == (second, {"blog:web": "running"})


def test_an_empty_listing_marks_every_bound_row(passes: Passes, world: FakeWorld) -> None:
    """R6: complete, successful and empty means that all containers are gone."""
    world.run("site", OF_SITE)
    world.run("web", OF_STACK)
    passes.tick()
    world.clear()
    assert passes.tick().complete
    assert set(passes.states.values()) == {MISSING}


def test_unreadable_containers_are_set_aside(passes: Passes, world: FakeWorld) -> None:
    """R17: their rows stay, every other row is written, and the report shows each with its reason."""
    web, site = world.run("web", OF_STACK), world.run("site", OF_SITE)
    passes.tick()
    world.replace(web, Names=None)
    world.pause(site)
    report = passes.tick()
    assert [(each.container_id, each.reason) for each in report.unreadable] == [(web, "Names is null")]
    assert passes.states == {"blog:web": "running", "www:site": "paused"}
    assert report.as_dict()["unreadable_containers"] == [{"container_id": web, "reason": "Names is null"}]


def test_an_illegible_id_stops_the_sweep_of_this_pass(passes: Passes, world: FakeWorld) -> None:
    """R6, R17: nothing can be said to be gone while one id is not known."""
    web = world.run("web", OF_STACK)
    passes.tick()
    world.rm(web)
    key = world.add_raw({"Names": ["/nobody"]})
    assert passes.tick().change.missing == ()
    assert passes.states == {"blog:web": "running"}
    world.remove_raw(key)
    passes.tick()
    assert passes.states == {"blog:web": MISSING}


def test_a_row_that_is_bound_while_the_engine_lists_is_not_swept(
    passes: Passes, docker: FakeDocker, database: Database
) -> None:
    """R14: the sweep covers rows that were bound before the listing began; the next pass has seen it bound."""
    passes.tick()
    before = preview(passes.activation, passes.times.clock)
    create_row(database, HOST, assignment("shop:late", "late", state="", workload_kind="project"))
    assert preview(passes.activation, passes.times.clock).change.missing == ()
    report = passes.tick()
    assert report.change.missing == ()
    assert passes.states == {"shop:late": ""}
    assert before.change.empty
    assert passes.tick().change.missing == (("shop:late", id_of("late")),)


def test_project_rows_are_filled_once_the_deployer_made_them(
    passes: Passes, world: FakeWorld, database: Database
) -> None:
    """R9: never invented; and nothing of the pass before is remembered against it (R11)."""
    container = world.run("shop-1", OF_PROJECT)
    assert passes.tick().ignored_by_reason == {"no_project_row": 1}
    row = replace(assignment("shop:one", workload_kind="project", state=""), container_id=container)
    create_row(database, HOST, row)
    passes.tick()
    assert passes.states == {"shop:one": "running"}
    assert passes.rows["shop:one"].last_seen_at == passes.times.now


def test_workloads_are_looked_up_anew_in_every_pass(passes: Passes, world: FakeWorld, database: Database) -> None:
    """R11: neither a failure nor a success is remembered past the pass."""
    world.run("new", {"tallyd.static-site": "later"})
    assert passes.tick().ignored_by_reason == {"unknown_site": 1}
    apply_workloads(database, [workload("later", "site", ref="later")], NOW)
    passes.tick()
    assert passes.states == {"later:site": "running"}
    delete_workload(database, "later", force=True)
    assert passes.tick().ignored_by_reason == {"unknown_site": 1}
    assert passes.states == {}


def test_a_forged_label_does_not_take_a_slot(passes: Passes, world: FakeWorld) -> None:
    """R16: while the recorded container lives; and it is counted and shown."""
    real = world.run("real", OF_SITE)
    passes.tick()
    world.run("forged", OF_SITE)
    report = passes.tick()
    assert passes.rows["www:site"].container_id == real
    assert report.ignored_by_reason == {"slot_taken": 1}
    assert report.ignored[0].container.name == "forged"


def test_plugins_are_isolated_in_a_pass(passes: Passes, zoo: Zoo, database: Database, world: FakeWorld) -> None:
    """R15: whatever each does, the rows are written, the pass is complete, and each result is counted."""
    kinds = ["fine", "repairs", "raises", "exits", "garbage", "retries", "terminates", "not-installed"]
    apply_workloads(database, [declared(f"w-{kind}", kind) for kind in kinds], NOW)
    world.run("web", OF_STACK)
    report = passes.tick()
    assert report.complete
    assert passes.states == {"blog:web": "running"}
    assert report.as_dict()["plugins"] == {
        "in_sync": 1,
        "repaired": 1,
        "failed": 3,
        "retry": 1,
        "terminal": 1,
        "unusable": 1,
    }


def test_without_plugins_the_plugin_pass_is_skipped(passes: Passes, world: FakeWorld) -> None:
    """R15: workloads without source and trigger are not asked for."""
    world.run("web", OF_STACK)
    assert passes.tick().reconciled == ()


def test_malformed_public_faces_are_reported(passes: Passes, database: Database) -> None:
    """R15: by workload, while the pass is complete."""
    apply_workloads(database, [replace(SITE, public_faces="www.example")], NOW)
    report = passes.tick()
    assert report.complete
    assert [text.partition(": ")[0] for text in report.errors] == ["workload 'www'"]


def test_a_preview_writes_nothing_and_sees_the_same(passes: Passes, world: FakeWorld) -> None:
    """O1: `plan` goes the same way as a tick up to the write."""
    world.run("web", OF_STACK)
    seen = preview(passes.activation, passes.times.clock)
    assert [row.id for row in seen.change.inserted] == ["blog:web"]
    assert passes.rows == {}
    assert hosts.get_host(passes.activation.database, HOST).last_listed_at is None
    assert passes.tick().change == seen.change


def test_times_are_those_of_the_listings_beginning(passes: Passes, world: FakeWorld) -> None:
    """R21: the age of the truth counts from before the engine was asked, by the clock that is passed in."""
    world.run("web", OF_STACK)
    passes.tick()
    host = hosts.get_host(passes.activation.database, HOST)
    assert host.last_listed_at == passes.times.now == passes.rows["blog:web"].last_seen_at


def test_a_clock_that_steps_back_is_followed(passes: Passes, world: FakeWorld) -> None:
    """F: nothing is compared with the wall clock, so rows are written and swept as ever."""
    web = world.run("web", OF_STACK)
    passes.tick()
    passes.times.now = NOW.replace(year=2020)
    world.rm(web)
    assert passes.tick(0).complete
    assert passes.states == {"blog:web": MISSING}
    assert hosts.get_host(passes.activation.database, HOST).last_listed_at == NOW.replace(year=2020)


def test_many_containers_in_one_pass(passes: Passes, world: FakeWorld) -> None:
    """P9: a thousand rows are made, changed, and swept in a pass each."""
    world.many(1000, lambda number: {**OF_STACK, "com.docker.compose.service": f"s{number}"}, running=True)
    assert len(passes.tick().change.inserted) == 1000
    for item in world.listing():
        world.set_state(item["Id"], "paused")
    assert len(passes.tick().change.updated) == 1000
    assert passes.tick().change.unchanged == 1000
    world.clear()
    assert len(passes.tick().change.missing) == 1000


def test_the_report_has_the_shape_that_scripts_rely_on(passes: Passes, world: FakeWorld) -> None:
    """O7: at least these keys, with these types."""
    world.run("web", OF_STACK)
    world.add_raw(listed("broken", Names=None))
    shape = passes.tick().as_dict()
    numbers = ("listed", "matched", "inserted", "updated", "unchanged", "missing", "recovered", "unreadable")
    assert shape["outcome"] == "complete"
    assert {name: shape[name] for name in numbers} == {
        "listed": 2,
        "matched": 1,
        "inserted": 1,
        "updated": 0,
        "unchanged": 0,
        "missing": 0,
        "recovered": 0,
        "unreadable": 1,
    }
    assert isinstance(shape["ignored"], dict)
    assert isinstance(shape["plugins"], dict)
    assert isinstance(shape["duration_seconds"], float)
    assert shape["errors"] == []


def test_the_snapshot_of_the_store_is_read_in_every_pass(
    passes: Passes, world: FakeWorld, database: Database
) -> None:
    """R11, R14: what a deployer changed between two passes is seen by the second."""
    web = world.run("web", OF_STACK)
    passes.tick()
    with database.engine.begin() as connection:
        connection.exec_driver_sql("UPDATE containers SET container_id = 'other', name = 'x'")
    report = passes.tick()
    assert passes.rows["blog:web"].container_id == web
    assert len(report.change.updated) == 1
    assert read_snapshot(database, HOST).rows["blog:web"].name == "web"
