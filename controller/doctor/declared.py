"""The look at what is declared: config, manifests, their git tree, and what the running controller made of it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from datetime import datetime
from pathlib import Path

from controller.declared.config import locate_config
from controller.declared.gitsync import WorkingTree
from controller.declared.manifests import read_manifests
from controller.doctor.findings import Finding
from controller.errors import LeaderUnreachable, StoreError, TallydError
from controller.http.control import ask_for_reload_status
from controller.plugins.registry import load_registry
from controller.settings import Settings
from store.database import Database, open_database
from store.leases import find_leader

_MOST_LINES = 3


def declared_findings(
    settings: Settings, environment: Mapping[str, str], now: Callable[[], datetime]
) -> Iterator[Finding]:
    """Run every check, one after the other."""
    try:
        database = open_database(settings.database_url, make=False)
    except StoreError:
        return  # told by the check of the store
    try:
        yield _config(settings, database, now)
        if settings.manifests is not None:
            yield _manifests(settings.manifests, settings.label_prefix)
            yield from _git(settings.manifests, environment)
        yield from _running(settings, database)
    finally:
        database.close()


def _config(settings: Settings, database: Database, now: Callable[[], datetime]) -> Finding:
    store = locate_config(settings, database, now)
    if database.lost and not store.watched:
        return Finding("config", "ok", "nothing stored")
    try:
        found = store.read()
    except TallydError as error:
        return Finding("config", "fail", _first_lines(error), "mend it, and check with: tallyd config validate")
    place = store.paths.get("config", f"a table in {store.backend}")
    return Finding(
        "config", "ok", f"generation {found.generation} in {place}" if found.generation else "nothing stored"
    )


def _manifests(path: Path, prefix: str) -> Finding:
    try:
        found = read_manifests([path], load_registry(), prefix)
    except TallydError as error:
        return Finding("manifests", "fail", _first_lines(error), "mend them, and check with: tallyd config validate")
    return Finding("manifests", "ok", f"{len(found)} workload(s) in {path}")


def _git(path: Path, environment: Mapping[str, str]) -> Iterator[Finding]:
    folder = path if path.is_dir() else path.parent
    if not folder.is_dir():
        return
    try:
        tree = WorkingTree.around(folder, environment)
        if tree is not None:
            yield Finding("git", "ok", f"{tree.folder} at {tree.head()[:12]}")
    except TallydError as error:
        yield Finding("git", "warn", str(error), "the manifests are read, but not synced")


def _running(settings: Settings, database: Database) -> Iterator[Finding]:
    try:
        leader = None if database.lost else find_leader(database, settings.host)
        if leader is None or not leader.address:
            return
        status = ask_for_reload_status(leader)
    except (StoreError, LeaderUnreachable):
        return  # told by the checks of the store and of the host's freshness
    failed = status["last_error"]
    if failed and not failed["mended"]:
        told = f"{failed['detail'].splitlines()[0]} ({failed['age_seconds']:.0f} s ago)"
        yield Finding("reload", "fail", told, "the state before it serves; mend what is declared")
    elif status["restart_needed"]:
        names = ", ".join(status["restart_needed"])
        yield Finding("reload", "warn", f"the running controller has older values of: {names}", "restart it")
    else:
        yield Finding("reload", "ok", f"generation {status['generation']} is in force")


def _first_lines(error: Exception) -> str:
    lines = str(error).splitlines()
    more = f"; and {len(lines) - _MOST_LINES} more" if len(lines) > _MOST_LINES else ""
    return "; ".join(lines[:_MOST_LINES]) + more
