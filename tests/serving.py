"""A server on a free port for tests, and a network that sees what the test says."""

import json
import socket
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

import cv2
import numpy as np

from conftest import drawn, standing
from limbwise.estimator import Estimator
from limbwise.guard import Limits
from limbwise.runtime import ANCESTOR, Runtime
from limbwise.serve import application, server


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

    return Estimator(Runtime(ANCESTOR, "eyes", run), height=160)


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
    """A running server."""

    port: int

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
    estimators: Sequence[Estimator] = (), limits: Limits | None = None, **options: object
) -> Iterator[Site]:
    limits = limits or Limits()
    app = application(list(estimators) or [seeing()], limits=limits, **options)
    running = server(app, limits)
    with socket.create_server(("127.0.0.1", 0)) as listening:
        site = Site(listening.getsockname()[1])
        thread = threading.Thread(target=running.run, args=([listening],))
        thread.start()
        try:
            while not running.started:
                time.sleep(0.01)
            yield site
        finally:
            running.should_exit = True
            thread.join()
