"""A web page and an HTTP interface for skeletons: upload a picture, or stream from a webcam.

connection -> request -> Ended -> Counted -> CORS -> Guard (who, how much) -> route -> Workers (the
network) -> answer

The event loop only moves bytes: pictures are decoded, estimated and drawn in the workers' threads.
"""

import asyncio
import json
import socket
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from functools import partial
from importlib import resources
from io import BytesIO
from typing import Any

import cv2
from starlette.applications import Starlette
from starlette.datastructures import UploadFile
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.middleware.cors import CORSMiddleware
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import Route, WebSocketRoute
from starlette.websockets import WebSocket

from ..description import Description
from ..errors import BadInput
from ..estimator import SAMPLE, Estimator
from ..geometry import Image
from ..outputs.draw import MIN_CONFIDENCE, draw, style
from ..outputs.records import Result, record
from ..sources.image import opened, to_bgr
from .connections import Ended, server
from .guard import LOOPBACK, SUBPROTOCOL, Guard, Limits, Place, problem
from .metrics import Counted, Metrics
from .openapi import openapi
from .query import PICTURE, STREAM, read
from .stream import Stream
from .workers import Busy, Workers

# All files that can be reached, by the path they are reached under.
PAGE = resources.files(__package__) / "page"
FILES = {
    "/": (PAGE / "index.html", "text/html; charset=utf-8"),
    "/page.css": (PAGE / "page.css", "text/css; charset=utf-8"),
    "/page.js": (PAGE / "page.js", "text/javascript; charset=utf-8"),
    "/stage.js": (PAGE / "stage.js", "text/javascript; charset=utf-8"),
    "/clipboard.js": (PAGE / "clipboard.js", "text/javascript; charset=utf-8"),
    "/draw.js": (PAGE / "draw.js", "text/javascript; charset=utf-8"),
    "/film.js": (PAGE / "film.js", "text/javascript; charset=utf-8"),
    "/frames.js": (PAGE / "frames.js", "text/javascript; charset=utf-8"),
    "/live.js": (PAGE / "live.js", "text/javascript; charset=utf-8"),
    "/server.js": (PAGE / "server.js", "text/javascript; charset=utf-8"),
    "/icon.svg": (PAGE / "icon.svg", "image/svg+xml"),
    "/sample.jpg": (SAMPLE, "image/jpeg"),
}
PAGE_HEADERS = {
    "content-security-policy": "default-src 'none'; script-src 'self'; style-src 'self'; "
    "img-src 'self' blob: data:; media-src blob:; connect-src 'self'; base-uri 'none'; "
    "form-action 'none'; frame-ancestors 'none'",
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cache-control": "no-cache",
}
LONGEST_SIDE = 65_535  # of a picture, JPEG's own limit; longer ones cannot be drawn as PNG either

# What there is, for the guard. Without a token only the page's files and /healthz are served; they
# alone take any parameter, since addresses of pages gather them on their way.
PLACES = {("http", path): Place(public=True, parameters=None) for path in FILES} | {
    ("http", "/healthz"): Place(public=True),
    ("http", "/v1/poses"): Place(),
    ("http", "/v1/picture"): Place(parameters=PICTURE),
    ("http", "/v1/about"): Place(),
    ("http", "/metrics"): Place(),
    ("http", "/openapi.json"): Place(),
    ("websocket", "/v1/stream"): Place(parameters=STREAM),
}


def application(
    estimators: Sequence[Estimator],
    *,
    version: str = "",
    limits: Limits | None = None,
    token: str | None = None,
    origins: Sequence[str] = (),
    hosts: Sequence[str] | None = tuple(LOOPBACK),
) -> Starlette:
    """The ASGI application; each of the estimators, all of one model, gets a thread of its own.

    origins: whose pages may use it, besides its own. hosts: its names, None for any.
    """
    limits = limits or Limits()
    shared = _Server(estimators, limits)
    described = openapi(version, shared.description.skeleton, limits, bool(token))
    routes = [Route(path, partial(_file, path)) for path in FILES]
    routes += [
        Route("/v1/poses", shared.poses, methods=["POST"]),
        Route("/v1/picture", shared.picture, methods=["POST"]),
        Route("/v1/about", shared.about),
        Route("/healthz", shared.health),
        Route("/metrics", shared.show_metrics),
        Route("/openapi.json", partial(_answer, described)),
    ]
    guard = Middleware(
        Guard, places=PLACES, limits=limits, token=token, origins=origins, hosts=hosts
    )
    cors = Middleware(
        CORSMiddleware, allow_origins=origins, allow_methods=["GET", "POST"],
        allow_headers=["authorization", "content-type"], expose_headers=["retry-after"],
    )  # fmt: skip
    counted = Middleware(Counted, metrics=shared.metrics, paths=[route.path for route in routes])

    return Starlette(
        routes=[*routes, WebSocketRoute("/v1/stream", shared.stream)],
        middleware=[Middleware(Ended), counted, *([cors] if origins else []), guard],
        exception_handlers=_PROBLEMS,
        lifespan=shared.lifespan,
    )


def run(app: Starlette, listening: socket.socket, limits: Limits) -> None:
    """Serves until a signal; KeyboardInterrupt then, as by any other end through Ctrl-C."""
    server(app, limits).run([listening])


