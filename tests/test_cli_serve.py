"""`limbwise serve` as people start and end it, in a process of its own."""

import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from http.client import HTTPConnection

import pytest
from websockets.exceptions import ConnectionClosed

from conftest import REFERENCE, needs_reference
from limbwise.cli.serve import _origin
from limbwise.errors import BadInput
from limbwise.estimator import SAMPLE
from limbwise.export.onnx import export
from serving import Site, encoded, gauge, posting, scene, stream, until


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


@pytest.mark.parametrize(
    "text", ["a.org", "ftp://a.org", "https://", "https://a@b.org", "http://a b"]
)
def test_what_no_browser_sends_as_an_origin_is_refused(text) -> None:
    assert _origin("https://A.org:8443/") == "https://a.org:8443"
    with pytest.raises(BadInput):
        _origin(text)


def test_a_missing_extra_is_one_line_that_says_how_to_get_it() -> None:
    code = (
        "import sys; sys.modules['uvicorn'] = None\n"
        "from limbwise.cli.app import exit_code; sys.exit(exit_code(['serve', '--port', '0']))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.returncode == 2
    assert done.stderr.strip().endswith("pip install 'limbwise[serve]'")


def test_sigterm_answers_what_has_begun_and_no_client_fills_the_log(model) -> None:
    process = serve("--port", 0, "--model", model, "--queue", 16, "--size", 64)
    site = Site(int(re.search(r":(\d+) ", process.stderr.readline())[1]))
    site.raw(b"\xff\xfe nonsense\r\n\r\n")
    with stream(site) as websocket:
        websocket.send(b"\xff", text=True)
        with pytest.raises(ConnectionClosed):
            websocket.recv(timeout=20)
    answers: list[int] = []
    threads = [posting(site, answers, SAMPLE.read_bytes()) for _ in range(8)]
    done = 'limbwise_requests_total{path="/v1/poses",status="200"}'
    until(lambda: gauge(site, "limbwise_jobs") + gauge(site, done) >= 8)
    process.send_signal(signal.SIGTERM)
    for thread in threads:
        thread.join()
    assert process.wait(timeout=20) == 0
    assert answers == [200] * 8
    assert process.communicate() == ("", "")


@pytest.mark.parametrize("end", [signal.SIGINT, signal.SIGTERM])
def test_ctrl_c_ends_cleanly_even_while_a_stream_is_open(model, end) -> None:
    process = serve("--port", 0, "--model", model, "--workers", 2)
    port = int(re.search(r":(\d+) ", process.stderr.readline())[1])
    with stream(Site(port)) as socket:
        socket.send(encoded(scene()))
        assert json.loads(socket.recv(timeout=20))["frame"] == 0
        process.send_signal(end)
        assert process.wait(timeout=20) == 0
    out, err = process.communicate()
    assert (out, err) == ("", "")


def test_an_answer_does_not_wait_for_the_clients_acknowledgement(model) -> None:
    process = serve("--port", 0, "--model", model)
    try:
        port = int(re.search(r":(\d+) ", process.stderr.readline())[1])
        connection, taken = HTTPConnection("127.0.0.1", port), []
        for _ in range(15):
            began = time.perf_counter()
            connection.request("GET", "/healthz")
            connection.getresponse().read()
            taken.append(time.perf_counter() - began)
        connection.close()
        assert sorted(taken)[7] < 0.03  # 44 ms where the system joins small packets
    finally:
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=20)


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
