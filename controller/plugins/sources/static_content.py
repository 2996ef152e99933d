"""The content of a site: where its files are, how they are now, and a complete copy of them as a release.

Who calls holds the lock of the site.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from controller.plugins.contract import EngineTools, PluginConfigInvalid, Revision, VerbFailed, Workload
from controller.plugins.sizes import bytes_of
from controller.plugins.sources.static_git import Repository
from controller.plugins.sources.static_options import StaticOptions, options_of
from controller.plugins.sources.static_releases import Site
from controller.plugins.sources.static_server import Server, server_of
from controller.plugins.sources.static_tree import Folder, Limits, Measured, Tree, check_links, measure


@dataclass(frozen=True, slots=True)
class Target:
    """A revision of a site, what it was declared as, and where it is kept."""

    workload: Workload
    revision: Revision
    options: StaticOptions
    site: Site
    server: Server

    @classmethod
    def of(cls, tools: EngineTools, workload: Workload, revision: Revision) -> Target:
        """The revision, with its config read.

        :raises PluginConfigInvalid: it cannot be read.
        """
        site, options = site_of(tools, workload), options_of(revision.config)
        server = server_of(workload, revision, tools.prefix, site.root)
        return cls(workload, revision, options, site, server)

    @property
    def release(self) -> str:
        """The name of its release; empty where there is none."""
        return self.site.release_of(self.revision, self.options.content.digest)


def site_of(tools: EngineTools, workload: Workload) -> Site:
    """The folder of a site."""
    return Site(tools.sites / workload.id)


def limits_of(options: StaticOptions) -> Limits:
    """How much is published at most."""
    return Limits(options.max_files, bytes_of(options.max_bytes))


def directory_of(tools: EngineTools, directory: str) -> Path:
    """The declared folder, with its links followed: below the manifests, or under ``volume_roots``.

    :raises PluginConfigInvalid: it leads elsewhere, is relative to nothing, or is no folder.
    :raises VolumeRefused: it is absolute, and not allowed.
    """
    manifests = tools.manifests.resolve() if tools.manifests is not None else None
    given = Path(directory)
    if not given.is_absolute():
        if manifests is None:
            raise PluginConfigInvalid(f"directory: {directory!r} is relative to TALLYD_MANIFESTS, which is not set")
        given = manifests / given
    try:
        found = given.resolve(strict=True)
    except (OSError, RuntimeError) as error:  # RuntimeError: links that lead in a circle
        why = getattr(error, "strerror", None) or error
        raise PluginConfigInvalid(f"directory: {directory!r} cannot be looked at: {why}") from error
    if manifests is None or not found.is_relative_to(manifests):
        if not Path(directory).is_absolute():
            raise PluginConfigInvalid(
                f"directory: {directory!r} leads to {str(found)!r}, out of the folder of the manifests; write an "
                "absolute path that is allowed by TALLYD_VOLUME_ROOTS"
            )
        found = Path(tools.host_path(directory))
    if not found.is_dir():
        raise PluginConfigInvalid(f"directory: {directory!r} is no folder")
    return found


def measured(tools: EngineTools, options: StaticOptions) -> tuple[Measured, str]:
    """How the declared files are now, and the commit that they are from.

    :raises VerbFailed: they cannot be had or published.
    """
    with _reading():
        if options.git is None:
            return measure(Folder(directory_of(tools, options.directory or "")), limits_of(options)), ""
        repository = Repository(tools, options.git)
        commit = repository.newest()
        with repository.tree(commit) as tree:
            return measure(tree, limits_of(options)), commit


def copy_release(tools: EngineTools, target: Target) -> str:
    """Copy the files of a revision; it has its name when it is complete, verified, and on stable storage.

    :raises VerbFailed: they are others by now, cannot be had or published, or there is no room.
    """
    content = target.options.content
    with _reading(), _files_of(tools, target.options) as tree, target.site.incoming() as copy:
        found = measure(tree, limits_of(target.options), copy)
        check_links(copy)
        if found.digest != content.digest:
            raise VerbFailed("the files are others now than when the revision was made; deploy the declaration")
        again = measure(Folder(copy), limits_of(target.options))
        if again.digest != content.digest:
            raise VerbFailed("the copy is not what was read; is the disk in order?")
        return target.site.take_in(copy, target.revision, content.digest)


@contextlib.contextmanager
def _files_of(tools: EngineTools, options: StaticOptions) -> Iterator[Tree]:
    if options.git is None:
        yield Folder(directory_of(tools, options.directory or ""))
        return
    repository = Repository(tools, options.git)
    repository.have(options.content.commit)
    with repository.tree(options.content.commit) as tree:
        yield tree


@contextlib.contextmanager
def _reading() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise VerbFailed(f"{error.strerror}: {error.filename!r}" if error.filename else str(error)) from error
