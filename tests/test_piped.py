"""Whatever picture or film comes through a pipe is what it would be as a file."""

import io
import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import av
import numpy as np
import PIL.Image
import pytest

from limbwise.errors import BadInput
from limbwise.sources.frames import Frame, frames
from limbwise.sources.piped import kind
from test_frames import caught, film, jpeg, scene, steady

posix = pytest.mark.skipif(os.name != "posix", reason="needs pipes with names")


class Pipe(io.RawIOBase):
    """Gives a few bytes at a time, and cannot go back."""

    def __init__(self, data: bytes, size: int) -> None:
        self._file, self._size = io.BytesIO(data), size

    def read(self, size: int = -1) -> bytes:
        return self._file.read(min(size, self._size) if size >= 0 else self._size)

    def seekable(self) -> bool:
        return False


def same(given: list[Frame], expected: list[Frame]) -> bool:
    return len(given) == len(expected) and all(
        a.time == pytest.approx(b.time) and np.array_equal(a.image, b.image)
        for a, b in zip(given, expected, strict=True)
    )


@pytest.mark.parametrize("size", [1000, 1 << 20])
@pytest.mark.parametrize("name", ["a.mp4", "a.mkv", "a.ts", "a.avi", "a.mov"])
def test_a_film_is_what_it_is_as_a_file(name: str, size: int, tmp_path: Path) -> None:
    path = film(tmp_path / name, steady(12))
    data = path.read_bytes()
    assert kind(data[:1000]) == "film"
    given, bad = caught("-", stdin=Pipe(data, size))
    assert bad == []
    assert same(given, list(frames(path)))
    assert {frame.source for frame in given} == {"stdin"}


@pytest.mark.parametrize("first", [b"moov", b"mdat"])
def test_an_index_at_the_end_or_the_beginning_is_no_difference(first: bytes, tmp_path) -> None:
    path = tmp_path / "a.mp4"
    options = {"movflags": "+faststart"} if first == b"moov" else {}
    with av.open(str(path), "w", options=options) as container:
        stream = container.add_stream("libx264", rate=10)
        stream.width, stream.height, stream.pix_fmt = 320, 240, "yuv420p"
        noise = np.random.default_rng(0)  # else it all fits into FFmpeg's own memory
        for _ in range(12):
            image = noise.integers(0, 255, (240, 320, 3), np.uint8)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(image, format="bgr24")))
        container.mux(stream.encode())
    data = path.read_bytes()
    assert (data.index(b"moov") < data.index(b"mdat")) == (first == b"moov")
    assert same(caught("-", stdin=Pipe(data, 4096))[0], list(frames(path)))


@pytest.mark.parametrize("form", ["PNG", "WEBP", "BMP", "TIFF", "PPM", "GIF", "AVIF"])
def test_a_picture_of_any_form_is_one_frame(form: str, tmp_path: Path) -> None:
    path = tmp_path / "a"
    PIL.Image.fromarray(scene(3)).save(path, form)
    assert kind(path.read_bytes()) == "picture"
    (given,), bad = caught("-", stdin=Pipe(path.read_bytes(), 100))
    (expected,) = frames(path)
    assert np.array_equal(given.image, expected.image)
    assert (bad, given.time, given.path) == ([], 0, None)


def test_thousands_of_damaged_pictures_are_told_once_and_counted() -> None:
    given, bad = caught("-", stdin=io.BytesIO(jpeg(1)[:600] * 5000 + jpeg(2)))
    assert len(given) == 1
    assert [line.split(" of stdin")[0] for line in bad] == ["picture 1", "5000 of 5001 pictures"]


def test_reports_tell_the_first_and_the_number(capsys) -> None:
    from limbwise.cli.terminal import Reports

    with Reports() as reports:
        for number in range(500):
            reports(BadInput(f"{number} is bad"))
    lines = capsys.readouterr().err.splitlines()
    assert [line.split()[1] for line in lines] == ["0", "1", "and"]
    assert "500 in all" in lines[-1]


