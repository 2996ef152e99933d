"""`image`: containers made of one image, in as many replicas as wanted, brought up beside the old ones or after them.

Every verb looks at what is there and does only what is missing, so it may be repeated and may follow a kill (D7). Of
one workload one verb runs at a time; `reconcile` does not wait for its turn.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from typing import Any

from controller.plugins.answering import ActingSource, done, named, outcome_of, told
from controller.plugins.contract import (
    Applied,
    Deployment,
    DeployUnderWay,
    Done,
    JsonSchema,
    Outcome,
    ReconcileRequest,
    Result,
    Retry,
    Revision,
    RuntimeConfig,
    VerbFailed,
    Workload,
    revision_of,
    split_of,
)
from controller.plugins.draining import let_finish
from controller.plugins.image_reference import credentials_for
from controller.plugins.sources.image_actions import check_revision, due, have_image, repair, take_away
from controller.plugins.sources.image_containers import (
    RUNNING,
    Target,
    bring_up,
    of_this,
    of_workload,
    rebind,
    remove_all,
    stop_all,
)
from controller.plugins.sources.image_options import ImageOptions
from controller.plugins.sources.image_plan import blocks_of, options_of
from controller.plugins.sources.image_upkeep import behind, left_over, serving, unwell, waiting
from controller.plugins.sources.image_volumes import remove_of_workload

_BUSY_SECONDS = 5.0


class ImageSource(ActingSource):
    """Deploys an image on this host's engine. Given its tools by :meth:`equip`."""

    kind = "image"

    def validate(self, config: Mapping[str, Any]) -> None:
        """Check the options."""
        options_of(config)

    def config_schema(self) -> JsonSchema:
        """JSON Schema of the options."""
        return ImageOptions.model_json_schema()

    def resolve(self, config: Mapping[str, Any]) -> tuple[str, str]:
        """Reference and digest of the declared image, asked of its registry now: what a new revision records.

        :raises PluginConfigInvalid: the options are wrong.
        :raises VerbFailed: the registry or the engine does not tell.
        """
        options = options_of(config)
        given = options.image.partition("@")[2]
        if given:
            return options.image, given
        with told(f"image {options.image}"):
            return options.image, self._at_hand().engine.resolve_image(
                options.image, credentials_for(options.image, options.credentials_file)
            )

    def stage(self, deployment: Deployment, revision_id: str) -> Done:
        """Have the image on the engine, by its digest."""
        target = Target.of(deployment, revision_of(deployment, revision_id))
        check_revision(target)
        with self._turn(target), told(named(target.workload, target.revision)):
            return done(target.workload, target.revision, *have_image(self._at_hand(), target))

    def warm(self, deployment: Deployment, revision_id: str) -> Done:
        """Start the containers; returns when each answers, and stops them where one does not."""
        target = Target.of(deployment, revision_of(deployment, revision_id))
        with self._turn(target), told(named(target.workload, target.revision)):
            changed, checks = bring_up(self._at_hand(), target, self._timing, all_or_none=True)
        return done(target.workload, target.revision, changed, checks)

    def drain(self, deployment: Deployment, revision_id: str) -> Done:
        """Leave sessions in flight their time, or as much of it as they take, then stop the containers."""
        target = Target.of(deployment, revision_of(deployment, revision_id))
        tools = self._at_hand()
        with self._turn(target), told(named(target.workload, target.revision)):
            running = [each for each in of_this(tools, target) if each.state in RUNNING]
            if not running:
                return done(target.workload, target.revision, False)
            faces = running if target.options.port is not None else []
            waited = let_finish(tools, faces, target.options.drain_seconds, self._timing.monotonic)
            return done(target.workload, target.revision, True, {**waited, **stop_all(tools, of_this(tools, target))})

    def archive(self, deployment: Deployment, revision_id: str) -> Done:
        """Remove the containers and their rows; the image stays, for who goes back to it."""
        target = Target.of(deployment, revision_of(deployment, revision_id))
        with self._turn(target), told(named(target.workload, target.revision)):
            gone = take_away(self._at_hand(), target)
        return done(target.workload, target.revision, bool(gone), dict.fromkeys(gone, "removed"))

    def teardown(self, workload: Workload, *, data: bool) -> Sequence[str]:
        """Remove its containers, rows and volumes; volumes of scope `named` and `absolute` are nobody's to remove."""
        tools = self._at_hand()
        with self._turns.of(workload.id), told(f"workload {workload.id!r}"):
            containers = of_workload(tools, workload)
            stop_all(tools, containers)
            remove_all(tools, containers)
            deployment = tools.deployment(workload)
            for each in deployment.revisions.values() if deployment is not None else ():
                tools.drop_rows(workload, each)
            volumes = remove_of_workload(tools, workload, data=data)
        return [*(f"container {each.name}" for each in containers), *(f"volume {each}" for each in volumes)]

    def apply_traffic_split(self, deployment: Deployment) -> Applied:
        """Hand the split to the routers; returns when they follow it."""
        split = split_of(deployment)
        runtime = self.report_runtime_config(deployment)
        for block in runtime.blocks:
            options = options_of(deployment.revisions[block["revision_id"]].config)
            if block["weight"] > 0 and options.port is not None and not block["targets"]:
                raise VerbFailed(f"revision {block['revision_id']!r} has no address yet; warm it first")
        return Applied(deployment.workload.id, tuple(split.entries), self._at_hand().enforce(runtime))

    def report_runtime_config(self, deployment: Deployment) -> RuntimeConfig:
        """Where routers reach each revision of the split. Pure."""
        return RuntimeConfig(deployment.workload.id, blocks_of(deployment, self._at_hand().prefix))

    def reconcile(self, request: ReconcileRequest) -> Outcome:
        """Have the revisions that serve up as they were declared, by the verbs; a new declaration is for a deploy."""
        tools, workload = self._at_hand(), request.workload
        options_of(workload.source_config)
        if doing := tools.busy(workload):
            raise Retry(_BUSY_SECONDS, f"left alone while {doing}")
        turn = self._turns.of(workload.id)
        if not turn.acquire(blocking=False):
            raise Retry(_BUSY_SECONDS, "a verb of this workload is under way")
        try:
            deployment = tools.deployment(workload)
            if deployment is None or not deployment.revisions:
                return Outcome(Result.DRIFT, "nothing is deployed yet")
            ready = serving(deployment)
            if not ready:
                return waiting(deployment)
            repaired, denied = repair(tools, workload, self._timing) if due(tools, deployment, ready) else ([], [])
            repaired += self._lead_there(workload, ready)
            drifts = [*left_over(deployment), *behind(tools, workload, ready), *denied]
            drifts += unwell(of_workload(tools, workload), ready, tools.prefix)
        except DeployUnderWay as error:
            raise Retry(_BUSY_SECONDS, str(error)) from error
        finally:
            turn.release()
        return outcome_of(repaired, drifts)

    def _lead_there(self, workload: Workload, ready: Sequence[Revision]) -> Sequence[str]:
        """Containers that were started again may have other addresses."""
        tools = self._at_hand()
        deployment = tools.deployment(workload)
        if deployment is None:
            return []
        moved = [
            each for revision in ready for each in rebind(tools, Target.of(deployment, revision), deployment.rows)
        ]
        deployment = tools.deployment(workload)
        if deployment is None or deployment.split is None:
            return moved
        return [*moved, "routers follow"] if self.apply_traffic_split(deployment).changed else moved

    def _turn(self, target: Target) -> threading.Lock:
        return self._turns.of(target.workload.id)
