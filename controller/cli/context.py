"""What every command needs: settings, store, engine; and how an error becomes one line and an exit code.

Each is imported by the method that gives it: a command costs what it uses, and a health check uses little.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from enum import StrEnum
from getpass import getuser
from typing import TYPE_CHECKING, Annotated, Any

import typer

from controller.clock import CLOCK
from controller.errors import SchemaOutdated, TallydError, UsageError

if TYPE_CHECKING:
    from controller.declared.config import ConfigStore
    from controller.engine.client import EngineClient
    from controller.loop.tick import Activation
    from controller.settings import Settings
    from controller.settings_sources import LoadedSettings
    from store.database import Database

EXIT_ERROR, EXIT_USAGE, EXIT_DRIFT = 1, 2, 3


class Output(StrEnum):
    """Form of the data on stdout."""

    TABLE = "table"
    JSON = "json"
    YAML = "yaml"


Format = Annotated[Output, typer.Option("--output", "-o", help="Form of the data on stdout.")]
Expected = Annotated[
    int | None,
    typer.Option("--expect-generation", min=0, help="Change nothing unless this is the current generation."),
]


@dataclass(slots=True)
class Invocation:
    """One call of the program: the global flags as they were given."""

    flags: dict[str, Any] = field(default_factory=dict)

    def loaded(self, **more: Any) -> LoadedSettings:
        """All settings, with flags of the command on top.

        :raises SettingInvalid: a setting is wrong.
        """
        from controller.declared.config import load_with_config

        return load_with_config(self.given(**more), os.environ, CLOCK.now)

    def given(self, **more: Any) -> dict[str, Any]:
        """The flags, with those of the command on top."""
        return {**self.flags, **{name: value for name, value in more.items() if value is not None}}

    def settings(self, **more: Any) -> Settings:
        """As :meth:`loaded`, without the origins."""
        return self.loaded(**more).settings

    def address(self) -> tuple[str, int]:
        """Where the controller listens; the store is opened only where the config is kept in it.

        :raises SettingInvalid: a setting is wrong.
        """
        from controller.settings_sources import ConfigContent, config_file_of, load_settings, read_config

        path = config_file_of(load_settings(self.flags, os.environ, ConfigContent()).settings)
        if path is None:
            return self.settings().address
        return load_settings(self.flags, os.environ, read_config(path)).settings.address

    @contextmanager
    def config_store(self) -> Iterator[tuple[ConfigStore, Settings]]:
        """Where the controller config is kept, found without reading it: it may be what has to be mended.

        :raises SettingInvalid: a flag or variable is wrong.
        :raises StoreError: the store that holds it cannot be used.
        """
        from controller.declared.config import locate_config
        from controller.settings_sources import ConfigContent, load_settings
        from store.database import open_database
        from store.schema import migrate

        settings = load_settings(self.flags, os.environ, ConfigContent()).settings
        database = open_database(settings.database_url)
        try:
            if settings.config is None and database.path is None:
                migrate(database)
            yield locate_config(settings, database, CLOCK.now), settings
        finally:
            database.close()

    @contextmanager
    def store(self) -> Iterator[Database]:
        """The store, brought up to date: for commands that write.

        :raises StoreError: it cannot be used.
        """
        from controller.opening import open_store

        database = open_store(self.settings())
        try:
            yield database
        finally:
            database.close()

    @contextmanager
    def existing_store(self) -> Iterator[Database]:
        """The store as it is: for commands that only read, and so make none.

        :raises StoreError: it cannot be used, or there is none yet.
        """
        from store.database import open_database
        from store.schema import check_schema

        database = open_database(self.settings().database_url, make=False)
        if database.lost:
            raise SchemaOutdated(f"there is no store at {database.path} yet; run: tallyd migrate")
        try:
            check_schema(database)
            yield database
        finally:
            database.close()

    @contextmanager
    def engine(self) -> Iterator[EngineClient]:
        """The engine.

        :raises SettingInvalid: its address is wrong.
        """
        from controller.engine.client import EngineClient
        from controller.engine.endpoint import endpoint_from

        client = EngineClient(endpoint_from(os.environ), timeout_seconds=self.settings().engine_timeout_seconds)
        try:
            yield client
        finally:
            client.close()

    @contextmanager
    def activation(self, *, writes: bool) -> Iterator[Activation]:
        """All that one pass works with."""
        from controller.activator import command_candidate, first_activation
        from controller.loop.lease import LeaseKeeper
        from controller.opening import register_host
        from controller.plugins.registry import load_registry
        from controller.rollout.equipment import Hooks, equip

        settings = self.settings()
        opened = self.store() if writes else self.existing_store()
        with opened as database, self.engine() as engine:
            keeper = LeaseKeeper(database, command_candidate(settings), CLOCK.monotonic)
            if writes:
                register_host(database, settings, engine.endpoint.url, single_pass=True)
            registry = load_registry()
            hooks = Hooks(environment=os.environ, actor=actor_here())
            verbs = equip(registry, settings, engine.endpoint, database, hooks)
            try:
                yield first_activation(settings, database, engine, keeper.current, registry=registry, clock=CLOCK)
            finally:
                verbs.cancel()
                keeper.stop()


def actor_here() -> str:
    """Who acts by this command, as history names it."""
    try:
        return f"cli:{getuser()}"
    except (KeyError, OSError):  # a user id without a name, as in a container
        return f"cli:{os.getuid()}"


def invocation(context: typer.Context) -> Invocation:
    """The invocation that a command belongs to."""
    found = context.find_object(Invocation)
    assert found is not None
    return found


@contextmanager
def told_errors() -> Iterator[None]:
    """Turn our errors into one message on stderr and an exit code."""
    try:
        yield
    except UsageError as error:
        typer.secho(f"tallyd: {error}", err=True, fg="red")
        raise typer.Exit(EXIT_USAGE) from error
    except TallydError as error:
        typer.secho(f"tallyd: {error}", err=True, fg="red")
        raise typer.Exit(EXIT_ERROR) from error
