"""From a parent workload to its child: the same image and config, with the child's own environment (S4)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any

from controller.errors import Conflict, RevisionConflict
from controller.plugins.registry import Registry
from controller.rollout.deploy import deployer_of
from controller.rollout.deployer import Deployment, Revision, Workload, revision_of
from controller.rollout.ledger import read_deployment
from store.database import Database
from store.revisions import create_revision, declared_digest, list_revisions
from store.rollout_records import RevisionState

_ENDED = (RevisionState.FAILED, RevisionState.ARCHIVED)


def promote_revision(
    database: Database,
    registry: Registry,
    host: str,
    now: Callable[[], datetime],
    *,
    parent_id: str,
    child_id: str,
    revision_id: str | None = None,
) -> tuple[Revision, bool]:
    """Make a revision of the child of what serves in the parent; returns it, and whether it had to be made.

    The child's newest revision is taken again where it says the same, as a deploy does. Nothing is deployed.

    :param revision_id: of the parent; ``None`` for the one that has most of its traffic.
    :raises NotFound: no such workload, or it is declared for another host.
    :raises Conflict: the child is not one of this parent, or has another kind of source.
    :raises RevisionNotFound: the parent has no such revision.
    :raises RevisionConflict: it is not ready, or nothing of the parent is.
    :raises PluginError: the child's source is not installed, does not deploy, or refuses the config.
    """
    parent = read_deployment(database, parent_id, host)
    child = read_deployment(database, child_id, host).workload
    _check_chain(parent.workload, child)
    chosen = chosen_of(parent, revision_id)
    config = promoted_config(chosen.config, child.source_config)
    deployer_of(registry, child)
    registry.source(child.source_kind).validate(config)
    known = list_revisions(database, child.id)
    newest = known[-1] if known else None
    same = (chosen.image_digest, declared_digest(database, child.id, config))
    if newest and newest.state not in _ENDED and (newest.image_digest, newest.config_digest) == same:
        return newest, False
    return create_revision(database, child.id, chosen.image_ref, chosen.image_digest, config, now()), True


def chosen_of(parent: Deployment, revision_id: str | None) -> Revision:
    """The revision that is promoted. Pure.

    :raises RevisionNotFound: the parent has no such one.
    :raises RevisionConflict: it is not ready, or nothing of the parent is.
    """
    if revision_id is not None:
        chosen = revision_of(parent, revision_id)
        if chosen.state is not RevisionState.READY:
            raise RevisionConflict(
                f"revision {chosen.id!r} is {chosen.state}; only one that is ready is promoted: deploy it first"
            )
        return chosen
    shares = {each.revision_id: each.weight for each in parent.split.entries} if parent.split is not None else {}
    ready = [each for each in parent.revisions.values() if each.state is RevisionState.READY]
    if not ready:
        raise RevisionConflict(f"workload {parent.workload.id!r} has no ready revision to promote; deploy it first")
    return max(ready, key=lambda each: (shares.get(each.id, 0), each.sequence))


def promoted_config(parents: Mapping[str, Any], childs: Mapping[str, Any]) -> dict[str, Any]:
    """The parent's config with the child's environment in place of its own, as a whole: nothing is carried over.

    What the parent's containers are given may be what the child's must not have, a password or the address of a
    database. Pure.
    """
    config = {key: value for key, value in parents.items() if key != "env"}
    return config | {"env": childs["env"]} if "env" in childs else config


def _check_chain(parent: Workload, child: Workload) -> None:
    if child.parent != parent.id:
        has = f"its parent is {child.parent!r}" if child.parent else "it has no parent"
        raise Conflict(
            f"workload {child.id!r} is not a child of {parent.id!r}: {has}; declare `parent: {parent.id}` in it"
        )
    if child.source_kind != parent.source_kind:
        raise Conflict(
            f"workload {child.id!r} has source {child.source_kind!r}, its parent {parent.source_kind!r}; a revision "
            "is only promoted within one kind"
        )
