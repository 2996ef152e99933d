"""A runtime config as nginx's configuration: complete, readable, the same for equal documents (T4, T5). Pure.

What can be in a document is decided by its loader; here every value is quoted all the same. How the file comes into
force is :mod:`controller.rollout.routers.nginx_process`.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby

from controller.rollout.faces import normal_path
from controller.rollout.routers.document import (
    Block,
    Face,
    RoutedWorkload,
    RouterDocument,
    address_of,
    ports_of,
)
from controller.rollout.routers.routing import cookie_name, cookie_value, routable, shares, short_name

BRAND_PATH = "/tallyd-brand"
"""On the status socket: tells which configuration answers."""
OLDEST_VERSION = (1, 19, 5)
"""The first that can be told where to log at once."""
KEPT_FRESH_SECONDS = 2
"""How long a reload spares a connection after its last request. The workers of before last that much longer."""

_KEEPS_FRESH_VERSION = (1, 27, 4)
_INDENT = "    "


@dataclass(frozen=True, slots=True)
class NginxOptions:
    """What is the same for every document. Times in seconds; names of files are relative to the router's folder.

    :param listen: where it listens, as nginx writes it: ``127.0.0.1:8080``, ``[::]:80``.
    :param hash_key: what a new session's revision is chosen by; the default is random for every request.
    :param behind_proxy: another proxy stands in front, whose ``X-Forwarded-*`` are passed on. Without it they are
        replaced, or a client could claim any address.
    :param drain_seconds: how long the requests of an old configuration may take to end.
    """

    listen: str = "127.0.0.1:8080"
    hash_key: str = "$request_id"
    behind_proxy: bool = False
    drain_seconds: int = 60
    connect_seconds: int = 5
    silence_seconds: int = 300
    largest_body_megabytes: int = 1024
    worker_connections: int = 4096
    workers: str = "auto"


@dataclass(frozen=True, slots=True)
class NginxBuild:
    """What one nginx can do, by its version and by what it was built with.

    ``keeps_fresh``: it does not close, at a reload, a kept connection that was in use a moment ago (nginx 1.27.4).
    ``counts``: it can tell how many connections it has.
    """

    version: tuple[int, ...] = OLDEST_VERSION
    counts: bool = True

    @property
    def keeps_fresh(self) -> bool:
        """Without it, a client that sends at that moment has to send again (RFC 9112, 9.3.1)."""
        return self.version >= _KEEPS_FRESH_VERSION


def build_of(told: str) -> NginxBuild:
    """What ``nginx -V`` tells."""
    number = re.search(r"nginx version: \S*?/(\d+)\.(\d+)\.(\d+)", told)
    return NginxBuild(tuple(map(int, number.groups())) if number else (), "http_stub_status_module" in told)


def render_nginx(
    document: RouterDocument, quarantined: Collection[str], options: NginxOptions, build: NginxBuild
) -> str:
    """The whole configuration. A workload in quarantine is answered with 503, what nobody declared with 404."""
    lines = [*_head(document, options), *_common(options, build)]
    for workload in document.workloads:
        if workload.id not in quarantined:
            lines += _split(workload, options)
    lines += _servers(document, quarantined, options)
    body = "\n".join(lines)
    return f"{body}\n{_status(brand(body), build)}}}\n"


def brand(text: str) -> str:
    """A short name of a configuration, by which it is known once it answers."""
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def brand_of(configuration: str) -> str:
    """The brand that a rendered configuration answers with."""
    return configuration.rpartition('return 200 "')[2].partition('"')[0]


def _head(document: RouterDocument, options: NginxOptions) -> list[str]:
    return [
        f"# Written by tallyd for host {_comment(document.host)}. Do not edit: the next change replaces it.",
        f"worker_processes {options.workers};",
        f"worker_rlimit_nofile {3 * options.worker_connections};",
        f"worker_shutdown_timeout {options.drain_seconds}s;",
        "pid nginx.pid;",
        "error_log error.log warn;",
        "",
        "events {",
        f"{_INDENT}worker_connections {options.worker_connections};",
        "}",
        "",
        "http {",
    ]


def _common(options: NginxOptions, build: NginxBuild) -> list[str]:
    forwarded_for = "$proxy_add_x_forwarded_for" if options.behind_proxy else "$remote_addr"
    kept = {"proto": "$scheme", "host": "$http_host", "port": "$server_port"}
    maps = [
        "map $http_upgrade $tallyd_connection { default upgrade; '' ''; }",
        *(
            f"map $http_x_forwarded_{name} $tallyd_{name} {{ default $http_x_forwarded_{name}; '' {own}; }}"
            for name, own in kept.items()
            if options.behind_proxy
        ),
    ]
    of = {name: f"$tallyd_{name}" for name in kept} if options.behind_proxy else kept
    settings = [
        "access_log off;",
        "server_tokens off;",
        "default_type text/plain;",
        "server_names_hash_bucket_size 512;",
        "server_names_hash_max_size 16384;",
        "map_hash_bucket_size 512;",
        "variables_hash_bucket_size 256;",
        "variables_hash_max_size 16384;",
        *(f"{name}_temp_path {name}_temp;" for name in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")),
        "",
        "# Towards visitors.",
        f"client_max_body_size {options.largest_body_megabytes}m;",
        "keepalive_timeout 75s;",
        *([f"keepalive_min_timeout {KEPT_FRESH_SECONDS}s;"] if build.keeps_fresh else []),
        "",
        "# Towards revisions. An idle connection is given up before an application would close it under a request.",
        "proxy_http_version 1.1;",
        "proxy_set_header Host $http_host;",
        "proxy_set_header Upgrade $http_upgrade;",
        "proxy_set_header Connection $tallyd_connection;",
        "proxy_set_header X-Real-IP $remote_addr;",
        f"proxy_set_header X-Forwarded-For {forwarded_for};",
        *(f"proxy_set_header X-Forwarded-{name.capitalize()} {value};" for name, value in of.items()),
        "proxy_set_header X-Request-Id $request_id;",
        f"proxy_connect_timeout {options.connect_seconds}s;",
        f"proxy_send_timeout {options.silence_seconds}s;",
        f"proxy_read_timeout {options.silence_seconds}s;",
        "proxy_next_upstream error timeout;",
        "proxy_next_upstream_tries 3;",
        f"proxy_next_upstream_timeout {2 * options.connect_seconds}s;",
        "proxy_redirect off;",
        *maps,
        "",
    ]
    return [f"{_INDENT}{each}" if each else "" for each in settings]


def _split(workload: RoutedWorkload, options: NginxOptions) -> Iterator[str]:
    """Upstreams, the choice for new sessions, and the cookies that are held to, of one workload."""
    short, cookie = short_name(workload.id), f"$cookie_{cookie_name(workload.id)}"
    there = [each for each in workload.blocks if routable(each)]
    yield (
        f"{_INDENT}# Workload {_comment(workload.id)}: split generation {workload.split_generation}, "
        f"stickiness epoch {workload.stickiness_epoch}."
    )
    for block in there:
        for port in (None, *ports_of(workload)):
            yield from _upstream(workload, block, port)
    parts = [(each.weight, _upstream_name(workload, each.block)) for each in shares(workload)]
    yield from _block(f"split_clients {_quoted(options.hash_key)} $new_{short}", _buckets(parts))
    values = {_upstream_name(workload, each): cookie_value(workload, each) for each in there}
    held = [f"{_quoted(value)} {name};" for name, value in values.items()]
    yield from _block(f"map {cookie} $to_{short}", [f"default $new_{short};", *held])
    known = [f"{_quoted(value)} '';" for value in values.values()]
    told = [
        f"{name} {_quoted(f'{cookie_name(workload.id)}={value}; Path=/; HttpOnly; SameSite=Lax')};"
        for name, value in values.items()
    ]
    yield from _block(f"map $new_{short} $cookie_for_{short}", ["default '';", *told])
    yield from _block(f"map {cookie} $set_{short}", [f"default $cookie_for_{short};", *known])
    yield ""


def _buckets(parts: Sequence[tuple[int, str]]) -> list[str]:
    """Lines of ``split_clients``. The last bucket is the rest, which is its weight, since the sum is 100 %."""
    if not parts:
        return ["* '';"]
    inner = [f"{weight // 100}.{weight % 100:02}% {name};" for weight, name in parts[:-1]]
    return [*inner, f"* {parts[-1][1]};"]


def _upstream(workload: RoutedWorkload, block: Block, port: int | None) -> Iterator[str]:
    notes = [f"weight {block.weight}", *(["draining"] if block.draining else [])]
    servers = [f"server {address_of(each, port)} max_fails=2 fail_timeout=2s;" for each in block.targets]
    yield from _block(
        f"upstream {_upstream_name(workload, block)}{_suffix(port)}",
        [
            f"# Revision {_comment(block.revision_id)}, {', '.join(notes)}.",
            *servers,
            "keepalive 32;",
            "keepalive_timeout 1s;",
        ],
    )


def _upstream_name(workload: RoutedWorkload, block: Block) -> str:
    return f"{short_name(workload.id)}.{short_name(block.revision_id)}"


def _suffix(port: int | None) -> str:
    """What is added to an upstream's name for another port of the same containers."""
    return "" if port is None else f".p{port}"


