"""The command line as people and scripts use it: commands, exit codes, streams, settings."""

from __future__ import annotations

import contextlib
import os
import pty
import re
import signal
import socket
import sqlite3
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import yaml
from typer.main import get_command

from controller.cli.main import app
from controller.errors import SettingInvalid
from controller.http.server import HttpServer
from store.records import MISSING
from tests.fakes import FakeDocker
from tests.harness import Engine, PrivatePostgres, World, wait_until
from tests.integration.console import Console, Finished, Tallyd, settings_of
from tests.integration.passes import Passes, contents

NOWHERE = "unix:///nonexistent/docker.sock"
COMMANDS = {
    "run",
    "tick",
    "plan",
    "ps",
    "explain",
    "doctor",
    "migrate",
    "workload",
    "workload apply",
    "workload list",
    "workload get",
    "workload delete",
    "workload adopt",
    "host",
    "host list",
    "host accept",
    "conformance",
}
PS_KEYS = {
    "id",
    "host",
    "workload_id",
    "workload_kind",
    "role",
    "container_id",
    "name",
    "image_ref",
    "state",
    "health",
    "port",
    "last_seen_at",
    "stale",
}
TICK_KEYS = {
    "outcome",
    "listed",
    "matched",
    "ignored",
    "inserted",
    "updated",
    "unchanged",
    "missing",
    "recovered",
    "unreadable",
    "plugins",
    "duration_seconds",
    "errors",
}


@pytest.fixture(scope="module")
def console() -> Iterator[Console]:
    """The console script."""
    with contextlib.closing(Console()) as started:
        yield started


@pytest.fixture
def offline(console: Console, sqlite_url: str, tmp_path: Path) -> Tallyd:
    """`tallyd` where there is no engine, on a store that does not exist yet."""
    return Tallyd(console, tmp_path, settings_of(NOWHERE, sqlite_url, tmp_path))


@pytest.fixture
def tallyd(console: Console, engine: Engine, world: World, sqlite_url: str, tmp_path: Path) -> Tallyd:
    """`tallyd` on the shared engine, with this test's label prefix."""
    settings = settings_of(engine.endpoint, sqlite_url, tmp_path, TALLYD_LABEL_PREFIX=world.prefix)
    return Tallyd(console, tmp_path, settings)


def refused(done: Finished, exit_code: int, *told: str) -> None:
    """It ended with this code, said each of these on stderr, and gave no data."""
    assert done.expect(exit_code).stdout == ""
    assert [text for text in told if text not in done.stderr] == [], done.stderr


def plain(text: str) -> str:
    """Text without the frames and line breaks that boxes and widths put in."""
    return re.sub(r"[\s│╭╮╰╯─]+", " ", text)


# Commands and usage


def test_every_command_has_its_help(offline: Tallyd) -> None:
    """O1: each command and group tells what it does, on stdout, and exits 0."""
    root = get_command(app)
    groups = {name: command for name, command in root.commands.items() if hasattr(command, "commands")}  # type: ignore[attr-defined]
    nested = {f"{group} {name}" for group, command in groups.items() for name in command.commands}
    commands = set(root.commands) | nested  # type: ignore[attr-defined]
    assert commands >= COMMANDS
    for command in sorted(commands):
        done = offline.ok(*command.split(), "--help")
        assert f"Usage: tallyd {command} " in done.stdout
        assert len(plain(done.stdout)) > 120
        assert done.stderr == ""


def test_the_script_itself(offline: Tallyd) -> None:
    """O1: version, help and completion of the executed script; nothing asked is a usage error."""
    assert re.fullmatch(r"tallyd \d+\.\d+\.\d+\S*\n", offline("--version", executed=True).expect(0).stdout)
    assert "tallyd doctor" in plain(offline.ok("--help").stdout)
    completion = offline.with_settings(_TALLYD_COMPLETE="source_bash")()
    assert "complete -o default -F _tallyd_completion tallyd" in completion.stdout
    assert "Commands" in plain(offline().expect(2).stdout + offline().stderr)


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["tock"], "No such command 'tock'"),
        (["ps", "--stat", "running"], "No such option: --stat"),
        (["ps", "--output", "xml"], "'table', 'json', 'yaml'"),
        (["explain"], "Missing argument"),
        (["workload", "apply"], "Missing option '--file' / '-f'"),
        (["workload", "get"], "Missing argument"),
        (["run", "--interval-seconds", "often"], "Invalid value for '--interval-seconds'"),
    ],
)
def test_what_makes_no_sense_is_a_usage_error(offline: Tallyd, arguments: list[str], told: str) -> None:
    """O1: exit 2, the reason on stderr, nothing on stdout, nothing done."""
    done = offline(*arguments)
    refused(done, 2)
    assert told in plain(done.stderr)
    assert "--help" in done.stderr or "-h" in done.stderr
    assert not Path(offline.environment["TALLYD_DATABASE_URL"].removeprefix("sqlite:///")).exists()


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({"TALLYD_DATABSE_URL": "x"}, ["TALLYD_DATABSE_URL is not a setting", "did you mean TALLYD_DATABASE_URL?"]),
        ({"TALLYD_HOST_FIEL": "x"}, ["TALLYD_HOST_FIEL is not a setting", "TALLYD_HOST"]),
        ({"TALLYD_INTERVAL_SECONDS": "often"}, ["TALLYD_INTERVAL_SECONDS", "'often'", "number"]),
        ({"TALLYD_INTERVAL_SECONDS": "nan"}, ["TALLYD_INTERVAL_SECONDS", "nan"]),
        ({"TALLYD_HOST": "my host"}, ["TALLYD_HOST", "'my host'"]),
        ({"TALLYD_LISTEN": "127.0.0.1:70000"}, ["TALLYD_LISTEN", "'127.0.0.1:70000'", "port 0 to 65535"]),
        ({"TALLYD_LOG_LEVEL": "loud"}, ["TALLYD_LOG_LEVEL", "'loud'", "'debug', 'info', 'warning' or 'error'"]),
        ({"TALLYD_LABEL_PREFIX": "Not OK"}, ["TALLYD_LABEL_PREFIX", "'Not OK'"]),
        ({"TALLYD_API_TOKEN": "hunter2"}, ["TALLYD_API_TOKEN", "16"]),
        ({"TALLYD_HOST_FILE": "/nonexistent"}, ["TALLYD_HOST_FILE", "'/nonexistent'", "No such file"]),
        ({"TALLYD_LISTEN_FILE": "/dev/null"}, ["TALLYD_LISTEN", "TALLYD_LISTEN_FILE", "both set"]),
        ({"DOCKER_HOST": "ssh://box"}, ["DOCKER_HOST", "'ssh://box'", "unix:///path/to/socket"]),
        ({"DOCKER_HOST": "tcp://box:2376", "DOCKER_CERT_PATH": "/nonexistent"}, ["DOCKER_CERT_PATH", "ca.pem"]),
    ],
)
def test_a_wrong_setting_is_named(offline: Tallyd, settings: dict[str, str], told: list[str]) -> None:
    """O2: the setting, its value, what is allowed and the nearest name; secrets are never shown (O6)."""
    done = offline.with_settings(**settings)("tick")
    refused(done, 2, *told)
    assert "hunter2" not in done.stderr


