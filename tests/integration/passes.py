"""Whole passes in this process, over a real engine and a real store: the line that `tallyd tick` runs."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from typing import Any

from sqlalchemy import insert, select, update

from controller.activator import command_candidate, first_activation
from controller.clock import CLOCK
from controller.engine.client import EngineClient
from controller.engine.endpoint import endpoint_from
from controller.loop.adopt import adopt_container
from controller.loop.explain import Explanation, explain_container, find_container
from controller.loop.lease import LeaseKeeper
from controller.loop.report import TickReport
from controller.loop.schedule import run_pass
from controller.loop.tick import preview
from controller.opening import open_store, register_host
from controller.plugins.registry import load_registry
from controller.settings_sources import load_settings
from store.database import open_database
from store.index import list_containers
from store.records import ContainerRow, Workload, WorkloadKind
from store.tables import CONTAINERS, DEPLOYER_COLUMNS, HOSTS, WORKLOADS
from store.workloads import apply_workloads

HOST = "testhost"


def contents(database_url: str) -> dict[str, list[dict[str, Any]]]:
    """Every row of every table of a store, to see whether anything was written."""
    with contextlib.closing(open_database(database_url)) as database, database.reading() as connection:
        return {
            table.name: sorted((_steady(row._mapping) for row in connection.execute(select(table))), key=repr)
            for table in (HOSTS, WORKLOADS, CONTAINERS)
        }


def _steady(row: Mapping[str, Any]) -> dict[str, Any]:
    """A row without what a controller prolongs while nothing happens."""
    return {name: value for name, value in row.items() if not name.startswith("lease_")}


class Passes:
    """One host of one store, and its engine."""

    def __init__(self, endpoint: str, database_url: str, label_prefix: str = "tallyd", host: str = HOST) -> None:
        flags = {"host": host, "database_url": database_url, "label_prefix": label_prefix}
        settings = load_settings(flags, {}).settings
        self.host = host
        self.prefix = label_prefix
        self.database = open_store(settings)
        self.engine = EngineClient(endpoint_from({"DOCKER_HOST": endpoint}))
        register_host(self.database, settings, endpoint)
        self.keeper = LeaseKeeper(self.database, command_candidate(settings), CLOCK.monotonic)
        self.activation = first_activation(
            settings, self.database, self.engine, self.keeper.current, registry=load_registry(), clock=CLOCK
        )

    def close(self) -> None:
        """Give connections back."""
        self.engine.close()
        self.keeper.stop()
        self.database.close()

    def declare(self, **kinds: str) -> None:
        """Declare workloads by id and kind; the ref of each is `<prefix>-<id>`."""
        declared = [
            Workload(each, each, WorkloadKind(kind), f"{self.prefix}-{each}", host=None)
            for each, kind in kinds.items()
        ]
        apply_workloads(self.database, declared, CLOCK.now())

    def labels(self, *, compose: Mapping[str, str] | None = None, **own: str) -> dict[str, str]:
        """Labels by short name: `id`, `kind`, `role`, `site`, `revision`; and Compose's own."""
        names = self.activation.names
        known = {
            "id": names.workload_id,
            "kind": names.workload_kind,
            "role": names.role,
            "site": names.static_site,
            "revision": names.revision,
        }
        ours = {known[name]: value for name, value in own.items()}
        return ours | {f"com.docker.compose.{name}": value for name, value in (compose or {}).items()}

    def tick(self) -> TickReport:
        """One pass, which must be complete."""
        report = run_pass(self.activation, CLOCK)
        assert report.complete, report.errors
        return report

    def adopt(self, workload_id: str, container: str) -> str:
        """Give a container of a project its row."""
        return adopt_container(self.activation, workload_id, container, CLOCK)

    def explain(self, container: str) -> Explanation:
        """Why a container is in the index, or why not."""
        seen = preview(self.activation, CLOCK)
        return explain_container(find_container(seen, container), seen, self.activation.names)

    def rows(self) -> dict[str, ContainerRow]:
        """This host's rows by id."""
        return {row.id: row for row in list_containers(self.database, host=self.host)}

    def states(self) -> dict[str, str]:
        """State of each row by id."""
        return {row.id: row.state for row in self.rows().values()}

    def holders(self) -> dict[str, str | None]:
        """Container of each row by id."""
        return {row.id: row.container_id for row in self.rows().values()}

    def insert_row(self, row_id: str, **values: Any) -> None:
        """A row that a deployer made."""
        with self.database.writing() as connection:
            connection.execute(insert(CONTAINERS).values(self._row(row_id) | values))

    def update_row(self, row_id: str, **values: Any) -> None:
        """Columns of a row that somebody else wrote."""
        with self.database.writing() as connection:
            changed = connection.execute(
                update(CONTAINERS).where(CONTAINERS.c.host == self.host, CONTAINERS.c.id == row_id).values(values)
            )
        assert changed.rowcount == 1, row_id

    def deploy(self) -> dict[str, tuple[str, ...]]:
        """Fill the deployer-owned columns of every row; what they hold now, by row id."""
        for row_id in self.rows():
            self.update_row(row_id, **{name: f'{{"{row_id}": "{name}"}}' for name in DEPLOYER_COLUMNS})
        return self.deployed()

    def deployed(self) -> dict[str, tuple[str, ...]]:
        """The deployer-owned columns by row id."""
        return {row_id: tuple(getattr(row, name) for name in DEPLOYER_COLUMNS) for row_id, row in self.rows().items()}

    def _row(self, row_id: str) -> dict[str, Any]:
        workload_id = row_id.partition(":")[0]
        texts = dict.fromkeys(("role", "name", "image_ref", "image_id", "state", "health", "revision"), "")
        return texts | {
            "host": self.host,
            "id": row_id,
            "workload_id": workload_id,
            "workload_kind": "project",
            "container_id": None,
            "port": 0,
            "ports": "[]",
        }
