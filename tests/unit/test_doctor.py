"""`controller.doctor`: every check on its own, also when engine or store is down."""

from __future__ import annotations

import threading
from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path

import pytest
from filelock import FileLock

from controller.clock import CLOCK
from controller.doctor.examine import examine
from controller.doctor.findings import Finding
from controller.rollout.secrets import Secrets
from controller.settings_sources import load_settings
from store import hosts
from store.database import Database
from store.secrets import put_secret
from tests.builders import HOST
from tests.fakes import FakeDocker, Fault
from tests.keys import key_file
from tests.rollouts import declare

Findings = dict[str, Finding]


def examined(
    docker: FakeDocker | str, store: Path | str, now: Callable[[], datetime] = CLOCK.now, **more: str
) -> Findings:
    """All findings by check."""
    engine = docker if isinstance(docker, str) else docker.endpoint
    url = store if isinstance(store, str) else f"sqlite:///{store}"
    environment = {"TALLYD_HOST": HOST, "TALLYD_DATABASE_URL": url, **more}
    loaded = load_settings({}, environment)
    return {each.check: each for each in examine(loaded, {"DOCKER_HOST": engine}, now)}


def statuses(findings: Findings) -> dict[str, str]:
    """Check → ok, warn or fail."""
    return {check: each.status for check, each in findings.items()}


def test_all_is_well(docker: FakeDocker, database: Database, database_path: Path) -> None:
    """O1: every check is ok, and none has a remedy."""
    hosts.register(database, hosts.Host(HOST))
    with database.writing() as connection:
        connection.execute(hosts.HOSTS.update().values(last_listed_at=CLOCK.now(), engine_id="E"))
    found = examined(docker, database_path)
    assert set(statuses(found).values()) == {"ok"}, found
    assert not any(each.remedy for each in found.values())
    assert {"settings", "socket", "engine API", "engine id", "image labels", "clock"} < set(found)
    assert {"store file system", "migration lock", "store schema", "host", "plugins"} < set(found)
    assert "TALLYD_HOST" in found["settings"].detail


def test_without_an_engine(tmp_path: Path, database_path: Path) -> None:
    """O1: the socket check says what to do; the store is examined all the same."""
    found = examined(f"unix://{tmp_path}/docker.sock", database_path)
    assert found["socket"].status == "fail"
    assert "DOCKER_HOST" in found["socket"].remedy
    assert found["engine API"].status == "fail"
    assert found["store schema"].status == "ok"


def test_a_path_that_is_no_socket(tmp_path: Path, database_path: Path) -> None:
    """O1: such as a folder that a container engine made for a mount that was not there."""
    (tmp_path / "docker.sock").mkdir()
    found = examined(f"unix://{tmp_path}/docker.sock", database_path)
    assert (found["socket"].status, "is no socket" in found["socket"].detail) == ("fail", True)


def test_an_address_that_is_none(database_path: Path) -> None:
    """O1, O2: DOCKER_HOST is wrong; the store is examined all the same."""
    found = examined("ssh://host", database_path)
    assert found["endpoint"].status == "fail"
    assert found["store schema"].status == "ok"


@pytest.mark.parametrize(
    "fault",
    [
        Fault.ERROR,
        Fault.HTML,
        Fault.NULL,
        Fault.EMPTY,
        Fault.CLOSE,
        b"{}",
        b'{"ApiVersion": "x.y"}',
    ],
    ids=str,
)
def test_an_engine_that_answers_nonsense(docker: FakeDocker, database_path: Path, fault: Fault | bytes) -> None:
    """O1: whatever it says, each check has a result, and the store's are ok."""
    docker.answer_with("*", fault)
    found = examined(docker, database_path)
    assert found["engine API"].status in ("fail", "warn")
    assert found["engine id"].status == "fail"
    assert found["store schema"].status == "ok"
    assert "plugins" in found


def test_an_old_engine(database_path: Path) -> None:
    """O1: works perhaps, but nobody tests it."""
    with FakeDocker(api="1.24") as docker:
        found = examined(docker, database_path)
    assert (found["engine API"].status, "API 1.24" in found["engine API"].detail) == ("warn", True)
    assert "1.40 or newer" in found["engine API"].remedy


def test_labels_baked_into_images(docker: FakeDocker, database_path: Path) -> None:
    """O1, pitfall 8: every container of such an image claims a workload."""
    docker.add_image("forged:1", {"tallyd.workload.id": "shop"})
    docker.add_image("harmless:1", {"other": "x"})
    found = examined(docker, database_path)["image labels"]
    assert (found.status, "forged:1" in found.detail, "harmless" in found.detail) == ("warn", True, False)
    renamed = examined(docker, database_path, TALLYD_LABEL_PREFIX="acme")["image labels"]
    assert renamed.status == "ok"