@pytest.mark.parametrize(
    ("url", "told"),
    [
        ("mysql://me:hunter2@server/db", ["'mysql'", "sqlite, postgresql"]),
        ("postgresql://me:hunter2@server:port/db", ["cannot be read", "sqlite:////path/to/file.db"]),
        ("nonsense", ["cannot be read", "postgresql://user@host/database"]),
        ("sqlite:////proc/nowhere/tallyd.db", ["/proc/nowhere"]),
        ("postgresql://me:hunter2@/db?host=/nonexistent", ["postgresql", "/nonexistent"]),
    ],
)
def test_a_store_that_cannot_be_used_is_named(offline: Tallyd, url: str, told: list[str]) -> None:
    """O2, O6: what is wrong with it and what is allowed, and never the password in it."""
    done = offline.with_settings(TALLYD_DATABASE_URL=url)("tick")
    assert done.exit_code in (1, 2)
    refused(done, done.exit_code, *told)
    assert "hunter2" not in done.stderr


def test_where_a_setting_comes_from(offline: Tallyd, tmp_path: Path) -> None:
    """O2: flags before environment before controller config before defaults; each variable also as _FILE."""
    (tmp_path / "name").write_text("from-file\n")
    config = tmp_path / "tallyd.yaml"
    config.write_text("host: from-config\ninterval_seconds: 7\n")
    base = offline.with_settings(TALLYD_HOST=None, TALLYD_CONFIG=str(config))

    def seen(tallyd: Tallyd, *flags: str) -> str:
        found: list[dict[str, str]] = tallyd(*flags, "doctor", "--output", "json").json
        return next(each["detail"] for each in found if each["check"] == "settings")

    assert f"host from key host of {config}" in seen(base)
    assert f"interval_seconds from key interval_seconds of {config}" in seen(base)
    assert "host from TALLYD_HOST," in seen(base.with_settings(TALLYD_HOST="from-variable"))
    file = base.with_settings(TALLYD_HOST_FILE=str(tmp_path / "name"))
    assert "host from TALLYD_HOST_FILE" in seen(file)
    assert "host from --host" in seen(base.with_settings(TALLYD_HOST="from-variable"), "--host", "from-flag")
    with FakeDocker() as fake:
        for tallyd, flags in ((base, ()), (file, ()), (file, ("--host", "from-flag"))):
            tallyd.with_settings(DOCKER_HOST=fake.endpoint).ok(*flags, "tick")
    hosts = base.ok("host", "list", "--output", "json").json
    assert [host["id"] for host in hosts] == ["from-config", "from-file", "from-flag"]
    assert {host["interval_seconds"] for host in hosts} == {7}

    config.write_text("interval: 7\n")
    refused(base("ps"), 2, str(config), "interval is not a setting", "did you mean interval_seconds?")
    config.write_text("- 7\n")
    refused(base("ps"), 2, str(config), "list", "mapping of settings")
    config.write_text("host: [\n")
    refused(base("ps"), 2, str(config), "tallyd.yaml:2: not YAML")
    config.unlink()
    assert "host from" not in seen(base)


# The index


def test_a_tick_reports_in_each_form(tallyd: Tallyd, world: World) -> None:
    """O1, O7: the report's keys; table, JSON and YAML on stdout; a failed pass exits 1 and says why on stderr."""
    tallyd.apply({"id": "web", "kind": "site", "source": {"kind": "report"}, "trigger": {"kind": "manual"}})
    label = f"{world.prefix}.workload.id"
    world.run(labels={label: "web"})
    world.create(labels={label: "wed"})
    world.create(labels={label: "web", "broken": "\0"})
    report = tallyd.tick()
    assert report.keys() >= TICK_KEYS
    assert (report["outcome"], report["inserted"], report["matched"], report["unreadable"]) == ("complete", 1, 1, 1)
    assert report["ignored"]["unknown_workload"] == 1
    assert report["plugins"] == {"in_sync": 1}
    assert report["listed"] >= 3
    assert report["errors"] == []
    same = yaml.safe_load(tallyd.ok("tick", "--output", "yaml").stdout)
    assert (same.keys(), same["unchanged"]) == (report.keys(), 1)
    table = tallyd.ok("tick").stdout
    assert f"{report['listed']} seen, 1 unreadable" in table
    assert "ignored: 1 unknown_workload" in table
    assert "web: in_sync" in table

    down = tallyd.with_settings(DOCKER_HOST=NOWHERE)
    refused(down("tick"), 1, "there is no socket at unix:///nonexistent/docker.sock")
    failed = down("tick", "--output", "json").expect(1).json
    assert (failed["outcome"], failed["inserted"], failed["missing"]) == ("listing_failed", 0, 0)
    assert "no socket" in failed["errors"][0]
    assert {row["state"] for row in tallyd.ps()} == {"running"}


