"""A process's whole life on one screen: what is built, in which order it starts, and how it stops.

The one place that builds clients and threads.
"""

from __future__ import annotations

import random
import secrets
import signal
import threading
from collections.abc import Callable, Mapping
from functools import partial
from queue import SimpleQueue
from typing import TYPE_CHECKING, Any

import structlog

from controller import __version__
from controller.activator import Activator, Running, candidate_for, first_activation, instance_id
from controller.clock import CLOCK
from controller.collector import settle_memory
from controller.declared.config import locate_config
from controller.declared.declaration import Declaration
from controller.declared.reload_status import ReloadStatus
from controller.engine.client import EngineClient
from controller.engine.endpoint import endpoint_from
from controller.engine.events import EventStream
from controller.errors import StoreError
from controller.http.server import HttpServer
from controller.loop.activations import Activations
from controller.loop.lease import LeaseKeeper
from controller.loop.publish import Narrator, publish_metrics
from controller.loop.report import TickOutcome, TickReport
from controller.loop.schedule import Loop, LoopHooks
from controller.loop.status import LoopStatus
from controller.loop.tick import Activation
from controller.loop.watch import Watch
from controller.metrics import Metrics
from controller.notify import Notifier
from controller.observing import Observing
from controller.opening import open_store, register_host
from controller.plugins.registry import load_registry
from controller.reloading import Reloading
from controller.rollout.bound import engine_check
from controller.rollout.deployer import Deployer
from controller.rollout.equipment import Hooks, equip
from controller.rollout.followers import Asker
from controller.rollout.jobs import DeployJobs
from controller.rollout.rollouts import Rollouts
from controller.rollout.secrets import Secrets
from controller.settings import Settings, clamp_interval
from controller.triggering import Ground, Triggering
from store.revisions import count_revisions

if TYPE_CHECKING:
    from fastapi import FastAPI

log = structlog.get_logger(__name__)

_SPARE_SECONDS = 30.0


