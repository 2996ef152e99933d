"""`tallyd config`, `tallyd schema` and `tallyd workload plan`, as people and scripts use them."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml
from jsonschema import Draft202012Validator

from tests.integration.console import Console, Finished, Tallyd, settings_of

NOWHERE = "unix:///nonexistent/docker.sock"
SECRET = "s3cret-" * 6
PASSWORD_URL = "postgresql://me:hunter2@/db?host=/nonexistent"
ENVELOPE = {"config", "declared", "generation", "author", "at", "host", "instance_id", "backend"}


@pytest.fixture(scope="module")
def console() -> Iterator[Console]:
    """The console script."""
    with contextlib.closing(Console()) as started:
        yield started


@pytest.fixture
def tallyd(console: Console, sqlite_url: str, tmp_path: Path) -> Tallyd:
    """`tallyd` where there is no engine, on a store that does not exist yet."""
    return Tallyd(console, tmp_path, settings_of(NOWHERE, sqlite_url, tmp_path))


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Where the config is, beside the store."""
    return tmp_path / "config.yaml"


def refused(done: Finished, exit_code: int, *told: str) -> None:
    """It ended with this code, said each of these on stderr, and gave no data."""
    assert done.expect(exit_code).stdout == ""
    assert [text for text in told if text not in done.stderr] == [], done.stderr


def shown(tallyd: Tallyd, *arguments: str) -> dict[str, Any]:
    """The config as it is now."""
    envelope: dict[str, Any] = tallyd.ok("config", "show", "-o", "json", *arguments).json
    return envelope


def test_show_in_each_form(tallyd: Tallyd, path: Path) -> None:
    """O1, O7, G2, G10: nothing stored is generation 0; the public form has no paths, the diagnostic one has."""
    first = shown(tallyd)
    assert (first.keys(), first["generation"], first["declared"]) == (ENVELOPE, 0, {})
    assert (first["host"], first["backend"], first["config"]["interval_seconds"]) == ("testhost", "file", 30.0)
    assert not path.exists(), "showing makes nothing"
    path.write_text("interval_seconds: 7  # by ann\n")
    envelope = shown(tallyd, "--diagnostic")
    assert (envelope["generation"], envelope["author"]) == (1, "edited by hand")
    assert envelope["declared"] == {"interval_seconds": 7}
    assert envelope["paths"]["config"] == str(path)
    assert "paths" not in shown(tallyd)
    assert yaml.safe_load(tallyd.ok("config", "show", "-o", "yaml").stdout) == shown(tallyd)
    table = tallyd.ok("config", "show", "--diagnostic").stdout
    assert "generation 1, by edited by hand, in file" in table
    assert str(path) in table.replace("\n", "")
    (told,) = [line.split() for line in table.splitlines() if line.startswith("interval_seconds")]
    assert told == ["interval_seconds", "7", "config"]


def test_origins(tallyd: Tallyd, path: Path) -> None:
    """O2: flags, then environment, then config, then defaults; each setting says where it comes from."""
    path.write_text("interval_seconds: 7\nplugin_workers: 3\nlog_level: error\n")
    given = tallyd.with_settings(TALLYD_PLUGIN_WORKERS="4", TALLYD_LOG_LEVEL="debug", TALLYD_API_TOKEN=SECRET)
    done = given.ok("--log-level", "warning", "config", "show", "--origin", "-o", "json")
    rows = {each["setting"]: each for each in done.json}
    assert {name: (rows[name]["value"], rows[name]["origin"]) for name in ("interval_seconds", "log_level")} == {
        "interval_seconds": ("7.0", f"key interval_seconds of {path}"),
        "log_level": ("warning", "--log-level"),
    }
    assert (rows["plugin_workers"]["value"], rows["plugin_workers"]["origin"]) == ("4", "TALLYD_PLUGIN_WORKERS")
    assert (rows["listen"]["live"], rows["label_prefix"]["live"]) == (False, True)
    assert (rows["label_prefix"]["origin"], rows["manifests"]["value"]) == ("default", None)
    assert SECRET not in done.stdout
    table = given.ok("config", "show", "--origin").stdout
    assert "a restart" in table
    assert SECRET not in table
    for name, value in (("interval_seconds", "7.0"), ("plugin_workers", "4"), ("manifests", "")):
        assert given.ok("config", "get", name).stdout == f"{value}\n"