def test_a_plan_shows_what_a_tick_would_do_and_writes_nothing(tallyd: Tallyd, world: World, sqlite_url: str) -> None:
    """O1: exit 3 while there is drift, 0 after the tick, the store unchanged either way."""
    refused(tallyd("plan"), 1, "tallyd migrate")
    assert not Path(sqlite_url.removeprefix("sqlite:///")).exists()
    tallyd.apply({"id": "app", "kind": "stack"}, {"id": "web", "kind": "site"})
    labels = {role: {f"{world.prefix}.workload.id": "app", f"{world.prefix}.role": role} for role in "abc"}
    made = {role: world.create(labels=labels[role]) for role in "abc"}

    def planned(exit_code: int) -> dict[str, tuple[str, str]]:
        before = contents(sqlite_url)
        done = tallyd("plan", "--output", "json").expect(exit_code)
        table = tallyd("plan").expect(exit_code)
        assert contents(sqlite_url) == before
        assert done.json["drift"] is bool(done.json["changes"]) is bool(exit_code)
        assert [line.split()[1] for line in table.stdout.splitlines()] == [
            each["id"] for each in done.json["changes"]
        ]
        verdict = f"{len(done.json['changes'])} change(s)" if exit_code else "no drift"
        assert verdict in table.stderr
        return {each["id"]: (each["action"], each["detail"]) for each in done.json["changes"]}

    assert {row_id: action for row_id, (action, _) in planned(3).items()} == dict.fromkeys(
        ("app:a", "app:b", "app:c"), "insert"
    )
    assert tallyd.tick()["inserted"] == 3
    assert planned(0) == {}
    world.rm(made["a"])
    world.rename(made["b"], f"{world.prefix}-renamed")
    drift = planned(3)
    assert {row_id: action for row_id, (action, _) in drift.items()} == {"app:a": "miss", "app:b": "update"}
    assert f"'{world.prefix}-renamed'" in drift["app:b"][1]
    assert made["a"][:12] in drift["app:a"][1]
    tallyd.tick()
    world.create(labels=labels["a"])
    assert {row_id: action for row_id, (action, _) in planned(3).items()} == {"app:a": "recover"}
    tallyd.tick()
    assert planned(0) == {}
    refused(tallyd.with_settings(DOCKER_HOST=NOWHERE)("plan"), 1, "no socket")


def test_ps_shows_the_index_trouble_first(tallyd: Tallyd, world: World) -> None:
    """O1, O7, R21: order, filters, keys and forms."""
    refused(tallyd("ps"), 1, "there is no store", "tallyd migrate")
    tallyd.apply({"id": "app", "kind": "stack"}, {"id": "web", "kind": "site"})
    prefix = world.prefix
    labels = {role: {f"{prefix}.workload.id": "app", f"{prefix}.role": role} for role in "abcdefg"}
    made = {role: world.run(labels=labels[role]) for role in "cd"}
    made["a"] = world.run(labels=labels["a"], healthcheck=["false"])
    made["b"] = world.create(labels=labels["b"])
    made["e"] = world.create(labels=labels["e"])
    made["g"] = world.run(labels=labels["g"], healthcheck=["true"], published={8080: None})
    web = world.run(labels={f"{prefix}.static-site": f"{prefix}-web"})
    tallyd.tick()
    world.kill(made["c"])
    world.pause(made["d"])
    world.rm(made["b"])
    world.wait_health(made["a"], "unhealthy")
    world.wait_health(made["g"], "healthy")
    tallyd.tick()

    rows = tallyd.ps()
    assert [row["id"] for row in rows] == ["app:a", "app:b", "app:c", "app:d", "app:e", "app:g", "web:site"]
    assert [row["state"] for row in rows] == [
        "running",
        MISSING,
        "stopped",
        "paused",
        "created",
        "running",
        "running",
    ]
    assert all(row.keys() >= PS_KEYS for row in rows)
    shown = {row["id"]: row for row in rows}
    good = shown["app:g"]
    assert (good["health"], good["port"], good["role"], good["workload_kind"]) == ("healthy", 8080, "g", "stack")
    assert (good["host"], good["container_id"], good["image_ref"]) == ("testhost", made["g"], "busybox:local")
    assert datetime.fromisoformat(good["last_seen_at"]).astimezone(UTC) > datetime.fromisoformat(
        shown["app:b"]["last_seen_at"]
    )
    assert {row["stale"] for row in rows} == {False}
    assert shown["web:site"]["container_id"] == web
    assert yaml.safe_load(tallyd.ok("ps", "--output", "yaml").stdout) == tallyd.ps()

    assert [row["id"] for row in tallyd.ps("--missing")] == ["app:b"]
    assert [row["id"] for row in tallyd.ps("--state", "running", "--workload", "app")] == ["app:a", "app:g"]
    assert [row["id"] for row in tallyd.ps("--workload", "web")] == ["web:site"]
    assert tallyd.ps("--workload", "nobody") == []

    table = tallyd.ok("ps")
    lines = table.stdout.splitlines()
    assert lines[0].split() == ["WORKLOAD", "KIND", "ROLE", "NAME", "STATE", "HEALTH", "PORT", "IMAGE", "SEEN"]
    assert "unhealthy" in lines[1]
    assert lines[-1].startswith("host testhost: last complete listing")
    assert (table.stderr, "\x1b" in table.stdout) == ("", False)


