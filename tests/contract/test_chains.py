"""Along a chain of parent and child: promotions and teardowns, over both stores."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import pytest

from controller.errors import (
    Conflict,
    DeployUnderWay,
    NotFound,
    PluginConfigInvalid,
    RevisionConflict,
    RevisionNotFound,
    VerbFailed,
)
from controller.plugins.registry import Registry
from controller.rollout.promote import promote_revision
from controller.rollout.rollouts import DeployRequest, Rollouts
from controller.rollout.teardown import Teardown, children_first
from controller.rollout.turns import turn_held
from store import hosts
from store.database import Database
from store.deployed_rows import bind_row
from store.records import Host, Workload
from store.revisions import list_revisions
from store.rollout_records import Revision
from store.secrets import put_secret
from store.splits import list_splits
from store.workloads import apply_workloads, list_workloads
from tests.builders import HOST, NOW, assignment, workload
from tests.rollouts import any_engine
from tests.unit.rollouts import MemoryDeployer


@dataclass
class Source(MemoryDeployer):
    """Deploys to memory, and takes away what it is told is there."""

    kind: str = "memory"
    there: dict[str, list[str]] = field(default_factory=dict)
    broken: bool = False
    asked: list[tuple[str, bool]] = field(default_factory=list)

    def validate(self, config: Mapping[str, Any]) -> None:
        """See `Source`."""
        if "image" not in config:
            raise PluginConfigInvalid("image: Field required")

    def config_schema(self) -> dict[str, Any]:
        """See `Source`."""
        return {}

    def reconcile(self, request: object) -> Any:
        """See `Source`."""

    def resolve(self, config: Mapping[str, Any]) -> tuple[str, str]:
        """See `Resolver`."""
        return config["image"], f"sha256:{config['image']}"

    def teardown(self, workload: Workload, *, data: bool) -> Sequence[str]:
        """See `TearsDown`."""
        self.asked.append((workload.id, data))
        if self.broken:
            raise VerbFailed("the engine is gone")
        return self.there.pop(workload.id, [])


class Chain:
    """Three workloads, each the parent of the next, and what is done with them."""

    def __init__(self, database: Database) -> None:
        self.database = database
        self.source = Source()
        self.registry = Registry({"memory": self.source})
        self.routed: list[str] = []
        self.declare("dev")
        self.declare("staging", parent="dev", env={"WHERE": "staging"})
        self.declare("prod", parent="staging", env={"WHERE": "prod", "PASSWORD": {"secret": "PW"}})

    def declare(self, workload_id: str, parent: str | None = None, kind: str = "memory", **config: Any) -> None:
        """Declare a workload."""
        config = {"image": "shop:1", "env": {"WHERE": "dev", "DEBUG": "1"}, **config}
        declared = workload(workload_id, source_kind=kind, source_config=config, parent=parent)
        apply_workloads(self.database, [declared], NOW)

    def deploy(self, workload_id: str, revision_id: str | None = None) -> str:
        """Deploy; the revision that serves now."""
        rollouts = Rollouts(self.database, self.registry, HOST, lambda: NOW, check_engine=any_engine)
        done = rollouts.deploy(DeployRequest(workload_id, revision_id))
        assert done.walked.arrived, done.walked
        return done.revision_id

    def promote(self, parent: str, child: str, revision_id: str | None = None) -> tuple[Revision, bool]:
        """Promote."""
        return promote_revision(
            self.database,
            self.registry,
            HOST,
            lambda: NOW,
            parent_id=parent,
            child_id=child,
            revision_id=revision_id,
        )

    def tear_down(self, workload_id: str, **options: Any) -> list[str]:
        """Tear down."""

        def route(runtime: Any) -> bool:
            self.routed.append(runtime.workload_id)
            return True

        taking = Teardown(self.database, self.registry, HOST, lambda: NOW, route)
        return taking.run(workload_id, **{"data": False, **options})

    def states(self, workload_id: str) -> list[str]:
        """Of the revisions, in order."""
        return [str(each.state) for each in list_revisions(self.database, workload_id)]


@pytest.fixture
def chain(database: Database) -> Chain:
    """Three workloads."""
    return Chain(database)


def test_a_promotion_has_the_parents_image_and_config_and_the_childs_environment(chain: Chain) -> None:
    """S4: as a whole; what the child runs is what was tried in the parent, and is deployed in the usual way."""
    chain.declare("dev", replicas=3)
    chain.deploy("dev")
    made, new = chain.promote("dev", "staging")
    assert new
    assert (made.id, made.image_ref, made.image_digest) == ("staging-1", "shop:1", "sha256:shop:1")
    assert made.config == {"image": "shop:1", "replicas": 3, "env": {"WHERE": "staging"}}
    assert chain.states("staging") == ["inactive"]
    assert chain.promote("dev", "staging") == (made, False)
    assert chain.deploy("staging", made.id) == made.id
    further, _ = chain.promote("staging", "prod", made.id)
    assert further.config["env"] == {"WHERE": "prod", "PASSWORD": {"secret": "PW"}}


def test_a_child_without_an_environment_gets_none(chain: Chain) -> None:
    """S4: nothing of the parent's is carried over, for a password may be among it."""
    declared = workload("bare", source_kind="memory", source_config={"image": "x"}, parent="dev")
    apply_workloads(chain.database, [declared], NOW)
    chain.deploy("dev")
    assert chain.promote("dev", "bare")[0].config == {"image": "shop:1"}


