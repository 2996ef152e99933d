"""P9: statements of a steady tick on PostgreSQL, and many hosts in one database."""

from __future__ import annotations

import contextlib
import statistics
from collections.abc import Iterator

from sqlalchemy import event

from store.database import Database
from tests.bench.figures import Result, Target, milliseconds, percentile, ratios, summarised
from tests.bench.stage import Controller, Stage, controller_of, interleaved, prepare_store, settings_for, timed
from tests.bench.standin import Group, StandIn, stand_in
from tests.harness import PrivatePostgres

STATEMENTS = Target(4.0)
_FEW = 10
_PROCESSES = 4


@contextlib.contextmanager
def _counted(database: Database) -> Iterator[list[str]]:
    """Statements that are executed in the block; BEGIN and COMMIT, which the driver sends, are not among them."""
    statements: list[str] = []

    def note(_connection: object, _cursor: object, statement: str, *_: object) -> None:
        statements.append(statement)

    event.listen(database.engine, "before_cursor_execute", note)
    try:
        yield statements
    finally:
        event.remove(database.engine, "before_cursor_execute", note)


def measure_fleet(stage: Stage) -> list[Result]:
    """All of P9; starts a PostgreSQL of its own."""
    server = PrivatePostgres()
    server.start()
    try:
        return [*_measure_statements(stage, server), *_measure_hosts(stage, server)]
    finally:
        server.stop()


def _measure_statements(stage: Stage, server: PrivatePostgres) -> list[Result]:
    results = []
    for containers in (min(_FEW, stage.scale.containers_of_a_host), stage.scale.containers):
        with (
            stand_in(Group(1, containers)) as served,
            controller_of(served.endpoints[0], server.fresh_database()) as controller,
        ):
            controller.tick()
            with _counted(controller.database) as statements:
                controller.tick()
        verbs = ", ".join(f"{each.split()[0]} {_table_of(each)}" for each in statements)
        name = f"statements of a steady tick on PostgreSQL, {containers:,} containers"
        results.append(Result("P9", name, len(statements), "statements", target=STATEMENTS, note=verbs))
    return results


def _table_of(statement: str) -> str:
    words = statement.replace("\n", " ").split()
    upper = [word.upper() for word in words]
    return words[1] if upper[0] == "UPDATE" else words[upper.index("FROM") + 1] if "FROM" in upper else ""


def _measure_hosts(stage: Stage, server: PrivatePostgres) -> list[Result]:
    """One pass of every host, one after the other, each beside a pass of a host that has a database to itself."""
    scale = stage.scale
    url = server.fresh_database()
    with contextlib.ExitStack() as stack:
        served = _serve(stack, scale.hosts, scale.containers_of_a_host)
        endpoints = [endpoint for group in served for endpoint in group.endpoints]
        shared = prepare_store(settings_for(url, "host-0"), endpoints[0])
        stack.callback(shared.close)
        alone = stack.enter_context(controller_of(endpoints[0], server.fresh_database()))
        fleet = [
            stack.enter_context(controller_of(endpoint, url, f"host-{number}", shared))
            for number, endpoint in enumerate(endpoints)
        ]
        for controller in (alone, *fleet):
            controller.tick()
        with _counted(shared) as statements:
            whole = timed(lambda: [each.tick() for each in fleet])
        ours, theirs = _beside(fleet, alone)
    return [_statements_of_all(stage, statements), _compared(stage, ours, theirs, whole)]


def _serve(stack: contextlib.ExitStack, hosts: int, containers: int) -> list[StandIn]:
    shares = [hosts // _PROCESSES + (number < hosts % _PROCESSES) for number in range(_PROCESSES)]
    groups = [Group(share, containers, 1000 * number) for number, share in enumerate(shares) if share]
    return [stack.enter_context(stand_in(group)) for group in groups]


def _beside(fleet: list[Controller], alone: Controller) -> tuple[list[float], list[float]]:
    ours: list[float] = []
    theirs: list[float] = []
    for controller in fleet:
        one, other = interleaved(1, (controller.tick, alone.tick))
        ours += one
        theirs += other
    return ours, theirs


def _statements_of_all(stage: Stage, statements: list[str]) -> Result:
    hosts = stage.scale.hosts
    name = f"statements per host and tick, {hosts} hosts × {stage.scale.containers_of_a_host:,}, one PostgreSQL"
    note = f"{len(statements)} statements for {hosts} ticks, stand-ins"
    return Result("P9", name, len(statements) / hosts, "statements", target=STATEMENTS, note=note)


def _compared(stage: Stage, ours: list[float], theirs: list[float], whole: float) -> Result:
    p99 = percentile(milliseconds(ours), 99)
    note = (
        f"{statistics.median(milliseconds(ours)):.1f} ms (p99 {p99:.1f}) against "
        f"{statistics.median(milliseconds(theirs)):.1f} ms; the {stage.scale.hosts} ticks, one after the other "
        f"in one process, took {whole:.1f} s of an interval of 30 s"
    )
    name = f"tick of one of {stage.scale.hosts} hosts ÷ tick of a host alone, PostgreSQL"
    return summarised("P9", name, ratios(ours, theirs), "×", note=note)
