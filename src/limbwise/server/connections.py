"""Connections: how many, how long one may wait without a request, and how they end.

uvicorn has no limit of time for the head of a request and counts idle connections as busy ones, so
that whoever holds 256 of them open keeps everybody out. Here a connection waits for a request or
has one under way. Where there are as many as may be, the one that has waited longest makes room for
the one that comes; only connections with a request under way can fill the house.

At the end of the server what has begun is answered, new connections are refused, and a stream
closes itself after the picture that is looked at.

uvicorn's protocol classes are built on, not its documented interface: tests/test_connections.py
tells whether a new version still fits.
"""

import asyncio
import ipaddress
import logging
import math
from contextlib import suppress
from typing import Any, Protocol

import h11
import uvicorn
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from uvicorn.protocols.http.h11_impl import H11Protocol
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol

from .guard import Limits, problem

MAX_CONNECTIONS = 256  # besides streams, which have a limit of their own
MAX_OF_ONE = 64  # of one address
HEAD_SECONDS = 10.0  # for the head of a request, from the connection or the answer before
SEND_SECONDS = 60.0  # without any progress where a client takes in the answer
GRACE_SECONDS = 10.0  # for what has begun when the server is to end
ENDING = "limbwise.ending"  # in a message to a stream: say goodbye

_FULL = (
    b"HTTP/1.1 503 Service Unavailable\r\nContent-Type: application/json\r\nContent-Length: 46\r\n"
    b'Retry-After: 1\r\nConnection: close\r\n\r\n{"error": "busy: too many connections, later"}'
)


class Closable(Protocol):
    def close_now(self) -> None: ...


class Door:
    """Who is in: by address the connections that wait, oldest first, and those at work."""

    def __init__(self, maximum: int = MAX_CONNECTIONS, max_of_one: int = MAX_OF_ONE) -> None:
        self._max, self._max_of_one = maximum, max_of_one
        self._waiting: dict[str, dict[Closable, None]] = {}
        self._working: dict[str, set[Closable]] = {}
        self._count = 0

    def enter(self, one: Closable, address: str) -> bool:
        """Takes it in as one that waits, in another's place if need be; False if none can go."""
        waiting = self._waiting.setdefault(address, {})
        working = self._working.setdefault(address, set())
        if len(waiting) + len(working) >= self._max_of_one:
            room = self._send_away(waiting)
        elif self._count >= self._max:
            room = self._send_away(max(self._waiting.values(), key=len))
        else:
            room = True
        if room:
            waiting[one] = None
            self._count += 1
        else:
            self._forget(address)
        return room

    def work(self, one: Closable, address: str) -> None:
        del self._waiting[address][one]
        self._working[address].add(one)

    def wait(self, one: Closable, address: str) -> None:
        self._working[address].remove(one)
        self._waiting[address][one] = None

    def leave(self, one: Closable, address: str) -> None:
        """Nothing happens if it has left, or was never in."""
        waiting, working = self._waiting.get(address, {}), self._working.get(address, set())
        if one in waiting or one in working:
            waiting.pop(one, None)
            working.discard(one)
            self._count -= 1
        self._forget(address)

    def _send_away(self, waiting: dict[Closable, None]) -> bool:
        oldest = next(iter(waiting), None)
        if oldest is None:
            return False
        del waiting[oldest]
        self._count -= 1
        oldest.close_now()
        return True

    def _forget(self, address: str) -> None:
        if not self._waiting.get(address) and not self._working.get(address):
            self._waiting.pop(address, None)
            self._working.pop(address, None)


def address_of(transport: asyncio.BaseTransport) -> str:
    """The peer's; of IPv6 the first 64 bits, since whoever has one such address has all of them."""
    peer = transport.get_extra_info("peername")
    host = str(peer[0]) if peer else ""
    with suppress(ValueError):
        address = ipaddress.ip_address(host.partition("%")[0])
        if address.version == 6:
            return str(address.ipv4_mapped or ipaddress.ip_network((address, 64), strict=False))
    return host


