"""Connections: those that ask for nothing keep nobody out, and a server ends in good order."""

import json
import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from http.client import HTTPConnection

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from limbwise.server import connections
from limbwise.server.app import application
from limbwise.server.connections import MAX_OF_ONE, Door
from limbwise.server.guard import Limits
from serving import (
    UPGRADE,
    Gate,
    Site,
    encoded,
    logged,
    masked,
    posting,
    scene,
    seeing,
    serving,
    until,
)

# The door.


class Someone:
    def __init__(self) -> None:
        self.gone = False

    def close_now(self) -> None:
        self.gone = True


DOING = st.tuples(
    st.sampled_from(["enter", "enter", "enter", "work", "wait", "leave"]),
    st.sampled_from("abc"),  # addresses
    st.integers(0, 9),
)


@given(st.lists(DOING, min_size=10, max_size=60))
def test_at_the_door_who_waits_longest_makes_room_and_who_works_never(doings) -> None:
    most, most_of_one = 6, 3
    door = Door(most, most_of_one)
    waiting: list[tuple[Someone, str]] = []  # oldest first
    working: list[tuple[Someone, str]] = []

    def of(address: str, those: list) -> list:
        return [one for one in those if one[1] == address]

    for doing, address, which in doings:
        if doing == "enter":
            one = Someone()
            full_of_one = len(of(address, waiting) + of(address, working)) == most_of_one
            full = len(waiting + working) == most
            let_in = door.enter(one, address)
            gone = [other for other in waiting if other[0].gone]
            assert len(gone) == (let_in and (full_of_one or full))
            for other in gone:
                assert other == of(other[1], waiting)[0]
                assert other[1] == address or not full_of_one
                waiting.remove(other)
            if not let_in:
                assert not (of(address, waiting) if full_of_one else waiting)
            else:
                waiting.append((one, address))
        elif doing == "work" and waiting:
            working.append(waiting.pop(which % len(waiting)))
            door.work(*working[-1])
        elif doing == "wait" and working:
            waiting.append(working.pop(which % len(working)))
            door.wait(*waiting[-1])
        elif doing == "leave" and waiting + working:
            one = (waiting + working)[which % len(waiting + working)]
            (waiting if one in waiting else working).remove(one)
            door.leave(*one)
            door.leave(*one)  # once more does nothing
        assert not any(one.gone for one, _ in waiting + working)
        assert len(waiting + working) <= most
        assert all(len(of(a, waiting + working)) <= most_of_one for a in "abc")


def test_addresses_of_one_ipv6_network_count_as_one() -> None:
    class Peer:
        def __init__(self, host: str) -> None:
            self.host = host

        def get_extra_info(self, name: str) -> tuple[str, int]:
            return self.host, 1

    def of(host: str) -> str:
        return connections.address_of(Peer(host))

    assert of("2001:db8::1") == of("2001:db8::ffff:1") != of("2001:db8:0:1::1")
    assert of("::ffff:192.0.2.7") == of("192.0.2.7") != of("192.0.2.8")


# Those who hold a connection and ask for nothing.


@contextmanager
def held(site: Site, count: int, *begins: bytes) -> Iterator[list[socket.socket]]:
    """So many connections, each with one of the beginnings sent and no more."""
    with ExitStack() as stack:
        yield [_begun(stack, site, begins[n % len(begins)]) for n in range(count)]


def _begun(stack: ExitStack, site: Site, begin: bytes) -> socket.socket:
    one = stack.enter_context(socket.create_connection(("127.0.0.1", site.port), timeout=20))
    one.sendall(begin)
    return one


HALF = b"GET /healthz HTTP/1.1\r\nHost: localh"
WHOLE = b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n"
UNREAD = b"POST /healthz HTTP/1.1\r\nHost: localhost\r\nContent-Length: 999\r\n\r\nabc"


def test_300_connections_that_ask_for_nothing_keep_nobody_out() -> None:
    gate, answers = Gate(), []
    with serving([seeing(gate)]) as site:
        working = posting(site, answers)
        gate.await_seen(1)
        with held(site, 300, b"", HALF, WHOLE + HALF, UNREAD):
            for _ in range(5):
                begin = time.monotonic()
                assert site.ask("/healthz").status == 200
                assert time.monotonic() - begin < 1
            assert len(site.running.server_state.connections) <= MAX_OF_ONE + Limits().streams
            gate.open()
            working.join()
    assert answers == [200]  # who has a request under way is not sent away


def test_where_all_are_at_work_a_newcomer_is_told_to_come_again(monkeypatch) -> None:
    monkeypatch.setattr(connections, "MAX_OF_ONE", 2)
    gate, answers = Gate(), []
    with serving([seeing(gate)], Limits(streams=0)) as site:
        threads = [posting(site, answers) for _ in range(2)]
        until(lambda: len(site.running.server_state.tasks) == 2)
        refused = site.ask("/healthz")
        assert (refused.status, refused.headers["retry-after"]) == (503, "1")
        assert "busy" in refused.json["error"]
        gate.open()
        for thread in threads:
            thread.join()
        assert answers == [200] * 2
        assert site.ask("/healthz").status == 200


