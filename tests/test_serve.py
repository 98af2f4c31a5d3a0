"""The server as its clients see it: over a real socket, with a network that the test controls."""

import base64
import json
import os
import re
import signal
import socket
import struct
import subprocess
import sys
import threading
import time
import zlib

import cv2
import numpy as np
import pytest
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import ClientConnection, connect

from conftest import REFERENCE, needs_reference
from limbwise.estimator import SAMPLE
from limbwise.guard import Limits
from limbwise.serve import FILES
from limbwise.skeleton import BODY
from limbwise.train.export import export
from limbwise.writers import Result, record
from serving import Site, encoded, scene, seeing, serving


@pytest.fixture(scope="module")
def site():
    with serving() as site:
        yield site


class Gate:
    """Holds the network until it is opened; `seen` counts the inputs that came to it."""

    def __init__(self) -> None:
        self._open, self.seen = threading.Event(), 0

    def __call__(self, image: np.ndarray) -> None:
        self.seen += 1
        assert self._open.wait(20)

    def open(self) -> None:
        self._open.set()

    def await_seen(self, count: int) -> None:
        until(lambda: self.seen >= count)


def until(happened) -> None:
    end = time.monotonic() + 20
    while not happened():
        assert time.monotonic() < end, "it never happened"
        time.sleep(0.01)


def gauge(site: Site, name: str) -> float:
    """A figure of /metrics; 0 where there was nothing to count yet."""
    found = re.search(rf"^{re.escape(name)} (\S+)$", site.ask("/metrics").body.decode(), re.M)
    return float(found[1]) if found else 0.0


# Pictures.


def test_a_picture_gives_the_object_that_is_a_line_of_json_lines(site) -> None:
    image = scene(120, (320, 480))
    answer = site.ask("/v1/poses", encoded(image, ".png"))
    expected = record(Result("picture", 0, 0.0, 480, 320, seeing()(image)))
    assert answer.json == expected
    (person,) = answer.json["people"]
    assert person["keypoints"]["nose"][0] == pytest.approx(120, abs=4)  # in its own pixels


@pytest.mark.parametrize("kind", [".jpg", ".png", ".webp", ".bmp"])
def test_common_forms_of_pictures_are_read(site, kind) -> None:
    assert len(site.ask("/v1/poses", encoded(scene(), kind)).json["people"]) == 1
    assert site.ask("/v1/poses", encoded(scene(None), kind)).json["people"] == []


def form(picture: bytes, name: str = 'name="picture"; filename="a.jpg"') -> tuple[bytes, str]:
    head = f"--edge\r\nContent-Disposition: form-data; {name}\r\n\r\n".encode()
    return head + picture + b"\r\n--edge--\r\n", "multipart/form-data; boundary=edge"


def test_a_form_says_the_same_as_the_bytes_themselves(site) -> None:
    picture = encoded(scene(), ".png")
    assert site.ask("/v1/poses", *form(picture)).json == site.ask("/v1/poses", picture).json


def test_the_drawn_picture_differs_where_the_person_is_and_only_there(site) -> None:
    image = scene(120, (320, 480))
    answer = site.ask("/v1/picture?boxes=0", encoded(image, ".png"))
    assert answer.headers["content-type"] == "image/png"
    drawn = cv2.imdecode(np.frombuffer(answer.body, np.uint8), cv2.IMREAD_COLOR)
    changed = (drawn != image).any(axis=2)
    left, _, right, _ = site.ask("/v1/poses", encoded(image, ".png")).json["people"][0]["box"]
    assert changed[:, int(left) : int(right) + 1].any()
    assert not changed[:, : int(left) - 10].any()
    assert not changed[:, int(right) + 10 :].any()
    boxed = site.ask("/v1/picture?boxes=1", encoded(image, ".png"))
    assert boxed.body != answer.body
    nobody = site.ask("/v1/picture?min_confidence=1.1", encoded(image, ".png"))
    assert (cv2.imdecode(np.frombuffer(nobody.body, np.uint8), 1) == image).all()
    assert site.ask("/v1/picture?min_confidence=much", encoded(image)).status == 422


