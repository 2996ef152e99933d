"""`controller.loop.dispatch`: which container fills which row."""

from __future__ import annotations

import itertools
from collections.abc import Iterable
from typing import Any

import pytest

from controller.labels import LabelNames
from controller.loop.dispatch import Dispatched, IgnoreReason, Rule, deciding_rule, dispatch
from store.records import Assignment, Container, Workload
from tests.builders import assignment, container, id_of, snapshot, workload

NAMES = LabelNames()
SHOP = workload("shop", "project")
WWW = workload("www", "site", ref="site-1")
BLOG = workload("blog", "stack")
MAIL = workload("mail", "stack")
CATALOG = (SHOP, WWW, BLOG, MAIL)
PROJECT_ROW = assignment("shop:one", "web", workload_kind="project")


def run(
    *containers: Container,
    rows: Iterable[Assignment] = (),
    workloads: Iterable[Workload] = CATALOG,
    unreadable: Iterable[str] = (),
    names: LabelNames = NAMES,
) -> Dispatched:
    """Dispatch these containers against these rows and workloads."""
    return dispatch(containers, snapshot(rows, workloads), names, frozenset(unreadable))


def rows_of(dispatched: Dispatched) -> dict[str, str]:
    """Row id → name of the container that fills it."""
    return {row.id: row.name for row in dispatched.assignments}


def reasons_of(dispatched: Dispatched) -> dict[str, IgnoreReason]:
    """Container name → why it is ignored."""
    return {each.container.name: each.reason for each in dispatched.ignored}


def service(name: str, service_name: str = "web", **more: Any) -> Container:
    """A container of the stack BLOG, started by Compose."""
    return container(name, compose_project=BLOG.ref, compose_service=service_name, **more)


LABELS = {
    Rule.WORKLOAD_ID: {"workload_id": "mail", "role": "smtp"},
    Rule.STATIC_SITE: {"static_site": "site-1"},
    Rule.COMPOSE_PROJECT: {"compose_project": "tallyd-blog", "compose_service": "web"},
}
ROW = {Rule.WORKLOAD_ID: "mail:smtp", Rule.STATIC_SITE: "www:site", Rule.COMPOSE_PROJECT: "blog:web"}


@pytest.mark.parametrize("present", list(itertools.product([True, False], repeat=3)))
def test_the_first_label_wins(present: tuple[bool, ...]) -> None:
    """R7: all eight combinations of the three labels."""
    rules = [rule for rule, there in zip(Rule, present, strict=True) if there]
    fields: dict[str, str] = {}
    for rule in rules:
        fields |= LABELS[rule]
    one = container("web", **fields)
    assert deciding_rule(one, NAMES) == (rules[0] if rules else None)
    assert rows_of(run(one)) == ({ROW[rules[0]]: "web"} if rules else {})
    assert reasons_of(run(one)) == ({} if rules else {"web": IgnoreReason.UNLABELLED})


@pytest.mark.parametrize("present", list(itertools.product([True, False], repeat=3)))
def test_there_is_no_fall_through(present: tuple[bool, ...]) -> None:
    """R7: where the first label leads nowhere, those behind it are not tried."""
    wrong = {
        Rule.WORKLOAD_ID: ({"workload_id": "nothing"}, IgnoreReason.UNKNOWN_WORKLOAD),
        Rule.STATIC_SITE: ({"static_site": "nothing"}, IgnoreReason.UNKNOWN_SITE),
        Rule.COMPOSE_PROJECT: ({"compose_project": "tallyd-nothing"}, IgnoreReason.UNKNOWN_STACK),
    }
    rules = [rule for rule, there in zip(Rule, present, strict=True) if there]
    fields: dict[str, str] = {}
    for rule in reversed(rules):
        fields |= LABELS[rule]
    reason = IgnoreReason.UNLABELLED
    if rules:
        fields |= wrong[rules[0]][0]
        reason = wrong[rules[0]][1]
    dispatched = run(container("web", **fields))
    assert dispatched.assignments == ()
    assert reasons_of(dispatched) == {"web": reason}


