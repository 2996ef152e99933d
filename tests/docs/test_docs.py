"""Every setting, metric, command, route, reason, outcome and error is documented, and nothing else is."""

from __future__ import annotations

import json
import os
import re
import socket
import subprocess
import tomllib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, get_args

import pytest
import typer
from prometheus_client import generate_latest
from prometheus_client.parser import text_string_to_metric_families
from pydantic import BaseModel

from controller.cli.context import told_errors
from controller.cli.main import app
from controller.declared.manifests import WorkloadSpec
from controller.doctor.examine import examine
from controller.engine.endpoint import Endpoint
from controller.engine.events import EventStream
from controller.errors import (
    DeployUnderWay,
    EngineRefused,
    ForeignRevision,
    GenerationConflict,
    IllegalTransition,
    InvalidSplit,
    LeaseHeld,
    RevisionNotFound,
    SecretNotFound,
    SecretUnreadable,
    SettingInvalid,
    SplitGenerationConflict,
    SplitNotFound,
    TallydError,
    WorkloadConflict,
)
from controller.labels import COMPOSE_NUMBER, COMPOSE_ONEOFF, COMPOSE_PROJECT, COMPOSE_SERVICE, LabelNames
from controller.loop.dispatch import IgnoreReason
from controller.loop.report import TickOutcome, TickReport
from controller.loop.status import LoopStatus
from controller.metrics import IndexFigures, Metrics
from controller.plugins.contract import Described, PublicFace
from controller.plugins.registry import load_registry
from controller.plugins.sources.compose_options import ComposeOptions
from controller.plugins.sources.image_options import ImageOptions
from controller.plugins.sources.static_options import StaticOptions
from controller.settings import Settings, default_database_url, default_sites
from controller.settings_sources import LoadedSettings, load_settings
from store.database import Database
from store.rollout_records import EDGES, RevisionState
from tests.docs.conftest import CLOCK, SITE, Done
from tests.docs.markdown import PAGES, ROOT, block, codes, names, page, section, sections, table
from tests.fakes import FakeDocker
from tests.harness.components import program_path, require
from tests.rollouts import shop

CONFIGURATION = "docs/configuration.md"
METRICS = "docs/metrics.md"
CLI = "docs/cli.md"
OPERATIONS = "docs/operations.md"

ROOT_COMMAND: Any = typer.main.get_command(app)


# Settings


def test_every_setting_is_documented_and_no_other() -> None:
    """O2, O7: the table of settings is the list of settings, each with its variable."""
    rows = table(CONFIGURATION, "Settings")
    assert names(rows, "Setting") == list(Settings.model_fields)
    assert names(rows, "Environment") == [f"TALLYD_{name.upper()}" for name in Settings.model_fields]
    explained = re.findall(r"^- (.+?) (?:is|are|names|bounds|guards|will) ", section(CONFIGURATION, "Settings"), re.M)
    assert [name for each in explained for name in codes(each)] == list(Settings.model_fields)


