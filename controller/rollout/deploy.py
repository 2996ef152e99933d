"""From a declaration to a revision, and from there to all the traffic."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any, Protocol, runtime_checkable

from controller.errors import PluginConfigInvalid, RevisionConflict
from controller.plugins.registry import Registry
from controller.rollout.deployer import Deployer, Revision, Workload
from store.database import Database
from store.revisions import create_revision, declared_digest, list_revisions
from store.rollout_records import RevisionState


@runtime_checkable
class Resolver(Protocol):
    """A deployer that can say what a declaration stands for now."""

    def resolve(self, config: Mapping[str, Any]) -> tuple[str, str]:
        """Reference and digest of what would be deployed.

        :raises PluginConfigInvalid: the declaration is wrong.
        :raises VerbFailed: nobody can tell.
        """


@runtime_checkable
class Freezer(Protocol):
    """A deployer whose declaration names what lies elsewhere, such as files."""

    def freeze(self, config: Mapping[str, Any]) -> Mapping[str, Any]:
        """The declaration with all that it names, as a revision keeps it: what changes later is another revision.

        :raises PluginConfigInvalid: the declaration is wrong.
        :raises VerbFailed: what it names cannot be read.
        """


def deployer_of(registry: Registry, workload: Workload) -> Deployer:
    """The deployer of a workload.

    :raises PluginUnknown: its source is not installed.
    :raises PluginConfigInvalid: it has no source, or one that does not deploy.
    """
    if not workload.source_kind:
        raise PluginConfigInvalid(
            f"workload {workload.id!r} has no source; declare one that deploys, such as `image`"
        )
    source = registry.source(workload.source_kind)
    if not isinstance(source, Deployer) or not isinstance(source, Resolver):
        kinds = ", ".join(sorted(kind for kind, each in registry.sources.items() if isinstance(each, Deployer)))
        raise PluginConfigInvalid(
            f"workload {workload.id!r}: source {source.kind!r} does not deploy; those that do: {kinds or 'none'}"
        )
    return source


def revision_for(
    database: Database,
    deployer: Deployer,
    workload: Workload,
    now: Callable[[], datetime],
    found: tuple[str, str] | None = None,
) -> tuple[Revision, bool]:
    """The revision that stands for the declaration now, and whether it had to be made.

    The newest one is taken again where it says the same, unless it failed or is archived: so a deploy that was killed
    is resumed by deploying again.

    :param found: reference and digest, where it is known already what an image stands for.
    :raises VerbFailed: the image cannot be resolved.
    """
    assert isinstance(deployer, Resolver)
    config = workload.source_config
    if isinstance(deployer, Freezer):
        config, found = deployer.freeze(config), None
    reference, digest = deployer.resolve(config) if found is None else found
    known = list_revisions(database, workload.id)
    newest = known[-1] if known else None
    ended = (RevisionState.FAILED, RevisionState.ARCHIVED)
    same = newest is not None and (newest.image_digest, newest.config_digest) == (
        digest,
        declared_digest(database, workload.id, config),
    )
    if newest is not None and same and newest.state not in ended:
        return newest, False
    return create_revision(database, workload.id, reference, digest, config, now()), True


def known_revision(database: Database, workload_id: str, revision_id: str) -> Revision:
    """A revision to go back to.

    :raises RevisionConflict: there is no such one, or it is archived.
    """
    found = {each.id: each for each in list_revisions(database, workload_id)}
    chosen = found.get(revision_id)
    if chosen is None or chosen.state is RevisionState.ARCHIVED:
        there = ", ".join(each.id for each in found.values() if each.state is not RevisionState.ARCHIVED) or "none"
        raise RevisionConflict(
            f"workload {workload_id!r} has no revision {revision_id!r} to deploy; there are: {there}"
        )
    return chosen
