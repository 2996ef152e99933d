"""The source `static` publishes sites on a real engine, by a real nginx."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from controller.errors import InvalidSplit, PluginConfigInvalid, VerbFailed
from controller.plugins.contract import Permission, Result, Workload
from controller.plugins.sources.static_tree import Folder, Limits, measure
from tests.harness import BUSYBOX, World, wait_until
from tests.harness.git import Forge
from tests.integration.acted import HOST
from tests.integration.backends import free_port
from tests.integration.deploys import writes
from tests.integration.passes import Passes
from tests.integration.sites import PORT, Sites, ask

WRITES = {"create", "start", "stop", "remove", "pull", "connect"}
BIG = 400_000


@pytest.fixture
def sites(world: World, sqlite_url: str, tmp_path: Path) -> Iterator[Sites]:
    """A site, with its containers on the shared engine."""
    made = Sites(world, sqlite_url, tmp_path)
    try:
        yield made
    finally:
        made.close()


def test_a_folder_is_published(sites: Sites) -> None:
    """S1, R7, D8: by one container that is bound to the site's row; what is not there is answered as nginx does."""
    sites.write({"index.html": "first", "docs/index.html": "docs", "404.html": "lost", ".git/config": "secret"})
    revision = sites.publish()
    assert sites.page() == (200, b"first")
    assert sites.page("/docs/") == (200, b"docs")
    assert sites.page("/nothing") == (404, b"lost")
    assert sites.page("/.git/config")[0] == 404
    labels = sites.server()["Config"]["Labels"]
    assert labels[f"{sites.prefix}.static-site"] == sites.workload.ref
    assert f"{sites.prefix}.workload.id" not in labels
    (row,) = sites.rows().values()
    assert (row.id, row.workload_kind, row.role, row.stage_id) == ("blog:site", "site", "", revision)
    (block,) = sites.enforced[-1].blocks
    assert block["targets"] == [{"address": sites.address, "port": PORT}]
    (mount,) = sites.server()["Mounts"]
    assert (mount["Type"], mount["RW"]) == ("bind", False)


def test_a_staged_release_is_answered_by_its_name_alone(sites: Sites) -> None:
    """D8, S1: warm has seen it answer, and visitors still get the old one, also from a new web server."""
    sites.write({"index.html": "first"})
    sites.publish()
    sites.write({"index.html": "second"})
    second = sites.declare()
    sites.source.stage(sites.read(), second)
    sites.source.warm(sites.read(), second)
    release = sites.site.release_of(sites.revisions[second], sites.revisions[second].config["frozen"]["digest"])
    assert sites.page(f"/{release}/", 8079) == (200, b"second")
    assert sites.page() == (200, b"first")


def test_nobody_sees_a_half_published_site(sites: Sites) -> None:
    """S1, T6: 20 publications under load, asked directly: every answer is 200 and one whole version."""
    first = dict.fromkeys(("index.html", "big.txt", "deep/er/page.html"))
    sites.write(dict.fromkeys(first, "0" * BIG))
    sites.publish()
    address, wrong, asked, stop = sites.address, [], [0], threading.Event()

    def visit(path: str) -> None:
        while not stop.is_set():
            try:
                status, said = ask(address, PORT, path)
            except OSError as error:
                wrong.append(repr(error))
                continue
            asked[0] += 1
            if status != 200 or len(said) != BIG or len(set(said)) != 1:
                wrong.append(f"{path}: {status}, {len(said)} bytes, {set(said)}")

    visitors = [threading.Thread(target=visit, args=(f"/{each}",)) for each in first]
    for each in visitors:
        each.start()
    before = sites.server()["Id"]
    for number in range(1, 21):
        sites.write({name: chr(48 + number) * BIG for name in first})
        sites.publish()
        assert sites.page()[1][:1] == chr(48 + number).encode()
        for each in [each for each in sites.revisions.values() if each.state == "inactive"][:-1]:
            sites.source.archive(sites.read(), each.id)
            sites.move(each.id, "archived")
    wait_until(lambda: asked[0] > 200, 30, "the visitors have asked often enough")
    stop.set()
    for each in visitors:
        each.join()
    assert wrong == []
    assert sites.server()["Id"] == before
    assert len(sites.site.releases()) == 2


def test_one_revision_is_published(sites: Sites) -> None:
    """D3, D4: a split over two is refused, and nothing is touched."""
    sites.write({"index.html": "first"})
    first = sites.publish()
    sites.write({"index.html": "second"})
    second = sites.declare()
    sites.source.stage(sites.read(), second)
    sites.weigh((first, 9_000), (second, 1_000))
    sites.requests.clear()
    with pytest.raises(InvalidSplit, match="one has all the traffic"):
        sites.source.apply_traffic_split(sites.read())
    assert (sites.page(), sites.requests) == ((200, b"first"), [])