def test_ps_tells_how_old_its_truth_is(tallyd: Tallyd, world: World, sqlite_url: str, engine: Engine) -> None:
    """R21, O1: of each host; stale after three of its intervals, and never something false."""
    tallyd.apply({"id": "web", "kind": "site"})
    assert tallyd.ok("ps").stdout.splitlines()[-1] == "no host in the store yet: run `tallyd run`"
    world.create(labels={f"{world.prefix}.workload.id": "web"})
    tallyd.tick()
    with contextlib.closing(Passes(engine.endpoint, sqlite_url, world.prefix, host="another")) as other:
        other.tick()
    assert {row["host"] for row in tallyd.ps()} == {"testhost"}
    assert {row["host"] for row in tallyd.ps("--all-hosts")} == {"testhost", "another"}
    with contextlib.closing(sqlite3.connect(sqlite_url.removeprefix("sqlite:///"))) as store, store:
        store.execute("UPDATE hosts SET last_listed_at = '2026-01-01 00:00:00.000000' WHERE id = 'testhost'")
    assert {row["host"]: row["stale"] for row in tallyd.ps("--all-hosts")} == {"testhost": True, "another": False}
    lines = tallyd.ok("ps", "--all-hosts").stdout.splitlines()
    assert lines[0].startswith("HOST ")
    assert sorted(line.split(":")[0] for line in lines[-2:]) == ["host another", "stale"]
    hosts = {host["id"]: host["stale"] for host in tallyd.ok("host", "list", "--output", "json").json}
    assert hosts == {"testhost": True, "another": False}
    assert "stale" in tallyd.ok("host", "list").stdout


def on_terminal(tallyd: Tallyd, *arguments: str, **environment: str) -> str:
    """What a command writes to a terminal."""
    ours, theirs = pty.openpty()
    with open(os.devnull, "rb") as null:  # noqa: PTH123
        settings = tallyd.with_settings(TERM="xterm-256color", **environment).environment
        process = tallyd.console.start(arguments, settings, tallyd.folder, (null.fileno(), theirs, theirs))
    os.close(theirs)
    written = b""
    with contextlib.suppress(OSError):  # which is how a terminal says that nobody is there any more
        while data := os.read(ours, 65536):
            written += data
    os.close(ours)
    assert process.wait(30) == 0
    return written.decode()


def test_colours_on_a_terminal_unless_asked_not_to(tallyd: Tallyd, world: World) -> None:
    """O1: colours on a terminal only, and never with NO_COLOR."""
    tallyd.apply({"id": "web", "kind": "site"})
    world.run(labels={f"{world.prefix}.workload.id": "web"})
    tallyd.tick()
    colour = re.compile("\x1b\\[[0-9;]*3[0-7]")
    assert colour.search(on_terminal(tallyd, "ps"))
    without = on_terminal(tallyd, "ps", NO_COLOR="1")
    assert "running" in without
    assert not colour.search(without)


def test_explain_tells_each_rule_and_the_nearest_miss(tallyd: Tallyd, world: World) -> None:
    """O1, R7, R8, R16: for every reason to ignore a container, and for one that fills a row."""
    p = world.prefix
    tallyd.apply(
        {"id": "web", "kind": "site"},
        {"id": "blog", "kind": "site", "ref": "blog.example"},
        {"id": "shop", "kind": "stack"},
        {"id": "store", "kind": "project"},
        {"id": "held", "kind": "site"},
    )
    world.create(f"{p}-held", {f"{p}.workload.id": "held"})
    ended = world.run(f"{p}-ended", {f"{p}.workload.id": "web"})
    tallyd.tick()
    world.kill(ended)

    def create(name: str, compose: Mapping[str, str] | None = None, **labels: str) -> None:
        own = {f"{p}.{label.replace('_', '.')}": value for label, value in labels.items()}
        theirs = {f"com.docker.compose.{label}": value for label, value in (compose or {}).items()}
        world.create(f"{p}-{name}", own | theirs)

    stack = {"project": f"{p}-shop", "service": "db"}
    world.create(f"{p}-holder", {f"{p}.workload.id": "web"})
    create("typo", **{"workload_id": "wed"})
    create("kind", **{"workload_id": "web", "workload_kind": "stack"})
    world.create(f"{p}-site", {f"{p}.static-site": "blog.exmaple"})
    create("stack", {"project": f"{p}-shopp"})
    create("other", {"project": "shop"})
    create("project", **{"workload_id": "store"})
    create("oneoff", stack | {"oneoff": "True"})
    create("good", stack)
    world.create(f"{p}-dash", {f"{p}.workload-id": "web"})
    world.create(f"{p}-empty", {f"{p}.workload.id": ""})
    world.create(f"{p}-bare", {})
    create("late", **{"workload_id": "held"})

    expected = {
        "typo": ("unknown_workload", "workload-id", "workload 'web' exists"),
        "kind": ("kind_mismatch", "workload-id", ""),
        "site": ("unknown_site", "static-site", "site with ref 'blog.example' exists"),
        "stack": ("unknown_stack", "compose-project", f"stack with ref '{p}-shop' exists"),
        "other": ("unlabelled", "", ""),
        "project": ("no_project_row", "workload-id", ""),
        "oneoff": ("one_off", "compose-project", ""),
        "late": ("slot_taken", "workload-id", ""),
        "ended": ("superseded", "workload-id", ""),
        "dash": ("unlabelled", "", f"label '{p}.workload-id' looks like '{p}.workload.id'"),
        "empty": ("unlabelled", "", f"label '{p}.workload.id' is there, but empty"),
        "bare": ("unlabelled", "", "none of its"),
    }
    for name, (reason, winner, miss) in expected.items():
        told = tallyd.ok("explain", f"{p}-{name}", "--output", "json").json
        assert told["result"].startswith(f"ignored ({reason}): "), told
        assert (told["winner"], told["row_id"], told["name"]) == (winner, "", f"{p}-{name}")
        assert miss in told["nearest_miss"], told
        assert [each["rule"] for each in told["rules"]] == ["workload-id", "static-site", "compose-project"]
    good = tallyd.ok("explain", f"{p}-good", "--output", "json").json
    assert (good["winner"], good["row_id"], good["nearest_miss"]) == ("compose-project", "shop:db", "")
    text = tallyd.ok("explain", good["container_id"][:12]).stdout
    assert f"container {p}-good ({good['container_id'][:12]}) is created" in text
    assert f"2. static-site      {p}.static-site = absent: absent or empty, next" in text
    assert f"com.docker.compose.project = '{p}-shop': decides → fills row shop:db" in text
    assert "not tried, an earlier label decides" in tallyd.ok("explain", f"{p}-typo").stdout
    refused(tallyd("explain", f"{p}-goood"), 1, "lists no container", f"did you mean {p}-good")


