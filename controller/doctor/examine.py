"""`tallyd doctor`: everything that can be in the way, each looked at on its own.

A check never depends on another one having passed, so the doctor also works when engine or store does not.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator, Mapping
from datetime import datetime
from pathlib import Path

from filelock import FileLock, Timeout

from controller.doctor.declared import declared_findings
from controller.doctor.findings import Finding
from controller.doctor.secrets import secret_findings
from controller.engine.client import EngineClient
from controller.engine.compose import Compose
from controller.engine.endpoint import Endpoint, endpoint_from
from controller.errors import EngineError, StoreError, TallydError
from controller.healing.holds import words_of
from controller.labels import LabelNames
from controller.plugins.registry import load_registry
from controller.settings_sources import LoadedSettings
from store import hosts
from store.database import Database, open_database
from store.healing import list_holds
from store.schema import current_revision, head_revision

OLDEST_API = (1, 40)
_NETWORK_FILE_SYSTEMS = frozenset({"nfs", "nfs4", "cifs", "smb3", "smbfs", "9p", "fuse.sshfs", "glusterfs", "ceph"})
_LEAST_FREE_BYTES = 100 * 1024 * 1024
_MOST_SKEW_SECONDS = 5.0
_ENGINE_PATIENCE_SECONDS = 5.0


def examine(loaded: LoadedSettings, environment: Mapping[str, str], now: Callable[[], datetime]) -> Iterator[Finding]:
    """Run every check, one after the other; yields each finding as it is made."""
    settings = loaded.settings
    told = ", ".join(f"{name} from {origin}" for name, origin in sorted(loaded.origins.items())) or "all defaults"
    yield Finding("settings", "ok", told)
    yield from _engine_findings(environment, LabelNames(settings.label_prefix), now)
    yield from _store_findings(settings.database_url, settings.host, now)
    yield from declared_findings(settings, environment, now)
    yield from secret_findings(settings)
    yield _plugins()
    yield _compose()


def _engine_findings(
    environment: Mapping[str, str], names: LabelNames, now: Callable[[], datetime]
) -> Iterator[Finding]:
    try:
        endpoint = endpoint_from(environment)
    except TallydError as error:
        yield Finding("endpoint", "fail", str(error), "correct DOCKER_HOST")
        return
    yield _socket(endpoint)
    client = EngineClient(endpoint, timeout_seconds=_ENGINE_PATIENCE_SECONDS)
    try:
        for check in (_api, _identity, _baked_labels):
            try:
                yield check(client, names)
            except EngineError as error:
                yield Finding(_NAMES[check], "fail", str(error), "see the socket check")
        yield _clock(client, now)
    finally:
        client.close()


def _socket(endpoint: Endpoint) -> Finding:
    path = endpoint.socket_path
    if path is None:
        return Finding("socket", "ok", f"remote engine at {endpoint.url}")
    if not path.exists():
        start = "start the engine, or set DOCKER_HOST; in a container, mount the folder that holds the socket"
        return Finding("socket", "fail", f"{path} does not exist", start)
    if not path.is_socket():
        return Finding("socket", "fail", f"{path} is no socket", "set DOCKER_HOST to the engine's socket")
    if not os.access(path, os.R_OK | os.W_OK):
        group = path.stat().st_gid
        remedy = f"run as root or as a member of group {group} (access to this socket is root on the machine)"
        return Finding("socket", "fail", f"{path} is not accessible for uid {os.getuid()}", remedy)
    return Finding("socket", "ok", f"{path} is accessible")


def _api(client: EngineClient, _names: LabelNames) -> Finding:
    version = client.version()
    told = f"engine {version.server}, API {version.api} (from {version.minimum_api}), {version.operating_system}"
    if _spoken(version.api) < OLDEST_API:
        oldest = ".".join(str(part) for part in OLDEST_API)
        return Finding("engine API", "warn", told, f"API {oldest} or newer is what tallyd is tested with")
    return Finding("engine API", "ok", told)


def _spoken(api: str) -> tuple[int, ...]:
    """An API version as numbers; none where it is no version."""
    parts = api.split(".")
    return tuple(int(part) for part in parts) if all(part.isdecimal() for part in parts) else ()


def _identity(client: EngineClient, _names: LabelNames) -> Finding:
    return Finding("engine id", "ok", client.engine_id())


def _baked_labels(client: EngineClient, names: LabelNames) -> Finding:
    baked = [image for image, labels in client.image_labels().items() if any(name in labels for name in names.own)]
    if not baked:
        return Finding("image labels", "ok", f"no local image carries a {names.prefix}.* label")
    told = f"{len(baked)} image(s) carry {names.prefix}.* labels: {', '.join(sorted(baked)[:5])}"
    return Finding(
        "image labels", "warn", told, "every container of such an image claims a workload; rebuild without"
    )


_NAMES: dict[Callable[[EngineClient, LabelNames], Finding], str] = {
    _api: "engine API",
    _identity: "engine id",
    _baked_labels: "image labels",
}


def _clock(client: EngineClient, now: Callable[[], datetime]) -> Finding:
    try:
        skew = abs((now() - client.time()).total_seconds())
    except EngineError as error:
        return Finding("clock", "warn", f"cannot be compared with the engine's: {error}", "see the socket check")
    if skew > _MOST_SKEW_SECONDS:
        remedy = "synchronise both with NTP; ages and freshness are wrong by as much"
        return Finding("clock", "warn", f"{skew:.0f} s apart from the engine's", remedy)
    return Finding("clock", "ok", "agrees with the engine's")


def _store_findings(url: str, host: str, now: Callable[[], datetime]) -> Iterator[Finding]:
    try:
        database = open_database(url, make=False)
    except StoreError as error:
        yield Finding("store", "fail", str(error), "correct TALLYD_DATABASE_URL")
        return
    try:
        if database.path is not None:
            yield _file_system(database.path)
            yield _migration_lock(database.path)
        if database.lost:
            making = "tallyd run or tallyd migrate makes it"
            yield Finding("store schema", "warn", f"{database.path} does not exist yet", making)
            return
        yield _schema(database)
        yield _freshness(database, host, now)
        yield _holds(database, host, now)
    finally:
        database.close()


def _holds(database: Database, host: str, now: Callable[[], datetime]) -> Finding:
    try:
        held = list_holds(database, host=host, now=now())
    except StoreError as error:
        return Finding("holds", "warn", f"cannot be read: {error}", "see the store checks")
    if whole := [words_of(each) for each in held if each.scope == "host"]:
        return Finding("holds", "warn", "; ".join(whole), f"look, then: tallyd release --host {host}")
    if held:
        return Finding("holds", "ok", f"{len(held)} workload(s) or container(s) are left alone: tallyd holds")
    return Finding("holds", "ok", "nothing is left alone")


def _file_system(path: Path) -> Finding:
    folder = next(each for each in path.absolute().parents if each.is_dir())
    kind = _file_system_of(folder.resolve())
    free = shutil.disk_usage(folder).free
    told = f"{path} on {kind}, {free // 1024**2} MiB free"
    if kind in _NETWORK_FILE_SYSTEMS:
        remedy = "SQLite's write-ahead log is corrupted by network file systems: use a local disk, or PostgreSQL"
        return Finding("store file system", "fail", told, remedy)
    if not os.access(path if path.exists() else folder, os.W_OK):
        remedy = f"give it to uid {os.getuid()}, or set TALLYD_DATABASE_URL"
        return Finding("store file system", "fail", f"{path} is not writable", remedy)
    if free < _LEAST_FREE_BYTES:
        return Finding("store file system", "warn", told, "free some space: a full disk stops every tick")
    return Finding("store file system", "ok", told)


def _file_system_of(folder: Path) -> str:
    """Type of the mount that holds a folder, from the kernel's table."""
    best, kind = "", "unknown"
    for line in Path("/proc/self/mounts").read_text(encoding="utf-8", errors="replace").splitlines():
        _, mount, this_kind, *_ = line.split(" ")
        point = mount.replace("\\040", " ")
        if folder.is_relative_to(point) and len(point) >= len(best):
            best, kind = point, this_kind
    return kind