@pytest.mark.parametrize("row", table(CONFIGURATION, "Settings"), ids=lambda row: row["Setting"].strip("`"))
def test_the_documented_default_is_the_default(row: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    """O2: what the table says happens when nothing is set."""
    name = row["Setting"].strip("`")
    monkeypatch.setenv("HOME", "/home/me")
    if name == "host":
        assert load_settings({}, {}).settings.host == socket.gethostname()
        return
    if name in ("database_url", "sites"):
        said, default = [], default_database_url if name == "database_url" else default_sites
        for user in (0, 1000):
            monkeypatch.setattr(os, "geteuid", lambda user=user: user)
            said.append(str(default()).replace("/home/me", "$HOME"))
        assert codes(row["Default"]) == said
        return
    value = Settings.model_fields[name].default
    expected = f"{value:g}" if isinstance(value, float) else str(value).lower()
    assert row["Default"].strip("`") == ("none" if value is None else expected)


@pytest.mark.parametrize("row", table(CONFIGURATION, "Settings"), ids=lambda row: row["Setting"].strip("`"))
def test_the_documented_limits_are_the_limits(row: dict[str, str]) -> None:
    """O2: bounds, lengths and words that are allowed stand in the table."""
    field = Settings.model_fields[row["Setting"].strip("`")]
    limits = [
        f"{getattr(each, limit):.15g}"
        for each in field.metadata
        for limit in ("gt", "ge", "le", "min_length")
        if getattr(each, limit, None) is not None
    ]
    words = [each for each in get_args(field.annotation) if isinstance(each, str)]
    assert set(limits) <= set(re.findall(r"\d+(?:\.\d+)?", row["Allowed"]))
    assert codes(row["Allowed"]) == words or not words
    assert row["Type"]


def test_the_documented_flag_is_the_flag() -> None:
    """O2: a flag is named where there is one, and only there."""
    root, run = _options(ROOT_COMMAND), _options(ROOT_COMMAND.commands["run"])
    for row in table(CONFIGURATION, "Settings"):
        flag = f"--{row['Setting'].strip('`').replace('_', '-')}"
        where = f"`{flag}`" if flag in root else f"`{flag}` of `run`" if flag in run else ""
        assert row["Flag"] == where


def test_no_page_names_a_variable_that_is_none() -> None:
    """O2: every TALLYD_ variable of the documentation is one that is read, or is left alone on purpose."""
    wrong_on_purpose = {"TALLYD_INTERVALSECONDS"}
    named = {name for each in PAGES for name in re.findall(r"\bTALLYD_[A-Z0-9_]*[A-Z0-9]\b", each.read_text())}
    assert named >= {f"TALLYD_{name.upper()}" for name in Settings.model_fields} | wrong_on_purpose
    unknown = set()
    for name in named:
        try:
            load_settings({}, {name: "0"})
        except SettingInvalid as error:
            if "is not a setting" in str(error):
                unknown.add(name)
    assert unknown == wrong_on_purpose


def test_the_example_of_a_controller_config_is_valid(tmp_path: Path) -> None:
    """O2: the example can be pasted."""
    path = tmp_path / "config.yaml"
    path.write_text(block(CONFIGURATION, "yaml", "settings"))
    loaded = load_settings({"config": path}, {})
    assert loaded.settings.label_prefix == "acme"
    assert set(loaded.origins) > {"host", "interval_seconds", "label_prefix", "log_level"}


def test_every_label_is_documented_and_no_other() -> None:
    """R7, R8, R10: the labels that are read."""
    read = [*LabelNames().own, COMPOSE_PROJECT, COMPOSE_SERVICE, COMPOSE_NUMBER, COMPOSE_ONEOFF]
    assert sorted(names(table(CONFIGURATION, "Labels"), "Label")) == sorted(read)


def test_every_key_of_a_manifest_is_documented_and_no_other() -> None:
    """O7: the tables of the manifest are its models."""
    assert names(table(CONFIGURATION, "Workload"), "Key") == list(WorkloadSpec.model_fields)
    assert names(table(CONFIGURATION, "Public face"), "Key") == list(PublicFace.model_fields)


def test_every_option_of_a_built_in_plugin_is_documented_and_no_other() -> None:
    """S1, S2: kinds from the entry points, options from their schemas."""
    registry = load_registry()
    project = tomllib.loads(page("pyproject.toml"))["project"]["entry-points"]
    built_in = {(noun, kind) for noun in ("source", "trigger") for kind in project[f"tallyd.{noun}s"]}
    rows = table(CONFIGURATION, "Options of the built-in plugins")
    documented = {(row["Plugin"].split()[0], codes(row["Plugin"])[0]): codes(row["Option"]) for row in rows}
    assert set(documented) == built_in
    for kind, source in registry.sources.items():
        if ("source", kind) in built_in:
            assert documented["source", kind] == list(source.config_schema().get("properties", {}))
    for kind, trigger in registry.triggers.items():
        if ("trigger", kind) in built_in:
            assert isinstance(trigger, Described)
            assert documented["trigger", kind] == list(trigger.config_schema().get("properties", {}))
    summary = table("docs/plugins.md", "Built-in plugins")
    assert {(row["Kind"].split()[0], codes(row["Kind"])[0]) for row in summary} == built_in


@pytest.mark.parametrize(
    ("place", "heading", "model"),
    [
        ("docs/sources/image.md", "Options", ImageOptions),
        ("docs/sources/compose.md", "Options", ComposeOptions),
    ],
)
def test_every_option_of_a_source_has_its_row_and_default(place: str, heading: str, model: type[BaseModel]) -> None:
    """S2: the table of its page is its model."""
    rows = table(place, heading)
    assert names(rows, "Option") == list(model.model_fields)
    for row in rows:
        field = model.model_fields[codes(row["Option"])[0]]
        plain = row["Default"].startswith("none")
        assert plain == (field.default is None or field.is_required())
        assert plain or codes(row["Default"]) == [f"{field.default}"]


def test_every_option_of_the_source_static_has_its_row_and_default() -> None:
    """S2: the table of its page is its model."""
    rows = table("docs/sources/static.md", "Options")
    assert names(rows, "Option") == list(StaticOptions.model_fields)
    for row in rows:
        field = StaticOptions.model_fields[codes(row["Option"])[0]]
        plain = row["Default"].startswith("none")
        assert plain == (field.default is None)
        assert plain or codes(row["Default"]) == [f"{field.default}"]


# Metrics


def test_every_metric_is_documented_with_its_type_and_labels_and_no_other() -> None:
    """O5: the table is what a scrape shows."""
    documented = {
        codes(row["Metric"])[0]: (row["Type"], set(codes(row["Labels"]))) for row in table(METRICS, "Metrics")
    }
    assert documented == dict(_scraped(_fed_metrics()))


def _fed_metrics() -> Metrics:
    """Every metric with a sample, so that its labels can be seen."""
    metrics = Metrics()
    metrics.observe_request("list", "ok", 0.1)
    metrics.observe_tick("complete", {"list": 0.1})
    metrics.observe_targeted("complete", 0.1)
    metrics.observe_reconcile("report", "in_sync")
    metrics.publish_index(IndexFigures({("site", "running"): 1}, {"unlabelled": 1}, 1, {"ready": 1}), 1.0)
    metrics.observe_dispatch("registry", "deployed")
    metrics.observe_look("registry", "new")
    metrics.events.labels("start").inc()
    metrics.healed("attempted")
    metrics.publish_holds(["host"])
    metrics.config_reloads.labels("ok").inc()
    return metrics


def _scraped(metrics: Metrics) -> Iterator[tuple[str, tuple[str, set[str]]]]:
    for family in text_string_to_metric_families(generate_latest(metrics.registry).decode()):
        labels = [set(sample.labels) - {"le"} for sample in family.samples]
        assert labels, f"{family.name} has no sample; feed it in _fed_metrics"
        suffix = "_total" if family.type == "counter" else ""
        yield family.name + suffix, (family.type, set.union(*labels))


def test_every_documented_query_is_promql_over_metrics_that_exist(tmp_path: Path) -> None:
    """O5: a query that does not parse, or asks for nothing of ours, helps nobody."""
    require("promtool")
    queries = [code for row in table(METRICS, "Metrics") for code in codes(row["A useful query"])]
    queries += [code for code in codes(section(METRICS, "What to alert on")) if "tallyd_" in code]
    assert len(queries) >= len(table(METRICS, "Metrics"))
    for query in queries:
        used = {re.sub(r"_(bucket|sum|count)$", "", name) for name in re.findall(r"\btallyd_\w+", query)}
        assert used <= {name for name, _ in _scraped(_fed_metrics())}, query
    rules = [{"record": f"query:{number}", "expr": query} for number, query in enumerate(queries)]
    path = tmp_path / "rules.yaml"
    path.write_text(json.dumps({"groups": [{"name": "docs", "rules": rules}]}))
    checked = subprocess.run(
        [program_path("promtool"), "check", "rules", path], capture_output=True, text=True, check=False
    )
    assert checked.returncode == 0, checked.stdout + checked.stderr


def test_every_query_stands_beside_its_metric() -> None:
    """O5: the query of a row asks for the metric of that row."""
    for row in table(METRICS, "Metrics"):
        assert codes(row["Metric"])[0] in row["A useful query"]


def test_every_phase_is_documented_and_no_other(report: TickReport) -> None:
    """O5: the values of the label `phase`."""
    assert names(table(METRICS, "Phases"), "Phase") == list(report.phases)


# The command line


def _options(command: Any) -> set[str]:
    return {flag for each in command.params for flag in (*each.opts, *each.secondary_opts) if flag.startswith("-")}


def _walk(command: Any, path: str = "tallyd") -> Iterator[tuple[str, Any]]:
    yield path, command
    for name, child in getattr(command, "commands", {}).items():
        if not child.hidden:
            yield from _walk(child, f"{path} {name}")


COMMANDS = dict(_walk(ROOT_COMMAND))


def test_every_command_is_documented_and_no_other() -> None:
    """O1: one section for each command and group."""
    titles = [each.title for each in sections(CLI) if re.match(r"tallyd\b", each.title)]
    assert sorted(titles) == sorted(COMMANDS)


@pytest.mark.parametrize("path", COMMANDS)
def test_every_option_is_documented_and_no_other(path: str) -> None:
    """O1: the table of each command is the list of its options; `--help` stands at the root only."""
    text = section(CLI, path)
    documented = names(table(CLI, path), "Option") if "| Option |" in text else []
    everywhere = {"--help", "-h"} if path == "tallyd" else set()
    assert set(documented) == _options(COMMANDS[path]) | everywhere


@pytest.mark.parametrize("path", COMMANDS)
def test_every_argument_is_documented(path: str) -> None:
    """O1: a command that needs arguments or options shows how it is called."""
    arguments = [each for each in COMMANDS[path].params if each.param_type_name == "argument"]
    required = [each for each in COMMANDS[path].params if each.param_type_name == "option" and each.required]
    usage = [code for code in codes(section(CLI, path)) if code.startswith(f"{path} ") and code.isascii()]
    shown = usage[0].removeprefix(path).split() if usage and (arguments or required) else []
    names_of = [(each.metavar or each.name).upper() for each in arguments]
    wanted = [name if each.required else f"[{name}]" for name, each in zip(names_of, arguments, strict=True)]
    assert shown == [*wanted, *(word for each in required for word in (each.opts[0], each.metavar))]


def _keys(title: str) -> list[str]:
    rows = table(CLI, title)
    return names(rows, "Key")


def test_the_documented_shape_of_ps_is_its_shape(tallyd: Callable[..., Done]) -> None:
    """O7: every key of a row, and no other."""
    rows = tallyd("ps", "-o", "json").json
    assert [row["id"] for row in rows] == ["docs:site"]
    assert list(rows[0]) == _keys("ps")


def test_the_documented_shape_of_tick_is_its_shape(tallyd: Callable[..., Done]) -> None:
    """O7: every key of a report, and no other."""
    told = tallyd("tick", "-o", "json").json
    assert told["outcome"] == "complete"
    assert list(told) == _keys("tick")


def test_the_documented_shape_of_plan_is_its_shape(tallyd: Callable[..., Done], fake: FakeDocker) -> None:
    """O7: the keys of a plan with drift, and exit 3."""
    assert tallyd("plan", "-o", "json").code == 0
    fake.world.stop(fake.world.listing()[0]["Id"])
    drifted = tallyd("plan", "-o", "json")
    assert drifted.code == 3
    assert [*drifted.json, *drifted.json["changes"][0]] == codes(section(CLI, "plan"))[1:]


def test_the_documented_shape_of_explain_is_its_shape(tallyd: Callable[..., Done]) -> None:
    """O7: the keys of an explanation and of a rule in it."""
    told = tallyd("explain", "docs", "-o", "json").json
    assert sorted({*told, *told["rules"][0]}) == sorted(codes(section(CLI, "explain"))[1:])


def test_the_documented_shapes_of_workload_host_and_doctor_are_their_shapes(tallyd: Callable[..., Done]) -> None:
    """O7: the keys of the rest."""
    workload = tallyd("workload", "get", SITE.id, "-o", "json").json
    assert list(workload) == codes(section(CLI, "workload"))[3 : 3 + len(workload)]
    host = tallyd("host", "list", "-o", "json").json[0]
    assert list(host) == codes(section(CLI, "host"))[1:]
    finding = tallyd("doctor", "-o", "json").json[0]
    assert set(finding) == set(codes(section(CLI, "doctor"))[1:]) - {"ok", "warn", "fail"}


def test_the_documented_shapes_of_revision_and_split_are_their_shapes(
    tallyd: Callable[..., Done], database: Database
) -> None:
    """O7: the keys of both, and of an entry."""
    shop(database, RevisionState.READY, split=(10_000,))
    revision = tallyd("revision", "get", "shop", "shop-1", "-o", "json").json
    assert list(revision) == codes(section(CLI, "revision"))[2 : 2 + len(revision)]
    split = tallyd("split", "show", "shop", "-o", "json").json
    told = codes(section(CLI, "split"))
    assert list(split) == told[3 : 3 + len(split)]
    assert list(split["entries"][0]) == told[5 + len(split) : 7 + len(split)]


# Operations


def test_every_state_of_a_revision_is_documented_with_its_edges() -> None:
    """L1: the table is the lifecycle."""
    documented = {codes(row["State"])[0]: set(codes(row["May become"])) for row in table(OPERATIONS, "Revisions")}
    assert documented == {str(state): set(map(str, wanted)) for state, wanted in EDGES.items()}


def test_every_outcome_of_a_tick_is_documented_and_no_other() -> None:
    """O5, O7: the values of the label and key `outcome`."""
    assert names(table(OPERATIONS, "Tick outcomes"), "Outcome") == [str(each) for each in TickOutcome]


def test_every_reason_for_ignoring_is_documented_and_no_other() -> None:
    """O5, O7: the values of the label and key `reason`."""
    assert names(table(OPERATIONS, "Ignored containers"), "Reason") == [str(each) for each in IgnoreReason]


def test_every_reason_for_not_being_ready_is_documented() -> None:
    """O4, R21: what `/-/ready` says of its own."""
    now = 0.0
    status = LoopStatus(30, lambda: now)
    said = status.not_ready_because()
    status.record(TickReport("web-1", TickOutcome.COMPLETE, CLOCK.now()))
    assert status.not_ready_because() == []
    now = 91.0
    said += [each.replace("91 s", "N s") for each in status.not_ready_because()]
    assert [code for row in table(OPERATIONS, "Readiness") for code in codes(row["Reason"])] == said


def test_every_check_of_the_doctor_is_documented_and_no_other(
    fake: FakeDocker, database: Database, tmp_path: Path
) -> None:
    """O1: the doctor's checks, with an engine, a store and manifests in a git tree, and without any of them."""
    subprocess.run(["git", "init", "--quiet", tmp_path / "declared"], check=True)
    told = {"reload"}  # of a controller that runs
    for url, engine in ((f"sqlite:///{database.path}", fake.endpoint), ("mysql://x", "nonsense")):
        loaded = LoadedSettings(Settings(database_url=url, manifests=tmp_path / "declared"), {})
        told |= {each.check for each in examine(loaded, {"DOCKER_HOST": engine}, CLOCK.now)}
    assert set(names(table(OPERATIONS, "Doctor"), "Check")) == told


def test_every_request_to_the_engine_is_documented_and_no_other(
    tallyd: Callable[..., Done], fake: FakeDocker
) -> None:
    """O4: what a read-only proxy has to let through; `run` and `doctor` ask for more than a tick."""
    rows = table(OPERATIONS, "Security")
    fake.requests.clear()
    assert tallyd("tick").code == 0
    assert _paths(each for each in rows if "only" not in each["For"]) == set(fake.requests)
    tallyd("doctor")
    stream = EventStream(Endpoint(fake.endpoint))
    stream.open(None)
    stream.release()
    assert _paths(rows) == set(fake.requests)


def _paths(rows: Any) -> set[str]:
    return {codes(row["Request"])[0].removeprefix("GET ").partition("?")[0] for row in rows}


def _tree(kind: type[TallydError] = TallydError) -> Iterator[type[TallydError]]:
    yield kind
    for each in kind.__subclasses__():
        if each.__module__.startswith(("controller.", "store.")):
            yield from _tree(each)


SAMPLES: dict[type[TallydError], TallydError] = {
    DeployUnderWay: DeployUnderWay("shop", "cli:root deploys shop-2", 8),
    EngineRefused: EngineRefused("web-1", "one", "another"),
    ForeignRevision: ForeignRevision("shop", "r1"),
    GenerationConflict: GenerationConflict(1, 2),
    SecretNotFound: SecretNotFound("shop", "PW"),
    SecretUnreadable: SecretUnreadable("shop", "PW", "no key fits"),
    IllegalTransition: IllegalTransition("r1", "archived", "staged", []),
    InvalidSplit: InvalidSplit("shop", 9_999),
    RevisionNotFound: RevisionNotFound("shop", "r1"),
    SplitGenerationConflict: SplitGenerationConflict("shop", 1, 2),
    SplitNotFound: SplitNotFound("shop"),
    LeaseHeld: LeaseHeld("web-1", "http://127.0.0.1:9477", 45),
    WorkloadConflict: WorkloadConflict("shop", 1, 2),
}


def test_every_error_is_documented_and_no_other() -> None:
    """O1: the table of errors is the tree of exceptions."""
    assert sorted(names(table(OPERATIONS, "Errors"), "Error")) == sorted(each.__name__ for each in set(_tree()))


@pytest.mark.parametrize("kind", sorted(set(_tree()), key=lambda kind: kind.__name__), ids=lambda kind: kind.__name__)
def test_an_error_ends_a_command_with_the_documented_code(kind: type[TallydError]) -> None:
    """O1: exit 1 for errors, 2 for usage."""
    documented = {codes(row["Error"])[0]: row["Exit"] for row in table(OPERATIONS, "Errors")}
    with pytest.raises(typer.Exit) as ended, told_errors():
        raise SAMPLES.get(kind) or kind("as an example")
    assert documented[kind.__name__] == str(ended.value.exit_code)


# Architecture and project


def test_the_layers_of_the_architecture_are_those_that_are_enforced() -> None:
    """The picture's twin in pyproject.toml."""
    contracts = tomllib.loads(page("pyproject.toml"))["tool"]["importlinter"]["contracts"]
    enforced = next(each["layers"] for each in contracts if each["type"] == "layers")
    assert block("docs/architecture.md", "layers").splitlines() == enforced


def test_the_changelog_has_this_version() -> None:
    """A release without an entry is no release."""
    version = re.search(r'__version__ = "(.+)"', page("controller/__init__.py"))
    assert version is not None
    assert f"[{version[1]}]" in [each.title.partition(" - ")[0] for each in sections("CHANGELOG.md")]
    assert (ROOT / "LICENSE").is_file()
