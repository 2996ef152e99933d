"""Files of a git repository: fetched into a bare one of our own, read from there, and never checked out.

Nothing of the repository is run: no hook, no filter, no submodule.
"""

from __future__ import annotations

import hashlib
import re
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import IO

from controller.plugins.contract import EngineTools, GitAnswer, GitCommand, GitFailed, VerbFailed
from controller.plugins.sources.static_options import GitOptions
from controller.plugins.sources.static_tree import CHUNK_BYTES, Entry, shown

_COMMIT = re.compile(r"[0-9a-f]{40}|[0-9a-f]{64}")
_MODES = {b"100644": False, b"100755": True}
_LINK, _SUBMODULE = b"120000", b"160000"
READ_SECONDS = 300.0


class Repository:
    """A bare repository beside the sites, one for each URL."""

    def __init__(self, tools: EngineTools, options: GitOptions) -> None:
        name = hashlib.sha256(options.url.encode()).hexdigest()[:24]
        self._folder = tools.sites / ".git" / name
        self._git: GitCommand = tools.git(self._folder)
        self._tools = tools
        self._options = options

    def newest(self) -> str:
        """Fetch; the commit that the ref stands for now.

        :raises VerbFailed: it cannot be fetched, or there is no such ref.
        """
        return self._fetch(self._options.ref)

    def have(self, commit: str) -> None:
        """Have a commit at hand, fetched by its id where it is not.

        :raises VerbFailed: it cannot be had any more.
        """
        if self._folder.is_dir() and self._ask("cat-file", "-e", f"{commit}^{{commit}}").ok:
            return
        fetched = self._fetch(commit)
        if fetched != commit:
            raise VerbFailed(f"{self._options.url} has no commit {commit} any more; deploy the declaration")

    @contextmanager
    def tree(self, commit: str) -> Iterator[GitTree]:
        """The files of a commit, at the declared path, while the block lasts.

        :raises VerbFailed: it has no such path, or holds what cannot be published.
        """
        place = f"{commit}:{self._options.path}"
        listed = self._ask("ls-tree", "-r", "-z", "-l", "--full-tree", place)
        if not listed.ok:
            raise VerbFailed(f"{self._options.url} has no folder {self._options.path!r} at {commit[:12]}")
        with tempfile.TemporaryFile(dir=self._folder) as kept:
            yield GitTree(self, listed.output, kept)

    def read(self, identities: Iterable[bytes], into: IO[bytes]) -> None:
        """Write these objects to a file, as ``cat-file --batch`` does.

        :raises VerbFailed: git fails.
        """
        feed = b"".join(each + b"\n" for each in identities)
        try:
            answer = self._git.ask("--git-dir=.", "cat-file", "--batch", seconds=READ_SECONDS, feed=feed, into=into)
        except GitFailed as error:
            raise VerbFailed(str(error)) from error
        if not answer.ok:
            raise VerbFailed(f"files of {self._options.url} cannot be read: {answer.trouble or 'no end in time'}")

    def link(self, identity: bytes) -> bytes:
        """Where a symbolic link leads."""
        return self._ask("cat-file", "blob", identity.decode()).output

    def _fetch(self, ref: str) -> str:
        url = self._options.url
        if url.startswith("file://"):
            self._tools.host_path(url.removeprefix("file://"))
        self._folder.mkdir(parents=True, exist_ok=True)
        if not (self._folder / "HEAD").exists() and not (made := self._ask_plainly("init", "--quiet", "--bare")).ok:
            raise VerbFailed(f"a git repository in {self._folder} cannot be made: {made.trouble}")
        into = "refs/tallyd/fetched"
        answer = self._remote("fetch", "--quiet", "--no-tags", "--force", "--depth=1", "--", url, f"+{ref}:{into}")
        if not answer.ok:
            why = "no answer in time" if answer.timed_out else answer.trouble
            raise VerbFailed(f"{ref!r} of {url} cannot be fetched: {why}")
        found = self._ask("rev-parse", "--verify", "--quiet", f"{into}^{{commit}}").text
        if _COMMIT.fullmatch(found) is None:
            raise VerbFailed(f"{ref!r} of {url} is no commit")
        # Else the next fetch would leave it to be cleared away, and who goes back to it could not.
        self._ask("update-ref", f"refs/tallyd/kept/{found}", found)
        return found

    def _ask(self, *arguments: str, feed: bytes = b"") -> GitAnswer:
        return self._ask_plainly("--git-dir=.", *arguments, feed=feed)

    def _ask_plainly(self, *arguments: str, feed: bytes = b"") -> GitAnswer:
        try:
            return self._git.ask(*arguments, feed=feed)
        except GitFailed as error:
            raise VerbFailed(str(error)) from error

    def _remote(self, *arguments: str) -> GitAnswer:
        try:
            return self._git.ask_remote("--git-dir=.", *arguments)
        except GitFailed as error:
            raise VerbFailed(str(error)) from error


@dataclass(frozen=True, slots=True)
class _Blob:
    identity: bytes
    size: int

    @property
    def header(self) -> bytes:
        return b"%s blob %d\n" % (self.identity, self.size)


class GitTree:
    """The files of one commit. All are written out once, when the first of them is read."""

    def __init__(self, repository: Repository, listed: bytes, kept: IO[bytes]) -> None:
        self._repository = repository
        self._listed = listed
        self._kept = kept
        self._blobs: dict[bytes, _Blob] = {}
        self._places: Mapping[bytes, int] = {}

    def entries(self) -> Iterator[Entry]:
        """See `Tree`.

        :raises VerbFailed: a name, or the kind of an entry, cannot be published.
        """
        for line in filter(None, self._listed.split(b"\0")):
            told, _, path = line.partition(b"\t")
            mode, _, identity, size = told.split()
            if mode == _SUBMODULE:
                raise VerbFailed(f"{shown(path)} is a submodule; publish its own repository instead")
            if {b"", b".", b"..", b".git"} & {each.lower() for each in path.split(b"/")}:
                raise VerbFailed(f"{shown(path)} is no name that can be published")
            if mode != _LINK and mode not in _MODES:
                raise VerbFailed(f"{shown(path)} has mode {mode.decode()}; only files and links are published")
            self._blobs[path] = _Blob(identity, int(size))
            if mode == _LINK:
                yield Entry(path, "link", target=self._target(identity))
            else:
                yield Entry(path, "file", _MODES[mode], int(size))

    def chunks(self, entry: Entry) -> Iterator[bytes]:
        """See `Tree`."""
        if not self._places:
            self._places = self._write_out()
        blob = self._blobs[entry.path]
        self._kept.seek(self._places[blob.identity] - len(blob.header))
        if self._kept.read(len(blob.header)) != blob.header:
            raise VerbFailed(f"{shown(entry.path)} cannot be read from the repository")
        left = blob.size
        while left and (chunk := self._kept.read(min(left, CHUNK_BYTES))):
            left -= len(chunk)
            yield chunk
        if left:
            raise VerbFailed(f"{shown(entry.path)} cannot be read whole from the repository")

    def _write_out(self) -> Mapping[bytes, int]:
        blobs = {each.identity: each for each in self._blobs.values()}
        self._repository.read(blobs, self._kept)
        places, end = {}, 0
        for each in blobs.values():
            end += len(each.header)
            places[each.identity] = end
            end += each.size + 1
        return places

    def _target(self, identity: bytes) -> bytes:
        return self._repository.link(identity)
