"""`tallyd config …`: the controller config, a document of settings under generation compare-and-swap."""

from __future__ import annotations

import difflib
import re
import sys
from pathlib import Path
from typing import Annotated, Any

import typer
import yaml
from rich.text import Text

from controller.activator import instance_id
from controller.cli.context import EXIT_DRIFT, Expected, Format, Invocation, Output, invocation, told_errors
from controller.cli.render import emit, show, table_of
from controller.declared.config import ConfigStore, config_envelope, patch_config, set_config, shown_content
from controller.declared.manifests import read_manifests
from controller.errors import ConfigInvalid, NotFound, StoreError, UsageError
from controller.plugins.registry import load_registry
from controller.settings import LIVE_SETTINGS, SECRET_SETTINGS, Settings
from controller.settings_sources import parse_config, unknown_setting
from controller.yamls import read_documents
from store.database import open_database
from store.leases import find_leader
from store.records import ConfigDocument

app = typer.Typer(
    no_args_is_help=True,
    help="Read and change the controller config. A running controller takes changes up by itself, within a second.",
)

AUTHOR = "CLI"
_PAIR = re.compile(r"(?s)(?P<name>\w+)=(?P<value>.*)")


@app.command("show")
def show_(
    context: typer.Context,
    origin: Annotated[
        bool, typer.Option("--origin", help="All settings in effect, and where each comes from.")
    ] = False,
    diagnostic: Annotated[
        bool, typer.Option("--diagnostic", help="Also the paths of the files that hold it.")
    ] = False,
    output: Format = Output.TABLE,
) -> None:
    """Show the config with its generation. Secrets are hidden."""
    called = invocation(context)
    with told_errors():
        if origin:
            _show_origins(called, output)
            return
        with called.config_store() as (store, settings):
            _show_document(store.read(), store, settings, output, diagnostic=diagnostic)


def _show_document(
    document: ConfigDocument, store: ConfigStore, settings: Settings, output: Output, *, diagnostic: bool = False
) -> None:
    envelope = config_envelope(document, store, settings.host, _instance(settings), diagnostic=diagnostic)
    if output is not Output.TABLE:
        emit(envelope, output)
        return
    stored = f"generation {document.generation}, by {document.author or 'nobody'}, in {store.backend}"
    rows = [
        {"setting": name, "value": _told(value), "from": "config" if name in envelope["declared"] else "default"}
        for name, value in sorted(envelope["config"].items())
    ]
    show(Text(stored, style="bold"), table_of(rows, (("SETTING", "setting"), ("VALUE", "value"), ("FROM", "from"))))
    for what, path in envelope.get("paths", {}).items():
        show(f"{what}: {path}")


def _instance(settings: Settings) -> str:
    """The controller that leads this host; empty where none does, or the store cannot be asked."""
    try:
        database = open_database(settings.database_url, make=False)
        leader = None if database.lost else find_leader(database, settings.host)
        database.close()
    except StoreError:
        return ""
    return instance_id(leader.owner) if leader is not None else ""


def _show_origins(called: Invocation, output: Output) -> None:
    loaded = called.loaded()
    in_effect = shown_content({name: getattr(loaded.settings, name) for name in Settings.model_fields})
    rows = [
        {
            "setting": name,
            "value": None if value is None else _told(value),
            "origin": loaded.origins.get(name, "default"),
            "live": name in LIVE_SETTINGS,
        }
        for name, value in sorted(in_effect.items())
    ]
    if output is not Output.TABLE:
        emit(rows, output)
        return
    told = [row | {"needs": "a reload" if row["live"] else "a restart"} for row in rows]
    columns = (("SETTING", "setting"), ("VALUE", "value"), ("FROM", "origin"), ("A CHANGE NEEDS", "needs"))
    show(table_of(told, columns))


