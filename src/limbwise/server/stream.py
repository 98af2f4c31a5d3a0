"""A live stream over a WebSocket: pictures in, poses out, the newest picture first.

A client may send as fast as it likes: what arrives while the network works waits in one place, and
a newer picture takes it over. The answer's `frame` says which of the sent pictures it is about.
However a stream ends, it is with one close frame that says why.
"""

import asyncio
import json
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from starlette.websockets import WebSocket, WebSocketDisconnect

from ..errors import BadInput
from ..estimator import Estimator
from ..outputs.records import Result, record
from ..sources.image import read_picture
from ..track import Tracker
from .connections import ENDING
from .guard import Limits
from .query import STREAM, read
from .workers import Workers

GOING_AWAY, UNSUPPORTED, POLICY, FAILED = 1001, 1003, 1008, 1011  # RFC 6455, section 7.4.1


class _Inbox:
    """One place for the newest picture, its number and its time; filled by the event loop, emptied
    by the worker that begins with it."""

    def __init__(self) -> None:
        self.fresh = asyncio.Event()  # set by each picture
        self._newest: tuple[int, float, bytes] | None = None
        self._count = 0
        self._lock = threading.Lock()

    def put(self, picture: bytes) -> bool:
        """True if it takes the place of another."""
        with self._lock:
            skipped = self._newest is not None
            self._newest = self._count, time.monotonic(), picture
        self._count += 1
        self.fresh.set()
        return skipped

    def take(self) -> tuple[int, float, bytes] | None:
        with self._lock:
            newest, self._newest = self._newest, None
        return newest


class Stream:
    """One client's accepted socket. `count` gets what became of each picture: answered, skipped
    for a newer one, or refused."""

    def __init__(
        self, socket: WebSocket, workers: Workers, limits: Limits, count: Callable[[str], None]
    ) -> None:
        self._socket, self._workers, self._limits, self._count = socket, workers, limits, count
        self._tracker = Tracker(smooth=read(STREAM, socket.scope["query_string"])["smooth"])
        self._begin = time.monotonic()
        self._inbox = _Inbox()
        self._turn = asyncio.Lock()  # held from a picture's network to its answer

    async def serve(self) -> None:
        """Returns when the client leaves, or was sent away for silence or for sending text, or the
        server ends; what the network raises is raised when the client has the reason."""
        tasks = {asyncio.create_task(self._read()), asyncio.create_task(self._answer())}
        try:
            done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
        for task in done:
            if not isinstance(task.exception(), WebSocketDisconnect | None):
                with suppress(WebSocketDisconnect, RuntimeError):  # it may have left meanwhile
                    await self._socket.close(FAILED, "the server failed; its log says how")
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
            if ENDING in message:
                async with self._turn:
                    await self._socket.close(GOING_AWAY, "the server ends")
                return
            if message.get("bytes") is None:
                await self._socket.close(UNSUPPORTED, "pictures are sent as binary messages")
                return
            if self._inbox.put(message["bytes"]):
                self._count("skipped")

    async def _answer(self) -> None:
        while True:
            await self._inbox.fresh.wait()
            self._inbox.fresh.clear()
            async with self._turn:
                answer = await self._workers.run_reserved(self._find)
                if answer:
                    self._count("refused" if "error" in answer else "answered")
                    await self._socket.send_text(json.dumps(answer, separators=(",", ":")))

    def _find(self, estimate: Estimator) -> dict[str, Any] | None:
        """The answer to the picture that is the newest now, when a worker is free; None if an
        earlier turn took it. In the worker's thread, one turn at a time: the tracker sees the
        pictures in order."""
        newest = self._inbox.take()
        if newest is None:
            return None
        number, at, picture = newest
        at -= self._begin
        try:
            image = read_picture(picture, f"frame {number}", max_pixels=self._limits.pixels)
            poses = self._tracker.update(estimate(image), at)
        except BadInput as error:
            return {"frame": number, "error": str(error)}
        height, width = image.shape[:2]
        return record(Result("stream", number, at, width, height, poses))