def test_an_empty_label_is_no_label() -> None:
    """R7: the first *non-empty* one wins."""
    one = container("web", workload_id="", static_site="", compose_project="tallyd-blog", compose_service="web")
    assert rows_of(run(one)) == {"blog:web": "web"}


@pytest.mark.parametrize("project", ["blog", "tallyd", "tallydblog", "x-tallyd-blog", "TALLYD-blog", ""])
def test_compose_projects_of_others_are_not_looked_at(project: str) -> None:
    """R7: only those that start with the prefix and a dash."""
    stack = workload("blog", "stack", ref=project or "x")
    dispatched = run(container("web", compose_project=project, compose_service="web"), workloads=[stack])
    assert reasons_of(dispatched) == {"web": IgnoreReason.UNLABELLED}


def test_another_prefix() -> None:
    """Labels: the prefix decides which Compose projects are looked at."""
    stack = workload("blog", "stack", ref="acme-blog")
    one = container("web", compose_project="acme-blog", compose_service="web")
    assert rows_of(run(one, workloads=[stack], names=LabelNames("acme"))) == {"blog:web": "web"}
    assert reasons_of(run(one, workloads=[stack])) == {"web": IgnoreReason.UNLABELLED}


def test_a_site_is_no_stack() -> None:
    """R7: the static-site label finds sites only, a Compose project stacks only, even by the same text."""
    site, stack = workload("a", "site", ref="tallyd-x"), workload("b", "stack", ref="tallyd-y")
    dispatched = run(
        container("one", static_site="tallyd-y"),
        container("two", compose_project="tallyd-x", compose_service="web"),
        workloads=[site, stack],
    )
    assert reasons_of(dispatched) == {"one": IgnoreReason.UNKNOWN_SITE, "two": IgnoreReason.UNKNOWN_STACK}


def test_a_forged_workload_id_is_ignored() -> None:
    """R8: an unknown workload is no reason to make anything."""
    ignored = run(container("web", workload_id="forged")).ignored
    assert [(each.reason, "'forged'" in each.detail) for each in ignored] == [(IgnoreReason.UNKNOWN_WORKLOAD, True)]


@pytest.mark.parametrize(
    ("kind", "row"),
    [("stack", "mail:smtp"), ("", "mail:smtp"), ("site", None), ("project", None), ("Stack", None), ("x", None)],
)
def test_the_kind_must_fit_where_it_is_told(kind: str, row: str | None) -> None:
    """R8: an empty kind takes the stored one; another one is ignored, counted and worth a warning."""
    dispatched = run(container("web", workload_id="mail", role="smtp", workload_kind=kind))
    assert rows_of(dispatched) == ({row: "web"} if row else {})
    assert reasons_of(dispatched) == ({} if row else {"web": IgnoreReason.KIND_MISMATCH})
    assert [each.workload_kind for each in dispatched.assignments] == (["stack"] if row else [])


def test_a_project_row_is_updated_and_never_invented() -> None:
    """R9: by container id, whatever its role or name; without a row the container is ignored."""
    known = container("web", workload_id="shop", role="anything")
    dispatched = run(known, container("forged", workload_id="shop"), rows=[PROJECT_ROW])
    assert rows_of(dispatched) == {"shop:one": "web"}
    assert dispatched.assignments[0].role == "anything"
    assert reasons_of(dispatched) == {"forged": IgnoreReason.NO_PROJECT_ROW}


def test_a_project_has_many_rows() -> None:
    """R9: each of its instances has its own, made by the deployer."""
    rows = [assignment(f"shop:{name}", name, workload_kind="project") for name in ("a", "b", "c")]
    dispatched = run(*(container(name, workload_id="shop") for name in ("c", "a")), rows=rows)
    assert rows_of(dispatched) == {"shop:a": "a", "shop:c": "c"}


def test_a_known_container_keeps_its_row_whatever_its_name() -> None:
    """R9: a row that a deployer named differently is found by the container id."""
    row = assignment("www:blue", "web", workload_kind="site")
    assert rows_of(run(container("web", static_site="site-1"), rows=[row])) == {"www:blue": "web"}