def _migration_lock(path: Path) -> Finding:
    lock = Path(f"{path}.migrate.lock")
    if not lock.exists():
        return Finding("migration lock", "ok", "free")
    try:
        with FileLock(lock, timeout=0):
            return Finding("migration lock", "ok", "free (the file is only its place; the kernel holds the lock)")
    except Timeout:
        return Finding(
            "migration lock", "warn", f"{lock} is held: a migration is going on", "wait, or find its holder"
        )
    except OSError as error:
        return Finding("migration lock", "warn", f"{lock}: {error.strerror}", "run as the user of the controller")


def _schema(database: Database) -> Finding:
    try:
        current, head = current_revision(database), head_revision()
    except StoreError as error:
        return Finding("store schema", "fail", str(error), "see docs/operations.md")
    if current is None:
        return Finding(
            "store schema",
            "warn",
            f"{database.display_url} is empty",
            "tallyd run or tallyd migrate makes it",
        )
    if current != head:
        return Finding("store schema", "fail", f"is {current}, this tallyd needs {head}", "run: tallyd migrate")
    return Finding("store schema", "ok", f"{current} in {database.display_url}")


def _freshness(database: Database, host: str, now: Callable[[], datetime]) -> Finding:
    try:
        found = hosts.get_host(database, host)
    except StoreError as error:
        return Finding("host", "warn", str(error).splitlines()[0], "run: tallyd run, or tallyd tick")
    seconds = found.age_seconds(now())
    if seconds is None:
        return Finding("host", "warn", f"{host} was never listed completely", "run: tallyd run, or tallyd tick")
    told = f"{host}: last complete listing {seconds:.0f} s ago, engine {found.engine_id}"
    if found.stale(now()):
        return Finding("host", "warn", told, "its index is stale: is a controller running?")
    return Finding("host", "ok", told)


def _plugins() -> Finding:
    registry = load_registry()
    told = f"sources: {', '.join(sorted(registry.sources))}; triggers: {', '.join(sorted(registry.triggers))}"
    if registry.broken:
        broken = "; ".join(f"{name}: {reason}" for name, reason in registry.broken.items())
        return Finding("plugins", "fail", broken, "mend or uninstall the package that brings it")
    return Finding("plugins", "ok", told)


def _compose() -> Finding:
    try:
        found = Compose().describe()
    except EngineError as error:
        return Finding("compose", "warn", str(error), "workloads of source compose need it; install it anew")
    return Finding("compose", "ok", found or "not installed; only workloads of source compose need it")