def test_set_in_each_way(tallyd: Tallyd, path: Path, tmp_path: Path) -> None:
    """O1, G4, G6: pairs change, a document replaces; from the command line, stdin and a file."""
    assert tallyd.ok("config", "set", "interval_seconds=7", "log_level=debug", "-o", "json").json["generation"] == 1
    tallyd.ok("config", "set", "manifests_prune=true")
    assert shown(tallyd)["declared"] == {"interval_seconds": 7, "log_level": "debug", "manifests_prune": True}
    tallyd.ok("config", "set", '{"interval_seconds": 8}')
    tallyd.ok("config", "set", "-", stdin="interval_seconds: 9\nlog_level: error\n")
    (tmp_path / "wanted.yaml").write_text("plugin_workers: 2\n")
    done = tallyd.ok("config", "set", "@wanted.yaml")
    assert "generation 5, by CLI, in file" in done.stdout
    again = tallyd.ok("config", "set", "@wanted.yaml", "-o", "json").json
    assert (again["generation"], again["declared"]) == (6, {"plugin_workers": 2})
    assert yaml.safe_load(path.read_text()) == {"plugin_workers": 2}
    tallyd.ok("config", "set", "{}")
    assert shown(tallyd)["declared"] == {}


def test_patch(tallyd: Tallyd, tmp_path: Path) -> None:
    """O7, G5: RFC 7396; null takes a setting back to its default."""
    tallyd.ok("config", "set", "interval_seconds=7", "log_level=debug")
    done = tallyd.ok("config", "patch", '{"log_level": null, "plugin_workers": 2}', "-o", "json")
    assert done.json["declared"] == {"interval_seconds": 7, "plugin_workers": 2}
    tallyd.ok("config", "patch", "-", stdin='{"interval_seconds": 8}')
    (tmp_path / "change.json").write_text('{"plugin_workers": null}')
    assert tallyd.ok("config", "patch", "@change.json", "-o", "json").json["declared"] == {"interval_seconds": 8}
    assert tallyd.ok("config", "patch", "{}", "-o", "json").json["generation"] == 5


def test_an_expected_generation(tallyd: Tallyd) -> None:
    """G3, O1, O7: another one is exit 1 with both numbers, and changes nothing."""
    tallyd.ok("config", "set", "interval_seconds=7", "--expect-generation", "0")
    for command in (("set", "interval_seconds=8"), ("set", "{}"), ("patch", '{"interval_seconds": 8}')):
        for expected in ("0", "2"):
            done = tallyd("config", *command, "--expect-generation", expected)
            refused(done, 1, f"expected generation {expected}, current is 1")
    assert shown(tallyd)["declared"] == {"interval_seconds": 7}
    patched = tallyd.ok("config", "patch", "--expect-generation", "1", '{"interval_seconds": 8}', "-o", "json")
    assert patched.json["generation"] == 2
    tallyd("config", "set", "x=1", "--expect-generation", "-1").expect(2)


BAD: Mapping[str, tuple[tuple[str, ...], str]] = {
    "unknown pair": (("set", "interval_secs=5"), "interval_secs is not a setting; did you mean interval_seconds?"),
    "one of two pairs": (("set", "log_level=debug", "intervall=5"), "intervall is not a setting; did you mean"),
    "unknown key": (("set", "{interval_secs: 5}"), "interval_secs is not a setting; did you mean interval_seconds?"),
    "wrong value": (("set", "log_level=loud"), "log_level is 'loud': Input should be 'debug', 'info'"),
    "not YAML": (("set", "log_level=["), "log_level"),
    "document that is not YAML": (("set", "{a: ["), "argument:2: not YAML"),
    "no mapping": (("set", "hello"), "must be a mapping"),
    "unknown in a patch": (("patch", '{"interval_secs": 5}'), "did you mean interval_seconds?"),
    "no object": (("patch", "[1]"), "a merge patch is a mapping"),
    "no file": (("set", "@lost.yaml"), "lost.yaml cannot be read"),
    "unknown setting": (("get", "interval_secs"), "interval_secs is not a setting; did you mean interval_seconds?"),
    "short secret": (("set", "api_token=hunter2"), "api_token: "),
    "secret that is not YAML": (("set", "api_token=[hunter2"), "api_token"),
    "secret in bad YAML": (("set", "api_token: 'hunter2"), "not YAML"),
}


@pytest.mark.parametrize("case", BAD)
def test_what_makes_no_sense_is_exit_2_and_changes_nothing(tallyd: Tallyd, path: Path, case: str) -> None:
    """O1, O2, G5: with what is allowed and the nearest name; a secret is not repeated."""
    arguments, said = BAD[case]
    done = tallyd("config", *arguments)
    refused(done, 2, said)
    assert "hunter2" not in done.stderr
    assert not path.exists()