@pytest.mark.parametrize(
    ("fields", "row", "role"),
    [
        ({"workload_id": "www"}, "www:site", ""),
        ({"workload_id": "www", "role": "cdn"}, "www:site", "cdn"),
        ({"workload_id": "mail", "role": "smtp"}, "mail:smtp", "smtp"),
        ({"workload_id": "mail", "role": "smtp", "compose_number": 2}, "mail:smtp:2", "smtp"),
        ({"workload_id": "mail"}, f"mail:{id_of('web')}", ""),
        ({"workload_id": "mail", "compose_number": 2}, f"mail:{id_of('web')}", ""),
        ({"static_site": "site-1"}, "www:site", ""),
        ({"static_site": "site-1", "role": "cdn"}, "www:site", ""),
        ({"static_site": "site-1", "compose_number": 3}, "www:site:3", ""),
        ({"compose_project": "tallyd-blog", "compose_service": "db"}, "blog:db", "db"),
        ({"compose_project": "tallyd-blog", "compose_service": "db", "role": "x"}, "blog:db", "db"),
        ({"compose_project": "tallyd-blog", "compose_service": "db", "compose_number": 1}, "blog:db", "db"),
        ({"compose_project": "tallyd-blog", "compose_service": "db", "compose_number": 12}, "blog:db:12", "db"),
        ({"compose_project": "tallyd-blog"}, "blog:web", ""),
        ({"compose_project": "tallyd-blog", "compose_number": 2}, "blog:web:2", ""),
    ],
)
def test_row_ids(fields: dict[str, Any], row: str, role: str) -> None:
    """R10: deterministic from labels alone, for every rule and kind."""
    dispatched = run(container("web", **fields))
    assert [(each.id, each.role) for each in dispatched.assignments] == [(row, role)]


@pytest.mark.parametrize(
    "fields",
    [
        {"compose_project": "tallyd-blog", "compose_service": "web"},
        {"workload_id": "mail", "role": "smtp"},
        {"static_site": "site-1"},
    ],
)
def test_a_one_off_takes_no_slot(fields: dict[str, Any]) -> None:
    """R10: `docker compose run web sh` is not the service `web`, not even when it is the only container."""
    dispatched = run(container("shell", oneoff=True, **fields))
    assert reasons_of(dispatched) == {"shell": IgnoreReason.ONE_OFF}
    assert dispatched.assignments == ()


def test_a_one_off_may_have_a_row_of_its_own() -> None:
    """R10: a row named by the container id takes nobody's slot."""
    one = container("shell", oneoff=True, workload_id="mail")
    assert rows_of(run(one)) == {f"mail:{one.id}": "shell"}


def test_every_observed_field_reaches_the_row() -> None:
    """R12: nothing of the container is lost on the way."""
    one = container(
        "web",
        workload_id="mail",
        role="smtp",
        state="paused",
        health="healthy",
        port=25,
        ports='[{"private":25}]',
        image_ref="mail:2",
        image_id="sha256:2",
        revision="r1",
    )
    assert run(one).assignments == (
        Assignment(
            id="mail:smtp",
            workload_id="mail",
            workload_kind="stack",
            role="smtp",
            container_id=one.id,
            name="web",
            image_ref="mail:2",
            image_id="sha256:2",
            state="paused",
            health="healthy",
            port=25,
            ports='[{"private":25}]',
            revision="r1",
        ),
    )


HELD = assignment("blog:web", "old")


@pytest.mark.parametrize("state", ["running", "paused", "created", "restarting", "unheard-of"])
def test_a_living_holder_keeps_its_slot(state: str) -> None:
    """R16: a newcomer with the same labels is ignored, counted and shown, however new it is."""
    dispatched = run(service("new", created=9_999_999_999), service("old", state=state), rows=[HELD])
    assert rows_of(dispatched) == {"blog:web": "old"}
    assert reasons_of(dispatched) == {"new": IgnoreReason.SLOT_TAKEN}
    assert "'blog:web' is held by old" in dispatched.ignored[0].detail