def test_going_back(sites: Sites) -> None:
    """T1, D7: the release before is kept, and is published again without being copied."""
    sites.write({"index.html": "first"})
    first = sites.publish()
    sites.write({"index.html": "second"})
    sites.publish()
    kept = sites.site.releases()
    sites.publish(first)
    assert sites.page() == (200, b"first")
    assert sites.site.releases() == kept


def test_another_web_server_takes_over(sites: Sites) -> None:
    """D8, S1: declared otherwise it is another container, which serves before the old one goes."""
    sites.write({"index.html": "first"})
    sites.publish()
    old = sites.server()["Id"]
    sites.publish(spa=True, memory="32m")
    assert sites.server()["Id"] != old
    assert sites.page("/any/where") == (200, b"first")
    assert sites.rows()["blog:site"].container_id == sites.server()["Id"]


def test_a_published_port_is_kept(sites: Sites) -> None:
    """S1: what is asked at a port of the host stays there from release to release."""
    port = free_port()
    sites.write({"index.html": "first"})
    sites.publish(publish_address="127.0.0.1", publish_port=port)
    sites.write({"index.html": "second"})
    sites.publish(publish_address="127.0.0.1", publish_port=port)
    assert ask("127.0.0.1", port) == (200, b"second")
    (block,) = sites.enforced[-1].blocks
    assert block["targets"] == [{"address": "127.0.0.1", "port": port}]


def test_a_release_that_does_not_answer_is_not_published(sites: Sites) -> None:
    """D8, L2: the server of the new revision cannot start; the old one serves on, and nothing is left."""
    sites.write({"index.html": "first"})
    sites.publish()
    with contextlib.closing(socket.socket()) as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        second = sites.declare(publish_address="127.0.0.1", publish_port=taken.getsockname()[1])
        sites.source.stage(sites.read(), second)
        with pytest.raises(VerbFailed, match="blog-2"):
            sites.source.warm(sites.read(), second)
    assert sites.page() == (200, b"first")


def test_an_unchanged_world_is_not_written_to(sites: Sites, world: World) -> None:
    """S3: three calls, no event of the engine, no request that writes, no file is read again."""
    sites.write({"index.html": "first"})
    sites.publish()
    assert sites.reconcile().result is Result.IN_SYNC
    looks = Folder(sites.site.root).fingerprint(1_000)
    sites.requests.clear()
    since = time.time()
    for _ in range(3):
        assert sites.reconcile().result is Result.IN_SYNC
    assert writes(world.engine, since, time.time()) == []
    assert sites.requests
    assert not set(sites.requests) & WRITES
    assert Folder(sites.site.root).fingerprint(1_000) == looks


def _release(sites: Sites) -> Path:
    return sites.site.path_of(sites.site.current())


def _remove(sites: Sites) -> None:
    sites.client.remove_container(sites.server()["Id"], force=True)


def _stop(sites: Sites) -> None:
    sites.client.stop(sites.server()["Id"], timeout=0)


def _another_image(sites: Sites) -> None:
    _by_hand(sites, "busybox:local", {})


def _another_label(sites: Sites) -> None:
    _by_hand(sites, "nginx:local", {f"{sites.prefix}.spec": "0"})


def _by_hand(sites: Sites, image: str, labels: dict[str, str]) -> None:
    seen = sites.server()
    sites.client.remove_container(seen["Id"], force=True)
    name, had = seen["Name"].lstrip("/"), seen["Config"]["Labels"]
    made = sites.client.create_container(image, ["sleep", "99"], name=name, labels={**had, **labels})
    with contextlib.suppress(Exception):  # nginx's image has no such program; then it is merely created
        sites.client.start(made["Id"])


def _delete_a_file(sites: Sites) -> None:
    (_release(sites) / "page.html").unlink()


def _change_a_file(sites: Sites) -> None:
    (_release(sites) / "index.html").write_text("FIRST")


def _hide_a_file(sites: Sites) -> None:
    (_release(sites) / "index.html").chmod(0o600)


def _add_a_file(sites: Sites) -> None:
    (_release(sites) / "added.html").write_text("x")


def _unlink(sites: Sites) -> None:
    (sites.site.root / "current").unlink()


def _lead_elsewhere(sites: Sites) -> None:
    (sites.site.root / "current").unlink()
    (sites.site.root / "current").symlink_to("/etc")