# What is refused.


@pytest.mark.parametrize("kind", ["text/plain", "text/html", "", "application/json"])
def test_what_is_not_sent_as_a_picture_is_415(site, kind) -> None:
    answer = site.ask("/v1/poses", encoded(scene()), kind)
    assert answer.status == 415
    assert "image/jpeg" in answer.json["error"]


@pytest.mark.parametrize(
    ("body", "kind"),
    [
        (b"not a picture", "image/jpeg"),
        (b"", "image/jpeg"),
        (encoded(scene(), ".png")[:60], "image/png"),
        form(b"text", 'name="note"'),
        (b"--edge\r\nnonsense", "multipart/form-data; boundary=edge"),
        (b"no boundary", "multipart/form-data"),
    ],
)
def test_a_broken_picture_is_422_in_one_line(site, body, kind) -> None:
    answer = site.ask("/v1/poses", body, kind)
    assert answer.status in (400, 422)
    assert "\n" not in answer.json["error"]


SMALL = Limits(bytes=20_000, pixels=100_000, seconds=1.0)


@pytest.fixture(scope="module")
def small():
    with serving(limits=SMALL) as site:
        yield site


def test_a_body_over_the_limit_is_413_by_its_length_before_it_arrives(small) -> None:
    said = small.raw(
        b"POST /v1/poses HTTP/1.1\r\nHost: localhost\r\nContent-Type: image/jpeg\r\n"
        b"Content-Length: 20001\r\n\r\n"
    )
    assert said.startswith(b"HTTP/1.1 413 ")


@pytest.mark.parametrize("kind", ["image/jpeg", "multipart/form-data; boundary=edge"])
def test_a_body_over_the_limit_is_413_where_no_length_is_told(small, kind) -> None:
    head = (
        "POST /v1/poses HTTP/1.1\r\nHost: localhost\r\n"
        f"Content-Type: {kind}\r\nTransfer-Encoding: chunked\r\n\r\n"
    )
    begin = form(b"")[0][:-12] if "multipart" in kind else b""
    chunks = [begin] * bool(begin) + [b"x" * 5000] * 5  # no last chunk: who waits for it waits long
    sent = b"".join(b"%x\r\n%s\r\n" % (len(chunk), chunk) for chunk in chunks)
    assert small.raw(head.encode() + sent).startswith(b"HTTP/1.1 413 ")


def test_a_length_that_promises_more_than_comes_ends_in_408(small) -> None:
    head = b"POST /v1/poses HTTP/1.1\r\nHost: localhost\r\nContent-Type: image/jpeg\r\n"
    begin = time.monotonic()
    said = small.raw(head + b"Content-Length: 1000\r\nConnection: close\r\n\r\nabc")
    assert said.startswith(b"HTTP/1.1 408 ")
    assert time.monotonic() - begin < 5
    small.raw(head + b"Content-Length: 1000\r\n\r\nabc", closing=True)
    assert small.ask("/v1/poses", encoded(scene())).status == 200  # it serves on


def bomb(width: int, height: int) -> bytes:
    """A PNG that breaks off where its pixels begin."""
    header = b"IHDR" + struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    checked = struct.pack(">I", 13) + header + struct.pack(">I", zlib.crc32(header))
    return b"\x89PNG\r\n\x1a\n" + checked + struct.pack(">I", 1000) + b"IDAT"


def test_a_decompression_bomb_is_413_by_its_header(site, small) -> None:
    answer = site.ask("/v1/poses", bomb(60_000, 60_000), "image/png")
    assert (answer.status, "60000 x 60000" in answer.json["error"]) == (413, True)
    assert small.ask("/v1/poses", bomb(1000, 101), "image/png").status == 413
    assert small.ask("/v1/poses", bomb(1000, 100), "image/png").status == 422  # small, but broken