class HttpConnection(H11Protocol):
    """One connection, of which the door knows whether it waits."""

    door: Door

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self._address = ""
        self._busy = self._left = False
        self._late: asyncio.TimerHandle | None = None
        self._unsent = math.inf  # bytes of the answer before, when somebody last looked

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._address = address_of(transport)
        if self.door.enter(self, self._address):
            self._be_patient()
        else:
            self._left = True
            transport.write(_FULL)
            transport.close()

    def connection_lost(self, exc: Exception | None) -> None:
        self._leave()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        self._note()

    def on_response_complete(self) -> None:
        super().on_response_complete()
        self._note(answered=True)

    def handle_websocket_upgrade(self, event: h11.Request) -> None:
        self._leave()
        super().handle_websocket_upgrade(event)

    def close_now(self) -> None:
        self._left = True
        self._cancel()
        self.transport.abort()

    def _note(self, answered: bool = False) -> None:
        """Tells the door whether a request is under way; a new wait begins after each answer."""
        if self._left:
            return
        busy = self.cycle is not None and not self.cycle.response_complete
        if busy and not self._busy:
            self.door.work(self, self._address)
            self._cancel()
        elif self._busy and not busy:
            self.door.wait(self, self._address)
        self._busy = busy
        if answered and not busy:
            self._be_patient()

    def _be_patient(self) -> None:
        self._cancel()
        self._unsent = math.inf
        self._late = self.loop.call_later(HEAD_SECONDS, self._is_late)

    def _is_late(self) -> None:
        """Nothing new was asked in time. Who still takes in the last answer may go on with that."""
        unsent, self._unsent = self.transport.get_write_buffer_size(), self._unsent
        if 0 < unsent < self._unsent:
            self._unsent = unsent
            self._late = self.loop.call_later(SEND_SECONDS, self._is_late)
        else:
            self._leave()
            self.transport.abort()

    def _leave(self) -> None:
        self._left = True
        self._cancel()
        self.door.leave(self, self._address)

    def _cancel(self) -> None:
        if self._late is not None:
            self._late.cancel()
            self._late = None


class StreamConnection(WebSocketsSansIOProtocol):
    """A WebSocket; it counts as at work until it is gone."""

    door: Door

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self.close_timeout = 2.0  # for the client's half of the goodbye
        self._address = ""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        self._address = address_of(transport)
        if self.door.enter(self, self._address):
            self.door.work(self, self._address)

    def connection_lost(self, exc: Exception | None) -> None:
        self.door.leave(self, self._address)
        super().connection_lost(exc)

    def close_now(self) -> None:
        self.transport.abort()

    def shutdown(self) -> None:
        """The stream itself says goodbye, once, when it has answered; uvicorn would say it at once
        and hang up, and what the client had under way would swallow it."""
        if self.handshake_complete and not self.close_sent:
            goodbye: Any = {"type": "websocket.receive", ENDING: True}
            self.queue.put_nowait(goodbye)
        else:
            super().shutdown()


class Ended:
    """ASGI middleware: a request that outlasts the time that is left at the end is answered so."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        begun = False

        async def noted(message: Message) -> None:
            nonlocal begun
            begun = True
            await send(message)

        try:
            await self._app(scope, receive, noted)
        except asyncio.CancelledError:  # by nobody but a server that ends
            if scope["type"] == "lifespan":
                raise
            if scope["type"] == "http" and not begun:
                refusal = problem(503, "the server ends: ask again later", {"connection": "close"})
                await refusal(scope, receive, send)


def server(app: ASGIApp, limits: Limits, grace: float = GRACE_SECONDS) -> uvicorn.Server:
    """The server of the application; it takes no message of a stream that is over the limit."""
    room = Door(MAX_CONNECTIONS + limits.streams, MAX_OF_ONE + limits.streams)
    logging.getLogger("uvicorn.error").addFilter(is_ours)
    logging.getLogger("python_multipart").setLevel(logging.ERROR)  # it tells of every broken form
    return uvicorn.Server(
        uvicorn.Config(
            app,
            http=type("HttpConnection", (HttpConnection,), {"door": room}),
            ws=type("StreamConnection", (StreamConnection,), {"door": room}),
            ws_max_size=limits.bytes, ws_per_message_deflate=False, log_level="error",
            timeout_graceful_shutdown=math.ceil(grace), server_header=False, proxy_headers=False,
        )
    )  # fmt: skip


def is_ours(entry: logging.LogRecord) -> bool:
    """Whether uvicorn tells of a fault of this program. What clients send wrong is answered to them
    and fills no log; a stream that is refused with a status, as ASGI provides, is no fault."""
    text = entry.getMessage()
    if "without completing handshake" in text:
        return False
    return entry.exc_info is None or "ASGI application" in text
