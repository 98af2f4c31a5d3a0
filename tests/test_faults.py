"""Faults: the network's are told and logged; those of clients are answered and fill no log."""

import socket
from io import BytesIO

import numpy as np
import PIL.Image
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from websockets.exceptions import ConnectionClosed

from limbwise.server.guard import Limits
from serving import UPGRADE, encoded, logged, masked, scene, seeing, serving, stream, until


def test_a_network_that_fails_is_told_as_500_and_as_1011_with_a_reason() -> None:
    def fail(image: np.ndarray) -> None:
        raise RuntimeError("a wire is loose")

    with serving([seeing(fail)]) as site, logged() as entries:
        assert site.ask("/v1/poses", encoded(scene())).status == 500
        with stream(site) as socket:
            socket.send(encoded(scene()))
            with pytest.raises(ConnectionClosed) as closed:
                socket.recv(timeout=20)
        assert closed.value.rcvd.code == 1011
        assert closed.value.rcvd.reason == "the server failed; its log says how"
        until(lambda: site.ask("/healthz").json["streams_free"] == Limits().streams)
        until(lambda: len(entries) >= 2)
    assert all("a wire is loose" in str(entry.exc_info[1]) for entry in entries)


@pytest.fixture(scope="module")
def site():
    with serving(limits=Limits(seconds=1)) as site:
        yield site


FORM = b"POST /v1/poses HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Type: "
BROKEN = st.one_of(
    st.binary(max_size=80).map(lambda junk: junk + b"\r\n\r\n"),
    st.binary(max_size=30).map(lambda junk: b"GET /" + junk + b" HTTP/1.1\r\nHost: a\r\n\r\n"),
    st.binary(max_size=30).map(lambda junk: b"GET / HTTP/1.1\r\nHost: a\r\n" + junk + b"\r\n\r\n"),
    st.tuples(st.binary(max_size=20), st.binary(max_size=60)).map(
        lambda two: FORM + b"multipart/form-data; boundary=" + two[0].replace(b"\n", b"")
        + b"\r\nContent-Length: %d\r\n\r\n" % (len(two[1]) + 6) + b"--edge" + two[1]
    ),
)  # fmt: skip


@settings(deadline=None, max_examples=80)
@given(BROKEN)
def test_nothing_that_clients_send_fills_the_log(site, sent) -> None:
    with logged() as entries:
        said = site.raw(sent, closing=True)
        assert b" 500 " not in said[:20]
        assert site.ask("/healthz").status == 200
    assert entries == []


@settings(deadline=None, max_examples=40)
@given(st.sampled_from([0, 1, 2, 3, 8, 9, 10, 15]), st.binary(max_size=120), st.booleans())
def test_no_frame_of_a_stream_fills_the_log(site, opcode, payload, whole) -> None:
    with logged() as entries:
        with socket.create_connection(("127.0.0.1", site.port), timeout=20) as one:
            one.sendall(UPGRADE)
            assert one.recv(9999).startswith(b"HTTP/1.1 101")
            one.sendall(masked(opcode, payload) if whole else masked(opcode, payload)[:-1])
        until(lambda: site.ask("/healthz").json["streams_free"] == Limits().streams)
    assert entries == []


def test_text_that_is_not_utf_8_closes_a_stream_and_leaves_no_traceback(site) -> None:
    with logged() as entries, stream(site) as socket:
        socket.send(b"\xff\xfe", text=True)
        with pytest.raises(ConnectionClosed) as closed:
            socket.recv(timeout=20)
        assert closed.value.rcvd.code in (1003, 1007)
    assert entries == []


SIDES = [1, 2, 37, 65_535, 65_536, 999_999, 1_000_001, 2_000_000]


@pytest.mark.parametrize("sides", [(w, h) for w in SIDES for h in SIDES if w * h <= 3_000_000])
def test_a_picture_of_any_sides_is_looked_at_or_refused_in_one_line(site, sides) -> None:
    picture = _grey_png(*sides)
    for path in ("/v1/poses", "/v1/picture"):
        answer = site.ask(path, picture, "image/png")
        assert answer.status == (413 if max(sides) > 65_535 else 200)
        if answer.status != 200:
            assert answer.json["error"].isprintable()


def _grey_png(width: int, height: int) -> bytes:
    file = BytesIO()
    PIL.Image.new("1", (width, height)).save(file, "PNG")
    return file.getvalue()
