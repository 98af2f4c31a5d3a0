"""A server on a free port for tests, and a network that sees what the test says."""

import json
import logging
import re
import socket
import struct
import threading
import time
import urllib.error
import urllib.request
import zlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

import cv2
import numpy as np
import uvicorn
from websockets.sync.client import ClientConnection, connect

from conftest import drawn, standing
from limbwise.backends.base import Backend
from limbwise.description import ORIGINAL
from limbwise.estimator import Estimator
from limbwise.server.app import application
from limbwise.server.connections import server
from limbwise.server.guard import Limits


def seeing(look: Callable[[np.ndarray], None] = lambda image: None) -> Estimator:
    """An estimator whose network sees a person standing wherever the picture is bright; `look` is
    called with every input before that, in the worker's thread."""

    def run(images: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        look(images[0])
        rows, columns = images.shape[1:3]
        bright = (images[0].min(axis=2) > 200).any(axis=0)
        x = float(np.flatnonzero(bright).mean()) if bright.any() else columns / 2
        fields = drawn([standing(0.6 * rows, x, 0.25 * rows)], (rows // 8, columns // 8))
        empty = 1 if bright.any() else 0
        limbs = fields.limbs.reshape(-1, *fields.limbs.shape[2:])
        return fields.heatmaps[None] * empty, limbs[None] * empty

    return Estimator(Backend(ORIGINAL, "eyes", run), height=160)


def scene(x: int | None = 120, size: tuple[int, int] = (160, 240)) -> np.ndarray:
    """A dark picture (H, W, 3) with a bright pole at column x; empty if x is None."""
    image = np.full((*size, 3), 40, np.uint8)
    if x is not None:
        image[:, max(x - 4, 0) : x + 5] = 255
    return image


def encoded(image: np.ndarray, kind: str = ".jpg") -> bytes:
    return cv2.imencode(kind, image)[1].tobytes()


@dataclass(frozen=True)
class Answer:
    status: int
    body: bytes
    headers: dict[str, str] = field(default_factory=dict)

    @property
    def json(self) -> dict:
        return json.loads(self.body)


@dataclass(frozen=True)
class Site:
    """A running server; `running` where it is one of this process."""

    port: int
    running: uvicorn.Server | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def ask(
        self, path: str, body: bytes | None = None, kind: str = "image/jpeg", **headers: str
    ) -> Answer:
        """GET, or POST of a body; header names with _ for -."""
        sent = {name.replace("_", "-"): value for name, value in headers.items()}
        if body is not None:
            sent |= {"Content-Type": kind}
        request = urllib.request.Request(self.url + path, body, sent)
        try:
            with urllib.request.urlopen(request, timeout=20) as answer:
                return Answer(answer.status, answer.read(), _lower(answer.headers))
        except urllib.error.HTTPError as error:
            with error:
                return Answer(error.code, error.read(), _lower(error.headers))

    def raw(self, request: bytes, closing: bool = False) -> bytes:
        """What the server says to these bytes, until it closes; `closing` stops sending after."""
        with socket.create_connection(("127.0.0.1", self.port), timeout=20) as connection:
            connection.sendall(request)
            if closing:
                connection.shutdown(socket.SHUT_WR)
            said = b""
            while part := connection.recv(65536):
                said += part
        return said


def _lower(headers: object) -> dict[str, str]:
    return {name.lower(): value for name, value in headers.items()}


@contextmanager
def serving(
    estimators: Sequence[Estimator] = (),
    limits: Limits | None = None,
    grace: float = 10,
    **options: object,
) -> Iterator[Site]:
    limits = limits or Limits()
    app = application(list(estimators) or [seeing()], limits=limits, **options)
    running = server(app, limits, grace)
    with socket.create_server(("127.0.0.1", 0)) as listening:
        site = Site(listening.getsockname()[1], running)
        thread = threading.Thread(target=running.run, args=([listening],))
        thread.start()
        try:
            while not running.started:
                time.sleep(0.01)
            yield site
        finally:
            running.should_exit = True
            thread.join()


class Gate:
    """Holds the network until it is opened; `seen` counts the inputs that came to it."""

    def __init__(self) -> None:
        self._open, self.seen = threading.Event(), 0

    def __call__(self, image: np.ndarray) -> None:
        self.seen += 1
        assert self._open.wait(20)

    def open(self) -> None:
        self._open.set()

    def await_seen(self, count: int) -> None:
        until(lambda: self.seen >= count)


def until(happened) -> None:
    end = time.monotonic() + 20
    while not happened():
        assert time.monotonic() < end, "it never happened"
        time.sleep(0.01)


def gauge(site: Site, name: str) -> float:
    """A figure of /metrics; 0 where there was nothing to count yet."""
    found = re.search(rf"^{re.escape(name)} (\S+)$", site.ask("/metrics").body.decode(), re.M)
    return float(found[1]) if found else 0.0


def stream(site: Site, query: str = "", **how) -> ClientConnection:
    return connect(f"ws://127.0.0.1:{site.port}/v1/stream{query}", proxy=None, **how)


def posting(site: Site, answers: list, picture: bytes = encoded(scene())) -> threading.Thread:
    thread = threading.Thread(target=lambda: answers.append(site.ask("/v1/poses", picture).status))
    thread.start()
    return thread


def bomb(width: int, height: int) -> bytes:
    """A PNG that breaks off where its pixels begin."""
    header = b"IHDR" + struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    checked = struct.pack(">I", 13) + header + struct.pack(">I", zlib.crc32(header))
    return b"\x89PNG\r\n\x1a\n" + checked + struct.pack(">I", 1000) + b"IDAT"


# The opening of a stream by hand, for tests that look at bytes.
UPGRADE = (
    b"GET /v1/stream HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\n"
    b"Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
    b"Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n"
)


def masked(opcode: int, payload: bytes) -> bytes:
    """A whole frame as a client sends it, masked with zeros."""
    size = len(payload)
    head = bytes([128 + size]) if size < 126 else b"\xfe" + size.to_bytes(2)
    return bytes([128 + opcode]) + head + bytes(4) + payload


@contextmanager
def logged() -> Iterator[list[logging.LogRecord]]:
    """A list that fills with whatever is logged."""
    entries: list[logging.LogRecord] = []
    handler = logging.Handler()
    handler.emit = entries.append
    names = ["", "uvicorn.error", "asyncio", "websockets", "python_multipart.multipart"]
    loggers = [logging.getLogger(name) for name in names]
    for logger in loggers:
        logger.addHandler(handler)
    try:
        yield entries
    finally:
        for logger in loggers:
            logger.removeHandler(handler)
