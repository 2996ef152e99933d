"""A real nginx that was told by a runtime config: where requests go, and that none is lost on the way."""

from __future__ import annotations

import http.client
import json
import math
import os
import random
import shutil
import signal
import socket
import tempfile
import threading
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from time import monotonic
from typing import Any

import pytest

from controller.errors import RouterFailed
from controller.rollout.routers.document import RouterDocument, load_document
from controller.rollout.routers.nginx import NginxOptions, brand_of
from controller.rollout.routers.nginx_members import workers_of
from controller.rollout.routers.nginx_process import NginxRouter
from controller.rollout.routers.routing import HASH_SPACE, bounds, choose, cookie_name, hash_point, match, shares
from tests.builders import HOST
from tests.harness import require, wait_until
from tests.harness.nginx import newest_nginx
from tests.harness.wrk import Wrk
from tests.integration.backends import Backend, Load, Visitor, free_port
from tests.routers import block, document, key_with_hash, workload

BY_KEY = "$http_x_key"
COOKIE = cookie_name("shop")


@dataclass
class Site:
    """A router, its visitors and what is behind it."""

    folder: Path
    options: NginxOptions
    program: str = "nginx"
    backends: dict[str, Backend] = field(default_factory=dict)
    visitors: list[Visitor] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.router = NginxRouter(self.folder, self.options, monotonic, program=self.program)

    def block(self, name: str, weight: int, *, draining: bool = False) -> dict[str, Any]:
        """A revision with one container."""
        return block(name, weight, self.backend(name).port, draining=draining)

    def backend(self, name: str) -> Backend:
        """The container of that name, started when first asked for."""
        if name not in self.backends:
            self.backends[name] = Backend(name)
        return self.backends[name]

    def shop(self, weights: Mapping[str, int], *, epoch: int = 0) -> dict[str, Any]:
        """A workload on the root of a host of its own."""
        return workload("shop", ["shop.example/"], [self.block(*each) for each in weights.items()], epoch=epoch)

    def serve(self, *workloads: Mapping[str, Any]) -> RouterDocument:
        """Put this in force."""
        loaded, quarantined = load_document(json.dumps(document(*workloads)), HOST)
        self.router.apply(loaded, quarantined)
        return loaded

    def with_options(self, **changes: Any) -> NginxRouter:
        """Another who looks after the same nginx; nginx tries for 2.5 seconds to listen."""
        return NginxRouter(self.folder, replace(self.options, **changes), monotonic, in_force_seconds=4)

    @property
    def port(self) -> int:
        """Where it listens."""
        return int(self.options.listen.rpartition(":")[2])

    def visitor(self, host: str = "shop.example") -> Visitor:
        """Somebody new."""
        self.visitors.append(Visitor(self.port, host))
        return self.visitors[-1]

    def end(self) -> None:
        """Nothing of it is left."""
        for visitor in self.visitors:
            visitor.close()
        for backend in self.backends.values():
            backend.close()
        self.router.stop()
        shutil.rmtree(self.folder.parent)


@pytest.fixture
def make_site() -> Iterator[Callable[..., Site]]:
    """Sites; ended in the end."""
    require("nginx")
    made: list[Site] = []

    def make(program: str = "nginx", **options: Any) -> Site:
        # Not below pytest's folder, which nginx's workers may not enter.
        folder = Path(tempfile.mkdtemp(prefix="tallyd-nginx-"))
        folder.chmod(0o711)
        listen = f"127.0.0.1:{free_port()}"
        given = {"listen": listen, "drain_seconds": 5, "workers": "2", **options}
        made.append(Site(folder / "router", NginxOptions(**given), program))
        return made[-1]

    yield make
    for site in made:
        site.end()


@pytest.fixture
def site(make_site: Callable[..., Site]) -> Site:
    """One as it comes."""
    return make_site()