@pytest.mark.parametrize(
    "path",
    [
        "/../serve.py",
        "/page/../../serve.py",
        "/%2e%2e/serve.py",
        "/..%2fserve.py",
        "/%2e%2e%2f%2e%2e%2fetc/passwd",
        "//etc/passwd",
        "/page.js/../../cli.py",
        "/index.html/",
        "/models/sample.jpg",
        "/..\\serve.py",
        "/page.js%00.css",
    ],
)
def test_no_file_but_those_of_the_page_can_be_reached(site, path) -> None:
    said = site.raw(f"GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n".encode())
    assert said.startswith((b"HTTP/1.1 404 ", b"HTTP/1.1 400 ")), said[:80]


@pytest.mark.parametrize("path", FILES)
def test_the_page_may_load_nothing_from_elsewhere(site, path) -> None:
    answer = site.ask(path)
    assert answer.status == 200
    assert "default-src 'none'" in answer.headers["content-security-policy"]
    assert answer.headers["x-content-type-options"] == "nosniff"
    if not path.endswith((".jpg", ".svg")):
        assert not re.search(rb"(https?:)?//[a-z]+\.", answer.body)


def test_a_wrong_method_or_path_is_told_as_json(site) -> None:
    assert site.ask("/v1/poses").status == 405
    assert site.ask("/healthz", b"").status == 405
    missing = site.ask("/v2/poses", b"")
    assert (missing.status, list(missing.json)) == (404, ["error"])


# Who may come in.


def stream(site: Site, query: str = "", **how) -> ClientConnection:
    return connect(f"ws://127.0.0.1:{site.port}/v1/stream{query}", proxy=None, **how)


def stream_refused(site: Site, **how) -> int:
    with pytest.raises(InvalidStatus) as refused, stream(site, **how):
        pass
    return refused.value.response.status_code


def test_pages_of_other_sites_are_kept_out(site) -> None:
    picture = encoded(scene())
    for origin in (
        "https://evil.example",
        "null",
        "http://127.0.0.1:1",
        f"{site.url}.evil.example",
    ):
        answer = site.ask("/v1/poses", picture, origin=origin)
        assert (answer.status, "access-control-allow-origin" in answer.headers) == (403, False)
        assert stream_refused(site, origin=origin) == 403
    assert site.ask("/v1/poses", picture, origin=site.url).status == 200
    with stream(site, origin=site.url):
        pass


def test_an_allowed_site_may_come_and_is_told_so() -> None:
    friend = "https://friend.example"
    with serving(origins=[friend]) as site:
        answer = site.ask("/v1/poses", encoded(scene()), origin=friend)
        assert answer.status == 200
        assert answer.headers["access-control-allow-origin"] == friend
        assert site.ask("/v1/poses", b"", origin="https://evil.example").status == 403
        assert stream_refused(site, origin="https://evil.example") == 403
        with stream(site, origin=friend):
            pass
        preflight = site.raw(
            b"OPTIONS /v1/poses HTTP/1.1\r\nHost: localhost\r\nOrigin: https://friend.example\r\n"
            b"Access-Control-Request-Method: POST\r\n"
            b"Access-Control-Request-Headers: authorization\r\nConnection: close\r\n\r\n"
        )
        assert preflight.startswith(b"HTTP/1.1 200 ")


def test_a_name_that_others_point_at_this_machine_is_refused(site) -> None:
    rebound = {"host": "evil.example:80", "origin": "http://evil.example:80"}
    assert site.ask("/v1/poses", encoded(scene()), **rebound).status == 421
    assert site.ask("/healthz", host="[").status == 421
    assert site.ask("/healthz", host="LOCALHOST:7").status == 200
    with serving(hosts=None) as public:
        assert public.ask("/v1/poses", encoded(scene()), **rebound).status == 200