def _no_configuration(sites: Sites) -> None:
    (each,) = (sites.site.root / "conf").iterdir()
    each.write_text("nonsense")


@pytest.mark.parametrize("restarted", [False, True], ids=["knows", "restarted"])
@pytest.mark.parametrize(
    ("drift", "why"),
    [
        (_remove, "is gone"),
        (_stop, "is stopped"),
        (_another_image, "has another image"),
        (_another_label, "has other labels"),
        (_delete_a_file, "is damaged"),
        (_change_a_file, "is damaged"),
        (_hide_a_file, "is damaged"),
        (_add_a_file, "is damaged"),
        (_unlink, "published again"),
        (_lead_elsewhere, "published again"),
        (_no_configuration, "configuration"),
    ],
)
def test_drift_is_repaired(
    sites: Sites, tmp_path: Path, drift: Callable[[Sites], None], why: str, restarted: bool
) -> None:
    """S3, R9: one call brings back what was declared, the next has nothing to do."""
    sites.write({"index.html": "first", "page.html": "page"})
    sites.publish()
    assert sites.reconcile().result is Result.IN_SYNC
    if restarted:
        sites.source = sites.another_source(tmp_path)
    drift(sites)
    outcome = sites.reconcile()
    assert outcome.result is Result.REPAIRED, outcome
    assert why in outcome.message
    assert sites.reconcile().result is Result.IN_SYNC
    assert (sites.page(), sites.page("/page.html")) == ((200, b"first"), (200, b"page"))
    assert sites.page("/added.html")[0] == 404
    assert sites.rows()["blog:site"].container_id == sites.server()["Id"]
    assert len(sites.site.releases()) == 1


def test_a_damaged_release_whose_files_are_gone_is_told(sites: Sites) -> None:
    """S3: it cannot be copied again, so a person has to decide; what is left of it serves on."""
    sites.write({"index.html": "first", "page.html": "page"})
    sites.publish(follow=False)
    sites.write({"index.html": "second"})
    _delete_a_file(sites)
    outcome = sites.reconcile()
    assert outcome.result is Result.DRIFT
    assert "is damaged, and cannot be copied again" in outcome.message
    assert "deploy the declaration" in outcome.message
    assert sites.page() == (200, b"first")


def test_changed_files_are_followed_when_they_stand_still(sites: Sites) -> None:
    """S3: in the pass after; or told, where they are not to be followed."""
    sites.write({"index.html": "first"})
    sites.publish()
    assert sites.reconcile().result is Result.IN_SYNC
    sites.write({"index.html": "second"})
    assert "being changed" in sites.reconcile().message
    sites.write({"index.html": "third"})
    assert "being changed" in sites.reconcile().message
    assert sites.asked == []
    assert "are being deployed" in sites.reconcile().message
    assert sites.asked == ["its files changed"]
    sites.publish()
    assert sites.reconcile().result is Result.IN_SYNC
    assert sites.page() == (200, b"third")


def test_a_forged_label_takes_nothing(sites: Sites, world: World, sqlite_url: str) -> None:
    """R16, R7: the site's row stays with its web server, and a stranger's container is not touched."""
    sites.write({"index.html": "first"})
    sites.publish()
    forged = world.run(labels={f"{sites.prefix}.static-site": sites.workload.ref, f"{sites.prefix}.spec": "0" * 64})
    assert sites.reconcile().result is Result.IN_SYNC
    with contextlib.closing(Passes(world.engine.endpoint, sqlite_url, sites.prefix, HOST)) as passes:
        assert passes.tick().ignored_by_reason["slot_taken"] == 1
    assert sites.rows()["blog:site"].container_id == sites.server()["Id"] != forged
    sites.source.teardown(sites.workload, data=True)
    assert [each["Id"] for each in sites.listed()] == [forged]
    assert not sites.site.root.exists()
    assert sites.source.teardown(sites.workload, data=True) == []


def test_a_git_ref_is_published_and_followed_by_deploys(sites: Sites, tmp_path: Path) -> None:
    """S1: the folder of a branch; a commit that is gone from the branch can be gone back to."""
    forge = Forge(tmp_path / "forge")
    sites.source = sites.another_source(tmp_path, volume_roots=(tmp_path,))
    git = {"url": forge.url, "ref": "main", "path": "public"}
    forge.push({"public/index.html": "first", "private.txt": "private"})
    first = sites.publish(git=git)
    assert sites.page() == (200, b"first")
    assert sites.page("/private.txt")[0] == 404
    commit = forge.push({"public/index.html": "second"})
    sites.publish(git=git)
    assert sites.page() == (200, b"second")
    assert sites.revisions["blog-2"].config["frozen"]["commit"] == commit
    assert sites.reconcile().result is Result.IN_SYNC
    forge.run("reset", "--quiet", "--hard", "HEAD~2")
    forge.push({"public/index.html": "third"})
    sites.publish(git=git)
    assert sites.page() == (200, b"third")
    _delete_all(sites)
    assert sites.reconcile().result is Result.REPAIRED
    assert sites.page() == (200, b"third")
    sites.publish(first)
    assert sites.page() == (200, b"first")