def test_a_childs_new_secret_is_a_new_revision(chain: Chain) -> None:
    """S4: the same promotion again, with another value in between."""
    chain.deploy("staging")
    first, _ = chain.promote("staging", "prod")
    put_secret(chain.database, "prod", "PW", "cipher", NOW)
    second, new = chain.promote("staging", "prod")
    assert new
    assert first.config == second.config
    assert first.config_digest != second.config_digest


def test_what_serves_is_promoted(chain: Chain) -> None:
    """S4: the revision with most of the traffic, or the one that is named, if it is ready."""
    chain.deploy("dev")
    chain.declare("dev", image="shop:2")
    assert chain.deploy("dev") == "dev-2"
    assert chain.promote("dev", "staging")[0].image_ref == "shop:2"
    with pytest.raises(RevisionConflict, match="'dev-1' is inactive; only one that is ready"):
        chain.promote("dev", "staging", "dev-1")
    with pytest.raises(RevisionNotFound):
        chain.promote("dev", "staging", "dev-9")
    assert len(chain.states("staging")) == 1


def test_promotions_that_make_no_sense(chain: Chain) -> None:
    """S4: nothing is made, and why is told."""
    with pytest.raises(RevisionConflict, match="no ready revision to promote"):
        chain.promote("dev", "staging")
    chain.deploy("dev")
    with pytest.raises(Conflict, match=r"'prod' is not a child of 'dev': its parent is 'staging'; declare"):
        chain.promote("dev", "prod")
    with pytest.raises(Conflict, match=r"'dev' is not a child of 'prod': it has no parent"):
        chain.promote("prod", "dev")
    with pytest.raises(NotFound):
        chain.promote("dev", "nobody")
    chain.declare("other", parent="dev", kind="report")
    with pytest.raises(Conflict, match="only promoted within one kind"):
        chain.promote("dev", "other")
    assert [chain.states(each) for each in ("staging", "prod", "other")] == [[], [], []]


def test_children_come_first(chain: Chain) -> None:
    """S4: each after its own children, whatever their names."""
    chain.declare("alpha", parent="dev")
    ordered = children_first(list_workloads(chain.database), "dev")
    assert set(ordered) == {"dev", "staging", "prod", "alpha"}
    assert ordered[-1] == "dev"
    assert ordered.index("prod") < ordered.index("staging")
    assert children_first(list_workloads(chain.database), "staging") == ["prod", "staging"]


def test_a_teardown_takes_a_workload_and_its_children(chain: Chain) -> None:
    """S2, S4: split, containers, revisions and declaration, in that order, children first; and only that."""
    chain.deploy("dev")
    for each in ("staging", "prod"):
        chain.deploy(each)
    chain.source.there = {"prod": ["container p", "volume p"], "staging": ["container s"], "dev": ["container d"]}
    removed = chain.tear_down("staging", data=True)
    assert removed == [
        *("split of prod", "container p", "volume p", "revision prod-1", "workload prod"),
        *("split of staging", "container s", "revision staging-1", "workload staging"),
    ]
    assert [each.id for each in list_workloads(chain.database) if each.id in ("dev", "staging", "prod")] == ["dev"]
    assert [each.workload_id for each in list_splits(chain.database)] == ["dev"]
    assert chain.routed == ["prod", "staging"]
    assert {data for _, data in chain.source.asked} == {True}
    assert chain.states("dev") == ["ready"]


def test_a_teardown_that_failed_is_ended_by_another_one(chain: Chain) -> None:
    """S4, L2: what could not be removed is still there, and nobody looks after it meanwhile."""
    chain.deploy("prod")
    chain.source.broken = True
    with pytest.raises(VerbFailed):
        chain.tear_down("prod", keep_declaration=True)
    assert chain.states("prod") == ["draining"]
    chain.source.broken = False
    chain.source.there = {"prod": ["container p"]}
    assert chain.tear_down("prod", keep_declaration=True) == ["container p", "revision prod-1"]
    assert chain.tear_down("prod", keep_declaration=True) == []
    assert chain.states("prod") == ["archived"]
    assert chain.deploy("prod") == "prod-2"


def test_what_a_teardown_may_not_touch(chain: Chain) -> None:
    """S4: containers of another host, of a source that removes none, or a workload that is being deployed."""
    hosts.register(chain.database, Host("host-b"))
    row = assignment("prod:web", workload_id="prod", container_id="c1", name="web")
    bind_row(chain.database, "host-b", row, {}, {})
    with pytest.raises(Conflict, match="'prod' has containers on host-b; nothing was removed"):
        chain.tear_down("dev")
    chain.declare("other", kind="")
    bind_row(chain.database, HOST, assignment("other:web", workload_id="other", container_id="c2", name="w2"), {}, {})
    with pytest.raises(Conflict, match="removes no containers, and 1 are there, 'w2' among them"):
        chain.tear_down("other")
    chain.declare("busy")
    with turn_held(chain.database, "busy", "somebody deploys"), pytest.raises(DeployUnderWay):
        chain.tear_down("busy")
    with pytest.raises(NotFound):
        chain.tear_down("nobody")
    assert {"dev", "prod", "other", "busy"} <= {each.id for each in list_workloads(chain.database)}
