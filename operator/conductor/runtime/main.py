"""The composition root: builds every part, wires kopf's watches to turns, runs until told to stop."""

import argparse
import asyncio
import logging
import os
import signal
import socket
import threading
import time
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial

import kopf
import structlog

from conductor.adapters.clock import ServerClock
from conductor.adapters.kube import Kube
from conductor.adapters.outbound import Outbound
from conductor.adapters.prometheus import Prometheus
from conductor.api import names
from conductor.api.parse import parse_spec
from conductor.api.urls import DEFAULT_PATTERNS, UrlPatterns, gateway_places
from conductor.api.urls import Place as Gateway
from conductor.observe.cache import Cache
from conductor.observe.held import KINDS
from conductor.observe.parsed import Parsed
from conductor.runtime import health, metrics, watches
from conductor.runtime.announcer import Announcer
from conductor.runtime.node_proof import NodeProof, Place
from conductor.runtime.passes import Passes
from conductor.runtime.receipt_sink import ReceiptSink
from conductor.runtime.reflectors import expected, reflectors
from conductor.runtime.samples import BackgroundSamples
from conductor.runtime.shards import Shards, epoch_by_clock
from conductor.runtime.sight import Sight
from conductor.runtime.turns import Key, Turns

_log = structlog.get_logger(__name__)
_WORKERS = 24
_READERS = 64
#: Events are written side by side, those of one release one after the other.
_ANNOUNCERS = 4
#: Before everything was listed once, a pass would have to read what a list is about to show.
_LISTS_SECONDS = 5.0
#: Releases at rest that come with a shard are looked at one by one, so that an upgrade that moves, or begins just then,
#: does not stand behind a thousand of them. A look takes about a millisecond.
_TAKEOVER_SECONDS_EACH = 0.004
#: A pass is bounded by its calls' timeouts; one that takes longer than this is stuck.
_HEARTBEAT_SECONDS = 120.0


@dataclass(frozen=True)
class Options:
    """What the operator is started with."""

    namespaces: tuple[str, ...]
    lease_namespace: str
    identity: str
    port: int
    new_upgrades: bool
    urls: UrlPatterns
    shards: int = 1
    #: Where Gateways are reached that may be asked, by `namespace/name`.
    gateways: Mapping[str, Gateway] = field(default_factory=dict)
    #: None: nodes are not asked, only time is waited for.
    place: Place | None = None


def parse_options(arguments: list[str] | None = None) -> Options:
    """Flags, with the environment as their default."""
    parser = argparse.ArgumentParser(prog="conductor run", description="Run the operator.")
    environment = os.environ
    parser.add_argument(
        "--namespaces",
        default=environment.get("CONDUCTOR_NAMESPACES", ""),
        help="comma separated; empty: all",
    )
    parser.add_argument("--lease-namespace", default=environment.get("POD_NAMESPACE", "default"))
    parser.add_argument(
        "--identity",
        default="",
        help="of one process at a time, which takes its own lease back when it starts again; default: the pod's "
        "(or host's) name and the process id",
    )
    parser.add_argument(
        "--shards",
        type=_positive,
        default=environment.get("CONDUCTOR_SHARDS", "1"),
        help="parts into which releases fall, each led by one replica; the same for all replicas",
    )
    parser.add_argument("--port", type=int, default=int(environment.get("CONDUCTOR_PORT", "8080")))
    parser.add_argument(
        "--bluegreen-cp",
        choices=("on", "off"),
        default=environment.get("CONDUCTOR_BLUEGREEN_CP", "on"),
        help="off: no new upgrade starts; one under way may finish or roll back",
    )
    parser.add_argument(
        "--prometheus-urls",
        type=_url_patterns,
        default=environment.get("CONDUCTOR_PROMETHEUS_URLS", ",".join(DEFAULT_PATTERNS)),
        help="comma separated: where releases may say that Prometheus is; * for a part of a name",
    )
    parser.add_argument(
        "--node-service",
        default=environment.get("CONDUCTOR_NODE_SERVICE", ""),
        help="the Service with a node port through which nodes are asked whether they follow; empty: they are not",
    )
    parser.add_argument(
        "--gateways",
        type=_gateways,
        default=environment.get("CONDUCTOR_GATEWAYS", ""),
        help="comma separated, NAMESPACE/NAME=http://HOST:PORT: where Gateways are asked whether they lead to a new "
        "version; others are not asked",
    )
    given = parser.parse_args(arguments)
    return Options(
        namespaces=tuple(part for part in given.namespaces.split(",") if part),
        lease_namespace=given.lease_namespace,
        identity=given.identity or f"{environment.get('POD_NAME') or socket.gethostname()}_{os.getpid()}",
        port=given.port,
        new_upgrades=given.bluegreen_cp == "on",
        urls=given.prometheus_urls,
        shards=given.shards,
        gateways=given.gateways,
        place=_place(given.node_service, given.lease_namespace, environment),
    )


