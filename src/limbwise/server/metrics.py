"""What a server counts of itself, in the words of Prometheus (prometheus.io/docs/practices)."""

import time
from collections.abc import Callable, Iterable

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from starlette.types import ASGIApp, Message, Receive, Scope, Send

BUCKETS = (0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0)  # seconds


class Metrics:
    """The counters of one server: `text()` is what /metrics answers."""

    def __init__(self, gauges: dict[str, tuple[str, Callable[[], float]]]) -> None:
        """gauges: name to its text and the function that gives its value at each request."""
        self._all = own = CollectorRegistry()
        self.requests = Counter(
            "limbwise_requests", "Answers by path and status.", ["path", "status"], registry=own
        )
        self.frames = Counter(
            "limbwise_frames", "Pictures of streams by what became of them.", ["what"], registry=own
        )
        self.seconds = Histogram(
            "limbwise_seconds", "From request to answer.", ["path"], registry=own, buckets=BUCKETS
        )
        for name, (text, ask) in gauges.items():
            Gauge(name, text, registry=own).set_function(ask)

    def text(self) -> bytes:
        return generate_latest(self._all)

    def count_frame(self, what: str) -> None:
        self.frames.labels(what).inc()


class Counted:
    """ASGI middleware: counts answers; paths that do not exist count as one path."""

    def __init__(self, app: ASGIApp, metrics: Metrics, paths: Iterable[str]) -> None:
        self._app, self._metrics, self._paths = app, metrics, frozenset(paths)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        path = scope["path"] if scope["path"] in self._paths else "other"
        begin = time.perf_counter()

        async def noted(message: Message) -> None:
            if message["type"] == "http.response.start":
                self._metrics.requests.labels(path, str(message["status"])).inc()
                self._metrics.seconds.labels(path).observe(time.perf_counter() - begin)
            await send(message)

        await self._app(scope, receive, noted)