@pytest.mark.parametrize(("skew", "status"), [(0, "ok"), (3600, "warn"), (-3600, "warn")])
def test_clocks_that_disagree(docker: FakeDocker, database_path: Path, skew: int, status: str) -> None:
    """O1: ages are wrong by as much."""
    found = examined(docker, database_path, now=lambda: CLOCK.now() + timedelta(seconds=skew))
    assert found["clock"].status == status


def test_a_store_that_does_not_exist_yet(docker: FakeDocker, tmp_path: Path) -> None:
    """O1: a warning, no failure; and the doctor makes neither file nor folder."""
    found = examined(docker, tmp_path / "below" / "tallyd.db")
    assert (found["store schema"].status, "tallyd migrate" in found["store schema"].remedy) == ("warn", True)
    assert list(tmp_path.iterdir()) == []


def test_a_store_that_is_damaged(docker: FakeDocker, tmp_path: Path) -> None:
    """O1: told, while the engine's checks are ok."""
    (tmp_path / "tallyd.db").write_text("no database" * 1000)
    found = examined(docker, tmp_path / "tallyd.db")
    assert (found["store schema"].status, found["engine id"].status) == ("fail", "ok")
    assert "damaged" in found["store schema"].detail


def test_a_store_server_that_is_down(docker: FakeDocker, tmp_path: Path) -> None:
    """O1: PostgreSQL unreachable; the password is not told."""
    found = examined(docker, f"postgresql://bob:topsecret@/x?host={tmp_path}")
    assert found["store schema"].status == "fail"
    assert "topsecret" not in repr(found)


def test_a_store_that_is_none(docker: FakeDocker) -> None:
    """O1: what is allowed."""
    found = examined(docker, "mysql://x/y")
    assert (found["store"].status, "sqlite, postgresql" in found["store"].detail) == ("fail", True)


def test_an_older_schema(docker: FakeDocker, database: Database, database_path: Path) -> None:
    """O1: and the command that brings it up to date."""
    with database.engine.begin() as connection:
        connection.exec_driver_sql("UPDATE alembic_version SET version_num = '0000'")
    found = examined(docker, database_path)["store schema"]
    assert (found.status, found.remedy) == ("fail", "run: tallyd migrate")


def test_a_migration_that_goes_on(docker: FakeDocker, database_path: Path) -> None:
    """O1: the lock of a living process is told; a left-over file is not a lock."""
    lock = Path(f"{database_path}.migrate.lock")
    lock.touch()
    assert examined(docker, database_path)["migration lock"].status == "ok"
    held, release = threading.Event(), threading.Event()

    def hold() -> None:
        with FileLock(lock):
            held.set()
            release.wait(30)

    holder = threading.Thread(target=hold)
    holder.start()
    try:
        assert held.wait(10)
        assert examined(docker, database_path)["migration lock"].status == "warn"
    finally:
        release.set()
        holder.join()


def test_truth_that_is_old(docker: FakeDocker, database: Database, database_path: Path) -> None:
    """R21: a host that was never listed, or long ago."""
    assert "never listed" in examined(docker, database_path)["host"].detail
    with database.writing() as connection:
        connection.execute(hosts.HOSTS.update().values(last_listed_at=CLOCK.now() - timedelta(hours=2)))
    found = examined(docker, database_path)["host"]
    assert (found.status, "stale" in found.remedy) == ("warn", True)


def test_secrets_that_cannot_be_read(
    docker: FakeDocker, database: Database, database_path: Path, tmp_path: Path
) -> None:
    """S4, O1: none is fine, without keys all fail, and one that no key fits is named; no value is."""
    assert examined(docker, database_path)["secrets"].detail == "none stored"
    declare(database, "shop")
    keys = key_file(tmp_path)
    secrets = Secrets(database, keys)
    secrets.put("shop", "GOOD", "canary-91", CLOCK.now())
    assert "1 stored; no keys for secrets" in examined(docker, database_path)["secrets"].detail
    found = examined(docker, database_path, TALLYD_SECRETS_KEY_FILE=str(keys))["secrets"]
    assert (found.status, found.detail) == ("ok", "1 stored, all can be decrypted")
    put_secret(database, "shop", "BAD", "damaged", CLOCK.now())
    found = examined(docker, database_path, TALLYD_SECRETS_KEY_FILE=str(keys))["secrets"]
    assert (found.status, found.detail) == ("fail", "1 of 2 cannot be decrypted: shop/BAD")
    keys.chmod(0o644)
    found = examined(docker, database_path, TALLYD_SECRETS_KEY_FILE=str(keys))["secrets"]
    assert "open to everybody" in found.detail
    assert "canary" not in found.detail
