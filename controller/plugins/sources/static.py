"""`static`: files of a folder or of a git repository, published by a web server in a container.

A release is a complete, verified copy that nobody changes. What is published is a link to one of them, and changes by
one rename: whoever asks the server, by a router or directly, gets the old release until the new one is complete.
So one revision has all the traffic, and a split over several is refused.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from controller.plugins.answering import ActingSource, done, named, outcome_of, told
from controller.plugins.contract import (
    Applied,
    Deployment,
    Done,
    InvalidSplit,
    JsonSchema,
    Outcome,
    ReconcileRequest,
    Result,
    Retry,
    Revision,
    RuntimeConfig,
    TrafficSplit,
    VerbFailed,
    Workload,
    WorkloadKind,
    revision_of,
    split_of,
)
from controller.plugins.cut_short import cut_short, go_on
from controller.plugins.sources.static_actions import bind, bring_up, clear_servers, have_image, publish, take_away
from controller.plugins.sources.static_content import Target, copy_release, directory_of, measured, site_of
from controller.plugins.sources.static_options import StaticOptions, declared_options_of, options_of
from controller.plugins.sources.static_server import WHOLE, blocks_of, serving
from controller.plugins.sources.static_upkeep import Upkeep

_BUSY_SECONDS = 5.0


class StaticSource(ActingSource):
    """Publishes sites on this host's engine. Given its tools by :meth:`equip`."""

    kind = "static"

    def __init__(self) -> None:
        super().__init__()
        self._upkeep = Upkeep()

    def validate(self, config: Mapping[str, Any]) -> None:
        """Check the options, and that the folder may be published where that can be told here."""
        options = declared_options_of(config)
        if options.directory is not None and self._tools is not None:
            directory_of(self._tools, options.directory)

    def config_schema(self) -> JsonSchema:
        """JSON Schema of the options."""
        return StaticOptions.model_json_schema()

    def freeze(self, config: Mapping[str, Any]) -> Mapping[str, Any]:
        """The declaration with the digest of the files as they are now, and their commit.

        :raises PluginConfigInvalid: the options are wrong.
        :raises VerbFailed: the files cannot be had, or not be published.
        """
        options, tools = declared_options_of(config), self._at_hand()
        found, commit = measured(tools, options)
        if not found.files:
            raise VerbFailed("there is no file to publish")
        given = {"directory": str(directory_of(tools, options.directory))} if options.directory is not None else {}
        content = {"digest": found.digest, "files": found.files, "bytes": found.bytes, "commit": commit}
        return {**config, **given, "frozen": content}

    def resolve(self, config: Mapping[str, Any]) -> tuple[str, str]:
        """Reference and digest of the web server's image, asked of its registry now.

        :raises PluginConfigInvalid: the options are wrong.
        :raises VerbFailed: the registry or the engine does not tell.
        """
        options = options_of(config)
        if given := options.image.partition("@")[2]:
            return options.image, given
        with told(f"image {options.image}"):
            return options.image, self._at_hand().engine.resolve_image(options.image)

    def stage(self, deployment: Deployment, revision_id: str) -> Done:
        """Have a complete copy of the files, and the image of the web server."""
        target = self._target(deployment, revision_of(deployment, revision_id))
        with self._working(target), target.site.locked():
            pulled = have_image(self._at_hand(), target.revision)
            release = target.release
            if release and self._upkeep.sound(target, release):
                return done(target.workload, target.revision, pulled, {"release": f"{release} is complete"})
            fresh = copy_release(self._at_hand(), target)
            self._upkeep.exchange(target, release, fresh)
            return done(target.workload, target.revision, True, {"release": f"{fresh} is complete"})

    def warm(self, deployment: Deployment, revision_id: str) -> Done:
        """Have the web server up; returns when it answers with the release, which is not published yet."""
        target = self._target(deployment, revision_of(deployment, revision_id))
        with self._working(target), target.site.locked():
            release = target.release
            if not release:
                raise VerbFailed("there is no release; stage makes it")
            was_idle = target.site.marked(release, "idle") is not None
            changed, said = bring_up(self._at_hand(), target, None, self._timing)
            target.site.unmark(release, "idle")
            bind(self._at_hand(), target, deployment, revision_too=False)
            return done(target.workload, target.revision, changed or was_idle, {target.server.spec.name: said})

    def drain(self, deployment: Deployment, revision_id: str) -> Done:
        """Leave downloads in flight their time, then take the release out of service, and a server of its own away.

        The time begins with the release that replaced it.
        """
        target = self._target(deployment, revision_of(deployment, revision_id))
        with self._working(target):
            release = target.release
            if not release or target.site.marked(release, "idle") is not None:
                return done(target.workload, target.revision, False)
            published = target.site.current() == release
            since = 0.0 if published else target.site.marked(release, "left")
            if since is not None and since < target.options.drain_seconds:
                self._wait(target.options.drain_seconds - since)
            with target.site.locked():
                if published:
                    target.site.unpublish()
                target.site.mark(release, "idle")
                removed = clear_servers(self._at_hand(), deployment)
            return done(target.workload, target.revision, True, dict.fromkeys(removed, "removed"))

    def archive(self, deployment: Deployment, revision_id: str) -> Done:
        """Remove the release, its row, and a web server that served no other."""
        target = self._target(deployment, revision_of(deployment, revision_id))
        with self._working(target):
            release, tools = target.release, self._at_hand()
            removed = clear_servers(tools, deployment, leaving=target.revision.id) if not release else []
            if release:
                with target.site.locked():
                    target.site.remove(release)
                    removed = clear_servers(tools, deployment, leaving=target.revision.id)
            tools.drop_rows(target.workload, target.revision)
            return done(
                target.workload,
                target.revision,
                bool(release or removed),
                {each: "removed" for each in [release, *removed] if each},
            )

    def apply_traffic_split(self, deployment: Deployment) -> Applied:
        """Publish the release of the revision that has all the traffic, and have the routers follow.

        :raises InvalidSplit: several revisions share it; one is published.
        """
        split = split_of(deployment)
        target = self._target(deployment, deployment.revisions[_whole(split)])
        runtime = self.report_runtime_config(deployment)
        if not any(each["targets"] for each in runtime.blocks):
            raise VerbFailed(
                f"{named(target.workload, target.revision)}: its web server has no address yet; warm it first"
            )
        with self._working(target):
            with target.site.locked():
                changed = publish(self._at_hand(), target, self._timing)
                bind(self._at_hand(), target, deployment, revision_too=True)
            changed |= self._at_hand().enforce(runtime)
        return Applied(deployment.workload.id, tuple(split.entries), changed)

    def report_runtime_config(self, deployment: Deployment) -> RuntimeConfig:
        """Where routers reach the site. Pure."""
        return RuntimeConfig(deployment.workload.id, blocks_of(deployment))

    def reconcile(self, request: ReconcileRequest) -> Outcome:
        """Have the published release whole and its web server up, by the verbs; tell of files that have changed."""
        tools, workload = self._at_hand(), request.workload
        declared = declared_options_of(workload.source_config)
        if doing := tools.busy(workload):
            raise Retry(_BUSY_SECONDS, f"left alone while {doing}")
        turn = self._turns.of(workload.id)
        if not turn.acquire(blocking=False):
            raise Retry(_BUSY_SECONDS, "a verb of this workload is under way")
        try:
            before = tools.deployment(workload)
            if before is None or not before.revisions:
                return Outcome(Result.DRIFT, "nothing is deployed yet")
            if (left := cut_short(before)) is not None:
                return go_on(tools, before, left, follow=declared.follow)
            if serving(before) is None:
                return Outcome(Result.IN_SYNC, "no deploy has ended well yet")
            with told(f"workload {workload.id!r}"), site_of(tools, workload).locked(patient=False) as got:
                # Read anew: what another process staged before we had the lock is not taken for left over.
                deployment = tools.deployment(workload)
                revision = serving(deployment) if deployment is not None and got else None
                if deployment is None or revision is None:
                    raise Retry(_BUSY_SECONDS, "another process works on this site")
                target = self._target(deployment, revision)
                repaired, drifts = self._upkeep.look_after(tools, target, deployment, self._timing)
            repaired += self._lead_there(workload)
        finally:
            turn.release()
        drifts += self._upkeep.news(tools, declared, workload, revision)
        return outcome_of(repaired, drifts)

    def teardown(self, workload: Workload, *, data: bool) -> Sequence[str]:
        """Remove web servers, rows and releases; the files that they were copied from stay.

        :raises VerbFailed: something could not be removed.
        """
        with self._turns.of(workload.id), told(f"workload {workload.id!r}"):
            return take_away(self._at_hand(), workload)

    def _wait(self, seconds: float) -> None:
        ends = self._timing.monotonic() + seconds
        while (left := ends - self._timing.monotonic()) > 0:
            if self._timing.pause(left):
                raise VerbFailed("ended, because the controller stops; draining again goes on")

    def _lead_there(self, workload: Workload) -> list[str]:
        """A server that was made anew or started again may have another address."""
        fresh = self._at_hand().deployment(workload)
        if fresh is None or fresh.split is None:
            return []
        runtime = self.report_runtime_config(fresh)
        return ["routers follow"] if self._at_hand().enforce(runtime) else []

    def _target(self, deployment: Deployment, revision: Revision) -> Target:
        target = Target.of(self._at_hand(), deployment.workload, revision)
        if target.workload.kind is not WorkloadKind.SITE:
            raise VerbFailed(
                f"workload {target.workload.id!r} is a {target.workload.kind}; `static` publishes those of kind site"
            )
        if not revision.image_digest:
            raise VerbFailed(f"revision {revision.id!r} records no image digest; resolve its image first")
        return target

    @contextmanager
    def _working(self, target: Target) -> Iterator[None]:
        with self._turns.of(target.workload.id), told(named(target.workload, target.revision)):
            yield


def _whole(split: TrafficSplit) -> str:
    found = next((each.revision_id for each in split.entries if each.weight == WHOLE), "")
    if not found:
        why = "a site is published in one revision, so one has all the traffic; deploy without steps"
        raise InvalidSplit(split.workload_id, split.total, why)
    return found
