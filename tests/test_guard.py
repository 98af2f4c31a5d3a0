"""Who comes in: laws over any path, method, encoding, Host and parameter."""

import asyncio
import base64
import json
from urllib.parse import unquote, urlencode

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from starlette.exceptions import HTTPException
from websockets.exceptions import InvalidStatus

from limbwise.errors import BadInput
from limbwise.server.app import FILES, PLACES, application
from limbwise.server.guard import LOOPBACK, Guard, Limits, Place, hostname
from limbwise.server.query import PICTURE, Flag, Fraction, read
from serving import encoded, scene, seeing, serving, stream

TOKEN = "open-sesame"
PUBLIC = {*FILES, "/healthz"}
KNOWN = sorted({path for _, path in PLACES})
PICTURE_BYTES = encoded(scene())
METHODS = ["GET", "POST", "HEAD", "OPTIONS", "PUT", "DELETE", "PATCH", "TRACE", "CONNECT", "BREW"]
# What readers of paths have disagreed about.
ODD = ["%0A", "%0D%0A", "%00", "%09", "%20", "%2F", "/", "//", ".", "/./", "/../", "%2e%2e%2f", "?",
       "#", ";", "\\", "%5C", "%C2%85", "%E2%80%A8", "%FF", "%25", "%250A", "+", "a", "*", "@", ":",
       "http://localhost"]  # fmt: skip


@st.composite
def targets(draw: st.DrawFn) -> str:
    """A known path, some letters of it escaped or in another case, odd things before, in, after."""
    parts = list(draw(st.sampled_from(KNOWN)))
    for at in draw(st.lists(st.integers(0, len(parts) - 1), max_size=3)):
        how = draw(st.sampled_from(["%{:02X}", "%{:02x}", "upper"]))
        letter = parts[at][-1:]
        parts[at] = letter.upper() if how == "upper" else how.format(ord(letter))
    for _ in range(draw(st.integers(0, 2))):
        parts.insert(draw(st.integers(0, len(parts))), draw(st.sampled_from(ODD)))
    return "".join(parts)


@pytest.fixture(scope="module")
def guarded():
    with serving(token=TOKEN) as site:
        yield site


UPGRADE = (
    "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
    "Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n"
)


@settings(deadline=None, max_examples=150)
@given(st.sampled_from(METHODS), targets(), st.booleans())
def test_without_a_token_there_is_nothing_but_the_page_and_healthz(
    guarded, method, target, upgrade
) -> None:
    head = f"{method} {target} HTTP/1.1\r\nHost: localhost\r\nContent-Type: image/jpeg\r\n"
    head += UPGRADE if upgrade else "Connection: close\r\n"
    body = PICTURE_BYTES if method == "POST" and not upgrade else b""
    said = guarded.raw(f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body)
    begin, _, answer = said.partition(b"\r\n\r\n")
    status, path = int(begin.split()[1]), unquote(target.partition("?")[0])
    if status == 200:
        assert method in ("GET", "HEAD")
        assert path in PUBLIC
        if path in FILES and method == "GET":
            assert answer == FILES[path][0].read_bytes()
    elif status == 400:  # not HTTP as it should be, or a parameter of what is public
        assert upgrade or path == "/healthz"
    else:
        assert status in (401, 404, 405, 426)
        assert path in PUBLIC or upgrade or status == 401


def asked(app, kind: str, path: str, host: str = "localhost", token: str = "", query: str = ""):
    """The status and the body that the application answers; no socket, so any text is a path."""
    sent = []
    headers = [(b"host", host.encode("latin-1", "replace"))]
    headers += [(b"authorization", f"Bearer {token}".encode())] if token else []
    scope = {
        "type": kind, "asgi": {"version": "3.0"}, "http_version": "1.1", "method": "GET",
        "path": path, "raw_path": b"", "root_path": "", "query_string": query.encode(),
        "headers": headers, "scheme": "http", "server": None, "client": None, "subprotocols": [],
        "extensions": {"websocket.http.response": {}},
    }  # fmt: skip

    async def receive() -> dict:
        return {"type": f"{kind}.connect" if kind == "websocket" else "http.request"}

    async def send(message: dict) -> None:
        sent.append(message)

    asyncio.run(app(scope, receive, send))
    body = b"".join(message.get("body", b"") for message in sent)
    return sent[0].get("status", sent[0]["type"]), body


@pytest.fixture(scope="module")
def app():
    return application([seeing()], token=TOKEN)


ANY_PATHS = st.text(max_size=12) | st.builds(
    lambda path, at, odd: path[: at % (len(path) + 1)] + odd + path[at % (len(path) + 1) :],
    st.sampled_from(KNOWN), st.integers(0, 20), st.text(min_size=1, max_size=2),
)  # fmt: skip


@settings(deadline=None, max_examples=200)
@given(st.sampled_from(["http", "websocket"]), ANY_PATHS)
@example("http", "/healthz\n")  # which the end of a router's pattern may let pass
@example("http", "/v1/poses\n")
@example("websocket", "/v1/stream\n")
def test_a_path_is_known_letter_by_letter_or_not_at_all(app, kind, path) -> None:
    if (kind, path) not in PLACES:
        assert asked(app, kind, path)[0] == 401
        assert asked(app, kind, path, token=TOKEN)[0] == 404


