"""Finding the subject of a kind by its entry point, in words that say what to add where there is none."""

from __future__ import annotations

import inspect
from collections.abc import Iterable
from functools import partial
from importlib.metadata import entry_points

from controller.errors import PluginError, PluginUnknown, UsageError
from controller.plugins.registry import Registry
from controller.rollout.conformance.subject import SubjectFactory
from controller.rollout.deployer import Deployer
from controller.wording import words_of

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
        raise PluginError(f"{place} cannot be loaded: {words_of(error)}") from error
    if not callable(factory):
        raise PluginError(f"{place} is no class and no function")
    subject_factory: SubjectFactory = factory
    return subject_factory


def with_options(factory: SubjectFactory, given: Iterable[str]) -> SubjectFactory:
    """The factory with what its subjects are to be told, each as ``name=value``.

    Which there are, a factory says by its parameters that can be named; their values are texts.

    :raises UsageError: one is no such pair, is unknown or stands twice, or one is missing that has no default.
    """
    taken = {
        name: each
        for name, each in inspect.signature(factory).parameters.items()
        if each.kind in (inspect.Parameter.KEYWORD_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    }
    allowed = f"allowed: {', '.join(f'{name}=…' for name in taken) or 'none, for this kind'}"
    options: dict[str, str] = {}
    for each in given:
        name, equals, value = each.partition("=")
        if not equals or name not in taken:
            raise UsageError(f"--with {each!r}: no such option; {allowed}")
        if name in options:
            raise UsageError(f"--with {each!r}: {name} was given already")
        options[name] = value
    missing = [name for name, each in taken.items() if each.default is each.empty and name not in options]
    if missing:
        told = " ".join(f"--with {name}=…" for name in missing)
        raise UsageError(f"the subject of this kind has to be told: {told} ({allowed}); see docs/plugins.md")
    return partial(factory, **options)


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