def test_an_ambiguous_id_is_refused(offline: Tallyd) -> None:
    """O1: the beginning of an id must be that of one container."""
    offline.ok("migrate")
    with FakeDocker() as fake:
        for number in range(2):
            fake.world.add_raw(
                {"Id": f"{number:0>12}".rjust(64, "a"), "Names": [f"/c{number}"], "Created": 1, "State": "running"}
                | {"Image": "x"}
            )
        tallyd = offline.with_settings(DOCKER_HOST=fake.endpoint)
        refused(tallyd("explain", "aaaa"), 1, "is the beginning of 2 container ids")
        assert "c1" in tallyd.ok("explain", "c1").stdout


# Workloads

GOOD = """\
workloads:
- id: shop
  kind: project
  source: {kind: report, config: {containers: 2}}
  trigger: {kind: manual}
  public_faces:
  - {host: shop.example, path: /, port: 8080}
- name: blog
  kind: site
  ref: blog.example
  parent: shop
---
---
workloads:
- {id: stack, name: The stack, kind: stack}
"""


def test_workloads_are_applied_listed_shown_and_deleted(offline: Tallyd, tmp_path: Path) -> None:
    """O1, O7: many documents, stdin, files and folders; defaults; generations; what is unchanged stays."""
    refused(offline("workload", "list"), 1, "there is no store")
    done = offline.ok("workload", "apply", "--output", "json", "-f", "-", stdin=GOOD)
    shown = {each["id"]: each for each in done.json}
    assert {each["result"] for each in shown.values()} == {"created"}
    assert {key: (each["name"], each["ref"], each["parent"]) for key, each in shown.items()} == {
        "shop": ("shop", "tallyd-shop", None),
        "blog": ("blog", "blog.example", "shop"),
        "stack": ("The stack", "tallyd-stack", None),
    }
    assert shown["shop"]["source"] == {"kind": "report", "config": {"containers": 2}}
    assert shown["shop"]["public_faces"] == [{"host": "shop.example", "path": "/", "port": 8080}]
    assert {each["generation"] for each in shown.values()} == {1}

    folder = tmp_path / "manifests"
    folder.mkdir()
    (folder / "a.yaml").write_text(GOOD.replace("port: 8080", "port: 8081"))
    (folder / "b.yml").write_text("workloads: [{id: more, kind: project}]\n")
    (folder / "notes.txt").write_text("not a manifest\n")
    again = offline.ok("workload", "apply", "-f", str(folder))
    assert sorted(line.split(" (")[0] for line in again.stdout.splitlines()) == [
        "created   project more",
        "unchanged site blog",
        "unchanged stack stack",
        "updated   project shop",
    ]
    listed = {each["id"]: each["generation"] for each in offline.ok("workload", "list", "-o", "json").json}
    assert listed == {"shop": 2, "blog": 1, "stack": 1, "more": 1}
    assert offline.ok("workload", "list").stdout.split()[:6] == ["ID", "KIND", "REF", "SOURCE", "TRIGGER", "GEN"]

    manifest = yaml.safe_load(offline.ok("workload", "get", "shop").stdout)
    assert manifest["public_faces"][0]["port"] == 8081
    keys = ("id", "name", "kind", "ref", "source", "trigger", "public_faces", "parent")
    copy = yaml.safe_dump({"workloads": [{key: manifest[key] for key in keys}]})
    assert offline.ok("workload", "apply", "-f", "-", stdin=copy).stdout.startswith("unchanged project shop")
    refused(offline("workload", "get", "shopp"), 1, "'shopp'", "tallyd workload list")

    refused(offline("workload", "delete", "shop"), 1, "parent of 'blog'")
    assert offline.ok("workload", "delete", "blog").stdout == "deleted workload blog and 0 row(s)\n"
    offline.ok("workload", "delete", "shop")
    refused(offline("workload", "delete", "shop"), 1, "'shop'")
    assert [each["id"] for each in offline.ok("workload", "list", "-o", "json").json] == ["more", "stack"]


def test_a_workload_with_containers_is_deleted_by_force_only(tallyd: Tallyd, world: World) -> None:
    """O1: its rows are forgotten with it; its containers are never touched."""
    tallyd.apply({"id": "web", "kind": "site"})
    container = world.create(labels={f"{world.prefix}.workload.id": "web"})
    tallyd.tick()
    refused(tallyd("workload", "delete", "web"), 1, "1 container(s)", "'web:site'", "--force")
    assert tallyd.ok("workload", "delete", "web", "--force").stdout == "deleted workload web and 1 row(s)\n"
    assert tallyd.ps() == []
    assert world.state(container) == "created"
    assert tallyd.tick()["ignored"]["unknown_workload"] == 1


def test_a_project_is_adopted(tallyd: Tallyd, world: World) -> None:
    """R9, O1: `workload adopt` makes the row that a tick never invents."""
    tallyd.apply({"id": "shop", "kind": "project"}, {"id": "web", "kind": "site"})
    container = world.create(f"{world.prefix}-one", {f"{world.prefix}.workload.id": "shop"})
    assert tallyd.tick()["ignored"]["no_project_row"] == 1
    refused(tallyd("workload", "adopt", "web", f"{world.prefix}-one"), 1, "'web' is a site")
    told = tallyd.ok("workload", "adopt", "shop", f"{world.prefix}-one").stdout
    assert told == f"row shop:{world.prefix}-one is filled by the next tick\n"
    refused(tallyd("workload", "adopt", "shop", container), 1, "already holds")
    assert tallyd.tick()["updated"] == 1
    assert [(row["container_id"], row["state"]) for row in tallyd.ps()] == [(container, "created")]


@dataclass(frozen=True)
class Bad:
    """A manifest with a mistake, the line of the mistake, and what must be said of it."""

    text: str
    line: int
    told: str


