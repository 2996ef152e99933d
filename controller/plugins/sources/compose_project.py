"""One revision of a Compose project, and running Compose on it."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from controller.labels import LabelNames
from controller.plugins.contract import (
    ComposeDone,
    ComposeRun,
    ContainerRow,
    ContainerSeen,
    EngineTools,
    PluginConfigInvalid,
    Revision,
    VerbFailed,
    Workload,
    WorkloadKind,
)
from controller.plugins.sources.compose_document import (
    Document,
    images_of,
    jobs_of,
    runnable,
    secret_variables,
    services_of,
    specs_of,
)
from controller.plugins.sources.compose_options import NO_DIRECTORY, ComposeOptions, options_of
from controller.plugins.sources.compose_plan import (
    PROJECT_LABEL,
    Plan,
    Wanted,
    addresses_in,
    made_here,
    plan_of,
    service_of,
    wanted_services,
)

_PROJECT = re.compile(r"[a-z0-9][a-z0-9_-]*")
_COLOURS = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")
_TOLD_LINES, _LEAST_HIDDEN = 12, 8


@dataclass(frozen=True, slots=True)
class Project:
    """A revision with its document, as it was resolved when the revision was made."""

    workload: Workload
    revision: Revision
    options: ComposeOptions
    document: Document
    followed: Mapping[str, str]

    @classmethod
    def of(cls, workload: Workload, revision: Revision) -> Project:
        """The project of a revision.

        :raises PluginConfigInvalid: its config cannot be read, or the workload cannot be a Compose project.
        """
        check_workload(workload)
        options = options_of(revision.config)
        frozen: Mapping[str, Any] = options.frozen or {}
        if not isinstance(frozen.get("document"), Mapping):
            raise PluginConfigInvalid(f"revision {revision.id!r} keeps no Compose document; deploy the declaration")
        return cls(workload, revision, options, frozen["document"], frozen.get("files") or {})

    @property
    def specs(self) -> dict[str, str]:
        """A digest for each enabled service."""
        return specs_of(self.document, self.options, self.followed)

    def wanted(self, prefix: str) -> Wanted:
        """What the revision wants."""
        specs = wanted_services(self.specs, services_of(self.document, self.options.profiles))
        images, jobs = images_of(self.document, self.options), jobs_of(self.document, self.options)
        return Wanted(self.revision.id, specs, images, jobs, LabelNames(prefix).spec, self.workload.ref)

    def labels(self, prefix: str) -> dict[str, dict[str, str]]:
        """What the containers of each service are labelled with, besides its own."""
        told = {
            name: ",".join(secret_variables(service, self.options.secrets))
            for name, service in services_of(self.document, self.options.profiles).items()
        }
        return {
            name: {LabelNames(prefix).spec: spec}
            | ({LabelNames(prefix).secret_variables: told[name]} if told[name] else {})
            for name, spec in self.specs.items()
        }

    def plan(self, tools: EngineTools, containers: Sequence[ContainerSeen], rows: Sequence[ContainerRow]) -> Plan:
        """What there is to do for it to be up."""
        return plan_of(self.wanted(tools.prefix), containers, rows)


def check_workload(workload: Workload) -> None:
    """Check that a workload can be a Compose project.

    :raises PluginConfigInvalid: its kind or its ref does not allow it.
    """
    if workload.kind is not WorkloadKind.STACK:
        raise PluginConfigInvalid(f"workload {workload.id!r} is a {workload.kind}; `compose` deploys stacks")
    if not _PROJECT.fullmatch(workload.ref):
        raise PluginConfigInvalid(
            f"workload {workload.id!r}: ref is {workload.ref!r}, which is no name of a Compose project: small "
            "letters, digits, - and _, a letter or digit first; declare another ref"
        )


def containers_of(tools: EngineTools, workload: Workload) -> list[ContainerSeen]:
    """All containers that say they are of the project.

    :raises VerbFailed: the controller runs in one of them.
    """
    found = tools.engine.list_containers({PROJECT_LABEL: workload.ref})
    for each in found:
        if tools.engine.is_own(each.id):
            raise VerbFailed(
                f"project {workload.ref!r} has the container {each.name!r}, which the controller itself runs in; "
                "it is not acted on: give the controller a project of its own"
            )
    return found


def rows_of(tools: EngineTools, workload: Workload) -> Sequence[ContainerRow]:
    """The rows of the workload as they are now."""
    deployment = tools.deployment(workload)
    return deployment.rows if deployment is not None else ()


def bind(tools: EngineTools, project: Project) -> list[str]:
    """Have the rows say of which revision the project is, and where its containers are; returns what changed."""
    rows = rows_of(tools, project.workload)
    known = {each.container_id: each for each in rows}
    mine = made_here(containers_of(tools, project.workload), LabelNames(tools.prefix).spec)
    there = {each.id for each in mine}
    if any(each.stage_id == project.revision.id and each.container_id not in there for each in rows):
        tools.drop_rows(project.workload, project.revision)
        known = {}
    moved = []
    for each in mine:
        row = known.get(each.id)
        bound = row is not None and row.stage_id == project.revision.id
        if row is None or not bound or addresses_in(row) != dict(each.addresses):
            tools.bind_row(project.workload, project.revision, each, service_of(each))
            moved.append(f"{each.name} has another address" if bound else f"{each.name} has its row")
    return moved


def run(tools: EngineTools, project: Project, arguments: Sequence[str], deadline_seconds: float) -> ComposeDone:
    """Run Compose on the project.

    :raises VerbFailed: it ended with an error; in its own words, without any value that was put in.
    :raises EngineError: it did not run to its end.
    """
    options = project.options
    hidden = dict(options.plain)
    secret = {variable: tools.reveal(project.workload, name) for variable, name in options.secrets.items()}
    done = tools.engine.compose(
        ComposeRun(
            arguments,
            project.workload.ref,
            options.directory or NO_DIRECTORY,
            max(1.0, deadline_seconds),
            document=runnable(project.document, project.labels(tools.prefix)),
            profiles=options.profiles,
            # Plain values stand in the document already.
            environment=secret,
            docker_config=options.docker_config or "",
            ending=_ended_by(arguments[0], tools, project),
        )
    )
    if done.code:
        said = told(done, hidden, secret)
        raise VerbFailed(f"compose {arguments[0]}: {said}", {"compose": said})
    return done


def _ended_by(subcommand: str, tools: EngineTools, project: Project) -> list[str]:
    """Ids of the containers that a run may end: `up` those that are not as declared, `stop` and `down` all."""
    if subcommand == "pull":
        return []
    label, specs = LabelNames(tools.prefix).spec, project.specs
    running = [each for each in containers_of(tools, project.workload) if each.state == "running"]
    return [
        each.id for each in running if subcommand != "up" or each.labels.get(label) != specs.get(service_of(each), "")
    ]


def told(done: ComposeDone, plain: Mapping[str, str], secret: Mapping[str, str] | None = None) -> str:
    """What Compose said, its last lines, with the variable's name instead of each value that was put in."""
    text = _COLOURS.sub("", done.errors.strip() or done.output.strip())
    values = {name: each for name, each in plain.items() if len(each) >= _LEAST_HIDDEN} | dict(secret or {})
    for name, value in sorted(values.items(), key=lambda each: -len(each[1])):
        for part in {value, *value.splitlines()} - {""}:
            text = text.replace(part, f"[{name}]")
    lines = [each.strip() for each in text.splitlines() if each.strip()]
    return " | ".join(lines[-_TOLD_LINES:])[-2_000:] or f"it ended with {done.code} and said nothing"
