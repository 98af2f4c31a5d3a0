"""Who interrupts finds whole files: a frame is in all of them or in none."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import av
import numpy as np
import pytest

from limbwise.interrupts import SIGNALS, Stopped, exit_code, held, listen
from limbwise.outputs.outputs import Outputs
from limbwise.outputs.records import Result
from limbwise.outputs.results import open_writer
from limbwise.pose import Pose
from limbwise.skeleton import COCO
from limbwise.sources.frames import Frame

pytestmark = pytest.mark.skipif(os.name != "posix", reason="needs signals of POSIX")


@pytest.fixture(autouse=True)
def _listening():
    before = {number: signal.getsignal(number) for number in SIGNALS}
    for number in SIGNALS:  # nohup keeps SIGHUP away
        signal.signal(number, signal.SIG_DFL)
    listen()
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.mark.parametrize(
    ("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 129)]
)
def test_each_signal_is_one_exception_with_its_exit_code(number: int, code: int) -> None:
    with pytest.raises(Stopped) as stop:
        signal.raise_signal(number)
    assert exit_code(stop.value) == code


def test_what_nohup_keeps_away_stays_away() -> None:
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    listen()
    signal.raise_signal(signal.SIGHUP)
    with held(1):
        signal.raise_signal(signal.SIGHUP)


@pytest.mark.parametrize("number", SIGNALS)
def test_a_signal_waits_for_the_end_of_the_block(number: int) -> None:
    done = []

    def work() -> None:
        with held(10):
            signal.raise_signal(number)
            done.append(True)
        raise AssertionError("nobody was stopped")

    with pytest.raises(Stopped) as stop:
        work()
    assert (done, stop.value.number) == ([True], number)


def test_a_block_that_is_stuck_is_left_in_time() -> None:
    reader, writer = os.pipe()  # nobody writes into it
    threading.Timer(0.1, os.kill, (os.getpid(), signal.SIGTERM)).start()
    began = time.monotonic()
    with pytest.raises(Stopped), held(0.3):
        os.read(reader, 1)
    assert time.monotonic() - began < 5
    for end in (reader, writer):
        os.close(end)


@pytest.mark.timeout(30)
@pytest.mark.parametrize("form", ["jsonl", "coco", "csv"])
def test_a_pipe_that_nobody_reads_does_not_keep_who_is_stopped(form: str, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    reader = os.open(tmp_path / "pipe", os.O_RDONLY | os.O_NONBLOCK)
    pose = Pose(COCO, np.ones((17, 2), np.float32), np.ones(17, np.float32), 1.0)
    stop = threading.Timer(0.5, os.kill, (os.getpid(), signal.SIGTERM))

    def fill() -> None:
        with open_writer(tmp_path / "pipe", form) as writer:
            for index in range(10_000):
                if index == 20:  # the pipe, 64 kB, is full in a moment
                    stop.start()
                with held(0.3):
                    writer.add(Result("a.mp4", index, 0.0, 9, 9, [pose]))

    with pytest.raises(Stopped):
        fill()
    written = b"".join(iter(lambda: os.read(reader, 1 << 16), b""))
    assert len(written) > 10_000
    assert not written.endswith(b"]\n")  # what is torn is not called whole
    os.close(reader)


def test_whoever_takes_sigterm_over_gets_sighup_too() -> None:
    heard = []
    signal.signal(signal.SIGTERM, lambda number, frame: heard.append(number))
    signal.raise_signal(signal.SIGHUP)
    assert heard == [signal.SIGTERM]


def test_a_second_ctrl_c_does_not_wait() -> None:
    def twice() -> None:
        with held(60):
            signal.raise_signal(signal.SIGINT)
            signal.raise_signal(signal.SIGINT)
            raise AssertionError("it waited")

    with pytest.raises(Stopped):
        twice()


@pytest.mark.parametrize("others", [signal.SIGTERM, signal.SIGHUP])
def test_a_ctrl_c_in_company_waits_and_a_later_one_does_not(others: int, monkeypatch) -> None:
    done = []

    def twice(later: float) -> None:
        with held(60):
            signal.raise_signal(others)
            monkeypatch.setattr("limbwise.interrupts._COMPANY", 60 - later)
            signal.raise_signal(signal.SIGINT)
            done.append(later)
        raise AssertionError("nobody was stopped")

    for later in (0, 61):
        with pytest.raises(Stopped):
            twice(later)
        listen()
    assert done == [0]


def test_when_all_is_written_a_signal_ends_the_process_without_a_word() -> None:
    code = (
        "import os, signal; from limbwise.interrupts import let_end, listen; listen(); let_end();"
        "os.kill(os.getpid(), signal.SIGINT)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, timeout=60)
    assert (done.returncode, done.stderr) == (-signal.SIGINT, b"")


def test_who_is_stopping_is_stopped_once() -> None:
    with pytest.raises(Stopped):
        signal.raise_signal(signal.SIGTERM)
    signal.raise_signal(signal.SIGTERM)
    signal.raise_signal(signal.SIGHUP)
    with pytest.raises(Stopped):
        signal.raise_signal(signal.SIGINT)


def test_who_is_stopped_within_a_block_is_stopped_once_too() -> None:
    """As processes that learn together are: they end their block when all have been asked."""

    def work() -> None:
        with held(60) as asked:
            signal.raise_signal(signal.SIGTERM)
            raise Stopped(asked.number)

    with pytest.raises(Stopped):
        work()
    signal.raise_signal(signal.SIGTERM)
    signal.raise_signal(signal.SIGHUP)
    with held(60):
        signal.raise_signal(signal.SIGTERM)
    with pytest.raises(Stopped):
        signal.raise_signal(signal.SIGINT)


@pytest.mark.parametrize("number", SIGNALS)
@pytest.mark.parametrize("where", ["after the line", "before the film", "in the film"])
def test_lines_and_frames_are_as_many_wherever_a_signal_comes(
    number: int, where: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    outputs = Outputs(tmp_path / "o.mp4", str(tmp_path / "o.jsonl"), "jsonl")

    def interrupting(method, first: bool):
        def call(*args: object) -> None:
            if first and shown[0] == 3:
                signal.raise_signal(number)
            method(*args)
            if not first and shown[0] == 3:
                signal.raise_signal(number)

        return call

    shown = [0]
    place = {
        "after the line": (outputs._writer, "add", False),
        "before the film": (outputs._recorder, "add", True),
        "in the film": (outputs._recorder._sink, "add", True),
    }[where]
    target, name, first = place
    monkeypatch.setattr(target, name, interrupting(getattr(target, name), first))

    def film() -> None:
        with outputs:
            for index in range(10):
                shown[0] = index
                image = np.full((48, 64, 3), index, np.uint8)
                outputs(Frame(image, index / 10, index, "a.mp4"), [])

    with pytest.raises(Stopped):
        film()
    lines = [json.loads(line) for line in (tmp_path / "o.jsonl").read_text().splitlines()]
    with av.open(str(tmp_path / "o.mp4")) as container:
        frames = sum(1 for _ in container.decode(video=0))
    assert len(lines) == frames == 4


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGHUP, 129)])
def test_a_film_that_is_stopped_has_as_many_lines_as_frames(
    number: int, code: int, tmp_path: Path
) -> None:
    source, out, lines = (tmp_path / name for name in ("long.mp4", "out.mp4", "out.jsonl"))
    with av.open(str(source), "w") as container:
        stream = container.add_stream("libx264", rate=30)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        frame = av.VideoFrame.from_ndarray(np.zeros((48, 64, 3), np.uint8))
        for _ in range(3000):
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    command = [sys.executable, "-m", "limbwise", "run", source, "--size", "192", "--save", out]
    process = subprocess.Popen([*map(str, command), "--json", lines], stderr=subprocess.PIPE)
    deadline = time.monotonic() + 60
    while not any(path.stat().st_size > 500 for path in tmp_path.glob(".out*.jsonl")):
        assert time.monotonic() < deadline
        assert process.poll() is None
        time.sleep(0.01)
    process.send_signal(number)
    process.send_signal(signal.SIGHUP)  # terminals send more than one
    _, told = process.communicate(timeout=60)
    assert process.returncode in (code, 129)
    assert b"Traceback" not in told
    with av.open(str(out)) as container:
        shown = sum(1 for _ in container.decode(video=0))
    assert 1 <= shown == len(lines.read_text().splitlines()) < 3000
    assert sorted(path.name for path in tmp_path.iterdir()) == ["long.mp4", "out.jsonl", "out.mp4"]
