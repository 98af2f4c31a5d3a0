"""A live stream over a WebSocket: pictures in, poses out, the newest picture first.

A client may send as fast as it likes: what arrives while the network works waits in one place, and
a newer picture takes it over. The answer's `frame` says which of the sent pictures it is about.
"""

import asyncio
import json
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from starlette.websockets import WebSocket, WebSocketDisconnect

from .errors import BadInput
from .estimator import Estimator
from .guard import Limits
from .picture import read_picture
from .track import Tracker
from .workers import Workers
from .writers import Result, record

UNSUPPORTED, POLICY = 1003, 1008  # RFC 6455, section 7.4.1


@dataclass
class _Inbox:
    """The newest picture, its number and its time; `fresh` while nobody has taken it."""

    picture: bytes = b""
    number: int = -1
    time: float = 0.0
    fresh: asyncio.Event = field(default_factory=asyncio.Event)

    def put(self, picture: bytes) -> None:
        self.picture, self.number, self.time = picture, self.number + 1, time.monotonic()
        self.fresh.set()

    async def take(self) -> tuple[bytes, int, float]:
        await self.fresh.wait()
        self.fresh.clear()
        return self.picture, self.number, self.time


class Stream:
    """One client's accepted socket. `count` is told what became of each picture: answered, skipped
    for a newer one, or refused."""

    def __init__(
        self, socket: WebSocket, workers: Workers, limits: Limits, count: Callable[[str], None]
    ) -> None:
        self._socket, self._workers, self._limits, self._count = socket, workers, limits, count
        self._tracker = Tracker(smooth=socket.query_params.get("smooth", "1") != "0")
        self._begin = time.monotonic()
        self._inbox = _Inbox()

    async def serve(self) -> None:
        """Returns when the client leaves, or was sent away for silence or for sending text."""
        tasks = {asyncio.create_task(self._read()), asyncio.create_task(self._answer())}
        try:
            done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
        for task in done:
            if not isinstance(task.exception(), WebSocketDisconnect | None):
                task.result()

    async def _read(self) -> None:
        seconds = self._limits.seconds
        while True:
            try:
                message = await asyncio.wait_for(self._socket.receive(), seconds)
            except TimeoutError:
                await self._socket.close(POLICY, f"no picture in {seconds:g} seconds")
                return
            if message["type"] == "websocket.disconnect":
                return
            if message.get("bytes") is None:
                await self._socket.close(UNSUPPORTED, "pictures are sent as binary messages")
                return
            if self._inbox.fresh.is_set():
                self._count("skipped")
            self._inbox.put(message["bytes"])

    async def _answer(self) -> None:
        while True:
            picture, number, at = await self._inbox.take()
            job = partial(self._find, picture, number, at - self._begin)
            try:
                answer, what = await self._workers.run_reserved(job), "answered"
            except BadInput as error:
                answer, what = {"frame": number, "error": str(error)}, "refused"
            self._count(what)
            await self._socket.send_text(json.dumps(answer, separators=(",", ":")))

    def _find(self, picture: bytes, number: int, at: float, estimate: Estimator) -> dict[str, Any]:
        """In a worker's thread; one at a time, so that the tracker sees the pictures in order."""
        image = read_picture(picture, f"frame {number}", max_pixels=self._limits.pixels)
        poses = self._tracker.update(estimate(image), at)
        height, width = image.shape[:2]
        return record(Result("stream", number, at, width, height, poses))
