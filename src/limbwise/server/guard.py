"""Who may come in, and with how much: host, origin, token, number and size, before any route.

request -> host is ours -> origin is ours or allowed -> token, unless the path is public -> the path
is known -> its parameters are -> a place -> size, while reading

What is not known to be public is guarded. A path is compared as it is, letter by letter, and only
such a path goes on: the router cannot find a route for a path that the guard took for another one.
"""

import base64
import hmac
import json
import re
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field

from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from ..errors import BadInput
from .query import Parameters, read

LOOPBACK = frozenset({"localhost", "127.0.0.1", "::1"})
SUBPROTOCOL = "limbwise"  # of the WebSocket; browsers bring the token as a second one
BEARER = "bearer."
# Of RFC 9110, section 7.2, without what no name of a machine contains: users, escapes, spaces.
_HOST = re.compile(r"(\[[0-9a-f.]*:[0-9a-f:.]*\]|[0-9a-z._-]+)(?::[0-9]{0,5})?", re.I | re.A)


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


@dataclass(frozen=True)
class Place:
    """A path: whether it needs no token, and its parameters; None lets any pass unread."""

    public: bool = False
    parameters: Parameters | None = field(default_factory=dict)


Places = Mapping[tuple[str, str], Place]  # by the scope's type (http, websocket) and path


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
        places: Places,
        limits: Limits,
        token: str | None = None,
        origins: Iterable[str] = (),
        hosts: Iterable[str] | None = LOOPBACK,
    ) -> None:
        self._app, self._places, self._limits = app, places, limits
        self._token = token.encode() if token else None
        self._origins = frozenset(origins)
        allowed = {hostname(origin.partition("://")[2]) for origin in self._origins} - {""}
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
        name = hostname(host)
        if self._hosts is not None and name not in self._hosts:
            return problem(421, f"{host or 'no host'} is not a name of this server")
        if host and not name:
            return problem(421, "the Host is not the name of a machine")
        if origin is not None and not self._is_ours(origin, host):
            return problem(403, f"pages of {origin} may not use this server: see --allow-origin")
        place = self._places.get((scope["type"], scope["path"]))
        public = place is not None and place.public
        if self._token and not public and not self._is_token(headers):
            return problem(401, "a token is needed", {"www-authenticate": "Bearer"})
        if place is None:
            return problem(404, "there is nothing here: see /openapi.json")
        if place.parameters is not None:
            try:
                read(place.parameters, scope["query_string"])
            except BadInput as error:
                return problem(400, str(error))
        size = headers.get("content-length", "0")
        if size.isdecimal() and int(size) > self._limits.bytes:
            return problem(413, _too_large(self._limits), {"connection": "close"})
        return None

    def _is_ours(self, origin: str, host: str) -> bool:
        allowed = origin in self._origins or "*" in self._origins
        scheme, _, site = origin.partition("://")
        return allowed or (scheme in ("http", "https") and site == host != "")

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


def hostname(host: str) -> str:
    """The name in a Host, or in an origin after its scheme: `[::1]:80` gives `::1`. Empty if the
    whole of it is not a name or address with, perhaps, a port."""
    found = _HOST.fullmatch(host)
    return found[1].strip("[]").lower() if found else ""


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