def test_each_place_but_the_public_ones_needs_the_token(app) -> None:
    for kind, path in PLACES:
        assert (asked(app, kind, path)[0] == 401) == (path not in PUBLIC)
    assert asked(app, "http", "/v1/about", token=TOKEN)[0] == 200


# Host.

NAMES = ["localhost", "127.0.0.1", "[::1]"]
PIECES = [*NAMES, "LocalHost", "::1", "evil.com", "@", "/", ":", ":80", "80", "?", "#", "\\", "[",
          "]", ".", " ", "\t", "\n", "%", "%00", "\xa0", "²", "user:pass", ","]  # fmt: skip


@settings(deadline=None, max_examples=300)
@given(st.lists(st.sampled_from(PIECES), max_size=4).map("".join))
def test_only_a_name_of_this_server_with_perhaps_a_port_is_its_host(app, host) -> None:
    def is_name(name: str) -> bool:
        name, given = name.lower(), host.lower()
        port = given.removeprefix(name + ":")
        return given == name or (port != given and set(port) <= set("0123456789") and len(port) < 6)

    status, _ = asked(app, "http", "/healthz", host=host)
    assert status == (200 if any(map(is_name, NAMES)) else 421)


def test_a_host_that_is_no_name_is_refused_even_where_any_name_will_do() -> None:
    anywhere = application([seeing()], hosts=None)
    assert asked(anywhere, "http", "/healthz", host="evil.com")[0] == 200
    for host in ("evil.com@localhost", "localhost/evil", "local host", "a:b", "[1]"):
        assert hostname(host) == ""
        assert asked(anywhere, "http", "/healthz", host=host)[0] == 421


# Parameters.


@settings(deadline=None)
@given(st.text(min_size=1, max_size=60), st.text(max_size=60))
def test_an_unknown_parameter_is_told_in_one_line(name, text) -> None:
    if name not in PICTURE:
        with pytest.raises(BadInput) as told:
            read(PICTURE, urlencode({name: text}).encode())
        assert "unknown" in str(told.value)
        assert str(told.value).isascii()
        assert str(told.value).isprintable()


@given(
    st.text(max_size=10) | st.sampled_from(["nan", "inf", "-0.1", "1_0", "１", "", " 1", "1e-3"])
)
def test_a_value_is_in_its_range_or_refused(text) -> None:
    for parameter in (Flag(), Fraction()):
        try:
            value = parameter.read(text)
        except ValueError:
            continue
        assert 0 <= value <= 1
        assert float(text) == value
        assert text.isascii()


@given(st.floats(0, 1), st.booleans())
def test_what_is_in_range_is_taken_as_it_is(fraction, flag) -> None:
    query = f"min_confidence={fraction!r}&boxes={flag:d}"
    assert read(PICTURE, query.encode()) == {"min_confidence": fraction, "boxes": flag}


@pytest.mark.parametrize("query", ["min_score=7", "smoth=0", "smooth=2", "boxes", "x=1&x=2", "%0A"])
def test_every_place_but_the_page_refuses_parameters_it_does_not_know(app, query) -> None:
    for (kind, path), place in PLACES.items():
        status, body = asked(app, kind, path, token=TOKEN, query=query)
        assert status == (200 if path in FILES else 400)
        if status == 400:
            assert json.loads(body)["error"].isprintable()
            assert place.parameters is not None


def test_a_parameter_that_is_given_twice_or_unknown_says_so() -> None:
    with pytest.raises(BadInput, match="more than once"):
        read(PICTURE, b"boxes=1&boxes=0")
    with pytest.raises(BadInput, match="knows boxes and min_confidence"):
        read(PICTURE, b"min_score=7")


def test_a_stream_with_a_wrong_parameter_is_refused_before_it_begins(guarded) -> None:
    with pytest.raises(InvalidStatus) as refused:
        stream(guarded, "?smooth=yes", additional_headers={"Authorization": f"Bearer {TOKEN}"})
    assert refused.value.response.status_code == 400


# The guard alone, round an application that takes what it is sent.


class Taker:
    """An ASGI application that reads a whole body when `let` is set."""

    def __init__(self) -> None:
        self.let, self.lengths, self.kinds = asyncio.Event(), [], []

    async def __call__(self, scope, receive, send) -> None:
        self.kinds.append(scope["type"])
        await self.let.wait()
        length, more = 0, scope["type"] == "http"
        while more:
            message = await receive()
            length, more = length + len(message["body"]), message.get("more_body", False)
        self.lengths.append(length)
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body"})


def guard(taker: Taker, places: dict | None = None, **options) -> Guard:
    known = {("http", "/v1/poses"): Place(), ("http", "/"): Place(public=True)}
    options = {"limits": Limits(bytes=10, requests=2), **options}
    return Guard(taker, places=places or known, **options)