@pytest.mark.parametrize("part", [0.02, 0.5])
@pytest.mark.parametrize("name", ["a.mp4", "a.mkv", "a.png"])
def test_what_breaks_off_is_told(name: str, part: float, tmp_path: Path) -> None:
    path = tmp_path / name
    if name == "a.png":
        PIL.Image.fromarray(scene(3)).save(path)
    else:
        film(path, steady(30))
    data = path.read_bytes()
    try:
        _, bad = caught("-", stdin=io.BytesIO(data[: int(len(data) * part)]))
    except BadInput as error:
        bad = [str(error)]
    assert len(bad) == 1
    assert bad[0].startswith("stdin ")


@posix
@pytest.mark.timeout(30)
@pytest.mark.parametrize("opened", [True, False])
def test_a_pipe_that_never_speaks_is_given_up(opened: bool, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    end = os.open(tmp_path / "pipe", os.O_RDWR) if opened else None
    began = time.monotonic()
    with pytest.raises(BadInput, match=r"pipe says nothing: nobody wrote into it for 1 s"):
        caught(tmp_path / "pipe", patience=1.0)
    assert 0.9 < time.monotonic() - began < 10
    if end is not None:
        os.close(end)


@posix
@pytest.mark.timeout(30)
def test_a_pipe_with_a_name_brings_what_stdin_would(tmp_path: Path) -> None:
    path = film(tmp_path / "a.mp4", steady(12))
    os.mkfifo(tmp_path / "pipe")
    sender = threading.Timer(0.3, lambda: (tmp_path / "pipe").write_bytes(path.read_bytes()))
    sender.start()
    given, bad = caught(tmp_path / "pipe", patience=10.0)
    sender.join()
    assert bad == []
    assert same(given, list(frames(path)))


@pytest.mark.parametrize("form", ["play list", "concat"])
def test_what_is_called_a_film_opens_no_neighbour(form: str, tmp_path: Path) -> None:
    film(tmp_path / "neighbour.mp4", steady(5))
    texts = {
        "concat": "ffconcat version 1.0\nfile neighbour.mp4\n",
        "play list": "#EXTM3U\n#EXT-X-TARGETDURATION:10\n#EXTINF:10,\nneighbour.mp4\n"
        "#EXT-X-ENDLIST\n",
    }
    for name in ("trick.mp4", "trick", "trick.m3u8", "trick.avi"):
        (tmp_path / name).write_text(texts[form])
        with pytest.raises(BadInput, match="cannot be opened as video"):
            list(frames(tmp_path / name))
    with pytest.raises(BadInput):
        list(frames("-", stdin=io.BytesIO(texts[form].encode())))


@pytest.mark.parametrize("text", ["<svg/>", "<svg xmlns='http://www.w3.org/2000/svg'/>"])
@pytest.mark.parametrize("name", ["a.svg", "a", "a.mp4", "a.png"])
def test_a_drawing_of_lines_is_no_picture(name: str, text: str, tmp_path: Path) -> None:
    (tmp_path / name).write_text(text)
    with pytest.raises(BadInput, match=f"{name} "):
        list(frames(tmp_path / name))


def test_a_film_cut_anywhere_in_its_index_is_one_line(tmp_path: Path) -> None:
    data = film(tmp_path / "a.mp4", steady(5)).read_bytes()
    body, index = data[: data.index(b"moov") - 4], data[data.index(b"moov") - 4 :]
    for at in range(8, len(index), 24):
        for content in (body + index[:at], index[:at]):
            (tmp_path / "cut.mp4").write_bytes(content)
            with pytest.raises(BadInput, match=r"cut\.mp4"):
                list(frames(tmp_path / "cut.mp4"))


@posix
def test_a_device_is_no_source(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="no regular file"):
        list(frames("/dev/zero"))


def test_the_longest_names_are_one_line() -> None:
    with pytest.raises(BadInput, match="cannot be read") as error:
        list(frames("b" * 300 + ".jpg"))
    assert len(str(error.value)) < 200


@posix
def test_a_film_through_a_pipe_loses_no_frame(tmp_path: Path) -> None:
    path = film(tmp_path / "a.mp4", steady(30))
    os.mkfifo(tmp_path / "pipe")
    sender = threading.Thread(target=lambda: (tmp_path / "pipe").write_bytes(path.read_bytes()))
    sender.start()
    command = [sys.executable, "-m", "limbwise", "run", tmp_path / "pipe", "--size", "64"]
    done = subprocess.run(list(map(str, command)), capture_output=True, text=True, timeout=60)
    sender.join()
    assert (done.stderr, len(done.stdout.splitlines())) == ("", 30)
