"""The HTTP endpoint: POST /predict, GET /health, GET /metrics.

Starlette and uvicorn, on which LitServe stands, and not LitServe 0.2.19 itself: there a body that is no JSON gets 500,
the queue has no bound, a SIGTERM leaves processes that hold the port, and a request takes a second process (1.2 ms
instead of 0.4 around a model that does nothing).
"""

import asyncio
import contextlib
import socket
import time
from collections.abc import AsyncIterator, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any

import orjson
import uvicorn
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.requests import Request as HTTPRequest
from starlette.responses import Response
from starlette.routing import Route
from uvicorn.protocols.http.h11_impl import H11Protocol, RequestResponseCycle

from benchmark.serving.batcher import Batcher, Batching, Probabilities
from benchmark.serving.memory import reuse_memory
from benchmark.serving.request import PARTS, Limits, Refused, Request, Scorer, parse
from datamodules.errors import UserError

GRACE = 30  # seconds in which requests that were taken are answered when the server stops
CLOSED = 499  # nobody reads it; nginx counts such requests under this status
SECONDS = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0)
COUNTS = (1, 2, 5, 10, 20, 50, 100, 200, 500, 1_000, 2_000, 5_000)


class Metrics:
    """What /metrics shows, in the text format of Prometheus."""

    def __init__(self) -> None:
        self.registry = registry = CollectorRegistry()
        histogram = partial(Histogram, registry=registry)
        self.requests = Counter("dien_requests", "Requests to /predict by HTTP status.", ["status"], registry=registry)
        self.seconds = histogram(
            "dien_request_seconds", "From the headers of a request to its answer.", buckets=SECONDS
        )
        self.batch_seconds = histogram("dien_batch_seconds", "Scoring of a batch.", buckets=SECONDS)
        self.batch_requests = histogram("dien_batch_requests", "Requests in a batch.", buckets=COUNTS)
        self.batch_candidates = histogram("dien_batch_candidates", "Candidates in a batch.", buckets=COUNTS)
        self.waiting = Gauge("dien_waiting", "Requests that wait for a batch.", registry=registry)


class Endpoint:
    """The three routes around one scorer, which runs in a thread of its own, one batch at a time."""

    def __init__(self, scorer: Scorer, limits: Limits, batching: Batching) -> None:
        self.scorer, self.limits, self.batching, self.metrics = scorer, limits, batching, Metrics()
        self.batcher: Batcher

    @contextlib.asynccontextmanager
    async def lifespan(self, _app: Starlette) -> AsyncIterator[None]:
        """Start the batcher; at the end answer what it took."""
        with ThreadPoolExecutor(1, "scorer") as self.thread:
            self.batcher = Batcher(self.score, self.batching, self.limits.waiting, self.limits.wait)
            self.metrics.waiting.set_function(lambda: len(self.batcher.waiting))
            yield
            await self.batcher.close()

    async def score(self, requests: Sequence[Request]) -> Sequence[Probabilities]:
        """Score one batch in the scorer's thread."""
        began = time.perf_counter()
        found = await asyncio.get_running_loop().run_in_executor(self.thread, self.scorer.score, requests)
        self.metrics.batch_seconds.observe(time.perf_counter() - began)
        self.metrics.batch_requests.observe(len(requests))
        self.metrics.batch_candidates.observe(sum(one.candidates for one in requests))
        return found

    async def predict(self, http: HTTPRequest) -> Response:
        """Answer {"probabilities": [N numbers]}, or the reason why not."""
        began = time.perf_counter()
        try:
            self._check_connections(http)
            request = parse(await self._body(http), self.scorer.schema, self.limits)
            answer = _json(200, {"probabilities": (await self._probabilities(http, request)).tolist()})
        except Refused as refused:
            answer = _refusal(refused.status, refused.reason, refused.close)
        except Exception:
            self.metrics.requests.labels(500).inc()
            raise
        self.metrics.requests.labels(answer.status_code).inc()
        self.metrics.seconds.observe(time.perf_counter() - began)
        return answer

    def _check_connections(self, http: HTTPRequest) -> None:
        """Not uvicorn's own limit, which answers for /health and /metrics too, without a reason, and counts nothing."""
        if len(http.state.connections) > self.limits.connections:
            reason = f"more than {self.limits.connections:,} connections are open, try again later"
            raise Refused(503, reason, close=True)

    async def _probabilities(self, http: HTTPRequest, request: Request) -> Probabilities:
        """Those of a request, which leaves the queue when its client closes the connection."""
        answer = asyncio.ensure_future(self.batcher.submit(request))
        closed = asyncio.ensure_future(http.receive())  # what comes behind the body
        try:
            await asyncio.wait((answer, closed), return_when=asyncio.FIRST_COMPLETED)
            if not answer.done():
                raise Refused(CLOSED, "the connection was closed before the answer")
            return answer.result()
        finally:
            answer.cancel()
            closed.cancel()

    async def _body(self, http: HTTPRequest) -> bytes:
        most = self.limits.body
        refused = Refused(413, f"a body has at most {most:,} bytes")
        if int(http.headers.get("content-length", 0)) > most:
            raise refused
        body = bytearray()
        try:
            async with asyncio.timeout(self.limits.seconds):
                async for chunk in http.stream():
                    body += chunk
                    if len(body) > most:
                        raise refused
        except TimeoutError:
            raise Refused(408, f"the body did not come within {self.limits.seconds:g} seconds") from None
        except ClientDisconnect:
            raise Refused(400, "the connection was closed within the body") from None
        return bytes(body)

    def http_error(self, http: HTTPRequest, error: Exception) -> Response:
        """Answer another path, or another method than a path has."""
        assert isinstance(error, HTTPException)
        if http.scope["path"] == "/predict":
            self.metrics.requests.labels(error.status_code).inc()
        answer = _refusal(error.status_code, error.detail)
        answer.headers.update(error.headers or {})
        return answer

    async def health(self, _http: HTTPRequest) -> Response:
        """Answer 200 with the run, the fields and the limits of requests."""
        schema = self.scorer.schema
        fields = {part: dict(getattr(schema, part)) for part in PARTS}
        about = {"run": dict(self.scorer.about), "fields": fields, "optional": sorted(schema.optional)}
        return _json(200, {"status": "ok", **about, "limits": vars(self.limits)})

    async def show_metrics(self, _http: HTTPRequest) -> Response:
        """Answer all counters and histograms."""
        return Response(generate_latest(self.metrics.registry), media_type="text/plain; version=0.0.4")


