"""`compose`: a workload that is a Compose project, brought up and looked after by the real Compose.

A project exists once, so a revision takes the place of the one before. A revision keeps the document as Compose
resolved it: what is repaired is what was deployed, whatever has become of the files. Of one workload one verb runs at
a time; `reconcile` does not wait for its turn.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from controller.plugins.answering import ActingSource, check_secrets, done, named, outcome_of, told
from controller.plugins.contract import (
    Applied,
    Compose,
    Deployment,
    DeployUnderWay,
    Done,
    EngineError,
    JsonSchema,
    Outcome,
    ReconcileRequest,
    Result,
    Retry,
    RuntimeConfig,
    VerbFailed,
    Workload,
    revision_of,
    split_of,
)
from controller.plugins.cut_short import cut_short, go_on
from controller.plugins.draining import let_finish
from controller.plugins.sources.compose_actions import (
    RUNNING,
    bring_up,
    go_back,
    held_by,
    pull_images,
    stop,
    take_down,
    tear_down,
)
from controller.plugins.sources.compose_document import digest_of
from controller.plugins.sources.compose_files import Resolved, directory_of
from controller.plugins.sources.compose_options import ComposeOptions, declared_options_of, options_of
from controller.plugins.sources.compose_plan import (
    blocks_of,
    check_split,
    holders,
    service_of,
    serving,
)
from controller.plugins.sources.compose_project import Project, bind, check_workload, containers_of, rows_of
from controller.plugins.sources.compose_upkeep import look_after, news

_BUSY_SECONDS = 5.0


class ComposeSource(ActingSource):
    """Deploys Compose projects on this host's engine. Given its tools by :meth:`equip`."""

    kind = "compose"

    def __init__(self) -> None:
        super().__init__()
        self._resolved = Resolved(Compose())

    def validate(self, config: Mapping[str, Any]) -> None:
        """Check the options, and have Compose check its files where they and it are at hand."""
        options = declared_options_of(config)
        here = self._tools is not None or options.directory is None or Path(options.directory).is_dir()
        relative = options.directory is not None and not Path(options.directory).is_absolute()
        if not here or (relative and self._tools is None) or not self._resolved.installed:
            return
        try:
            self._frozen(options)
        except VerbFailed:
            return  # it could not be asked, which says nothing of the declaration; a deploy asks again

    def config_schema(self) -> JsonSchema:
        """JSON Schema of the options."""
        return ComposeOptions.model_json_schema()

    def freeze(self, config: Mapping[str, Any]) -> Mapping[str, Any]:
        """The declaration, with the document that Compose makes of its files, and digests of the mounted ones.

        :raises PluginConfigInvalid: the options or the files are wrong.
        :raises VerbFailed: Compose cannot be asked.
        """
        options = declared_options_of(config)
        frozen, directory = self._frozen(options)
        given = {"directory": directory} if options.directory is not None else {}
        return {**config, **given, "frozen": dict(frozen)}

    def resolve(self, config: Mapping[str, Any]) -> tuple[str, str]:
        """Where the project comes from, and the digest of all that it is made of: what a new revision records.

        :raises PluginConfigInvalid: the options or the files are wrong.
        :raises VerbFailed: Compose cannot be asked.
        """
        options = options_of(config)
        if options.frozen is None:
            options = options_of(self.freeze(config))
        place = "inline" if options.inline is not None else str(Path(options.directory or "", options.files[0]))
        return place, f"sha256:{digest_of(options.frozen)}"

    def stage(self, deployment: Deployment, revision_id: str) -> Done:
        """Have the images of all services on the engine."""
        project = Project.of(deployment.workload, revision_of(deployment, revision_id))
        with self._turns.of(project.workload.id), told(named(project.workload, project.revision)):
            check_secrets(self._at_hand(), project.workload, project.options.secrets.values())
            return done(project.workload, project.revision, *pull_images(self._at_hand(), project))

    def warm(self, deployment: Deployment, revision_id: str) -> Done:
        """Bring the project up as this revision has it; returns when it runs, and goes back where it does not."""
        project = Project.of(deployment.workload, revision_of(deployment, revision_id))
        with self._turns.of(project.workload.id), told(named(project.workload, project.revision)):
            return done(project.workload, project.revision, *self._warm(project, deployment))

    def drain(self, deployment: Deployment, revision_id: str) -> Done:
        """Leave sessions in flight their time, or as much of it as they take, then stop the project.

        Nothing where the project is another revision's.
        """
        project = Project.of(deployment.workload, revision_of(deployment, revision_id))
        with self._turns.of(project.workload.id), told(named(project.workload, project.revision)):
            tools = self._at_hand()
            going = [each for each in held_by(tools, project) if each.state in RUNNING]
            if not going:
                return done(project.workload, project.revision, False)
            web = project.options.web
            faces = [each for each in going if web is not None and service_of(each) == web.service]
            waited = let_finish(tools, faces, project.options.drain_seconds, self._timing.monotonic)
            stop(tools, project)
            left = {each.id: each for each in containers_of(tools, project.workload)}
            ended = [(each.name, left[each.id].exit_code) for each in going if each.id in left]
            return done(
                project.workload,
                project.revision,
                True,
                waited | {name: f"stopped, exit code {code}" for name, code in ended},
            )

    def archive(self, deployment: Deployment, revision_id: str) -> Done:
        """Take the project down, without its volumes; nothing where it is another revision's."""
        project = Project.of(deployment.workload, revision_of(deployment, revision_id))
        with self._turns.of(project.workload.id), told(named(project.workload, project.revision)):
            tools = self._at_hand()
            held = held_by(tools, project)
            if not held and project.revision.id not in holders(rows_of(tools, project.workload)):
                return done(project.workload, project.revision, False)
            take_down(tools, project, data=False)
            tools.drop_rows(project.workload, project.revision)
            return done(project.workload, project.revision, True, {each.name: "removed" for each in held})

    def apply_traffic_split(self, deployment: Deployment) -> Applied:
        """Hand the split to the routers; returns when they follow it.

        :raises InvalidSplit: several revisions share it; there is one project.
        """
        split = split_of(deployment)
        check_split(split)
        runtime = self.report_runtime_config(deployment)
        for block in runtime.blocks:
            web = options_of(deployment.revisions[block["revision_id"]].config).web
            if block["weight"] > 0 and web is not None and not block["targets"]:
                raise VerbFailed(
                    f"workload {deployment.workload.id!r}: revision {block['revision_id']!r} is not up; warm it first"
                )
        return Applied(deployment.workload.id, tuple(split.entries), self._at_hand().enforce(runtime))

    def report_runtime_config(self, deployment: Deployment) -> RuntimeConfig:
        """Where routers reach the web service. Pure."""
        return RuntimeConfig(deployment.workload.id, blocks_of(deployment))

    def reconcile(self, request: ReconcileRequest) -> Outcome:
        """Have the deployed revision up, by the verbs; have changed files deployed where that was declared."""
        tools, workload = self._at_hand(), request.workload
        declared = declared_options_of(workload.source_config)
        check_workload(workload)
        if doing := tools.busy(workload):
            raise Retry(_BUSY_SECONDS, f"left alone while {doing}")
        turn = self._turns.of(workload.id)
        if not turn.acquire(blocking=False):
            raise Retry(_BUSY_SECONDS, "a verb of this workload is under way")
        try:
            deployment = tools.deployment(workload)
            if deployment is None or not deployment.revisions:
                return Outcome(Result.DRIFT, "nothing is deployed yet")
            if (left := cut_short(deployment)) is not None:
                return go_on(tools, deployment, left, follow=declared.follow)
            revision = serving(deployment)
            if revision is None:
                return Outcome(Result.IN_SYNC, "no deploy has ended well yet")
            repaired, drifts = self._look_after(Project.of(workload, revision), deployment)
        except DeployUnderWay as error:
            raise Retry(_BUSY_SECONDS, str(error)) from error
        finally:
            turn.release()
        return outcome_of(repaired, [*news(tools, deployment, revision, self.freeze), *drifts])

    def teardown(self, workload: Workload, *, data: bool) -> Sequence[str]:
        """Take the project down; returns what was removed.

        :param data: also its volumes. Somebody was asked.
        :raises VerbFailed: something could not be removed.
        """
        tools = self._at_hand()
        with self._turns.of(workload.id):
            deployment = tools.deployment(workload)
            if deployment is None:
                return []
            with told(f"workload {workload.id!r}"):
                return tear_down(tools, deployment, data=data)

    def _frozen(self, options: ComposeOptions) -> tuple[Mapping[str, Any], str]:
        directory = directory_of(options, self._tools.manifests if self._tools is not None else None)
        return self._resolved.frozen(options, directory), directory

    def _warm(self, project: Project, deployment: Deployment) -> tuple[bool, dict[str, str]]:
        """Returns whether that took anything, and what was seen."""
        tools = self._at_hand()
        containers, rows = containers_of(tools, project.workload), rows_of(tools, project.workload)
        plan, held = project.plan(tools, containers, rows), holders(rows)
        anew = held != {project.revision.id}
        try:
            checks = bring_up(tools, project, plan, self._timing, everything=anew)
        except (EngineError, VerbFailed) as error:
            others = held - {project.revision.id}
            before = next((deployment.revisions[each] for each in others if each in deployment.revisions), None)
            go_back(tools, project, before, error)
            raise
        bind(tools, project)
        return bool(plan.services) or anew, checks

    def _look_after(self, project: Project, deployment: Deployment) -> tuple[list[str], list[str]]:
        """Returns what was repaired, and what is left to others."""
        tools = self._at_hand()
        with told(named(project.workload, project.revision)):
            repaired, left = look_after(tools, project, deployment, self._timing)
            fresh = tools.deployment(project.workload)
            if fresh is not None and fresh.split is not None and self.apply_traffic_split(fresh).changed:
                repaired.append("routers follow")
        return repaired, left
