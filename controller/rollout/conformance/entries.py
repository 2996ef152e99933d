"""Finding the subject of a kind by its entry point, in words that say what to add where there is none."""

from __future__ import annotations

from importlib.metadata import entry_points

from controller.errors import PluginError, PluginUnknown
from controller.plugins.registry import Registry
from controller.rollout.conformance.subject import SubjectFactory
from controller.rollout.deployer import Deployer

CONFORMANCE_GROUP = "tallyd.conformance"


def find_subject(kind: str, registry: Registry) -> SubjectFactory:
    """The factory of subjects that a plugin's package ships for its source of this kind.

    :raises PluginUnknown: there is no such source, it is no deployer, or its package ships no subject.
    :raises PluginError: the subject is installed, but cannot be loaded.
    """
    found = [each for each in entry_points(group=CONFORMANCE_GROUP) if each.name == kind]
    if not found:
        raise PluginUnknown(_why_none(kind, registry))
    place = f"the conformance subject of {kind!r}, {found[0].value},"
    try:
        factory = found[0].load()
    except (Exception, SystemExit) as error:
        raise PluginError(f"{place} cannot be loaded: {type(error).__name__}: {error}") from error
    if not callable(factory):
        raise PluginError(f"{place} is no class and no function")
    subject_factory: SubjectFactory = factory
    return subject_factory


def _why_none(kind: str, registry: Registry) -> str:
    source = registry.source(kind)  # raises where there is none, and names those that are
    if not isinstance(source, Deployer):
        return (
            f"source {kind!r} only reports: it has none of a deployer's verbs (stage, warm, drain, archive, "
            "apply_traffic_split), so there is nothing to check"
        )
    return (
        f"source {kind!r} is a deployer, but its package ships no subject for the conformance kit. Add one (see "
        f"docs/plugins.md, Conformance), and to the package's pyproject.toml:\n"
        f'[project.entry-points."{CONFORMANCE_GROUP}"]\n{kind} = "your_module:YourSubject"'
    )