BAD = {
    "no YAML": Bad("workloads: [\n  {id: a\n", 3, "not YAML"),
    "tab": Bad("workloads:\n\t- id: a\n", 2, "not YAML"),
    "key twice": Bad("workloads:\n- id: a\n  kind: site\n  kind: stack\n", 4, "'kind' stands twice"),
    "a list": Bad("- id: a\n", 1, "document"),
    "no workloads": Bad("workload:\n- id: a\n", 1, "did you mean 'workloads'?"),
    "unknown key": Bad(
        "workloads:\n- id: a\n  kind: site\n  soruce: {}\n", 4, "did you mean 'source'? allowed: id, "
    ),
    "unknown kind": Bad("workloads:\n- id: a\n  kind: sight\n", 3, "'project', 'site' or 'stack' (got 'sight')"),
    "no kind": Bad("workloads:\n- id: a\n  name: b\n", 2, "kind: Field required"),
    "no id": Bad("workloads:\n- kind: site\n", 2, "workloads.0.id"),
    "bad id": Bad("workloads:\n- kind: site\n  id: a:b\n", 3, "(got 'a:b')"),
    "id is a number": Bad("workloads:\n- id: 7\n  kind: site\n", 2, "(got 7)"),
    "source": Bad("workloads:\n- id: a\n  kind: site\n  source: {kind: reprot}\n", 2, "did you mean 'report'?"),
    "option": Bad(
        "workloads:\n- id: a\n  kind: site\n  source: {kind: report, config: {count: 2}}\n",
        2,
        "allowed keys: containers",
    ),
    "option value": Bad(
        "workloads:\n- id: a\n  kind: site\n  source: {kind: report, config: {containers: -2}}\n", 2, "(got -2)"
    ),
    "source key": Bad(
        "workloads:\n- id: a\n  kind: site\n  source:\n    knid: report\n", 4, "source.kind: Field required"
    ),
    "trigger key": Bad(
        "workloads:\n- id: a\n  kind: site\n  trigger: {kind: manual, confg: {}}\n", 4, "did you mean 'config'?"
    ),
    "face key": Bad(
        "workloads:\n- id: a\n  kind: site\n  public_faces:\n  - host: a.b\n    prot: 1\n",
        6,
        "allowed: host, path, port",
    ),
    "trigger": Bad(
        "workloads:\n- id: a\n  kind: site\n  trigger: {kind: cron}\n", 2, "there are: git, manual, registry"
    ),
    "face": Bad("workloads:\n- id: a\n  kind: site\n  public_faces:\n  - host: a.b\n    port: 0\n", 6, "(got 0)"),
    "stack ref": Bad("workloads:\n- id: a\n  kind: stack\n  ref: shop\n", 2, "starts with 'tallyd-'"),
    "twice": Bad("workloads:\n- {id: a, kind: site}\n- {id: a, kind: site}\n", 3, "declared in"),
    "own parent": Bad("workloads:\n- {id: a, kind: site, parent: a}\n", 2, "its own parent"),
}


def test_a_bad_manifest_is_told_by_file_and_line_and_nothing_is_applied(offline: Tallyd, tmp_path: Path) -> None:
    """O1: exit 2, every problem with file, line and what is allowed; all or nothing."""
    offline.apply({"id": "old", "kind": "site"})
    good = tmp_path / "good.yaml"
    good.write_text(GOOD)
    files = {name: tmp_path / f"{number}.yaml" for number, name in enumerate(BAD)}
    for name, bad in BAD.items():
        files[name].write_text(bad.text)
    unreadable = [name for name, bad in BAD.items() if bad.told in ("not YAML", "'kind' stands twice")]
    readable = [name for name in BAD if name not in unreadable]
    for names in ([name] for name in unreadable), [readable]:
        for together in names:
            given = [argument for name in together for argument in ("-f", str(files[name]))]
            done = offline("workload", "apply", "-f", str(good), *given)
            refused(done, 2)
            for name in together:
                place = f"{files[name]}:{BAD[name].line}: "
                told = [line for line in done.stderr.removeprefix("tallyd: ").splitlines() if line.startswith(place)]
                assert any(BAD[name].told in line for line in told), (name, done.stderr)
    both = offline("workload", "apply", "-f", "-", stdin="workloads:\n- {id: a, kind: b}\n- {id: c, kind: d}\n")
    refused(both, 2, "stdin:2: ", "stdin:3: ")
    (tmp_path / "empty").mkdir()
    refused(offline("workload", "apply", "-f", str(tmp_path / "empty")), 2, "empty", "no *.yaml")
    refused(offline("workload", "apply", "-f", str(tmp_path / "lost.yaml")), 2, "lost.yaml: cannot be read")
    (tmp_path / "binary.yaml").write_bytes(b"\xff\xfe\x00")
    refused(offline("workload", "apply", "-f", str(tmp_path / "binary.yaml")), 2, "binary.yaml: cannot be read")
    assert [each["id"] for each in offline.ok("workload", "list", "-o", "json").json] == ["old"]


def test_what_does_not_fit_the_store_is_refused_as_a_whole(offline: Tallyd) -> None:
    """O1: a lost parent, a circle, a taken ref, a changed kind: exit 1 and nothing of it applied."""
    offline.apply({"id": "old", "kind": "site", "ref": "a.example"})
    new: dict[str, Any] = {"id": "new", "kind": "site"}
    for workloads, told in (
        ([new, {"id": "x", "kind": "site", "parent": "nobody"}], "'nobody' does not exist"),
        ([new, {"id": "x", "kind": "site", "parent": "y"}, {"id": "y", "kind": "site", "parent": "x"}], "'x'"),
        ([new, {"id": "x", "kind": "site", "ref": "a.example"}], "belongs to workload 'old'"),
        ([new, {"id": "old", "kind": "stack"}], "a kind never changes"),
    ):
        text = yaml.safe_dump({"workloads": workloads})
        refused(offline("workload", "apply", "-f", "-", stdin=text), 1, told)
    assert [each["id"] for each in offline.ok("workload", "list", "-o", "json").json] == ["old"]