def _delete_all(sites: Sites) -> None:
    for each in _release(sites).iterdir():
        each.unlink()


@pytest.mark.parametrize(
    ("git", "told"),
    [
        ({"ref": "nowhere"}, "'nowhere' of file://.* cannot be fetched"),
        ({"path": "nowhere"}, "no folder 'nowhere'"),
        ({"url": "file:///etc"}, "not under TALLYD_VOLUME_ROOTS"),
    ],
)
def test_a_git_place_that_is_not_there(sites: Sites, tmp_path: Path, git: dict[str, str], told: str) -> None:
    """D4: what was asked, and what git said."""
    forge = Forge(tmp_path / "forge")
    sites.source = sites.another_source(tmp_path, volume_roots=(tmp_path,))
    with pytest.raises(VerbFailed, match=told):
        sites.declare(git={"url": forge.url, "ref": "main", **git})


def test_an_equal_folder_and_commit_have_one_digest(sites: Sites, tmp_path: Path) -> None:
    """L1, S1: names, modes and bytes alone make a revision."""
    forge = Forge(tmp_path / "forge")
    sites.source = sites.another_source(tmp_path, volume_roots=(tmp_path,))
    forge.push({"public/index.html": "same", "public/deep/a.txt": "a"})
    sites.write({"index.html": "same", "deep/a.txt": "a"})
    one = sites.declare()
    other = sites.declare(git={"url": forge.url, "path": "public"})
    digests = {sites.revisions[each].config["frozen"]["digest"] for each in (one, other)}
    assert len(digests) == 1


def test_a_folder_out_of_the_manifests_has_to_be_allowed(sites: Sites, tmp_path: Path) -> None:
    """S4: also by way of `..` or of a link."""
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "index.html").write_text("outside")
    (sites.manifests / "link").symlink_to(outside)
    for directory in ("../outside", "link"):
        with pytest.raises(PluginConfigInvalid, match="out of the folder of the manifests"):
            sites.declare(directory=directory)
    with pytest.raises(VerbFailed, match="VOLUME_ROOTS"):
        sites.declare(directory=str(outside))
    sites.source = sites.another_source(tmp_path, volume_roots=(outside,))
    sites.publish(directory=str(outside))
    assert sites.page() == (200, b"outside")


SHELL = "while :; do nc -l -p 8080 -e httpd -i -h /site/current; done"


def test_a_web_server_of_somebodys_own(sites: Sites) -> None:
    """S1: with another command, which follows the link at each request; what it does not publish is not kept."""
    options = {"image": BUSYBOX, "command": ["sh", "-c", SHELL], "root": "/site"}
    sites.write({"index.html": "first"})
    sites.publish(**options)
    before = sites.server()["Id"]
    sites.write({"index.html": "second"})
    sites.publish(**options)
    assert wait_until(lambda: sites.page() == (200, b"second"), 10)
    assert sites.server()["Id"] == before


def test_a_web_server_that_does_not_answer(sites: Sites) -> None:
    """D8: told with its last words, and removed."""
    sites.write({"index.html": "first"})
    with pytest.raises(VerbFailed, match="its last lines: hello"):
        sites.publish(image=BUSYBOX, command=["sh", "-c", "echo hello; sleep 1; exit 3"])
    assert (sites.site.current(), sites.listed()) == ("", [])


STAGE = """
import json, os, signal, sys
from pathlib import Path
from controller.plugins.sources import static_tree
from controller.plugins.sources.static_releases import Site
from controller.plugins.contract import Revision

root, content = Path(sys.argv[1]), Path(sys.argv[2])
site, made = Site(root), 0
real = os.fsync

def killed(file):
    global made
    real(file)
    made += 1
    if made == 3:
        os.kill(os.getpid(), signal.SIGKILL)

os.fsync = killed
with site.locked(), site.incoming() as copy:
    static_tree.measure(static_tree.Folder(content), static_tree.Limits(100, 10**9), copy)
"""