def _servers(document: RouterDocument, quarantined: Collection[str], options: NginxOptions) -> Iterator[str]:
    yield from _block(
        "server",
        [f"listen {options.listen} default_server;", "server_name _;", "return 404;"],
    )
    faces = sorted(
        ((face, each) for each in document.workloads for face in each.faces), key=lambda each: each[0].host
    )
    for host, group in groupby(faces, key=lambda each: each[0].host):
        locations: list[str] = []
        of_host: Mapping[str, tuple[Face, RoutedWorkload]] = {face.path: (face, each) for face, each in group}
        for _, (face, workload) in sorted(of_host.items(), key=lambda each: (-len(each[0]), each[0])):
            locations += _location(face, workload, quarantined=workload.id in quarantined)
        if "/" not in of_host:
            locations.append("location / { return 404; }")
        yield ""
        yield from _block("server", [f"listen {options.listen};", f"server_name {_quoted(host)};", *locations])


def _location(face: Face, workload: RoutedWorkload, *, quarantined: bool) -> Iterator[str]:
    """On segment boundaries: the path itself, and what is below it."""
    short, prefix = short_name(workload.id), normal_path(face.path)
    if quarantined:
        inside = ["return 503;"]
    else:
        inside = [
            f"if ($to_{short} = '') {{ return 503; }}",
            f"add_header Set-Cookie $set_{short};",
            f"proxy_pass http://${{to_{short}}}{_suffix(face.port)};",
        ]
    if prefix:
        yield from _lines(f"location = {_quoted(prefix)}", inside)
    yield from _lines(f"location ^~ {_quoted(f'{prefix}/')}", inside)


def _lines(head: str, inside: Sequence[str]) -> list[str]:
    return [f"{head} {{", *(f"{_INDENT}{each}" for each in inside), "}"]


def _block(head: str, inside: Sequence[str]) -> list[str]:
    return [f"{_INDENT}{each}" for each in _lines(head, inside)]


def _status(name: str, build: NginxBuild) -> str:
    inside = [
        "listen unix:status.sock;",
        f'location = {BRAND_PATH} {{ return 200 "{name}"; }}',
        *(["location = /status { stub_status; }"] if build.counts else []),
        "location / { return 404; }",
    ]
    return "\n".join(["", *_block("server", inside), ""])


def _quoted(text: str) -> str:
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'


def _comment(text: str) -> str:
    return "".join(each if each.isprintable() else "?" for each in text)