def test_a_token_opens_and_nothing_else_does() -> None:
    token = "secret?/+~1>"
    with serving(token=token) as site:
        for path in ("/v1/poses", "/v1/picture"):
            assert site.ask(path, encoded(scene())).status == 401
        for given in ("", "Bearer", "Bearer wrong", f"Basic {token}", f"Bearer {token[:-1]}"):
            answer = site.ask("/v1/about", authorization=given)
            assert (answer.status, answer.headers["www-authenticate"]) == (401, "Bearer")
        assert site.ask("/metrics").status == 401
        assert site.ask("/v1/about", authorization=f"Bearer {token}").status == 200
        assert [site.ask(path).status for path in ("/", "/healthz", "/openapi.json")] == [200] * 3
        assert stream_refused(site) == 401
        assert stream_refused(site, subprotocols=["limbwise", "bearer.d3Jvbmc"]) == 401
        as_word = base64.urlsafe_b64encode(token.encode()).decode().rstrip("=")
        with stream(site, subprotocols=["limbwise", f"bearer.{as_word}"]) as socket:
            assert socket.subprotocol == "limbwise"  # the token is not sent back


# When much is going on.


def posting(site: Site, answers: list) -> threading.Thread:
    thread = threading.Thread(
        target=lambda: answers.append(site.ask("/v1/poses", encoded(scene())).status)
    )
    thread.start()
    return thread


def test_one_more_than_may_wait_is_503_and_the_loop_stays_free() -> None:
    gate, answers = Gate(), []
    with serving([seeing(gate)], Limits(waiting=1)) as site:
        threads = [posting(site, answers)]
        gate.await_seen(1)
        threads.append(posting(site, answers))
        until(lambda: gauge(site, "limbwise_jobs") == 2)
        begin = time.monotonic()
        busy = site.ask("/v1/poses", encoded(scene()))
        assert (busy.status, busy.headers["retry-after"]) == (503, "1")
        assert site.ask("/healthz").json["status"] == "ok"
        assert time.monotonic() - begin < 2
        gate.open()
        for thread in threads:
            thread.join()
        assert answers == [200, 200]
        assert site.ask("/v1/poses", encoded(scene())).status == 200
        until(lambda: gauge(site, "limbwise_jobs") == 0)


def test_an_answer_that_takes_too_long_is_503_and_its_place_comes_back() -> None:
    gate = Gate()
    with serving([seeing(gate)], Limits(seconds=0.3, waiting=0)) as site:
        assert site.ask("/v1/poses", encoded(scene())).status == 503
        assert gauge(site, "limbwise_jobs") == 1  # it still runs
        gate.open()
        until(lambda: gauge(site, "limbwise_jobs") == 0)
        assert site.ask("/v1/poses", encoded(scene())).status == 200


def test_workers_work_at_the_same_time() -> None:
    together, answers = threading.Barrier(2, timeout=20), []
    with serving([seeing(lambda image: together.wait()) for _ in range(2)]) as site:
        for thread in [posting(site, answers) for _ in range(2)]:
            thread.join()
    assert answers == [200, 200]


def test_too_many_bodies_under_way_are_503_before_they_are_read() -> None:
    with serving(limits=Limits(requests=1)) as site:
        head = b"POST /v1/poses HTTP/1.1\r\nHost: localhost\r\nContent-Type: image/jpeg\r\n"
        with socket.create_connection(("127.0.0.1", site.port)) as slow:
            slow.sendall(head + b"Content-Length: 1000\r\n\r\nabc")
            until(lambda: site.ask("/v1/poses", encoded(scene())).status == 503)
        until(lambda: site.ask("/v1/poses", encoded(scene())).status == 200)


# Streams.


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


# What the server says of itself.


def test_metrics_count_what_was_answered(small) -> None:
    name = 'limbwise_requests_total{path="/v1/poses",status="415"}'
    small.ask("/v1/poses", b"", "text/plain")
    before = gauge(small, name)
    small.ask("/v1/poses", b"", "text/plain")
    assert gauge(small, name) == before + 1
    for n in range(3):
        small.ask(f"/nowhere/{n}")
    assert "nowhere" not in small.ask("/metrics").body.decode()


def test_the_page_is_told_the_skeleton_and_how_it_is_drawn(site) -> None:
    about = site.ask("/v1/about").json
    assert about["skeleton"] == BODY.to_dict()
    style = about["style"]
    assert len(style["strokes"]) == len(style["colours"]) == len(style["widths"])
    limbs = [tuple(pair) for pair in style["strokes"][: style["limbs"]]]
    assert set(limbs) <= set(BODY.pairs)
    assert all(re.fullmatch("#[0-9a-f]{6}", colour) for colour in style["colours"] + style["ids"])