def create_app(scorer: Scorer, limits: Limits, batching: Batching) -> Starlette:
    """Return the ASGI application of a scorer."""
    endpoint = Endpoint(scorer, limits, batching)
    routes = [
        Route("/predict", endpoint.predict, methods=["POST"]),
        Route("/health", endpoint.health),
        Route("/metrics", endpoint.show_metrics),
    ]
    app = Starlette(
        routes=routes,
        lifespan=endpoint.lifespan,
        exception_handlers={HTTPException: endpoint.http_error, Exception: _failed},
    )
    app.router.redirect_slashes = False  # a redirect would lead to whatever host the request names
    return app


def make_server(app: Starlette, limits: Limits) -> uvicorn.Server:
    """Return the server of an application; SIGINT, SIGTERM or `should_exit` end it when all is answered."""

    class Protocol(H11Protocol):
        """Closes a connection that sends no whole headers within the limit; requests know all open connections."""

        def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
            super().connection_made(transport)
            self.app_state = {**self.app_state, "connections": self.connections}
            self._watch()

        def _watch(self) -> None:
            self.loop.call_later(limits.seconds, self._check, self.cycle)

        def _check(self, before: RequestResponseCycle | None) -> None:
            if self.cycle is before and (before is None or before.response_complete):
                self.transport.close()
            if not self.transport.is_closing():
                self._watch()

    config = uvicorn.Config(
        app,
        http=Protocol,
        loop="asyncio",
        ws="none",
        log_level="error",
        access_log=False,
        proxy_headers=False,
        server_header=False,
        timeout_graceful_shutdown=GRACE,
    )
    return uvicorn.Server(config)


def serve(app: Starlette, host: str, port: int, limits: Limits, say: Callable[[str], None] = print) -> None:
    """Serve until SIGINT or SIGTERM; raises `UserError` where the address cannot be had."""
    listening = listener(host, port)
    reuse_memory()
    with listening, contextlib.suppress(KeyboardInterrupt):  # uvicorn passes the signal on when all is answered
        say(f"listening on http://{host}:{listening.getsockname()[1]}")
        make_server(app, limits).run(sockets=[listening])


def listener(host: str, port: int) -> socket.socket:
    """Return the socket that a server listens on; raises `UserError` where the address cannot be had."""
    try:
        listening = socket.create_server((host, port), family=socket.AF_INET6 if ":" in host else socket.AF_INET)
    except (OSError, OverflowError) as error:
        raise UserError(f"cannot listen on {host}:{port}: {error}. Choose another --host or --port") from error
    # Connections inherit it. asyncio sets it only on sockets that name their protocol, which these do not, and the body
    # of an answer would then wait 40 ms for the client to acknowledge the headers.
    listening.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return listening


def _json(status: int, content: Any) -> Response:
    return Response(orjson.dumps(content), status, media_type="application/json")


def _refusal(status: int, reason: str, close: bool = False) -> Response:
    answer = _json(status, {"error": reason})
    if status == 503:
        answer.headers["Retry-After"] = "1"
    if close or status in (400, 408, 413):  # the rest of the body is not read
        answer.headers["Connection"] = "close"
    return answer


def _failed(_http: HTTPRequest, _error: Exception) -> Response:
    return _json(500, {"error": "the model failed on this request"})
