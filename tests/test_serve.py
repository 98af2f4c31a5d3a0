"""The server as its clients see it: over a real socket, with a network that the test controls."""

import base64
import inspect
import re
import socket
import threading
import time
from dataclasses import replace

import cv2
import numpy as np
import pytest
from websockets.exceptions import InvalidStatus

from limbwise.cli import app as cli
from limbwise.estimator import MIN_SCORE, Estimator
from limbwise.outputs.draw import draw
from limbwise.outputs.records import Result, record
from limbwise.server.app import FILES
from limbwise.server.guard import Limits
from limbwise.skeleton import BODY
from serving import Gate, Site, bomb, encoded, gauge, posting, scene, seeing, serving, stream, until


@pytest.fixture(scope="module")
def site():
    with serving() as site:
        yield site


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
    nobody = site.ask("/v1/picture?min_confidence=1", encoded(image, ".png"))
    assert (cv2.imdecode(np.frombuffer(nobody.body, np.uint8), 1) == image).all()


def test_what_is_drawn_is_what_limbwise_draws_everywhere() -> None:
    """With a nose that is less sure than what is drawn where nobody says otherwise."""
    network = seeing().runtime

    def unsure(images: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        heatmaps, limbs = network.run(images)
        return heatmaps * np.float32([0.15] + [1] * (heatmaps.shape[1] - 1))[:, None, None], limbs

    estimate, image = Estimator(replace(network, run=unsure), height=160), scene()
    (pose,) = estimate(image)
    assert 0 < pose.confidence[0] < 0.2
    with serving([estimate]) as site:
        for query, how in (("", {}), ("?min_confidence=0.1", {"min_confidence": 0.1})):
            answer = site.ask(f"/v1/picture{query}", encoded(image, ".png"))
            drawn = cv2.imdecode(np.frombuffer(answer.body, np.uint8), cv2.IMREAD_COLOR)
            assert (drawn == draw(image, [pose], **how)).all()
    assert (draw(image, [pose]) != draw(image, [pose], min_confidence=0.1)).any()


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
        assert [site.ask(path).status for path in ("/", "/healthz")] == [200] * 2
        assert stream_refused(site) == 401
        assert stream_refused(site, subprotocols=["limbwise", "bearer.d3Jvbmc"]) == 401
        as_word = base64.urlsafe_b64encode(token.encode()).decode().rstrip("=")
        with stream(site, subprotocols=["limbwise", f"bearer.{as_word}"]) as socket:
            assert socket.subprotocol == "limbwise"  # the token is not sent back


# When much is going on.


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


def test_min_score_is_one_number_on_the_command_line_and_told_to_the_page() -> None:
    for command in (cli.run, cli.serve):
        assert inspect.signature(command).parameters["min_score"].default == MIN_SCORE
    seen = seeing()
    seen.min_score = 0.25
    with serving([seen]) as site:
        assert site.ask("/v1/about").json["min_score"] == 0.25


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
