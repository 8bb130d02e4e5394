"""The composition root: which classes make a server, which route leads where, start and stop.

Start: `/healthz` answers at once; litellm, which takes seconds to import, is loaded beside it;
`/readyz` answers 200 when a response can be started and the store was reached once; its body says
what is missing.
Stop: accept nothing new → running responses finish or end as failed → mirror, store and upstream
close. A second signal cuts the waits short (``processes.signals``).
"""

from __future__ import annotations

import asyncio
import gc
import logging
from collections.abc import AsyncIterator
from dataclasses import dataclass
from http import HTTPStatus

import orjson
from aiohttp import hdrs, web

from ws_bridge.clock import Clock
from ws_bridge.config import Config, Settings
from ws_bridge.config.memory import most_held
from ws_bridge.errors import ConfigError
from ws_bridge.jobs.idempotency import IdempotentCreates
from ws_bridge.jobs.lineage import Lineage
from ws_bridge.jobs.log_reader import LogReader
from ws_bridge.jobs.mirror import Mirror
from ws_bridge.jobs.observe import JobFinished, JobStarted, line_of
from ws_bridge.jobs.registry import JobRegistry
from ws_bridge.jobs.takeover import Takeover
from ws_bridge.jobs.usage import UsageRecorder
from ws_bridge.logs import CALLER
from ws_bridge.pacing import cancel_all
from ws_bridge.protocol.turn_cache import TurnCache
from ws_bridge.server import cors
from ws_bridge.server.auth import (
    Authenticator,
    authenticator_of,
    owner_names,
    rules_by_owner,
    sealer_of,
)
from ws_bridge.server.client_rules import ClientRules
from ws_bridge.server.http.chat_page import ChatPage
from ws_bridge.server.http.conversations import ConversationRoutes
from ws_bridge.server.http.health import HealthRoutes, Readiness
from ws_bridge.server.http.json import LIMITS
from ws_bridge.server.http.models import ModelRoutes
from ws_bridge.server.http.openapi import OpenApiDocument
from ws_bridge.server.http.responses import ResponseRoutes
from ws_bridge.server.http.usage import UsageRoutes, usage_list
from ws_bridge.server.json_responses import NO_STORE, REQUEST_ID
from ws_bridge.server.key_expiry import KeyExpiry
from ws_bridge.server.limits import (
    cache_limits,
    conversation_limits,
    job_policy,
    mirror_timing,
    socket_policy,
)
from ws_bridge.server.metrics import Metrics, tokens_in
from ws_bridge.server.middleware import AccessMiddleware, RequestQuota
from ws_bridge.server.quotas import LimitedCreates, Quotas, generating
from ws_bridge.server.refusal_log import REFUSAL_LOG, RefusalLog
from ws_bridge.server.shared_limits import SharedLimits
from ws_bridge.server.spending import Spending
from ws_bridge.server.stores import stores_of
from ws_bridge.server.transport.listener import track_requests
from ws_bridge.server.websocket.sockets import Sockets
from ws_bridge.store.base import Counters, Owners
from ws_bridge.store.ledger import Booking
from ws_bridge.tracing import Traces
from ws_bridge.upstream.base import Service
from ws_bridge.upstream.fallbacks import Fallbacks
from ws_bridge.upstream.model_table import ModelRoute, ModelTable, build, unpriced
from ws_bridge.upstream.router import Router
from ws_bridge.upstream.sealed_items import SealedItems

log = logging.getLogger("ws_bridge")

MIB = 2**20
STORE_CHECK_SECONDS = 0.5
# Stored events are no garbage, and the stock thresholds walk all of them again and again.
GC_THRESHOLDS = (10_000, 10, 10)


@dataclass(frozen=True, slots=True)
class Change:
    """New settings, checked, and what was made of them."""

    config: Config
    routes: tuple[ModelRoute, ...]
    authenticator: Authenticator
    owner_names: tuple[tuple[str, ...], ...]