def _place(service: str, namespace: str, environment: Mapping[str, str]) -> Place | None:
    """Where this pod is; None outside of one, or where no Service is named."""
    pod, uid, address = (environment.get(name, "") for name in ("POD_NAME", "POD_UID", "POD_IP"))
    if not (service and pod and uid and address):
        return None
    return Place(namespace, service, pod, uid, address)


def _positive(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"{number} is less than 1")
    return number


def _url_patterns(text: str) -> UrlPatterns:
    try:
        return UrlPatterns([part for part in text.split(",") if part])
    except ValueError as error:
        # argparse shows the text of this error alone.
        raise argparse.ArgumentTypeError(str(error)) from error


def _gateways(text: str) -> dict[str, Gateway]:
    try:
        return gateway_places([part for part in text.split(",") if part])
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from error


def configure_logging(level: str) -> None:
    """One JSON line per event on standard output, from `level` (debug, info, warning, error) on."""
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info,
            structlog.processors.JSONRenderer(),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        cache_logger_on_first_use=True,
    )
    logging.basicConfig(
        level=logging.WARNING,
        format='{"logger": "%(name)s", "level": "%(levelname)s", "event": "%(message)s"}',
    )


class Operator:
    """All parts of the running operator."""

    def __init__(self, options: Options) -> None:
        self.options = options
        self.turns: Turns[Key] = Turns(time.monotonic)
        outbound = Outbound.of_this_pod()
        clock = ServerClock(on_gap=metrics.CLOCK_GAP.set)
        self.kube = Kube.connect(connections=_WORKERS + _READERS + _ANNOUNCERS, clock=clock)
        nodes = (
            NodeProof(self.kube, options.place, self.turns.ask, leads=self.leads, now=clock.now)
            if options.place
            else None
        )
        self.samples = BackgroundSamples(
            self.turns.ask,
            Prometheus(options.urls, outbound, clock.now),
            outbound,
            clock.now,
            nodes,
            gateways=options.gateways,
        )
        self.shards = Shards(
            Kube.connect(timeout_seconds=4.0, connections=2, clock=clock),
            options.lease_namespace,
            names.FIELD_MANAGER,
            identity=options.identity,
            clock=time.monotonic,
            on_change=self._shards_changed,
            count=options.shards,
            forgotten=lambda: epoch_by_clock(clock.now().timestamp()),
        )
        receipts = ReceiptSink(self.kube, time.monotonic)
        parsed = Parsed(partial(parse_spec, urls=options.urls))
        self.cache = Cache(self.turns.ask, parsed, expected(options.namespaces))
        self.reflectors = reflectors(
            Kube.connect(connections=len(KINDS) * max(1, len(options.namespaces)), clock=clock),
            options.namespaces,
            self.cache,
        )
        readers = ThreadPoolExecutor(_READERS, thread_name_prefix="read")
        sight = Sight(self.kube, readers, self.cache, parsed, time.monotonic)
        self.announcer = Announcer(
            self.kube, [ThreadPoolExecutor(1, thread_name_prefix=f"event-{n}") for n in range(_ANNOUNCERS)]
        )
        metrics.EVENTS_WAITING.set_function(self.announcer.waiting)
        metrics.LOOKED_AT.set_function(sight.looked_at)
        self.passes = Passes(
            self.kube,
            self.samples,
            self.shards.epoch,
            lambda: options.new_upgrades,
            sight,
            receipts=receipts,
            announcer=self.announcer,
            press=self.turns.press,
            clock=clock,
        )
        metrics.RECEIPTS_OUTBOX.set_function(receipts.waiting)
        self._busy_since: list[float | None] = [None] * _WORKERS
        self._watching = threading.Event()
        self._workers = [
            threading.Thread(target=self._work, args=(number,), name=f"pass-{number}", daemon=True)
            for number in range(_WORKERS)
        ]

    def start(self) -> None:
        """Begin to compete for shards and to pass."""
        for reflector in self.reflectors:
            reflector.start()
        self.samples.start()
        self.shards.start()
        for worker in self._workers:
            worker.start()
        metrics.QUEUE.set_function(self.turns.waiting)
        metrics.LEADING.set_function(lambda: len(self.shards.leads()))
        metrics.CACHED.labels(names.KIND).set_function(self.cache.count)
        for kind in KINDS:
            metrics.CACHED.labels(kind).set_function(partial(self.cache.count, kind))

    def close(self) -> None:
        """Finish the passes under way, give the shards back."""
        self.turns.close()
        for worker in self._workers:
            worker.join(timeout=15)
        self.announcer.close()
        self.shards.close()
        self.samples.close()
        for reflector in self.reflectors:
            reflector.close()

    def leads(self) -> bool:
        """Whether there are releases about which this replica decides and writes."""
        return bool(self.shards.leads())

    def alive(self) -> bool:
        """The heartbeat: every worker and every reflector is there, and none is stuck in a pass."""
        now = time.monotonic()
        stuck = any(since is not None and now - since > _HEARTBEAT_SECONDS for since in self._busy_since)
        watched = all(reflector.alive() for reflector in self.reflectors)
        return not stuck and watched and all(worker.is_alive() for worker in self._workers)

    def ready(self) -> bool:
        """Whether the watches are up; a standby is ready too."""
        return self._watching.is_set() and self.cache.complete and self.alive()

    def watching(self) -> None:
        """Called once kopf's watches are up."""
        self._watching.set()

    def _shards_changed(self) -> None:
        # What kopf has not listed yet is asked for when it is.
        moving, resting = self.cache.releases()
        for key in moving:
            self.turns.ask(key)
        for number, key in enumerate(resting):
            self.turns.ask(key, number * _TAKEOVER_SECONDS_EACH)

    def _work(self, number: int) -> None:
        self.cache.wait_complete(_LISTS_SECONDS)
        while (turn := self.turns.take()) is not None:
            key, late = turn
            self._busy_since[number] = time.monotonic()
            metrics.LATE_SECONDS.observe(late)
            try:
                self._pass(key, late)
            finally:
                self.turns.done(key)
                self._busy_since[number] = None

    def _pass(self, key: tuple[str, str], late: float) -> None:
        try:
            after = self.passes.run(key, late)
        except Exception:  # noqa: BLE001
            # A defect in one release's pass must not end the worker that serves all others.
            metrics.PASS_ERRORS.labels("Defect").inc()
            _log.exception("pass ended in a defect", namespace=key[0], release=key[1])
            after = 10.0
        if after is not None:
            self.turns.ask(key, after)


def main(arguments: list[str] | None = None) -> int:
    """Run the operator until SIGTERM or SIGINT."""
    options = parse_options(arguments)
    configure_logging(os.environ.get("CONDUCTOR_LOG_LEVEL", "info"))
    operator = Operator(options)
    server = health.serve(options.port, operator.alive, operator.ready)
    operator.start()
    try:
        asyncio.run(_watch(operator))
    finally:
        operator.close()
        server.shutdown()
    return 0


async def _watch(operator: Operator) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    ready = asyncio.Event()
    waiting = asyncio.create_task(ready.wait())
    waiting.add_done_callback(lambda _: operator.watching())
    await kopf.operator(
        registry=watches.registry(operator.cache),
        settings=watches.settings(),
        standalone=True,
        clusterwide=not operator.options.namespaces,
        namespaces=operator.options.namespaces,
        ready_flag=ready,
        stop_flag=stop,
    )