async def told(guard: Guard, chunks: list[bytes] = [b""], **headers: str):  # noqa: B006
    """What is answered to a POST of a body in pieces: the status, or what was raised, and the
    headers."""
    sent, pieces = [], list(chunks)

    async def receive() -> dict:
        return {"type": "http.request", "body": pieces.pop(0), "more_body": bool(pieces)}

    async def send(message: dict) -> None:
        sent.append(message)

    given = {"host": "localhost", **headers}
    scope = {
        "type": "http", "method": "POST", "path": "/v1/poses", "query_string": b"",
        "headers": [(k.replace("_", "-").encode(), v.encode()) for k, v in given.items()],
    }  # fmt: skip
    try:
        await guard(scope, receive, send)
    except HTTPException as error:
        return error.status_code, error.headers
    return sent[0]["status"], {k.decode(): v.decode() for k, v in sent[0]["headers"]}


def test_a_body_may_be_as_long_as_allowed_and_not_a_byte_longer_however_it_comes() -> None:
    async def all_of_it() -> None:
        taker = Taker()
        taker.let.set()
        its = guard(taker)
        assert (await told(its, [b"12345", b"67890"], content_length="10"))[0] == 200
        assert taker.lengths == [10]
        status, headers = await told(its, [b"12345", b"678901"])  # no length told
        assert (status, headers["connection"]) == (413, "close")
        status, headers = await told(its, content_length="11")
        assert (status, headers["connection"]) == (413, "close")
        assert (await told(its, [b"12"], content_length="a lot"))[0] == 200
        assert taker.lengths == [10, 2]

    asyncio.run(all_of_it())


def test_as_many_bodies_are_under_way_as_allowed_and_each_gives_its_place_back() -> None:
    async def all_of_it() -> None:
        taker = Taker()
        its = guard(taker)
        for _ in range(3):  # places that were lost would be missed the second time
            taker.let.clear()
            two = [asyncio.ensure_future(told(its, [b"1"])) for _ in range(2)]
            await asyncio.sleep(0)
            status, headers = await told(its, [b"1"])
            assert (status, headers["connection"], headers["retry-after"]) == (503, "close", "1")
            taker.let.set()
            assert [(await each)[0] for each in two] == [200, 200]
            assert (await told(its, [b"1" * 11]))[0] == 413

    asyncio.run(all_of_it())


def test_a_page_is_ours_over_http_and_https_and_any_if_any_is_allowed() -> None:
    async def all_of_it() -> None:
        taker = Taker()
        taker.let.set()
        for origins, origin, host, status in (
            ((), "http://localhost:8000", "localhost:8000", 200),
            ((), "https://localhost", "localhost", 200),
            ((), "ftp://localhost", "localhost", 403),
            ((), "localhost", "localhost", 403),
            ((), "http://localhost:8001", "localhost:8000", 403),
            (["*"], "https://evil.example", "localhost", 200),
            (["https://a.example"], "https://a.example", "localhost", 200),
            (["https://a.example"], "https://a.example", "a.example", 200),  # its Host too
            (["https://a.example"], "https://b.example", "localhost", 403),
        ):
            its = guard(taker, origins=origins)
            assert (await told(its, origin=origin, host=host))[0] == status, (origin, host)
        assert (await told(guard(taker), host="a.example"))[0] == 421
        without = guard(taker, hosts=None)
        assert (await told(without, host="", origin="http://"))[0] == 403

    asyncio.run(all_of_it())


def test_a_token_comes_in_a_header_or_as_a_subprotocol_and_is_asked_for_by_name() -> None:
    async def all_of_it() -> None:
        taker = Taker()
        taker.let.set()
        its = guard(taker, token="abc?>")
        word = base64.urlsafe_b64encode(b"abc?>").decode().rstrip("=")
        for headers, status in (
            ({"authorization": "Bearer abc?>"}, 200),
            ({"authorization": "bearer  abc?> "}, 200),
            ({"authorization": "abc?>"}, 401),
            ({"sec_websocket_protocol": f"limbwise, bearer.{word}"}, 200),
            ({"sec_websocket_protocol": f"a-bearer.{word}"}, 401),
            ({"sec_websocket_protocol": f"bearer.!, bearer.{word}"}, 401),
            ({"sec_websocket_protocol": word}, 401),
            ({"authorization": f"Basic {word}", "sec_websocket_protocol": f"bearer.{word}"}, 200),
            ({}, 401),
        ):
            found, answered = await told(its, **headers)
            assert found == status, headers
            assert (answered.get("www-authenticate") == "Bearer") == (status == 401)

    asyncio.run(all_of_it())


def test_what_is_no_request_passes() -> None:
    """Such as the start of the server."""

    async def all_of_it() -> None:
        taker = Taker()
        taker.let.set()

        async def send(message: dict) -> None:
            pass

        await guard(taker, token="abc")({"type": "lifespan"}, None, send)
        assert taker.kinds == ["lifespan"]

    asyncio.run(all_of_it())


def test_an_address_is_a_host_without_its_brackets() -> None:
    assert hostname("[::1]:80") == hostname("[::1]") == "::1"
    assert (hostname("LOCALHOST:7"), hostname("a-b_c.d")) == ("localhost", "a-b_c.d")
    assert {"localhost", "127.0.0.1", "::1"} == LOOPBACK