def _told(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


@app.command()
def get(context: typer.Context, name: Annotated[str, typer.Argument(metavar="SETTING")]) -> None:
    """Print one setting as it is in effect here: flags, environment, config and defaults together."""
    with told_errors():
        if name not in Settings.model_fields:
            raise UsageError(unknown_setting(name, Settings.model_fields))
        value = shown_content({name: getattr(invocation(context).settings(), name)})[name]
    typer.echo("" if value is None else _told(value))


@app.command("set")
def set_(
    context: typer.Context,
    changes: Annotated[
        list[str], typer.Argument(metavar="DOCUMENT|KEY=VALUE...", help="A whole config as YAML or JSON, - or @FILE.")
    ],
    expect_generation: Expected = None,
    output: Format = Output.TABLE,
) -> None:
    """Replace the whole config, or set single settings.

    tallyd config set interval_seconds=10 log_level=debug
    tallyd config set '{"interval_seconds": 10}'
    tallyd config set @config.yaml --expect-generation 3
    """
    with told_errors(), invocation(context).config_store() as (store, settings):
        pairs = [found for each in changes if (found := _PAIR.fullmatch(each))]
        if len(pairs) == len(changes):
            patch = {each["name"]: _value_of(each["name"], each["value"]) for each in pairs}
            stored = patch_config(store, patch, author=AUTHOR, expected_generation=expect_generation)
        else:
            content = _document("\n".join(changes))
            stored = set_config(store, content, author=AUTHOR, expected_generation=expect_generation)
        _show_document(stored, store, settings, output)


def _value_of(name: str, text: str) -> Any:
    if name in SECRET_SETTINGS:
        return None if text == "null" else text  # digits alone are a token, too
    try:
        return yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise ConfigInvalid(f"{name}: its value is not YAML; put it in quotes inside the shell's") from error


@app.command()
def patch(
    context: typer.Context,
    change: Annotated[str, typer.Argument(metavar="JSON", help="A JSON Merge Patch; - reads stdin, @FILE a file.")],
    expect_generation: Expected = None,
    output: Format = Output.TABLE,
) -> None:
    """Change the config by a JSON Merge Patch (RFC 7396): null takes a setting back to its default.

    tallyd config patch '{"interval_seconds": 10, "log_level": null}' --expect-generation 3
    """
    with told_errors(), invocation(context).config_store() as (store, settings):
        text, source = _text_of(change)
        documents = read_documents(text, source, ConfigInvalid)
        asked = documents[0].value if documents else {}
        stored = patch_config(store, asked, author=AUTHOR, expected_generation=expect_generation)
        _show_document(stored, store, settings, output)


@app.command()
def validate(
    context: typer.Context,
    file: Annotated[Path | None, typer.Argument(help="A config; default: the stored one, and the manifests.")] = None,
) -> None:
    """Check a config file, or what is declared here now, without changing anything."""
    with told_errors():
        if file is not None:
            parse_config(_read(file), str(file))
            typer.echo(f"{file}: valid")
            return
        with invocation(context).config_store() as (store, _):
            generation = store.read().generation
        settings = invocation(context).settings()
        typer.echo(f"config: valid (generation {generation}, in {store.backend})")
        if settings.manifests is not None:
            found = read_manifests([settings.manifests], load_registry(), settings.label_prefix)
            typer.echo(f"manifests: valid ({len(found)} workloads in {settings.manifests})")


@app.command()
def diff(
    context: typer.Context,
    file: Annotated[Path | None, typer.Argument(help="Compare this file with the stored config.")] = None,
    generation: Annotated[
        int | None, typer.Option(help="Compare with this generation; default: the one before.")
    ] = None,
) -> None:
    """Show what a file would change, or what the last change changed. Exits 3 when there is a difference."""
    with told_errors(), invocation(context).config_store() as (store, _):
        current = store.read()
        if file is not None:
            lines = _difference(current, ConfigDocument(0, parse_config(_read(file), str(file))), str(file))
        else:
            wanted = current.generation - 1 if generation is None else generation
            lines = _difference(_kept(store, wanted), current, f"generation {current.generation}")
    for line in lines:
        typer.echo(line)
    if lines:
        raise typer.Exit(EXIT_DRIFT)


def _kept(store: ConfigStore, generation: int) -> ConfigDocument:
    if generation <= 0:
        return ConfigDocument()
    kept = {each.generation: each for each in store.history()}
    if generation not in kept:
        raise NotFound(
            f"generation {generation} is not kept; there are: {', '.join(map(str, sorted(kept))) or 'none'}"
        )
    return kept[generation]


def _difference(before: ConfigDocument, after: ConfigDocument, name: str) -> list[str]:
    old, new = shown_content(before.content), shown_content(after.content)
    one, other = (yaml.safe_dump(each, sort_keys=True).splitlines() if each else [] for each in (old, new))
    hidden = [
        f"# {key} differs (its value is not shown)"
        for key in sorted(old.keys() & new.keys())
        if old[key] == new[key] and before.content[key] != after.content[key]
    ]
    return [*difflib.unified_diff(one, other, f"generation {before.generation}", name, lineterm=""), *hidden]


@app.command()
def history(context: typer.Context, output: Format = Output.TABLE) -> None:
    """List the generations that are kept, newest first."""
    with told_errors(), invocation(context).config_store() as (store, settings):
        kept = [config_envelope(each, store, settings.host, "") for each in store.history()]
    if output is not Output.TABLE:
        emit(kept, output)
        return
    rows = [each | {"settings": ", ".join(f"{k}={_told(v)}" for k, v in each["declared"].items())} for each in kept]
    columns = (("GEN", "generation"), ("AT", "at"), ("BY", "author"), ("SETTINGS", "settings"))
    show(table_of(rows, columns))


def _document(argument: str) -> dict[str, Any]:
    text, source = _text_of(argument)
    return parse_config(text, source)


def _text_of(argument: str) -> tuple[str, str]:
    if argument == "-":
        return sys.stdin.read(), "stdin"
    if argument.startswith("@"):
        return _read(Path(argument[1:])), argument[1:]
    return argument, "argument"


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigInvalid(f"{path} cannot be read: {error}") from error