def test_a_kill_in_the_middle_of_a_copy_leaves_nothing_visible(sites: Sites) -> None:
    """R19, D7, S1: the old release serves on, and staging again does all of it."""
    sites.write({"index.html": "first", **{f"{n}.txt": str(n) for n in range(20)}})
    sites.publish()
    sites.write({"index.html": "second"})
    second = sites.declare()
    killed = subprocess.run([sys.executable, "-c", STAGE, sites.site.root, sites.content], check=False)
    assert killed.returncode == -signal.SIGKILL
    assert len(list((sites.site.root / "incoming").iterdir())) == 1
    assert len(sites.site.releases()) == 1
    assert sites.page() == (200, b"first")
    sites.publish(second)
    assert sites.page() == (200, b"second")
    assert list((sites.site.root / "incoming").iterdir()) == []


def test_a_full_disk_while_copying(world: World, sqlite_url: str, tmp_path: Path) -> None:
    """F, D4: told as such; the old release serves on, and nothing half is left."""
    small = tmp_path / "sites"
    small.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", small], check=True)
    with contextlib.ExitStack() as stack:
        stack.callback(subprocess.run, ["umount", "--lazy", small], check=True)
        sites = stack.enter_context(contextlib.closing(Sites(world, sqlite_url, tmp_path)))
        sites.write({"index.html": "first"})
        sites.publish()
        sites.write({"big.bin": b"x" * 3_000_000})
        second = sites.declare()
        with pytest.raises(VerbFailed, match=r"blog-2.*No space left on device"):
            sites.source.stage(sites.read(), second)
        assert sites.page() == (200, b"first")
        assert len(sites.site.releases()) == 1
        sites.write({"big.bin": b"x" * 1_000_000})
        sites.publish()
        assert sites.page("/big.bin") == (200, b"x" * 1_000_000)


def test_names_that_are_no_utf8(sites: Sites) -> None:
    """S1: published byte for byte."""
    sites.write({"index.html": "first"})
    (sites.content / os.fsdecode(b"caf\xe9 & \n.txt")).write_text("odd")
    sites.publish()
    assert sites.page("/caf%E9%20%26%20%0A.txt") == (200, b"odd")


def test_a_digest_is_of_names_modes_and_bytes(tmp_path: Path) -> None:
    """L1: each of them makes another one; times do not."""
    limits, seen = Limits(100, 10**6), set()
    (tmp_path / "a").write_text("1")
    (tmp_path / "a").chmod(0o644)
    first = measure(Folder(tmp_path), limits).digest
    os.utime(tmp_path / "a", (1, 1))
    assert measure(Folder(tmp_path), limits).digest == first
    (tmp_path / "a").chmod(0o755)
    seen.add(measure(Folder(tmp_path), limits).digest)
    (tmp_path / "a").write_text("2")
    seen.add(measure(Folder(tmp_path), limits).digest)
    (tmp_path / "a").rename(tmp_path / "b")
    seen.add(measure(Folder(tmp_path), limits).digest)
    assert len(seen | {first}) == 4
    assert json.dumps(first)


def test_a_drain_that_is_cut_short_goes_on(sites: Sites, tmp_path: Path) -> None:
    """D7, D8, R3: the controller stops while a replaced release has its time; nothing is taken away before."""
    halt = threading.Event()
    sites.source = sites.another_source(tmp_path, halt=halt)
    sites.write({"index.html": "first"})
    first = sites.publish(drain_seconds=3_600)
    sites.write({"index.html": "second"})
    second = sites.declare()
    sites.source.stage(sites.read(), second)
    sites.source.warm(sites.read(), second)
    sites.weigh((second, 10_000))
    sites.source.apply_traffic_split(sites.read())
    halt.set()
    for _ in range(2):
        with pytest.raises(VerbFailed, match="the controller stops"):
            sites.source.drain(sites.read(), first)
    assert sites.page() == (200, b"second")
    assert len(sites.site.releases()) == 2


def test_a_server_that_may_not_be_healed_is_left_alone(sites: Sites, tmp_path: Path) -> None:
    """S5: its budget, or somebody, says no; that is told, and nothing is started."""
    asked: list[str] = []

    def permit(_workload: Workload, slot: str, why: str) -> Permission:
        asked.append(f"{slot}: {why}")
        return Permission(False, "held by somebody")

    sites.write({"index.html": "first"})
    sites.publish()
    sites.source = sites.another_source(tmp_path, permit=permit)
    assert sites.reconcile().result is Result.IN_SYNC
    assert asked == []
    _stop(sites)
    outcome = sites.reconcile()
    assert outcome.result is Result.DRIFT
    assert "is not healed: held by somebody" in outcome.message
    assert (len(asked), sites.server()["State"]["Status"]) == (1, "exited")
