"""Looking after a published site: what is cheap is looked at in every pass, files are read when they were touched."""

from __future__ import annotations

import threading

from controller.plugins.contract import (
    Deployment,
    EngineTools,
    PluginConfigInvalid,
    Revision,
    RevisionState,
    VerbFailed,
    Workload,
)
from controller.plugins.sources.static_actions import (
    bind,
    bring_up,
    clear_servers,
    have_image,
    servers_of,
    wrong_server,
)
from controller.plugins.sources.static_content import Target, copy_release, directory_of, limits_of, measured
from controller.plugins.sources.static_options import StaticOptions, options_of
from controller.plugins.sources.static_ready import public_question
from controller.plugins.sources.static_releases import stem_of
from controller.plugins.sources.static_tree import Folder, measure
from controller.plugins.waiting import Timing

_FOLDERS_BESIDE_FILES = 4
"""How many times as many files and folders as files are looked at."""


class Upkeep:
    """Remembers how files looked when they were read last. What it does not remember is read again, and no more."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._releases: dict[str, str] = {}
        self._sources: dict[str, tuple[str, str]] = {}
        self._moving: dict[str, str] = {}

    def sound(self, target: Target, release: str) -> bool:
        """Whether a release still is what was copied; its files are read where they were touched since."""
        folder, limits = Folder(target.site.path_of(release)), limits_of(target.options)
        place = str(target.site.path_of(release))
        try:
            looks = folder.fingerprint(limits.files * _FOLDERS_BESIDE_FILES)
            with self._lock:
                if self._releases.get(place) == looks:
                    return True
            whole = measure(folder, limits).digest == target.options.content.digest
        except (OSError, VerbFailed):
            return False
        if whole:
            with self._lock:
                self._releases[place] = looks
        return whole

    def exchange(self, target: Target, damaged: str, fresh: str) -> None:
        """Put a fresh copy in the place of a damaged one; nothing where there was none."""
        if not damaged:
            return
        if target.site.current() == damaged:
            target.site.publish(fresh)
        target.site.remove(damaged)
        with self._lock:
            self._releases.pop(str(target.site.path_of(damaged)), None)

    def look_after(
        self, tools: EngineTools, target: Target, deployment: Deployment, timing: Timing
    ) -> tuple[list[str], list[str]]:
        """Returns what was repaired, and what is told."""
        repaired, drifts = self._mend_release(tools, target)
        site, release = target.site, target.release
        if release and site.publish(release):
            repaired.append("its release is published again")
        if have_image(tools, target.revision):
            repaired.append("its image was pulled")
        if target.server.configuration and site.configure(target.server.configuration):
            repaired.append("the configuration of its web server is written again")
        if release:
            healed, denied = self._heal_server(tools, target, timing)
            repaired += healed
            drifts += denied
        if bind(tools, target, deployment, revision_too=True):
            repaired.append("its row is bound")
        repaired += self._clear_away(tools, target, deployment)
        return repaired, drifts + _unwell(tools, target)

    def news(self, tools: EngineTools, declared: StaticOptions, workload: Workload, revision: Revision) -> list[str]:
        """What was declared since the revision was made. A repository is not asked: its trigger does that."""
        try:
            here = declared
            if declared.directory is not None:
                place = str(directory_of(tools, declared.directory))
                here = declared.model_copy(update={"directory": place})
            if here != options_of(revision.config).model_copy(update={"frozen": None}):
                return ["deploy the declaration"]
            if declared.git is not None:
                return []
            digest = self._digest(tools, here, workload)
        except (PluginConfigInvalid, VerbFailed, OSError) as error:
            return [f"what is declared now cannot be deployed: {error}"]
        if not digest:
            return ["its files are being changed"]
        if digest == options_of(revision.config).content.digest:
            return []
        if declared.follow and tools.ask_deploy(workload, "its files changed"):
            return ["its files changed; they are being deployed"]
        return ["its files changed; deploy the declaration"]

    def _digest(self, tools: EngineTools, options: StaticOptions, workload: Workload) -> str:
        """The digest of the files as they are; empty where they were touched since the pass before."""
        limits = limits_of(options)
        looks = Folder(directory_of(tools, options.directory or "")).fingerprint(limits.files * _FOLDERS_BESIDE_FILES)
        with self._lock:
            known, moving = self._sources.get(workload.id), self._moving.get(workload.id)
            self._moving[workload.id] = looks
        if known is not None and known[0] == looks:
            return known[1]
        if moving not in (None, looks):
            return ""
        digest = measured(tools, options)[0].digest
        with self._lock:
            self._sources[workload.id] = (looks, digest)
        return digest

    def _mend_release(self, tools: EngineTools, target: Target) -> tuple[list[str], list[str]]:
        release = target.release
        if release and self.sound(target, release):
            return [], []
        what = f"release {release} is damaged" if release else "its release is gone"
        try:
            fresh = copy_release(tools, target)
        except VerbFailed as error:
            return [], [f"{what}, and cannot be copied again: {error}"]
        self.exchange(target, release, fresh)
        return [f"{what}"], []

    def _heal_server(self, tools: EngineTools, target: Target, timing: Timing) -> tuple[list[str], list[str]]:
        """Have the web server up, if its budget allows and nobody holds it (S5)."""
        wrong, name = wrong_server(tools, target, servers_of(tools, target.workload)), target.server.spec.name
        if not wrong:
            return [], []
        answer = tools.may_heal(target.workload, name, wrong)
        if not answer.given:
            return [], [f"{name} is not healed: {answer.message}"]
        bring_up(tools, target, public_question(target.options, target.site.path_of(target.release)), timing)
        return [wrong], []

    def _clear_away(self, tools: EngineTools, target: Target, deployment: Deployment) -> list[str]:
        site = target.site
        site.clear_incoming()
        kept = [
            stem_of(each, options_of(each.config).content.digest)
            for each in deployment.revisions.values()
            if each.state is not RevisionState.ARCHIVED
        ]
        left = [each for each in site.releases() if each.rpartition("-")[0] not in kept]
        for each in left:
            site.remove(each)
        told = [f"release {each}, which nobody needs, is removed" for each in left]
        return told + [f"{each} is one too many" for each in clear_servers(tools, deployment)]


def _unwell(tools: EngineTools, target: Target) -> list[str]:
    """What is told of a server, and left to a person or to the engine."""
    mine = [each for each in servers_of(tools, target.workload) if each.name == target.server.spec.name]
    told = [f"{each.name} is {each.state}" for each in mine if each.state != "running"]
    return told + [f"{each.name} is unhealthy" for each in mine if each.health == "unhealthy"]