def test_requests_are_routed_as_the_pure_rules_say(site: Site) -> None:
    """T4, T5: host and path, by the same cases for nginx and for `match`."""
    faces = {
        "root": ["shop.example/", "other.example/x"],
        "api": ["shop.example/api"],
        "deep": ["shop.example/api/v1", "shop.example/a(b)&c=d,e+f~@:!"],
        "wild": ["*.example/", "*.shop.example/api"],
        "accents": ["shop.example/café"],
    }
    served = site.serve(*(workload(name, each, [site.block(name, 10_000)]) for name, each in faces.items()))
    paths = ["/", "/api", "/api/", "/api/v2?x=/..", "/apis", "/API", "/api/v1", "/api/v1/x", "/api/v10", "/x", "/x/y"]
    paths += ["/a(b)&c=d,e+f~@:!/x", "/a(b)"]
    hosts = ["shop.example", "SHOP.Example:8080", "shop.example.", "other.example", "a.shop.example", "third.example"]
    hosts += ["a.b.shop.example", "example", "nowhere.test", "127.0.0.1"]
    for host in hosts:
        visitor = site.visitor(host)
        for path in paths:
            wanted = match(served, host, path.partition("?")[0])
            told = visitor.get(path)
            assert told.status == (200 if wanted else 404), (host, path)
            if wanted:
                assert (told.name, told.json["path"]) == (wanted.id, path)
    assert site.visitor().get("/caf%C3%A9/au").name == "accents"
    assert site.visitor().get("/%61pi/x").json["path"] == "/%61pi/x"
    assert site.visitor().get("/x/../api/x").name == "api"
    assert site.visitor().get("/api%2Fv1").name == "deep"


def test_the_bounds_of_nginx_are_ours_to_the_hash_point(make_site: Callable[..., Site]) -> None:
    """T4: on either side of each bound, by keys made for that point: so weights are exact on nginx, too."""
    site = make_site(hash_key=BY_KEY)
    weights = {"a": 1, "b": 3_332, "c": 0, "d": 6_000, "e": 665, "f": 2}
    served = site.serve(site.shop(weights))
    parts = shares(served.workloads[0])
    ends = bounds([each.weight for each in parts])
    visitor = site.visitor()
    edges = {point for end in ends for point in (end - 1, end % HASH_SPACE)}
    for point in sorted(edges):
        chosen = choose(parts, point)
        assert chosen is not None
        assert visitor.get(X_Key=key_with_hash(point)).name == chosen.revision_id
    assert {choose(parts, end - 1).revision_id for end in ends} == set(weights) - {"c"}  # type: ignore[union-attr]


def test_the_hash_of_nginx_is_ours(make_site: Callable[..., Site]) -> None:
    """T4: keys of each length, an empty one included."""
    site = make_site(hash_key=BY_KEY)
    served = site.serve(site.shop({f"r{each}": 500 for each in range(20)}))
    parts = shares(served.workloads[0])
    visitor, chance = site.visitor(), random.Random(7)
    keys = ["".join(chance.choices("abcdefgh01234567", k=length)) for length in range(41) for _ in range(10)]
    for key in keys:
        chosen = choose(parts, hash_point(key.encode()))
        assert chosen is not None
        assert visitor.get(X_Key=key).name == chosen.revision_id


def test_new_visitors_are_split_by_weight(site: Site) -> None:
    """T4: 3,000 requests without a cookie, by nginx's own random key; six standard deviations are allowed."""
    weights = {"a": 7_000, "b": 2_500, "c": 500, "d": 0}
    site.serve(site.shop(weights))
    visitor, many = site.visitor(), 3_000
    counted = Counter(visitor.get().name for _ in range(many))
    assert "d" not in counted
    for name, weight in weights.items():
        share = weight / 10_000
        assert abs(counted[name] - many * share) <= 6 * math.sqrt(many * share * (1 - share))