# Hosts, doctor, migrate


def test_a_host_is_accepted_by_hand_only_once_it_is_known(tallyd: Tallyd, console: Console, tmp_path: Path) -> None:
    """R18, O1: `host list` shows the binding; `host accept` needs a known host and a living engine."""
    refused(tallyd("host", "list"), 1, "there is no store")
    refused(tallyd("host", "accept"), 1, "'testhost' is not in the store")
    tallyd.tick()
    (host,) = tallyd.ok("host", "list", "--output", "json").json
    assert (host["id"], host["stale"], host["endpoint"]) == ("testhost", False, tallyd.environment["DOCKER_HOST"])
    assert host["engine_id"]
    same = tallyd.ok("host", "accept").stdout
    assert same == f"host testhost: engine {host['engine_id']} → {host['engine_id']}\n"
    refused(tallyd.with_settings(DOCKER_HOST=NOWHERE)("host", "accept"), 1, "no socket")
    assert "testhost" in tallyd.ok("host", "list").stdout


def checks(done: Finished) -> dict[str, dict[str, str]]:
    """Findings of the doctor by check."""
    return {each["check"]: each for each in done.json}


def test_the_doctor_works_whatever_is_down(tallyd: Tallyd, console: Console, tmp_path: Path) -> None:
    """O1: engine down, store down, both, none; exit 1 exactly where a check fails; it makes nothing."""
    store = Path(tallyd.environment["TALLYD_DATABASE_URL"].removeprefix("sqlite:///"))
    first = checks(tallyd.ok("doctor", "--output", "json"))
    assert first["store schema"]["status"] == "warn"
    assert "tallyd migrate" in first["store schema"]["remedy"]
    assert not store.exists()
    tallyd.tick()
    well = checks(tallyd.ok("doctor", "--output", "json"))
    assert {each["status"] for each in well.values()} == {"ok"}
    assert well.keys() >= {"settings", "socket", "engine API", "engine id", "image labels", "clock", "plugins"}
    assert well.keys() >= {"store file system", "migration lock", "store schema", "host"}
    assert {each["remedy"] for each in well.values()} == {""}
    assert yaml.safe_load(tallyd.ok("doctor", "--output", "yaml").stdout)[0]["check"] == "settings"
    assert tallyd.ok("doctor").stdout.count("\nok ") == len(well) - 1

    no_engine = checks(tallyd.with_settings(DOCKER_HOST=NOWHERE)("doctor", "--output", "json").expect(1))
    assert (no_engine["socket"]["status"], no_engine["store schema"]["status"]) == ("fail", "ok")
    assert "DOCKER_HOST" in no_engine["socket"]["remedy"]
    broken = tmp_path / "broken.db"
    broken.write_bytes(b"not a database " * 100)
    no_store = tallyd.with_settings(TALLYD_DATABASE_URL=f"sqlite:///{broken}")
    found = checks(no_store("doctor", "--output", "json").expect(1))
    assert (found["store schema"]["status"], found["engine API"]["status"]) == ("fail", "ok")
    assert "not a database" in found["store schema"]["detail"]
    no_server = tallyd.with_settings(TALLYD_DATABASE_URL="postgresql://me:hunter2@/db?host=/nonexistent")
    both = no_server.with_settings(DOCKER_HOST=NOWHERE)("doctor").expect(1)
    assert both.stdout.count("\nfail ") >= 3
    assert "hunter2" not in both.stdout
    with FakeDocker(api="1.30") as old:
        aged = checks(tallyd.with_settings(DOCKER_HOST=old.endpoint).ok("doctor", "--output", "json"))
        assert aged["engine API"]["status"] == "warn"


def test_five_migrations_at_once(console: Console, database_url: str, tmp_path: Path) -> None:
    """O3, F: one makes the schema, the others find it made; all succeed."""
    tallyd = Tallyd(console, tmp_path, settings_of(NOWHERE, database_url, tmp_path))
    with contextlib.ExitStack() as stack:
        started = [stack.enter_context(tallyd.started("migrate")) for _ in range(5)]
        told = sorted(each().expect(0).stdout.split(": ")[1].strip() for each in started)
    assert told == ["migrated"] + ["nothing to do"] * 4
    assert tallyd.ok("workload", "list", "--output", "json").json == []


def test_a_newer_schema_is_not_touched(offline: Tallyd, sqlite_url: str) -> None:
    """O3: a store that a newer version made is refused with what to do."""
    offline.ok("migrate")
    with contextlib.closing(sqlite3.connect(sqlite_url.removeprefix("sqlite:///"))) as store, store:
        store.execute("UPDATE alembic_version SET version_num = '9999'")
    for command in ("migrate", "tick", "run"):
        refused(offline(command), 1, "9999", "newer tallyd")
    refused(offline("ps"), 1, "9999")


# Running


def test_run_ends_on_either_signal_and_tells_its_settings(tallyd: Tallyd, world: World) -> None:
    """R1, O2, O6: clamped intervals are told once with both numbers; endpoint and engine id at start."""
    for asked, used, number in (("0", 30, signal.SIGTERM), ("900", 300, signal.SIGINT)):
        settings = tallyd.with_settings(TALLYD_INTERVAL_SECONDS=asked)
        with settings.running(executed=number == signal.SIGINT) as controller:
            controller.wait_ready()
            (clamped,) = controller.logged("interval clamped")
            assert (clamped["asked"], clamped["used"]) == (float(asked), used)
            (starting,) = controller.logged("starting")
            assert starting["endpoint"] == tallyd.environment["DOCKER_HOST"]
            assert controller.logged("engine connected")[0]["engine_id"]
            assert controller.terminate(number)[0] == 0
            assert controller.lines[-1]["event"] == "stopped"
            assert "Traceback" not in controller.text