@pytest.mark.parametrize("begin", [b"", HALF, WHOLE, WHOLE + HALF, UNREAD])
def test_a_head_that_comes_letter_by_letter_does_not_come_for_ever(begin, monkeypatch) -> None:
    monkeypatch.setattr(connections, "HEAD_SECONDS", 0.5)
    with serving() as site, held(site, 1, begin) as (one,):
        began = time.monotonic()
        while not _is_closed(one) and time.monotonic() - began < 5:
            with suppress(OSError):
                one.send(b"x" if begin else b"")
        assert 0.3 < time.monotonic() - began < 3


def _is_closed(one: socket.socket) -> bool:
    """Whether the other side hung up, within a tenth of a second."""
    one.settimeout(0.1)
    try:
        return one.recv(9999) == b""
    except TimeoutError:
        return False
    except OSError:
        return True


def noise() -> bytes:
    """A picture whose drawing is a PNG of megabytes."""
    random = np.random.default_rng(0)
    return encoded(random.integers(0, 150, (700, 900, 3), np.uint8), ".png")


def test_who_reads_slowly_gets_all_and_who_does_not_read_is_let_go(monkeypatch) -> None:
    monkeypatch.setattr(connections, "HEAD_SECONDS", 0.4)
    monkeypatch.setattr(connections, "SEND_SECONDS", 1)
    picture = noise()
    head = (
        "POST /v1/picture HTTP/1.1\r\nHost: localhost\r\nContent-Type: image/png\r\n"
        f"Content-Length: {len(picture)}\r\n\r\n"
    ).encode()
    with serving() as site:
        whole = site.ask("/v1/picture", picture, "image/png").body
        until(lambda: not site.running.server_state.connections)
        for reads in (True, False):
            with socket.socket() as one:
                one.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65536)
                one.settimeout(20)
                one.connect(("127.0.0.1", site.port))
                until(lambda: site.running.server_state.connections)
                (inside,) = site.running.server_state.connections  # else the system takes it all
                there = inside.transport.get_extra_info("socket")
                there.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 65536)
                one.sendall(head + picture)
                if reads:
                    got, begin = b"", time.monotonic()
                    while part := one.recv(65536):
                        got += part
                        time.sleep(0.04)
                    assert got.endswith(whole)
                    assert time.monotonic() - begin > 2 * connections.HEAD_SECONDS
                until(lambda: not site.running.server_state.connections)


def test_the_limits_are_those_that_the_docs_name() -> None:
    assert (connections.MAX_CONNECTIONS, MAX_OF_ONE) == (256, 64)
    assert (connections.HEAD_SECONDS, connections.SEND_SECONDS) == (10, 60)
    running = connections.server(application([seeing()]), Limits())
    assert running.config.timeout_graceful_shutdown == 10


# The end.


def test_what_has_begun_is_answered_and_what_comes_is_refused() -> None:
    gate, answers = Gate(), []
    with serving([seeing(gate)]) as site:
        kept = HTTPConnection("127.0.0.1", site.port, timeout=20)
        kept.request("GET", "/healthz")
        assert kept.getresponse().read()
        threads = [posting(site, answers) for _ in range(8)]
        until(lambda: len(site.running.server_state.tasks) == 8)
        site.running.should_exit = True
        assert kept.sock.recv(1) == b""  # idle ones are let go at once
        kept.close()
        time.sleep(2.5)  # longer than it was once given
        with pytest.raises(OSError, match="refused"):
            socket.create_connection(("127.0.0.1", site.port))
        gate.open()
        for thread in threads:
            thread.join()
    assert answers == [200] * 8


def test_what_is_not_done_in_time_is_told_and_leaves_no_traceback() -> None:
    gate, answers = Gate(), []
    with serving([seeing(gate)], grace=1) as site, logged() as entries:
        thread = posting(site, answers)
        gate.await_seen(1)
        site.running.should_exit = True
        thread.join()
        gate.open()
    assert answers == [503]
    assert not any(entry.exc_info for entry in entries)


def frames(data: bytes) -> list[tuple[int, bytes]]:
    """Opcode and payload of each frame that a server sent (RFC 6455, section 5.2)."""
    found = []
    while data:
        size, begin = data[1], 2
        if size == 126:
            size, begin = int.from_bytes(data[2:4]), 4
        found.append((data[0] & 15, data[begin : begin + size]))
        data = data[begin + size :]
    return found


def test_a_stream_gets_its_answer_and_one_close_frame_while_pictures_still_come() -> None:
    gate = Gate()
    with serving([seeing(gate)]) as site:
        one = socket.create_connection(("127.0.0.1", site.port), timeout=20)
        one.sendall(UPGRADE)
        assert one.recv(9999).startswith(b"HTTP/1.1 101")
        one.sendall(masked(2, encoded(scene())))
        gate.await_seen(1)
        site.running.should_exit = True
        for _ in range(20):
            one.sendall(masked(2, encoded(scene(60))))
            time.sleep(0.02)
        gate.open()
        said = b""
        while part := one.recv(65536):
            said += part
        one.close()
    kinds = [kind for kind, _ in frames(said)]
    assert kinds.count(8) == 1
    assert kinds[-1] == 8
    assert kinds[0] == 1
    assert json.loads(frames(said)[0][1])["frame"] == 0
    reason = frames(said)[-1][1]
    assert (int.from_bytes(reason[:2]), reason[2:]) == (1001, b"the server ends")