def test_a_session_sticks(make_site: Callable[..., Site]) -> None:
    """T4: the cookie of the first answer decides all others, whatever the key, and is not set again."""
    site = make_site(hash_key=BY_KEY)
    site.serve(site.shop({"a": 5_000, "b": 5_000}, epoch=2))
    visitor = site.visitor()
    for point, name in ((0, "a"), (HASH_SPACE - 1, "b")):
        first = visitor.get(X_Key=key_with_hash(point))
        assert (first.name, first.cookie) == (name, f"{COOKIE}=2.{name}")
        assert first.headers["set-cookie"].endswith("; Path=/; HttpOnly; SameSite=Lax")
        for other in (0, HASH_SPACE // 3, HASH_SPACE - 1):
            again = visitor.get(cookie=f"x=1; {first.cookie}; y=2", X_Key=key_with_hash(other))
            assert (again.name, again.cookie) == (name, "")


def test_a_session_ends_with_its_epoch_or_its_revision(site: Site) -> None:
    """T4: weight 0 and draining keep it, another epoch and a revision without targets do not."""
    blocks = [
        site.block("new", 10_000),
        site.block("old", 0),
        site.block("draining", 0, draining=True),
        block("gone", 0),
    ]
    site.serve(workload("shop", ["shop.example/"], blocks, epoch=3))
    visitor = site.visitor()
    for value, wanted in {
        "3.old": "old",
        "3.draining": "draining",
        "2.old": "new",
        "3.gone": "new",
        "~": "new",
    }.items():
        told = visitor.get(cookie=f"{COOKIE}={value}")
        assert (told.name, bool(told.cookie)) == (wanted, wanted == "new")


def test_a_workload_where_all_drain_takes_no_new_session(site: Site) -> None:
    """T4: 503 for who is new, and the revision for who is there."""
    site.serve(workload("shop", ["shop.example/"], [site.block("r", 10_000, draining=True)]))
    assert site.visitor().get().status == 503
    assert site.visitor().get(cookie=f"{COOKIE}=0.r").name == "r"


def test_a_workload_in_quarantine_is_unavailable_and_nobody_else_is(site: Site) -> None:
    """T3: its faces are answered with 503, also where another workload's face lies above."""
    broken = workload("api", ["shop.example/api"], [block("r", 10_000)])
    site.serve(site.shop({"a": 10_000}), broken)
    assert site.visitor().get("/api/x").status == 503
    assert site.visitor().get("/apis").name == "a"


@pytest.mark.parametrize("program", [lambda: "nginx", newest_nginx], ids=["distribution", "newest"])
def test_twenty_reloads_drop_no_request(make_site: Callable[..., Site], program: Callable[[], str]) -> None:
    """T5, T6: kept-alive and fresh connections under steady load; each new configuration is in force at once."""
    site = make_site(program())
    site.serve(site.shop({"a": 10_000}))
    load = Load(site.port, kept_alive=3, fresh=2)
    for number in range(20):
        name = f"r{number % 3}"
        site.serve(site.shop({name: 10_000}, epoch=number))
        assert site.visitor().get().name == name
        seen = load.total
        wait_until(lambda seen=seen: load.total > seen + 10, what="the load goes on")  # type: ignore[misc]
    load.stop()
    assert load.trouble == []
    assert set(load.answered) == {"a", "r0", "r1", "r2"}


def test_a_kept_connection_that_is_in_use_outlives_a_reload(make_site: Callable[..., Site]) -> None:
    """T5, T6: with an nginx that can spare it (1.27.4); wrk, which never sends a request again, misses none."""
    site = make_site(newest_nginx())
    site.serve(site.shop({"a": 10_000}))
    wrk, load = Wrk(site.port, "shop.example", keep=True, connections=4), Load(site.port, kept_alive=1, fresh=0)
    for number in range(20):
        site.serve(site.shop({f"r{number % 3}": 10_000}, epoch=number))
        seen = load.total
        wait_until(lambda seen=seen: load.total > seen + 10, what="the load goes on")  # type: ignore[misc]
    load.stop()
    account = wrk.stop()
    assert account.requests > load.total
    assert account.lost == 0


def test_a_revision_is_drained_and_taken_away_under_load(site: Site) -> None:
    """T5, T6: split moved, old one drained, then told to nobody, then stopped: no request is lost."""
    old, new = site.block("old", 10_000), site.block("new", 10_000)
    site.serve(workload("shop", ["shop.example/"], [old]))
    load = Load(site.port, kept_alive=3, fresh=2)
    wait_until(lambda: load.answered.get("old", 0) > 20, what="the old one is used")
    drained = {**old, "weight": 0, "draining": True}
    for blocks in ([new, {**old, "weight": 0}], [new, drained], [new]):
        site.serve(workload("shop", ["shop.example/"], blocks))
    wait_until(lambda: len(_workers(site)) == 2, what="the workers of old configurations ended")
    site.backends.pop("old").close()
    seen = load.answered["new"]
    wait_until(lambda: load.answered["new"] > seen + 50, what="the new one is used")
    load.stop()
    assert load.trouble == []


def test_a_request_in_flight_outlives_a_reload(site: Site) -> None:
    """T5: the old configuration ends it, while the new one serves."""
    site.serve(site.shop({"a": 10_000}))
    answers: list[str] = []
    slow = threading.Thread(target=lambda: answers.append(site.visitor().get("/slow").name), daemon=True)
    slow.start()
    assert site.backend("a").holding.wait(10)
    site.serve(site.shop({"b": 10_000}))
    assert site.visitor().get().name == "b"
    site.backend("a").release.set()
    slow.join(10)
    assert answers == ["a"]


def test_the_drain_window_has_an_end(make_site: Callable[..., Site]) -> None:
    """T5: who holds on to an old configuration for longer is cut off."""
    site = make_site(drain_seconds=1)
    site.serve(site.shop({"a": 10_000}))
    ended: list[BaseException] = []

    def wait_for_ever() -> None:
        try:
            site.visitor().get("/slow")
        except (OSError, http.client.HTTPException) as error:
            ended.append(error)

    slow = threading.Thread(target=wait_for_ever, daemon=True)
    slow.start()
    assert site.backend("a").holding.wait(10)
    site.serve(site.shop({"b": 10_000}))
    slow.join(20)
    assert len(ended) == 1
    wait_until(lambda: len(_workers(site)) == 2, what="the old workers ended")


def _workers(site: Site) -> list[int]:
    return sorted(workers_of(site.router.pid or 0))


def test_a_refused_configuration_changes_nothing(site: Site) -> None:
    """T5: nginx's own test comes first; the last good one goes on, on disk and in force."""
    served = site.serve(site.shop({"a": 10_000}))
    before, pid = site.router.configuration, site.router.pid
    with pytest.raises(RouterFailed, match=r"unknown .*no_such_variable"):
        site.with_options(hash_key="$no_such_variable").apply(served, ())
    assert (site.router.configuration, site.router.pid) == (before, pid)
    assert site.router.answers() == brand_of(before)
    assert site.visitor().get().name == "a"
    assert not (site.folder / "nginx.conf.new").exists()


def test_a_reload_that_nginx_gives_up_changes_nothing(site: Site) -> None:
    """T5: what passes the test and then cannot be done, such as a port that is taken."""
    served = site.serve(site.shop({"a": 10_000}))
    before = site.router.configuration
    with socket.create_server(("127.0.0.1", 0)) as taken:
        other = site.with_options(listen=f"127.0.0.1:{taken.getsockname()[1]}")
        with pytest.raises(RouterFailed, match="in use"):
            other.apply(served, ())
    assert site.router.configuration == before
    assert site.visitor().get().name == "a"
    assert site.router.apply(served, ()) is False


def test_equal_documents_reload_nothing(site: Site) -> None:
    """T5: nothing is done where nothing has to be."""
    served = site.serve(site.shop({"a": 10_000}))
    workers = _workers(site)
    assert site.router.apply(served, ()) is False
    assert _workers(site) == workers


def test_a_port_that_is_taken_is_told(make_site: Callable[..., Site]) -> None:
    """T5: nginx's own words, and no configuration that was never good is left."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        site = make_site(listen=f"127.0.0.1:{taken.getsockname()[1]}")
        with pytest.raises(RouterFailed, match="in use"):
            site.serve()
    assert site.router.pid is None


def test_nginx_that_is_missing_is_told(site: Site) -> None:
    """T5: and what to install."""
    router = NginxRouter(site.folder, site.options, monotonic, program="nginx-that-is-missing")
    site.folder.mkdir()
    for attempt in (router.check_program, lambda: router.apply(load_document(json.dumps(document()), HOST)[0], ())):
        with pytest.raises(RouterFailed, match=r"is not installed; install nginx 1\.19\.5 or later"):
            attempt()


def test_nginx_that_is_too_old_is_told(site: Site) -> None:
    """T5: before it fails in a way that nobody understands; the real one is new enough."""
    site.folder.mkdir()
    site.router.check_program()
    old = site.folder / "old-nginx"
    old.write_text("#!/bin/sh\necho 'nginx version: nginx/1.18.0 (Ubuntu)' >&2\necho 'built with: x' >&2\n")
    old.chmod(0o755)
    with pytest.raises(RouterFailed, match=r"nginx/1\.18\.0 \(Ubuntu\) is too old"):
        NginxRouter(site.folder, site.options, monotonic, program=str(old)).check_program()


def test_a_folder_that_workers_cannot_enter_is_told(site: Site) -> None:
    """T5: rather than bodies that cannot be buffered, one day."""
    require("root")
    site.folder.parent.chmod(0o700)
    with pytest.raises(RouterFailed, match=f"chmod o\\+x {site.folder.parent}"):
        site.serve(site.shop({"a": 10_000}))


def test_a_killed_nginx_is_started_again(site: Site) -> None:
    """T5: master and workers gone, its socket left behind."""
    served = site.serve(site.shop({"a": 10_000}))
    _kill(site)
    assert (site.folder / "status.sock").exists()
    assert site.router.apply(served, ()) is True
    assert site.visitor().get().name == "a"


def test_workers_whose_master_was_killed_give_way(site: Site) -> None:
    """T5: they hold on to the port, and to an old configuration."""
    site.serve(site.shop({"a": 10_000}))
    _kill(site, workers=False)
    assert site.visitor().get().name == "a"
    site.serve(site.shop({"b": 10_000}))
    assert site.visitor().get().name == "b"


def _kill(site: Site, *, workers: bool = True) -> None:
    master = site.router.pid
    assert master is not None
    members = [master, *(_workers(site) if workers else [])]
    for each in members:
        os.kill(each, signal.SIGKILL)
    wait_until(lambda: site.router.pid is None, what="nginx is gone")
    wait_until(lambda: not any(_alive(each) for each in members), what="its workers are gone")


def _alive(pid: int) -> bool:
    try:
        return bool(Path(f"/proc/{pid}/cmdline").read_bytes())
    except OSError:
        return False


def test_nobody_drops_out_when_a_container_does(site: Site) -> None:
    """T5: a target that refuses connections is passed over for another of the same revision."""
    one = block("r", 10_000, free_port(), site.backend("r").port, free_port())
    site.serve(workload("shop", ["shop.example/"], [one]))
    visitor = site.visitor()
    assert {visitor.get(method=method, body=b"x").name for method in ("GET", "POST") * 20} == {"r"}


def test_what_an_application_learns_of_its_visitor(make_site: Callable[..., Site]) -> None:
    """T5: a visitor cannot forge it, unless a proxy in front is trusted to have seen to it."""
    forged = {
        "X_Forwarded_For": "6.6.6.6",
        "X_Forwarded_Proto": "https",
        "X_Forwarded_Host": "evil",
        "X_Real_IP": "6",
    }
    wanted = {
        False: ("127.0.0.1", "http", "shop.example", "127.0.0.1"),
        True: ("6.6.6.6, 127.0.0.1", "https", "evil", "127.0.0.1"),
    }
    for behind_proxy, told in wanted.items():
        site = make_site(behind_proxy=behind_proxy)
        site.serve(site.shop({"a": 10_000}))
        headers = {name.lower(): value for name, value in site.visitor().get(**forged).json["headers"].items()}
        names = ("x-forwarded-for", "x-forwarded-proto", "x-forwarded-host", "x-real-ip")
        assert tuple(headers[name] for name in names) == told
        assert headers["host"] == "shop.example"
        assert len(headers["x-request-id"]) == 32


def test_a_large_body_passes(site: Site) -> None:
    """T5: one that nginx has to put on disk, as whatever user its workers are."""
    site.serve(site.shop({"a": 10_000}))
    assert site.visitor().get(method="POST", body=b"x" * 3_000_000).json["read"] == 3_000_000


def test_a_connection_can_be_upgraded(site: Site) -> None:
    """T5: as websockets are."""
    site.serve(site.shop({"a": 10_000}))
    with socket.create_connection(("127.0.0.1", site.port), timeout=10) as connection:
        asked = "GET /ws HTTP/1.1\r\nHost: shop.example\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\n"
        connection.sendall(asked.encode())
        answer = b""
        while b"\r\n\r\n" not in answer:
            answer += connection.recv(4096)
        assert answer.startswith(b"HTTP/1.1 101 ")
        connection.sendall(b"hello\n")
        answer = answer.partition(b"\r\n\r\n")[2]
        while received := connection.recv(4096):
            answer += received
    assert answer == b"HELLO\n"


def test_many_workloads_with_the_longest_names(site: Site) -> None:
    """T5: nginx's tables are large enough for 300 workloads, hosts of 253 characters and four revisions each."""
    long = ".".join(["a" * 63, "b" * 63, "c" * 63, "d" * 50])
    many = [
        workload(
            f"{'w' * 58}-{number:04}",
            [f"h{number:03}.{long}/{'p' * 200}", f"*.w{number:03}.{long}/"],
            [block(f"{'r' * 150}-{each}", 2_500, 1 + each) for each in range(4)],
            epoch=2**62,
        )
        for number in range(300)
    ]
    site.serve(*many, site.shop({"a": 10_000}))
    assert site.visitor().get().name == "a"


def test_workloads_that_differ_in_case_alone(site: Site) -> None:
    """T4, T5: each has its own revisions, and its own sessions."""
    for name in ("shop", "Shop"):
        site.backend(name)
    faces = {"shop": "shop.example/", "Shop": "shop.example/x"}
    site.serve(*(workload(name, [face], [site.block(name, 10_000)]) for name, face in faces.items()))
    told = [site.visitor().get(path) for path in ("/", "/x")]
    assert [each.name for each in told] == ["shop", "Shop"]
    assert len({each.cookie.partition("=")[0] for each in told}) == 2


def test_nothing_declared_is_not_found(site: Site) -> None:
    """T4: with an empty document every request is answered, with 404."""
    site.serve()
    assert [site.visitor(host).get("/x").status for host in ("shop.example", "127.0.0.1")] == [404, 404]


def test_stopping_ends_requests_first(site: Site) -> None:
    """T5: a request in flight is answered before nginx ends."""
    site.serve(site.shop({"a": 10_000}))
    answers: list[str] = []
    slow = threading.Thread(target=lambda: answers.append(site.visitor().get("/slow").name), daemon=True)
    slow.start()
    assert site.backend("a").holding.wait(10)
    stopping = threading.Thread(target=site.router.stop, daemon=True)
    stopping.start()
    site.backend("a").release.set()
    stopping.join(20)
    slow.join(10)
    assert answers == ["a"]
    assert site.router.pid is None
    site.router.stop()


def test_a_face_with_a_port_leads_to_that_port(site: Site) -> None:
    """T4, S1: of the revision that the session is on, whichever face it came by first."""
    blocks = [site.block("a", 5_000), site.block("b", 5_000)]
    for each in blocks:
        each["targets"][0]["ports"] = {"9090": site.backend(f"{each['revision_id']}-admin").port}
    shop = workload("shop", ["shop.example/", "shop.example/admin"], blocks)
    shop["faces"][1]["port"] = 9090
    site.serve(shop)
    for _ in range(10):
        first = site.visitor().get()
        other = site.visitor().get("/admin/x", cookie=first.cookie)
        assert (other.name, other.cookie, other.json["path"]) == (f"{first.name}-admin", "", "/admin/x")
    assert site.visitor().get("/admin").name in ("a-admin", "b-admin")