@pytest.mark.parametrize("state", ["stopped", "removing", "exited", "dead"])
def test_an_ended_holder_gives_way(state: str) -> None:
    """R16: the slot goes to an alive newcomer."""
    dispatched = run(service("old", state=state), service("new"), rows=[HELD])
    assert rows_of(dispatched) == {"blog:web": "new"}
    assert reasons_of(dispatched) == {"old": IgnoreReason.SUPERSEDED}


def test_an_ended_holder_keeps_its_slot_against_ended_newcomers() -> None:
    """R16: only an *alive* newcomer takes a slot."""
    dispatched = run(service("old", state="stopped"), service("new", state="stopped", created=9e9), rows=[HELD])
    assert rows_of(dispatched) == {"blog:web": "old"}


def test_the_slot_of_a_gone_holder_goes_to_the_newest_alive() -> None:
    """R16: the newest created first; the ended ones have no say."""
    rivals = [
        service("older", created=10),
        service("newer", created=20),
        service("newest-but-ended", created=30, state="stopped"),
    ]
    for order in itertools.permutations(rivals):
        dispatched = run(*order, rows=[HELD])
        assert rows_of(dispatched) == {"blog:web": "newer"}
        assert reasons_of(dispatched) == dict.fromkeys(["older", "newest-but-ended"], IgnoreReason.SLOT_TAKEN)


def test_of_containers_made_in_the_same_second_the_id_decides() -> None:
    """R16: deterministically, also where the engine's clock does not."""
    one, two = service("one"), service("two")
    expected = max(one, two, key=lambda each: each.id).name
    for order in ((one, two), (two, one)):
        assert rows_of(run(*order)) == {"blog:web": expected}


def test_without_a_living_rival_the_newest_ended_one_is_shown() -> None:
    """R16: a stack that was stopped stays in the index."""
    rivals = [service("old", created=1, state="stopped"), service("new", created=2, state="stopped")]
    assert rows_of(run(*rivals)) == {"blog:web": "new"}


@pytest.mark.parametrize("row", [HELD, assignment("blog:web", "old", state="missing")])
def test_an_unreadable_holder_keeps_its_slot(row: Assignment) -> None:
    """R16, R17: it is listed, and nobody can say that it is dead; the row stays as it is."""
    dispatched = run(service("new"), rows=[row], unreadable=[id_of("old")])
    assert dispatched.assignments == ()
    assert reasons_of(dispatched) == {"new": IgnoreReason.SLOT_TAKEN}
    assert "cannot be read" in dispatched.ignored[0].detail


def test_a_row_without_a_container_is_free() -> None:
    """R16: nobody holds it."""
    dispatched = run(service("new"), rows=[assignment("blog:web", None)])
    assert rows_of(dispatched) == {"blog:web": "new"}


def test_replicas_do_not_compete() -> None:
    """R10, R16: each number is a slot of its own; so is each service."""
    dispatched = run(
        service("web-1"),
        service("web-2", compose_number=2),
        service("db", "db"),
        rows=[assignment("blog:web", "web-1")],
    )
    assert rows_of(dispatched) == {"blog:web": "web-1", "blog:web:2": "web-2", "blog:db": "db"}


def test_a_container_whose_ref_moved_leaves_its_row() -> None:
    """R9, R16: when the operator gives a Compose project to another stack, its containers follow."""
    moved = [workload("blog", "stack", ref="tallyd-other"), workload("mail", "stack", ref="tallyd-blog")]
    dispatched = run(service("old"), rows=[HELD], workloads=moved)
    assert rows_of(dispatched) == {"mail:web": "old"}


def test_a_workload_of_another_host_is_unknown_here() -> None:
    """R8: the snapshot holds the workloads of this host only."""
    assert reasons_of(run(service("web"), workloads=[])) == {"web": IgnoreReason.UNKNOWN_STACK}


def test_nothing_listed_is_nothing_dispatched() -> None:
    """R6: an empty listing fills no row and ignores nobody."""
    assert run(rows=[HELD, PROJECT_ROW]) == Dispatched((), ())