class Bridge:
    """One server process: its parts, and its aiohttp application."""

    _is_store_open = False

    def __init__(
        self,
        settings: Settings,
        *,
        clock: Clock | None = None,
        upstream: Service | None = None,
        worker: int = 0,
    ) -> None:
        config, secrets = settings.config, settings.secrets
        self._config, self._clock = config, (clock := clock or Clock())
        self.lame_duck = asyncio.Event()  # set from outside: not ready any more, but serving
        self.force = asyncio.Event()  # set from outside: a drain waits no longer
        # Set: responses can be made; the upstream could not be started.
        self.ready, self.broken = asyncio.Event(), asyncio.Event()
        self.problems: list[str] = []  # of the configuration: why the server is broken
        # Set: the store was reached once; from outside, if it was by another process of the server.
        self.store_reached = asyncio.Event()
        # Where answers are kept, and where they come from.
        self.metrics = metrics = Metrics(worker)
        self._owners = Owners(owner_names(config, secrets))
        self._store, self._conversations, counters = stores_of(
            settings, clock, self._owners, metrics.store_called
        )
        self._sealer = sealer_of(config, secrets, self._store)
        self._models = models = build(config, secrets)
        self._traces = _traces(config, worker, clock)
        self._upstream = upstream or Router(
            *(models.targets(), self._sealer),
            callbacks=config.telemetry.litellm_callbacks,
            traces=self._traces,
            clock=clock,
        )
        sealed_items = SealedItems()
        self._answers = Fallbacks(
            self._upstream, models.candidates, sealed_items, clock, metrics.cooled
        )
        # The jobs between the two.
        self._logs = LogReader(self._store)
        self._mirror = Mirror(self._store, mirror_timing(config), clock, self._traces)
        self._usage = UsageRecorder(self._store, clock, self._booked)
        self._jobs = self._build_jobs(sealed_items)
        self._takeover = Takeover(self._store, self._jobs, clock)
        self._store.set_callbacks(
            on_cancelled=self._jobs.cancel, on_followed=self._mirror.mark_followed
        )
        self._add_clients(settings, counters)
        self.app = self._build_app()
        self._add_gauges()

    def _add_clients(self, settings: Settings, counters: Counters | None) -> None:
        """Make what stands between clients and jobs: what they may ask, their sockets."""
        config, clock, metrics = settings.config, self._clock, self.metrics
        self._rules = ClientRules(rules_by_owner(config))
        self._quotas = Quotas(
            config.limits,
            rules=self._rules,
            runs=generating(self._jobs),
            limit_reached=metrics.limit_reached,
            now=clock.monotonic,
        )
        if counters is not None:
            self._quotas.shared = SharedLimits(counters, self._quotas.slots_in_use, clock)
        self._spending = Spending(
            *(self._store, self._rules, clock),
            is_priced=self._is_priced,
            limit_reached=metrics.limit_reached,
        )
        self._creates = LimitedCreates(self._jobs, self._quotas, self._rules, self._spending)
        self._refusal_log = refusal_log = RefusalLog(metrics.refused)
        self._sockets = Sockets(
            *(self._creates, socket_policy(config), TurnCache(*cache_limits(config)), clock),
            metrics=metrics,
            refusal_log=refusal_log,
        )
        self._middleware = AccessMiddleware(
            *(self._authenticator(settings), self._quotas, clock),
            metrics=metrics,
            refusal_log=refusal_log,
        )
        self._middleware.logs_access = config.server.access_log
        self._middleware.takes_traces = self._traces is not None
        self._expiry = KeyExpiry(
            clock, lambda: self._middleware.authenticator.next_expiry, self._close_invalid
        )

    def _authenticator(self, settings: Settings) -> Authenticator:
        given = (settings.config, settings.secrets)
        return authenticator_of(*given, self._clock.wall, self._owners.learn)

    def _close_invalid(self) -> None:
        self._sockets.close_revoked(self._middleware.authenticator.knows)

    def _build_jobs(self, sealed_items: SealedItems) -> JobRegistry:
        return JobRegistry(
            upstream=self._answers,
            find_target=self._models.find,
            lineage=Lineage(self._store, self._conversations),
            keys=IdempotentCreates(self._store, self._logs, self._clock),
            mirror=self._mirror,
            observe=self._observe,
            policy=job_policy(self._config),
            clock=self._clock,
            sealer=self._sealer,
            on_item=sealed_items.record,
            traces=self._traces,
            usage=self._usage,
        )

    def _build_app(self) -> web.Application:
        config, jobs, clock = self._config, self._jobs, self._clock
        app = web.Application(
            client_max_size=config.server.max_message_mib * MIB,
            middlewares=[track_requests, self._middleware.run, RequestQuota(self._quotas).run],
        )
        app[LIMITS] = lambda: self._quotas.limits
        app[REFUSAL_LOG] = self._refusal_log
        models = ModelRoutes(
            lambda: self._models.names(self._upstream.known_models),
            self._models.find,
            rules=self._rules,
            upstream=self._answers,
            token_counter=self._upstream,
            jobs=jobs,
            sealer=self._sealer,
            clock=clock,
            spending=self._spending,
            usage=self._usage,
        )
        responses = ResponseRoutes(
            *(jobs, self._store, self._takeover, self._sockets, clock),
            logs=self._logs,
            creates=self._creates,
            quotas=self._quotas,
            finish=lambda: self._config.server.on_disconnect == "finish",
        )
        references = jobs.lineage.references
        conversations = ConversationRoutes(self._conversations, references, self._sealer, clock)
        # The models first: `/v1/responses/{id}` would match some of their paths.
        page = ChatPage(self._page_facts)
        parts = (page, OpenApiDocument(), models, responses, conversations)
        for part in (*parts, UsageRoutes(self._store), HealthRoutes(self._readiness)):
            app.add_routes(part.routes())
        app.router.add_get("/metrics", self.metrics.show)
        app.cleanup_ctx.append(self._live)
        app.on_shutdown.append(self._drain)
        app.on_response_prepare.append(_add_headers)
        return app

    def _page_facts(self) -> dict[str, object]:
        """What the chat page shows before it has a key, and everyone may know."""
        config = self._config
        return {
            "browser_subprotocol": config.auth.browser_subprotocol,
            "max_message_bytes": config.server.max_message_mib * MIB,
        }

    def _add_gauges(self) -> None:
        gauge = self.metrics.gauge
        gauge("connections", "Open sockets", self._sockets.connections)
        gauge("lanes", "Lanes that run or wait", self._sockets.lanes)
        gauge("cached_bytes", "Turns that sockets can go on from", lambda: self._sockets.cache.size)
        gauge("asked_bytes", "What was asked and runs", self._quotas.asked_bytes)
        gauge(
            "held_bytes_limit",
            "What the limits allow in sum",
            lambda: sum(most_held(self._config).values()),
        )
        gauge("said_bytes", "Events of running responses", lambda: self._jobs.outputs.total)
        gauge("followers", "Readers of a response's events", self._quotas.followers)
        gauge("responses_running", "Responses being generated", self._jobs.running)
        gauge("responses_queued", "Creates that wait for their lane", self._sockets.queued)
        gauge("cooling", "Targets that rest after a failure", self._answers.cooling)
        available = self._store.is_available
        gauge("store_available", "Whether the store can be reached", available, "livemin")
        gauge("store_lag_events", "Events the store is behind", self._mirror.lag)
        mirror = self._mirror
        for name, text, read in (
            ("store_degraded", "Responses begun without a store", lambda: mirror.degraded),
            ("store_gaps", "Gaps declared in logs", lambda: mirror.cuts),
            ("ends_unconfirmed", "Ends told without a store", lambda: mirror.unconfirmed),
            ("ends_contradicted", "Of these, ended otherwise", lambda: mirror.contradicted),
            ("takeovers", "Responses of lost servers, taken over", lambda: self._takeover.taken),
        ):
            gauge(name, text, read, "sum")

    def prepare(self, settings: Settings) -> Change:
        """Check new settings, and make all that they need beside what is in use.

        The sections and keys that ``reloading.merged`` keeps are those in use. Raises
        ``ConfigError``, and then nothing has changed.
        """
        config, secrets = settings.config, settings.secrets
        models = build(config, secrets)
        if self.ready.is_set() and (problems := self._unpriced(config, models)):
            raise ConfigError(*problems)
        return Change(
            config,
            tuple(models.all),
            self._authenticator(settings),
            tuple(owner_names(config, secrets)),
        )

    def commit(self, change: Change) -> None:
        """Swap in what was prepared. Running responses go on; sockets of revoked keys close."""
        config = self._config = change.config
        self._models.replace(change.routes)
        self._upstream.set_targets(self._models.targets())
        self._answers.forget_failures()
        self._owners.replace(change.owner_names)
        change.authenticator.follow(self._middleware.authenticator)
        self._middleware.authenticator = change.authenticator
        self._rules.replace(rules_by_owner(config))
        self._spending.changed()
        self._expiry.changed()
        self._quotas.set_limits(config.limits)
        self._jobs.set_policy(job_policy(config))
        self._conversations.limits = conversation_limits(config)
        self._sockets.cache.set_limits(*cache_limits(config))
        self._sockets.set_policy(socket_policy(config))
        self._middleware.logs_access = config.server.access_log
        self._close_invalid()

    async def open_store(self) -> None:
        """Connect the store, once. Raises ``ConfigError`` if it can never be used."""
        if not self._is_store_open:
            self._is_store_open = True
            await self._store.open()

    async def usage_of_all(self, days: int) -> bytes:
        """What all keys have used, as JSON. Raises ``StoreUnavailable``."""
        usage = await self._store.read_usage(days)
        return orjson.dumps(usage_list(usage, days, with_keys=True))

    async def _live(self, _app: web.Application) -> AsyncIterator[None]:
        """Run what runs beside the requests; at the end, stop it and close the parts."""
        await self.open_store()
        starting = asyncio.create_task(self._start())
        bodies = [
            self._await_store(),
            self._mirror.run(),
            self._usage.run(),
            self._spending.run(),
            self._takeover.run(),
            self._sockets.run(),
            self._expiry.run(),
        ]
        if self._config.metrics.listen:
            bodies.append(self.metrics.run(self._clock))
        if (shared := self._quotas.shared) is not None:
            bodies.append(shared.run())
        tasks = [asyncio.create_task(body) for body in bodies]
        yield
        await cancel_all(starting, *tasks)
        await self._mirror.drain()
        await self._usage.drain()
        if shared is not None:
            await shared.close()
        if self._traces is not None:
            await self._traces.close()
        await self._store.close()
        await self._upstream.stop()

    async def _start(self) -> None:
        # All that litellm's import makes lives for ever: to walk it again and again, and once more
        # at the end, would take a third of the start.
        gc.disable()
        try:
            await self._upstream.start()
            self.problems = self._unpriced(self._config, self._models)
        except ImportError as failure:  # a server without an upstream cannot serve
            log.error("upstream_cannot_open reason=%s", failure)  # noqa: TRY400 - the reason is enough
            self.broken.set()
            return
        except Exception:  # the edge of the task: a bug of ours has the same effect
            log.exception("upstream_cannot_open")
            self.broken.set()
            return
        finally:
            gc.freeze()
            gc.set_threshold(*GC_THRESHOLDS)
            gc.enable()
        if self.problems:
            self.broken.set()
            return
        self._spending.open()
        self.ready.set()
        log.info("ready")

    async def _drain(self, _app: web.Application) -> None:
        self.ready.clear()
        self._logs.drained.set()
        jobs = self._jobs.drain(self._config.server.drain_seconds, self.force)
        await asyncio.gather(self._sockets.drain(self.force), jobs)

    def _observe(self, happened: JobStarted | JobFinished) -> None:
        self.metrics.observe(happened)
        if isinstance(happened, JobFinished):
            self._quotas.used(happened.owner, tokens_in(happened.usage))
            log.info(*line_of(happened))

    def _booked(self, booking: Booking) -> None:
        self._spending.add(booking)

    def _is_priced(self, model: str) -> bool:
        groups, prices_of = self._models.candidates(model), self._upstream.prices_of
        return all(prices_of(target) is not None for group in groups for target in group)

    def _unpriced(self, config: Config, models: ModelTable) -> list[str]:
        return unpriced(config, models, self._upstream.prices_of)

    def _readiness(self) -> Readiness:
        missing = [] if self.ready.is_set() else ["upstream"]
        is_ready = not missing and not self.lame_duck.is_set()
        if not self._store.is_available():
            missing.append("store")
            may_lack_it = self._config.server.ready_without_store and self.store_reached.is_set()
            is_ready = is_ready and may_lack_it
        return Readiness(is_ready, missing)

    async def _await_store(self) -> None:
        while not self._store.was_reached():
            await self._clock.sleep(STORE_CHECK_SECONDS)
        self.store_reached.set()


async def _add_headers(request: web.Request, response: web.StreamResponse) -> None:
    caller = CALLER.get()
    if caller is not None:  # else the middleware has done it
        response.headers[REQUEST_ID] = caller.request_id
    if response.status == HTTPStatus.SWITCHING_PROTOCOLS:  # headers live as long as the connection
        return
    response.headers["X-Content-Type-Options"] = "nosniff"  # a client's text stays JSON
    if request.path.startswith("/v1/") or request.path == "/metrics":
        response.headers.setdefault(hdrs.CACHE_CONTROL, NO_STORE)
    if request.path.startswith("/v1/"):
        cors.add_headers(request, response)


def _traces(config: Config, worker: int, clock: Clock) -> Traces | None:
    endpoint = config.telemetry.otlp_endpoint
    return Traces(endpoint, worker=worker, now=clock.monotonic) if endpoint else None
