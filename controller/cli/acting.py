"""What a command works with that acts on the engine, as a running controller does."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from controller.cli.context import Invocation, actor_here
from controller.clock import CLOCK
from controller.engine.containers import Progress
from controller.engine.endpoint import endpoint_from
from controller.engine.verbs import EngineVerbs, unheard
from controller.opening import register_host
from controller.plugins.registry import Registry, load_registry
from controller.rollout.bound import engine_check
from controller.rollout.equipment import Hooks, equip
from controller.rollout.rollouts import Rollouts
from controller.settings import Settings
from store.database import Database


@dataclass(frozen=True, slots=True)
class Acting:
    """Settings, store, plugins that were given the engine, and the place that deploys."""

    settings: Settings
    database: Database
    registry: Registry
    verbs: EngineVerbs
    rollouts: Rollouts


@contextmanager
def acting(called: Invocation, pulled: Progress = unheard) -> Iterator[Acting]:
    """All of that while the block lasts. The host is made known to the store, as by a tick.

    :param pulled: hears of every line of a pull.
    :raises SettingInvalid: a setting is wrong.
    :raises StoreError: the store cannot be used.
    """
    settings, registry, endpoint = called.settings(), load_registry(), endpoint_from(os.environ)
    with called.store() as database:
        register_host(database, settings, endpoint.url, single_pass=True)
        hooks = Hooks(pulled=pulled, environment=os.environ, actor=actor_here())
        verbs = equip(registry, settings, endpoint, database, hooks)
        check = engine_check(database, settings, endpoint)
        rollouts = Rollouts(database, registry, settings.host, CLOCK.now, check_engine=check)
        try:
            yield Acting(settings, database, registry, verbs, rollouts)
        finally:
            verbs.cancel()