class _Server:
    """The routes that need the network, and what they share."""

    def __init__(self, estimators: Sequence[Estimator], limits: Limits) -> None:
        self.limits = limits
        self.label = estimators[0].runtime.label
        self.min_score = estimators[0].min_score
        person = estimators[0].person
        self.second_stage = person.description.name if person else None
        self.description: Description = estimators[0].runtime.description
        self.workers = Workers(estimators, limits.waiting)
        self.streams = 0
        self.metrics = Metrics(
            {
                "limbwise_streams": ("Open live streams.", lambda: self.streams),
                "limbwise_jobs": ("Requests that wait or run.", lambda: self.workers.taken),
            }
        )

    @asynccontextmanager
    async def lifespan(self, app: Starlette) -> AsyncIterator[None]:
        yield
        self.workers.close()

    async def poses(self, request: Request) -> Response:
        return Response(await self._run(request, _find), media_type="application/json")

    async def picture(self, request: Request) -> Response:
        job = partial(_draw, **read(PICTURE, request.scope["query_string"]))
        return Response(await self._run(request, job), media_type="image/png")

    async def _run(self, request: Request, job: Callable[[Estimator, Image], bytes]) -> bytes:
        """The job's answer for the picture that is the request's body."""
        data, pixels = await _body(request, self.limits.seconds), self.limits.pixels
        return await self.workers.run(
            lambda estimate: job(estimate, _decode(data, pixels)), self.limits.seconds
        )

    async def about(self, request: Request) -> Response:
        return _answer(
            {
                "model": self.description.name,
                "runtime": self.label,
                "skeleton": self.description.skeleton.to_dict(),
                "style": style(self.description.skeleton),
                "height": self.description.height,
                "min_score": self.min_score,
                "min_confidence": MIN_CONFIDENCE,
                "second_stage": self.second_stage,
                "limits": vars(self.limits),
            }
        )

    async def health(self, request: Request) -> Response:
        free = self.limits.streams - self.streams
        return _answer({"status": "ok", "streams_free": free})

    async def show_metrics(self, request: Request) -> Response:
        return Response(self.metrics.text(), media_type="text/plain; version=0.0.4; charset=utf-8")

    async def stream(self, websocket: WebSocket) -> None:
        if self.streams >= self.limits.streams:
            await websocket.send_denial_response(problem(503, "busy: all streams are taken"))
            return
        self.streams += 1
        try:
            offered = websocket.scope["subprotocols"]
            await websocket.accept(SUBPROTOCOL if SUBPROTOCOL in offered else None)
            await Stream(websocket, self.workers, self.limits, self.metrics.count_frame).serve()
        finally:
            self.streams -= 1


# What the routes are made of.


def _file(path: str, request: Request) -> Response:
    file, kind = FILES[path]
    return Response(file.read_bytes(), headers=PAGE_HEADERS, media_type=kind)


def _answer(content: dict[str, Any], request: Request | None = None) -> Response:
    return Response(json.dumps(content), media_type="application/json")


async def _body(request: Request, seconds: float) -> bytes:
    """The picture's bytes: the body itself, or the first file of a form. HTTPException if they are
    of another type, or do not arrive in time."""
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    try:
        async with asyncio.timeout(seconds):
            if kind.startswith("image/") or kind == "application/octet-stream":
                return await request.body()
            if kind == "multipart/form-data":
                return await _first_file(request)
    except TimeoutError:
        raise HTTPException(408, f"the picture did not arrive in {seconds:g} seconds") from None
    sent = kind or "nothing"
    raise HTTPException(415, f"a picture is sent as image/jpeg, image/png or a form, not {sent}")


async def _first_file(request: Request) -> bytes:
    async with request.form(max_files=1, max_fields=8) as form:
        for value in form.values():
            if isinstance(value, UploadFile):
                return await value.read()
    raise HTTPException(422, "the form holds no file")


def _decode(data: bytes, max_pixels: int) -> Image:
    """(H, W, 3) BGR; HTTPException 413 by what the header says, before any pixel is decoded."""
    if not data:
        raise BadInput("nothing was sent: a picture is needed")
    with opened(BytesIO(data), "the picture", 10**12) as picture:
        width, height = picture.size
        if width * height > max_pixels:
            raise HTTPException(413, f"{width} x {height}: only {max_pixels} pixels are allowed")
        if max(width, height) > LONGEST_SIDE:
            raise HTTPException(
                413, f"{width} x {height}: a side is longer than the {LONGEST_SIDE} pixels allowed"
            )
        return to_bgr(picture, "the picture")


def _find(estimate: Estimator, image: Image) -> bytes:
    height, width = image.shape[:2]
    found = record(Result("picture", 0, 0.0, width, height, estimate(image), picture=True))
    return json.dumps(found, separators=(",", ":")).encode()


def _draw(estimate: Estimator, image: Image, boxes: bool, min_confidence: float) -> bytes:
    drawn = draw(image, estimate(image), boxes=boxes, min_confidence=min_confidence)
    return cv2.imencode(".png", drawn)[1].tobytes()


async def _refused(request: Request, error: HTTPException) -> Response:
    return problem(error.status_code, error.detail, dict(error.headers or {}))


async def _broken(request: Request, error: BadInput) -> Response:
    return problem(422, str(error))


async def _busy(request: Request, error: Exception) -> Response:
    return problem(503, "busy: try again in a moment")


async def _gone(request: Request, error: ClientDisconnect) -> Response:
    return problem(400, "the picture broke off")


async def _failed(request: Request, error: Exception) -> Response:
    return problem(500, "the server failed; its log says how")


_PROBLEMS: dict[Any, Any] = {
    HTTPException: _refused,
    BadInput: _broken,
    Busy: _busy,
    TimeoutError: _busy,
    ClientDisconnect: _gone,
    Exception: _failed,
}