def test_the_log_has_a_line_a_change_and_none_otherwise(tallyd: Tallyd, world: World) -> None:
    """O6, R2: JSON lines on stderr, one for each pass that changed something, none for the others."""
    tallyd = tallyd.with_settings(TALLYD_INTERVAL_SECONDS="0.1")
    tallyd.apply({"id": "app", "kind": "stack"})
    label = f"{world.prefix}.workload.id"
    first = world.create(labels={label: "app"})
    with tallyd.running("--no-table") as controller:
        controller.wait_ready()
        complete = 'tallyd_ticks_total{outcome="complete"}'
        controller.wait_for_metric(complete, 5)
        lines = len(controller.text.splitlines())
        assert len(controller.lines) == lines
        assert [line["event"] for line in controller.lines if "seen" in line["event"]] == [
            f"{len(world.listing())} seen, 1 new"
        ]
        controller.wait_for_metric(complete, controller.metric(complete) + 5)
        assert len(controller.text.splitlines()) == lines
        world.rm(first)
        wait_until(lambda: "1 missing" in controller.text, 20, "a line tells the change")
        controller.wait_for_metric(complete, controller.metric(complete) + 3)
        told = [line["event"] for line in controller.lines[lines:]]
        assert all(re.fullmatch(r"\d+ seen, 1 (updated|missing)", event) for event in told), told
        assert len(told) == len(set(told))


def test_run_prints_its_table(tallyd: Tallyd, world: World) -> None:
    """O1: `--table` shows the index and the address; data and log do not mix lines."""
    tallyd.apply({"id": "web", "kind": "site"})
    container = world.create(f"{world.prefix}-shown", {f"{world.prefix}.workload.id": "web"})
    with tallyd.with_settings(TALLYD_INTERVAL_SECONDS="0.2").running("--table") as controller:
        wait_until(lambda: f"{world.prefix}-shown" in controller.text, 20, "the table is printed")
        assert f"1 new   {controller.address}" in controller.text
        world.rm(container)
        wait_until(lambda: "missing" in controller.text, 20, "the table is printed again")
        assert controller.terminate()[0] == 0


def test_a_port_that_is_taken(tallyd: Tallyd) -> None:
    """O4: a start error that names the port and the way out; also while the other has only just opened it."""
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        done = tallyd.with_settings(TALLYD_LISTEN=f"127.0.0.1:{port}")("run")
        assert done.exit_code == 2
        assert f"cannot listen on 127.0.0.1:{port}: Address already in use" in done.stderr
        assert "TALLYD_LISTEN" in done.stderr
    opened = HttpServer("127.0.0.1", 0, pytest.fail)
    try:
        with pytest.raises(SettingInvalid, match="Address already in use"):
            HttpServer("127.0.0.1", int(opened.url.rpartition(":")[2]), pytest.fail)
    finally:
        opened.stop()


def test_another_label_prefix_end_to_end(console: Console, engine: Engine, world: World, sqlite_url: str) -> None:
    """Labels: an existing installation's prefix is used for labels, refs, messages and the API alike."""
    prefix = f"acme-{world.prefix}"
    folder = Path(sqlite_url.removeprefix("sqlite:///")).parent
    settings = settings_of(engine.endpoint, sqlite_url, folder, TALLYD_API_TOKEN="t" * 16)
    tallyd = Tallyd(console, folder, settings | {"TALLYD_LABEL_PREFIX": prefix})
    tallyd.apply({"id": "shop", "kind": "stack"}, {"id": "web", "kind": "site"})
    assert tallyd.ok("workload", "get", "shop", "-o", "json").json["ref"] == f"{prefix}-shop"
    wrong = "workloads: [{id: x, kind: stack, ref: tallyd-x}]"
    refused(tallyd("workload", "apply", "-f", "-", stdin=wrong), 2, f"starts with '{prefix}-'")
    ours = world.create(labels={f"{prefix}.workload.id": "web"})
    stack = world.create(labels={"com.docker.compose.project": f"{prefix}-shop", "com.docker.compose.service": "db"})
    theirs = world.create(f"{world.prefix}-theirs", {"tallyd.workload.id": "web", "tallyd.static-site": "web"})
    with tallyd.running() as controller:
        controller.wait_ready()
        assert {row["id"]: row["container_id"] for row in controller.rows().values()} == {
            "web:site": ours,
            "shop:db": stack,
        }
        authorized = {"Authorization": f"Bearer {'t' * 16}"}
        made = controller.request("PUT", "/api/v1/workloads/more", {"kind": "stack"}, authorized)
        assert (made.status, made.json["ref"]) == (201, f"{prefix}-more")
    assert f"{prefix}.workload.id = absent" in tallyd.ok("explain", f"{world.prefix}-theirs").stdout
    assert f"no local image carries a {prefix}.* label" in tallyd.ok("doctor").stdout
    assert tallyd.ok("--label-prefix", "tallyd", "explain", theirs, "-o", "json").json["row_id"] == ""


def test_postgresql_serves_the_command_line_as_well(
    console: Console, engine: Engine, world: World, postgres_url: str, postgres: PrivatePostgres, tmp_path: Path
) -> None:
    """O3: every command that touches the store, on PostgreSQL, by the plain URL that people write."""
    plain_url = postgres_url.replace("postgresql+psycopg://", "postgresql://")
    settings = settings_of(engine.endpoint, plain_url, tmp_path, TALLYD_LABEL_PREFIX=world.prefix)
    tallyd = Tallyd(console, tmp_path, settings)
    refused(tallyd("ps"), 1, "tallyd migrate")
    tallyd.ok("migrate")
    tallyd.apply({"id": "web", "kind": "site"})
    container = world.create(labels={f"{world.prefix}.workload.id": "web"})
    tallyd("plan").expect(3)
    tallyd.tick()
    tallyd("plan").expect(0)
    assert [row["container_id"] for row in tallyd.ps()] == [container]
    assert tallyd.ok("explain", container, "-o", "json").json["row_id"] == "web:site"
    assert checks(tallyd.ok("doctor", "-o", "json"))["store schema"]["status"] == "ok"
    tallyd.ok("workload", "delete", "web", "--force")
    assert tallyd.ok("workload", "list", "-o", "json").json == []