def test_secrets_are_never_printed(tallyd: Tallyd, path: Path) -> None:
    """O6, G10: by no command; nor is the password of a store."""
    path.write_text(f"api_token: {SECRET}\nreload_token: {SECRET}\n")
    tallyd.ok("config", "set", f"reload_token={SECRET[::-1]}")
    told = [
        tallyd.ok("config", "show", *more)
        for more in ((), ("-o", "json"), ("-o", "yaml"), ("--diagnostic",), ("--origin",), ("--origin", "-o", "json"))
    ]
    told += [tallyd.ok("config", "get", "api_token"), tallyd.ok("config", "history")]
    told += [tallyd.ok("config", "history", "-o", "json"), tallyd("config", "diff").expect(3)]
    told += [tallyd.ok("config", "patch", '{"api_token": "**********", "interval_seconds": 7}')]
    assert [done.arguments for done in told if SECRET in done.stdout + done.stderr] == []
    assert [done.arguments for done in told if SECRET[::-1] in done.stdout + done.stderr] == []
    assert "# reload_token differs (its value is not shown)" in told[9].stdout
    assert yaml.safe_load(path.read_text())["api_token"] == SECRET


def test_the_password_of_the_store_is_never_printed(tallyd: Tallyd, path: Path) -> None:
    """O6, G10: whether a variable or the config holds it."""
    away = tallyd.with_settings(TALLYD_DATABASE_URL=PASSWORD_URL, TALLYD_CONFIG=str(path))
    path.write_text(f"database_url: {PASSWORD_URL}\n")
    told = [
        away("config", *arguments)
        for arguments in (
            ("get", "database_url"),
            ("show",),
            ("show", "-o", "json"),
            ("show", "--origin"),
            ("history",),
            ("set", "database_url=postgresql://me:hunter2@other/db"),
            ("diff",),
            ("patch", '{"database_url": "mysql://me:hunter2@other/db"}'),
            ("validate",),
        )
    ]
    told += [away("doctor"), away("ps"), away("workload", "plan", "-f", str(path))]
    assert [done.arguments for done in told if "hunter2" in done.stdout + done.stderr] == []
    assert [done.arguments for done in told if "Traceback" in done.stderr] == []
    assert told[0].expect(0).stdout == "postgresql://me:***@/db?host=/nonexistent\n"


def test_a_change_of_a_password_alone_is_a_difference(tallyd: Tallyd, path: Path, tmp_path: Path) -> None:
    """O1: of which only that it is one is told."""
    path.write_text("database_url: postgresql://me:old@db/x\n")
    (tmp_path / "new.yaml").write_text("database_url: postgresql://me:hunter2@db/x\n")
    done = tallyd.with_settings(TALLYD_CONFIG=str(path))("config", "diff", "new.yaml").expect(3)
    assert done.stdout == "# database_url differs (its value is not shown)\n"


def test_validate(tallyd: Tallyd, path: Path, tmp_path: Path) -> None:
    """O1: a file, or what is declared here; every problem with its place; nothing is changed."""
    (tmp_path / "new.yaml").write_text("interval_seconds: 7\nlog_level: loud\nplugin_worker: 2\n")
    refused(
        tallyd("config", "validate", "new.yaml"),
        2,
        "new.yaml:2: log_level is 'loud'",
        "new.yaml:3: plugin_worker is not a setting; did you mean plugin_workers?",
    )
    (tmp_path / "new.yaml").write_text("interval_seconds: 7\n")
    assert tallyd.ok("config", "validate", "new.yaml").stdout == "new.yaml: valid\n"
    path.write_text("interval_seconds: 7\n")
    (tmp_path / "m").mkdir()
    (tmp_path / "m" / "a.yaml").write_text("workloads: [{id: a, kind: site}]\n")
    here = tallyd.with_settings(TALLYD_MANIFESTS=str(tmp_path / "m"))
    told = here.ok("config", "validate").stdout
    assert "config: valid (generation 1, in file)" in told
    assert "manifests: valid (1 workloads" in told
    (tmp_path / "m" / "a.yaml").write_text("workloads: [{id: a, kind: sight}]\n")
    done = here("config", "validate").expect(2)
    assert "a.yaml:1: " in done.stderr
    path.write_text("a: [\n")
    for command in ("show", "history", "validate"):
        refused(tallyd("config", command), 2, f"{path}:2: not YAML")
    assert tallyd("config", "set", "interval_seconds=8").exit_code == 2
    assert path.read_text() == "a: [\n", "what a person wrote is not overwritten"