def test_the_openapi_document_describes_the_answers(site) -> None:
    document = site.ask("/openapi.json").json
    for path, verbs in document["paths"].items():
        for verb in verbs:
            assert site.ask(path, b"" if verb == "post" else None).status in (200, 422)
    schemas = document["components"]["schemas"]
    answer = site.ask("/v1/poses", encoded(scene())).json
    assert set(schemas["Result"]["required"]) == set(answer)
    assert set(schemas["Person"]["required"]) == set(answer["people"][0])
    assert set(schemas["Person"]["properties"]["keypoints"]["required"]) == set(BODY.keypoints)


# The command.


@pytest.fixture(scope="module")
def model(checkpoint, tmp_path_factory) -> str:
    """A small file; its weights are random."""
    path = tmp_path_factory.mktemp("model") / "random.onnx"
    export(checkpoint, path)
    return str(path)


def serve(*args: object, **env: str) -> subprocess.Popen:
    command = [sys.executable, "-m", "limbwise", "serve", *map(str, args)]
    env = {k: v for k, v in os.environ.items() if k != "LIMBWISE_TOKEN"} | env
    return subprocess.Popen(command, stdout=-1, stderr=-1, text=True, env=env)


@pytest.mark.parametrize(
    ("args", "about"),
    [
        (["--port", "{taken}", "--model", "{model}"], "port {taken}"),
        (["--port", "0", "--model", "none.onnx"], "none.onnx"),
        (["--port", "0", "--model", __file__], "is not a model file"),
        (["--host", "0.0.0.0", "--model", "{model}"], "--token"),
        (["--host", "192.0.2.1", "--public", "--model", "{model}"], "192.0.2.1"),
        (["--host", "no.such.host.invalid", "--public", "--model", "{model}"], "no.such.host"),
        (["--port", "0", "--token", "", "--model", "{model}"], "the token"),
        (["--port", "0", "--token", "naïve", "--model", "{model}"], "the token"),
        (["--port", "0", "--allow-origin", "friend.example"], "https://example.org"),
    ],
)
def test_what_stops_the_start_is_one_line_and_exit_code_2(model, args, about) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        names = {"taken": taken.getsockname()[1], "model": model}
        process = serve(*(arg.format(**names) for arg in args))
        out, err = process.communicate(timeout=60)
    assert (process.returncode, out) == (2, ""), err
    assert about.format(**names) in err
    assert len(err.strip().splitlines()) == 1


def test_a_missing_extra_is_one_line_that_says_how_to_get_it() -> None:
    code = (
        "import sys; sys.modules['uvicorn'] = None\n"
        "from limbwise.cli import exit_code; sys.exit(exit_code(['serve', '--port', '0']))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.returncode == 2
    assert done.stderr.strip().endswith("pip install 'limbwise[serve]'")


@pytest.mark.parametrize("end", [signal.SIGINT, signal.SIGTERM])
def test_ctrl_c_ends_cleanly_even_while_a_stream_is_open(model, end) -> None:
    process = serve("--port", 0, "--model", model, "--workers", 2)
    port = int(re.search(r":(\d+) ", process.stderr.readline())[1])
    with stream(Site(port)) as socket:
        assert exchange(socket, scene())["frame"] == 0
        process.send_signal(end)
        assert process.wait(timeout=20) == 0
    out, err = process.communicate()
    assert (out, err) == ("", "")


@needs_reference
def test_the_command_finds_real_people(model) -> None:
    weights = REFERENCE / "human-pose-estimation-0001.onnx"
    process = serve("--port", 0, "--model", weights, LIMBWISE_TOKEN="secret")
    try:
        site = Site(int(re.search(r":(\d+) ", process.stderr.readline())[1]))
        assert site.ask("/v1/poses", SAMPLE.read_bytes()).status == 401
        answer = site.ask("/v1/poses", SAMPLE.read_bytes(), authorization="Bearer secret")
        assert len(answer.json["people"]) == 2
    finally:
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=20)
