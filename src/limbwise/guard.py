"""Who may come in, and with how much: host, origin, token, number and size, before any route.

request -> host is ours -> origin is ours or allowed -> token -> a place -> size, while reading
"""

import base64
import hmac
import json
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from urllib.parse import urlsplit

from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

LOOPBACK = frozenset({"localhost", "127.0.0.1", "::1"})
GUARDED = frozenset({"/v1/poses", "/v1/picture", "/v1/stream", "/v1/about", "/metrics"})
SUBPROTOCOL = "limbwise"  # of the WebSocket; browsers bring the token as a second one
BEARER = "bearer."


@dataclass(frozen=True)
class Limits:
    """bytes of a body or frame; pixels of a picture; seconds for a body to arrive, for an answer,
    and between two frames of a stream; requests under way; streams; jobs that wait for a worker."""

    bytes: int = 20_000_000
    pixels: int = 40_000_000
    seconds: float = 15.0
    requests: int = 32
    streams: int = 8
    waiting: int = 8


def problem(status: int, text: str, headers: dict[str, str] | None = None) -> Response:
    """One line for the client, as JSON; 503 says when to come again."""
    extra = {"retry-after": "1"} if status == 503 else {}
    return Response(
        json.dumps({"error": text}), status, extra | (headers or {}), "application/json"
    )


class Guard:
    """ASGI middleware. `hosts` None lets every Host pass; so does an origin "*" every Origin."""

    def __init__(
        self,
        app: ASGIApp,
        *,
        limits: Limits,
        token: str | None = None,
        origins: Iterable[str] = (),
        hosts: Iterable[str] | None = LOOPBACK,
    ) -> None:
        self._app, self._limits = app, limits
        self._token = token.encode() if token else None
        self._origins = frozenset(origins)
        allowed = {_hostname(origin) for origin in self._origins} - {""}
        self._hosts = None if hosts is None else frozenset(hosts) | allowed
        self._bodies = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] not in ("http", "websocket"):
            await self._app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        refused = self._refuse(scope, headers)
        if refused:
            await refused(scope, receive, send)
        elif scope["type"] == "http" and scope["method"] == "POST":
            await self._with_body(scope, receive, send)
        else:
            await self._app(scope, receive, send)

    def _refuse(self, scope: Scope, headers: Headers) -> Response | None:
        """Why not to go on, or None. A foreign Host is a site that points its name at this machine
        (DNS rebinding); a foreign Origin is a page of another site."""
        host, origin = headers.get("host", ""), headers.get("origin")
        if self._hosts is not None and _hostname(f"//{host}") not in self._hosts:
            return problem(421, f"{host or 'no host'} is not a name of this server")
        if origin is not None and not self._is_ours(origin, host):
            return problem(403, f"pages of {origin} may not use this server: see --allow-origin")
        if scope["path"] in GUARDED and self._token and not self._is_token(headers):
            return problem(401, "a token is needed", {"www-authenticate": "Bearer"})
        size = headers.get("content-length", "0")
        if size.isdecimal() and int(size) > self._limits.bytes:
            return problem(413, _too_large(self._limits), {"connection": "close"})
        return None

    def _is_ours(self, origin: str, host: str) -> bool:
        allowed = origin in self._origins or "*" in self._origins
        return allowed or origin.partition("://")[2] == host != ""

    def _is_token(self, headers: Headers) -> bool:
        """Compared in constant time, so that nobody can guess it letter by letter."""
        kind, _, given = headers.get("authorization", "").partition(" ")
        sent = given.strip().encode() if kind.lower() == "bearer" else _from_subprotocol(headers)
        return hmac.compare_digest(sent, self._token or b"")

    async def _with_body(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Counts bodies under way and, whatever Content-Length said, their bytes."""
        if self._bodies >= self._limits.requests:
            await problem(503, "busy: try again in a moment", {"connection": "close"})(
                scope, receive, send
            )
            return
        seen = 0

        async def counted() -> Message:
            nonlocal seen
            message = await receive()
            seen += len(message.get("body", b""))
            if seen > self._limits.bytes:
                raise HTTPException(413, _too_large(self._limits), {"connection": "close"})
            return message

        self._bodies += 1
        try:
            await self._app(scope, counted, send)
        finally:
            self._bodies -= 1


def _hostname(url: str) -> str:
    """Empty if there is none."""
    with suppress(ValueError):
        return urlsplit(url).hostname or ""
    return ""


def _from_subprotocol(headers: Headers) -> bytes:
    """The token of a browser's WebSocket: `bearer.` and the token in base64url, without =."""
    for offered in headers.get("sec-websocket-protocol", "").split(","):
        kind, bearer, token = offered.strip().partition(BEARER)
        if bearer and not kind:
            with suppress(ValueError):
                return base64.urlsafe_b64decode(token + "==")
    return b""


def _too_large(limits: Limits) -> str:
    return f"more than the {limits.bytes} bytes allowed: send a smaller picture"