class Daemon:
    """One running controller. Started once, stopped once; both can be repeated without harm.

    :param flags: those of the settings that no reload may change, because they were given on the command line; none:
        all of ``settings``.
    :raises SettingInvalid: the port cannot be opened, or the engine's address is wrong.
    :raises StoreError: the store cannot be used.
    """

    def __init__(
        self,
        settings: Settings,
        environment: Mapping[str, str],
        reported: Callable[[TickReport], None] = lambda _report: None,
        flags: Mapping[str, Any] | None = None,
    ) -> None:
        self.settings = settings
        self.metrics = Metrics()
        self.interval = clamp_interval(settings.interval_seconds)
        self.status = LoopStatus(self.interval, CLOCK.monotonic)
        self.registry = load_registry()
        self._narrator = Narrator(log)
        self._notifier = Notifier(environment)
        self._reported = reported
        self._engine = EngineClient(
            endpoint_from(environment),
            timeout_seconds=settings.engine_timeout_seconds,
            observer=self.metrics.observe_request,
        )
        self.database = open_store(settings)
        halt = threading.Event()
        check = engine_check(self.database, settings, self._engine.endpoint)
        rollouts = Rollouts(self.database, self.registry, settings.host, CLOCK.now, halt, check_engine=check)
        self.deploys = DeployJobs(rollouts, CLOCK.now, halt)
        hooks = Hooks(self.metrics.observe_request, halt=halt, environment=environment, ask=self.deploys.ask)
        equipped = partial(equip, self.registry, settings, self._engine.endpoint, self.database)
        self._observing = Observing(settings, self.database, self.metrics, CLOCK.now, equipped, hooks)
        self._revisions = count_revisions(self.database)
        self._deployers = {kind for kind, each in self.registry.sources.items() if isinstance(each, Deployer)}
        self._http = HttpServer(*settings.address, self._build_app)
        self._control_token = secrets.token_urlsafe(32)
        candidate = candidate_for(settings, self._http.url, self._control_token)
        self.instance_id = instance_id(candidate.owner)
        self.keeper = LeaseKeeper(self.database, candidate, CLOCK.monotonic, self._lead)
        self.loop = Loop(LoopHooks(self._current, self._record, self._cancel), CLOCK, self.interval)
        first = first_activation(
            settings,
            self.database,
            self._engine,
            self.keeper.current,
            registry=self.registry,
            clock=CLOCK,
            interrupted=self._somebody_waits,
        )
        self.activations = Activations(first, CLOCK.monotonic)
        self.reloading = self._build_reloading(environment, flags)
        ground = Ground(self.registry, self.database, settings.host, environment)
        self.triggering = Triggering(ground, rollouts, self.metrics, lambda: self.keeper.held, CLOCK)
        self.watch = Watch(self._open_stream, self._observing.hooks(self.loop), random.Random())
        self._started = False
        self._stopped = threading.Event()
        self._ended: SimpleQueue[int] = SimpleQueue()

    @property
    def address(self) -> str:
        """The URL of the HTTP port."""
        return self._http.url

    def start(self) -> None:
        """Subscribe to events, then run the boot pass. Returns at once.

        :raises StoreError: the store cannot be used.
        """
        if self._started:
            return
        self._started = True
        if self.interval != self.settings.interval_seconds:
            log.warning("interval clamped", asked=self.settings.interval_seconds, used=self.interval)
        for name, reason in self.registry.broken.items():
            log.error("plugin cannot be loaded", entry_point=name, reason=reason)
        register_host(self.database, self.settings, self._engine.endpoint.url)
        log.info(
            "starting",
            version=__version__,
            host=self.settings.host,
            endpoint=self._engine.endpoint.url,
            store=self.database.display_url,
            address=self.address,
        )
        self.reloading.boot()
        self.triggering.start()
        self._observing.chronicle.start()
        self.watch.start()
        self.loop.start()
        self.keeper.start()
        self._http.start()
        self.reloading.start()

    def stop(self) -> None:
        """Stop in reverse order; returns within about two seconds, whatever the engine or a plugin does (R3)."""
        if self._stopped.is_set():
            return
        self._stopped.set()
        self._ended.put(0)
        self._notifier.stopping()
        self.deploys.halt()
        self.reloading.stop()
        self.triggering.stop()
        self.watch.stop()
        self.loop.stop()
        self._observing.chronicle.stop()
        self.deploys.stop()
        self._http.stop()
        self.keeper.stop()
        self._engine.close()
        self.database.close()
        log.info("stopped")

    def run_until_signalled(self) -> None:
        """Serve until SIGINT or SIGTERM, or until :meth:`stop` is called from elsewhere."""
        # A handler runs inside whatever the main thread does, so it may take no lock; this queue is made for that.
        for each in (signal.SIGINT, signal.SIGTERM):
            signal.signal(each, lambda number, _frame: self._ended.put(number))
        try:
            self.start()
            self._ended.get()
        finally:
            self.stop()

    @property
    def longest_silence_seconds(self) -> float:
        """How long an honest loop may show no life: its slowest pass, and something to spare."""
        in_force = self.reloading.worker.in_force
        settings = self.settings if in_force is None else in_force.settings
        return 3 * settings.engine_timeout_seconds + settings.plugin_deadline_seconds * 1.25 + _SPARE_SECONDS

    def _build_app(self) -> FastAPI:
        from controller.http.app import HttpContext, build_app
        from controller.http.auth import API, Access
        from controller.http.config import ConfigContext
        from controller.http.history import HistoryContext
        from controller.http.reload import ReloadAccess

        token = self.settings.api_token
        app = build_app(
            HttpContext(
                host=self.settings.host,
                label_prefix=lambda: self.activations.current().names.prefix,
                database=self.database,
                registry=self.registry,
                loop=self.loop,
                status=self.status,
                metrics=self.metrics,
                access=Access(
                    token.get_secret_value() if token else None, self.settings.on_loopback, self._control_token
                ),
                now=CLOCK.now,
                longest_silence_seconds=lambda: self.longest_silence_seconds,
                deploys=self.deploys,
                reloader=self.reloading,
                reload_access=ReloadAccess(self.settings.reload_tokens),
                config=ConfigContext(
                    host=self.settings.host,
                    instance_id=self.instance_id,
                    store=self.reloading.store,
                    status=self.reloading.status,
                    worker=self.reloading.worker,
                ),
                history=HistoryContext(
                    self.settings.host, self.database, CLOCK.now, self._stopped.is_set, self._observing.host_holds
                ),
                secrets=Secrets(self.database, self.settings.secrets_key_file, API),
                traefik_asks=Asker(self.settings.runtime_config),
                triggers=self.triggering.dispatcher,
            )
        )
        settle_memory()
        return app

    def _lead(self) -> None:
        self.loop.request()

    def _current(self) -> Activation:
        return self.activations.current()

    def _somebody_waits(self) -> bool:
        return self.loop.somebody_waits

    def _cancel(self) -> None:
        self._engine.cancel()
        self._observing.verbs.cancel()
        self.activations.current().converger.stop()

    def _count_revisions(self) -> None:
        try:
            self._revisions = count_revisions(self.database)
        except StoreError as error:
            log.debug("revisions are not counted", reason=str(error))

    def _build_reloading(self, environment: Mapping[str, str], flags: Mapping[str, Any] | None) -> Reloading:
        given = self.settings.model_dump(exclude_unset=True) if flags is None else flags
        config = locate_config(self.settings, self.database, CLOCK.now)
        declaration = Declaration(config, self.settings, given, environment, self.registry)
        running = Running(self.activations, self.loop, self.status, self.keeper, self._engine.endpoint.url)
        status = ReloadStatus(CLOCK.now)
        activator = Activator(running, self.database, status, CLOCK.now, self.settings)
        return Reloading(declaration, activator, self.settings, environment, self.metrics, status, CLOCK.now)

    def _open_stream(self) -> EventStream:
        return EventStream(self._engine.endpoint)

    def _record(self, report: TickReport) -> None:
        if report.outcome is TickOutcome.STANDBY:
            self.keeper.lost()
        elif report.complete and not report.targeted:
            self.keeper.committed()
        if not report.targeted:
            self.reloading.backstop(report.config_generation)
        self.triggering.record(report)
        self.metrics.lease_held.set(self.keeper.held)
        self.status.record(report)
        self._narrator.tell(report)
        self._notifier.tell(report)
        self._observing.chronicle.record(report)
        if any(each.source_kind in self._deployers for each in report.reconciled):
            self._count_revisions()
        publish_metrics(report, self.metrics, self._revisions)
        self._http.hurry()
        if not self._stopped.is_set():
            self._reported(report)
