"""Live streams: the newest picture first, ids of their own, and a close for each misbehaviour."""

import json

import numpy as np
import pytest
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import ClientConnection

from limbwise.server.guard import Limits
from serving import Gate, bomb, encoded, gauge, posting, scene, seeing, serving, stream, until

SMALL = Limits(bytes=20_000, pixels=100_000, seconds=1.0)


@pytest.fixture(scope="module")
def site():
    with serving() as site:
        yield site


@pytest.fixture(scope="module")
def small():
    with serving(limits=SMALL) as site:
        yield site


def exchange(socket: ClientConnection, image: np.ndarray) -> dict:
    socket.send(encoded(image))
    return json.loads(socket.recv(timeout=20))


def test_a_person_keeps_the_id_while_walking_through_a_stream(site) -> None:
    with stream(site) as socket:
        answers = [exchange(socket, scene(100 + 2 * step)) for step in range(8)]
    assert [answer["frame"] for answer in answers] == list(range(8))
    assert [[person["id"] for person in answer["people"]] for answer in answers] == [[1]] * 8
    times = [answer["time"] for answer in answers]
    assert times == sorted(times)
    assert set(answers[0]) == set(site.ask("/v1/poses", encoded(scene())).json)


def test_two_streams_do_not_share_ids(site) -> None:
    with stream(site) as one, stream(site) as other:
        for step in range(3):  # a person there, gone for good, another: 1, 2, 3
            exchange(one, scene(40 + 80 * step))
        later = exchange(one, scene(200))["people"]
        first = exchange(other, scene(200))["people"]
    assert later[0]["id"] > 1
    assert first[0]["id"] == 1


def test_smoothing_calms_a_stream_unless_it_is_turned_off(site) -> None:
    def noses(query: str) -> np.ndarray:
        with stream(site, query) as socket:
            answers = [exchange(socket, scene(120 + 3 * (step % 2))) for step in range(12)]
        return np.array([a["people"][0]["keypoints"]["nose"][0] for a in answers])

    assert (
        np.abs(np.diff(noses("")[4:])).mean() < 0.8 * np.abs(np.diff(noses("?smooth=0")[4:])).mean()
    )


def test_the_newest_frame_wins() -> None:
    gate = Gate()
    with serving([seeing(gate)]) as site, stream(site) as socket:
        socket.send(encoded(scene(40)))
        gate.await_seen(1)
        for step in range(1, 6):
            socket.send(encoded(scene(40 + 20 * step)))
        until(lambda: gauge(site, 'limbwise_frames_total{what="skipped"}') == 4)
        gate.open()
        answers = [json.loads(socket.recv(timeout=20)) for _ in range(2)]
        assert [answer["frame"] for answer in answers] == [0, 5]
        assert answers[1]["people"][0]["keypoints"]["neck"][0] == pytest.approx(140, abs=4)
        assert gate.seen == 2
        with pytest.raises(TimeoutError):
            socket.recv(timeout=0.3)


def test_a_stream_that_waits_for_a_worker_is_answered_with_the_newest_frame() -> None:
    gate, answers = Gate(), []
    with serving([seeing(gate)]) as site, stream(site) as socket:
        thread = posting(site, answers)  # somebody else's picture has the only worker
        gate.await_seen(1)
        for step in range(5):
            socket.send(encoded(scene(40 + 20 * step)))
        until(lambda: gauge(site, 'limbwise_frames_total{what="skipped"}') == 4)
        gate.open()
        thread.join()
        assert json.loads(socket.recv(timeout=20))["frame"] == 4


def test_a_broken_frame_is_told_and_the_stream_goes_on(small) -> None:
    with stream(small) as socket:
        socket.send(b"no picture")
        said = json.loads(socket.recv(timeout=20))
        assert (said["frame"], set(said)) == (0, {"frame", "error"})
        socket.send(bomb(5000, 5000))
        assert "5000 x 5000 pixels" in json.loads(socket.recv(timeout=20))["error"]
        assert exchange(socket, scene())["frame"] == 2


@pytest.mark.parametrize(("message", "code"), [("text", 1003), (b"x" * 20_001, 1009), (None, 1008)])
def test_a_stream_that_misbehaves_is_closed_with_the_code_for_it(small, message, code) -> None:
    with stream(small) as socket:
        if message is not None:
            socket.send(message)
        with pytest.raises(ConnectionClosed) as closed:
            socket.recv(timeout=20)
        assert closed.value.rcvd.code == code
    until(lambda: small.ask("/healthz").json["streams_free"] == SMALL.streams)


def test_one_stream_too_many_is_503_and_its_place_comes_back() -> None:
    with serving(limits=Limits(streams=1)) as site:
        with stream(site) as socket:
            exchange(socket, scene())
            with pytest.raises(InvalidStatus) as refused:
                stream(site)
            assert refused.value.response.status_code == 503
            assert refused.value.response.headers["retry-after"] == "1"
        until(lambda: site.ask("/healthz").json["streams_free"] == 1)
        with stream(site):
            pass