def test_diff_and_history(tallyd: Tallyd, path: Path, tmp_path: Path) -> None:
    """O1: exit 3 exactly where there is a difference."""
    assert tallyd.ok("config", "history", "-o", "json").json == []
    assert tallyd.ok("config", "diff").stdout == ""
    path.write_text("interval_seconds: 7\n")
    tallyd.ok("config", "patch", '{"log_level": "debug"}')
    done = tallyd("config", "diff").expect(3)
    assert "--- generation 1" in done.stdout
    assert "+log_level: debug" in done.stdout.splitlines()
    assert "-interval_seconds: 7" not in done.stdout.splitlines()
    assert tallyd.ok("config", "diff", "--generation", "2").stdout == ""
    assert "+interval_seconds: 7" in tallyd("config", "diff", "--generation", "0").expect(3).stdout
    refused(tallyd("config", "diff", "--generation", "9"), 1, "generation 9 is not kept; there are: 1, 2")
    (tmp_path / "new.yaml").write_text("log_level: debug\ninterval_seconds: 7\n")
    assert tallyd.ok("config", "diff", "new.yaml").stdout == ""
    (tmp_path / "new.yaml").write_text("log_level: debug\n")
    assert "-interval_seconds: 7" in tallyd("config", "diff", "new.yaml").expect(3).stdout
    kept = tallyd.ok("config", "history", "-o", "json").json
    assert [(each["generation"], each["author"]) for each in kept] == [(2, "CLI"), (1, "edited by hand")]
    table = tallyd.ok("config", "history").stdout.splitlines()
    assert table[0].split() == ["GEN", "AT", "BY", "SETTINGS"]
    assert "interval_seconds=7, log_level=debug" in table[1]


def test_the_schemas(tallyd: Tallyd) -> None:
    """O1, O7: each is a schema; what it allows is what the commands take."""
    manifest, config = tallyd.ok("schema").json, tallyd.ok("schema", "config").json
    assert tallyd.ok("schema", "manifest").json == manifest
    for each in (manifest, config):
        Draft202012Validator.check_schema(each)
    workload = {"id": "a", "kind": "site", "source": {"kind": "report"}, "public_faces": [{"host": "a.example"}]}
    assert Draft202012Validator(manifest).is_valid({"workloads": [workload, {"name": "b", "kind": "stack"}]})
    assert not Draft202012Validator(manifest).is_valid({"workloads": [{"kind": "site"}]})
    assert not Draft202012Validator(manifest).is_valid({"workloads": [workload | {"kid": 1}]})
    assert Draft202012Validator(config).is_valid({"interval_seconds": 7})
    assert not Draft202012Validator(config).is_valid({"interval_secs": 7})
    tallyd("schema", "nothing").expect(2)


def test_workload_plan(tallyd: Tallyd, path: Path, tmp_path: Path) -> None:
    """O1, W7: what the manifests would do; exit 3 when that is something; nothing is written."""
    folder = tmp_path / "m"
    folder.mkdir()
    (folder / "a.yaml").write_text("workloads: [{id: a, kind: site}, {id: b, kind: stack}]\n")
    refused(tallyd("workload", "plan"), 2, "TALLYD_MANIFESTS")
    refused(tallyd("workload", "plan", "-f", str(folder)), 1, "tallyd migrate")
    tallyd.apply({"id": "b", "kind": "stack", "name": "Other"}, {"id": "by-hand", "kind": "site"})
    here = tallyd.with_settings(TALLYD_MANIFESTS=str(folder))
    done = here("workload", "plan").expect(3)
    assert done.stdout.splitlines() == ["add     a", "change  b"]
    assert "1 added, 1 changed (0 unchanged)" in done.stderr
    plan = here("workload", "plan", "--prune", "-o", "json").expect(3).json
    assert plan == {"added": ["a"], "changed": ["b"], "unchanged": [], "removed": [], "kept": {}}
    assert yaml.safe_load(here("workload", "plan", "-o", "yaml").expect(3).stdout) == plan
    assert {each["id"] for each in tallyd.ok("workload", "list", "-o", "json").json} == {"b", "by-hand"}
    tallyd.ok("workload", "apply", "-f", str(folder))
    assert here.ok("workload", "plan").stdout == ""
    (folder / "a.yaml").write_text("workloads: [{id: a, kind: sight}]\n")
    refused(here("workload", "plan"), 2, "a.yaml:1: ")
