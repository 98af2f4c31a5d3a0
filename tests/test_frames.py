"""Every source gives its frames in order and in time; what is wrong with one is said in a line."""

import http.server
import io
import os
import re
import struct
import threading
import zipfile
from collections.abc import Iterator
from fractions import Fraction
from functools import partial
from itertools import islice, pairwise
from pathlib import Path

import av
import cv2
import numpy as np
import PIL.Image
import pytest
from av.stream import Disposition

from limbwise.errors import BadInput
from limbwise.sources import live
from limbwise.sources.frames import Frame, count, frames, is_live, read_picture

VTEST = Path(__file__).parents[2] / "shared/data/vtest.avi"
TIMES = [0.0, 0.04, 0.1, 0.5, 0.56, 0.6, 1.2, 1.24]  # of no steady rate


def scene(k: int, size: tuple[int, int] = (64, 48)) -> np.ndarray:
    """BGR (height, width, 3) of a brightness that tells k, its top left corner red."""
    image = np.full((size[1], size[0], 3), 20 * k % 240, np.uint8)
    image[: size[1] // 3, : size[0] // 3] = (0, 0, 255)
    return image


def told(frame: Frame) -> int:
    """The k of a scene."""
    return round(float(frame.image[-10:-2, -10:-2].mean()) / 20)


def save(path: Path, k: int = 0) -> Path:
    PIL.Image.fromarray(scene(k)[:, :, ::-1]).save(path)
    return path


def film(
    path: Path,
    times: list[float],
    codec: str = "libx264",
    pixels: str = "yuv420p",
    **options: str,
) -> Path:
    """Scenes 0, 1, 2, ... shown at `times`."""
    ticks = Fraction(1, 1000 if path.suffix != ".avi" else 25)
    front = {"movflags": "+faststart"} if path.suffix in (".mp4", ".mov") else {}
    with av.open(str(path), "w", options=front) as container:
        stream = container.add_stream(codec, rate=25, options=options)
        stream.width, stream.height, stream.pix_fmt = 64, 48, pixels
        stream.codec_context.time_base = ticks
        for k, time in enumerate(times):
            frame = av.VideoFrame.from_ndarray(scene(k % 12), format="bgr24")
            frame.pts, frame.time_base = round(time / ticks), ticks
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


def steady(count: int) -> list[float]:
    return [k / 25 for k in range(count)]


def caught(source: object, **settings: object) -> tuple[list[Frame], list[str]]:
    """What it gives, and what it reports."""
    bad: list[str] = []
    given = list(frames(source, on_bad=lambda error: bad.append(str(error)), **settings))
    assert not any("\n" in line for line in bad)
    return given, bad


# Films


def test_the_times_of_a_film_are_those_it_is_shown_at(tmp_path: Path) -> None:
    given = list(frames(film(tmp_path / "a.mp4", TIMES)))
    assert [frame.time for frame in given] == pytest.approx(TIMES, abs=1e-3)
    assert [frame.index for frame in given] == list(range(len(TIMES)))
    assert [told(frame) for frame in given] == list(range(len(TIMES)))
    assert {frame.source for frame in given} == {str(tmp_path / "a.mp4")}
    assert all(frame.path is None and frame.image.flags.c_contiguous for frame in given)


def test_the_clock_of_a_film_starts_at_0_whatever_the_file_says(tmp_path: Path) -> None:
    late = film(tmp_path / "late.mkv", [time + 7 for time in TIMES])
    assert [f.time for f in frames(late)] == pytest.approx(TIMES, abs=2e-3)
    assert next(frames(film(tmp_path / "late.ts", steady(9)))).time == 0


COMPLETE = [
    ("a.mp4", "libx264", "yuv420p"),
    ("a.mov", "libx264", "yuv420p"),
    ("a.mkv", "libx264", "yuv420p"),
    ("a.webm", "libvpx-vp9", "yuv420p"),
    ("a.avi", "mpeg4", "yuv420p"),
    ("a.ts", "libx264", "yuv420p"),
    ("b.avi", "mjpeg", "yuvj420p"),
]


@pytest.mark.parametrize(("name", "codec", "pixels"), COMPLETE)
def test_a_whole_film_gives_all_its_frames_and_no_complaint(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], name: str, codec: str, pixels: str
) -> None:
    path = film(tmp_path / name, steady(30), codec, pixels)
    given, bad = caught(path)
    assert ([told(frame) for frame in given], bad) == ([k % 12 for k in range(30)], [])
    assert [frame.time for frame in given] == pytest.approx(steady(30), abs=2e-3)
    assert count(path) == pytest.approx(30, abs=1)
    assert capfd.readouterr() == ("", "")


def test_a_long_last_frame_is_no_damage(tmp_path: Path) -> None:
    for name in ("slow.mp4", "slow.mkv"):
        assert caught(film(tmp_path / name, [0, 2, 4, 9]))[1] == []


@pytest.mark.parametrize(("name", "codec", "pixels"), [row for row in COMPLETE if row[0] != "a.ts"])
def test_a_cut_film_gives_its_good_frames_and_then_says_so(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], name: str, codec: str, pixels: str
) -> None:
    late = 7.0 if name == "a.mkv" else 0.0
    path = film(tmp_path / name, [late + time for time in steady(60)], codec, pixels)
    path.write_bytes(path.read_bytes()[: path.stat().st_size * 6 // 10])
    given, bad = caught(path)
    assert 5 < len(given) < 55
    (line,) = bad
    found = re.fullmatch(r"(.*) is cut off or damaged after frame (\d+) \((.*) s\): .* fine", line)
    assert found
    fine = int(found[2])
    assert len(given) - 3 <= fine <= len(given)
    assert [told(frame) for frame in given[:fine]] == [k % 12 for k in range(fine)]
    assert float(found[3]) == pytest.approx(given[fine - 1].time, abs=0.01)
    assert capfd.readouterr() == ("", "")


def test_even_the_last_frame_is_missed(tmp_path: Path) -> None:
    path = film(tmp_path / "a.mp4", steady(30), bf="0")
    path.write_bytes(path.read_bytes()[:-2])
    given, bad = caught(path)
    assert len(bad) == 1
    assert f"after frame {min(len(given), 29)} " in bad[0]


def test_a_header_may_promise_a_little_more_but_not_much(tmp_path: Path) -> None:
    path = film(tmp_path / "a.mkv", [0, 2, 4, 5])
    data = path.read_bytes()
    length = data.index(b"\x44\x89\x88") + 3  # Matroska's Duration, a float of 8 bytes
    for more, complaints in ((3000, 0), (9000, 1)):
        milliseconds = struct.unpack(">d", data[length : length + 8])[0] + more
        path.write_bytes(data[:length] + struct.pack(">d", milliseconds) + data[length + 8 :])
        assert len(caught(path)[1]) == complaints


def test_without_on_bad_a_cut_film_raises_after_its_last_frame(tmp_path: Path) -> None:
    path = film(tmp_path / "cut.mp4", steady(60))
    path.write_bytes(path.read_bytes()[: path.stat().st_size * 6 // 10])
    given = []
    with pytest.raises(BadInput, match=r"^.*cut\.mp4 is cut off or damaged"):
        given.extend(frames(path))
    assert len(given) == len(caught(path)[0])


@pytest.mark.parametrize(
    ("codec", "pixels", "packet", "start", "end", "lost"),
    [
        ("mjpeg", "yuvj420p", 0, 8, 600, 1),  # refused by the decoder
        ("mjpeg", "yuvj420p", 20, 8, 600, 1),
        ("mpeg4", "yuv420p", 20, 80, 100, 0),  # painted over by it
    ],
)
def test_damage_anywhere_is_told_and_does_not_end_a_film(
    tmp_path: Path, codec: str, pixels: str, packet: int, start: int, end: int, lost: int
) -> None:
    path = film(tmp_path / "scratch.avi", steady(40), codec, pixels)
    data = bytearray(path.read_bytes())
    at = [found.start() for found in re.finditer(b"00dc", data[data.index(b"movi") :])][packet]
    at += data.index(b"movi")
    data[at + start : at + end] = bytes((7 * k) % 251 for k in range(end - start))
    path.write_bytes(data)
    given, bad = caught(path)
    assert len(given) == 40 - lost
    assert told(given[-1]) == 39 % 12
    (line,) = bad
    found = re.search(r"damaged after frame (\d+) ", line)
    assert found
    assert int(found[1]) <= packet


def test_a_recording_that_begins_in_mid_air_is_whole_from_its_first_picture_on(
    tmp_path: Path,
) -> None:
    path = film(tmp_path / "a.ts", steady(60), g="12", bf="0")
    data = path.read_bytes()
    path.write_bytes(data[len(data) // 3 // 188 * 188 :])
    given, bad = caught(path)
    assert (given[0].time, told(given[-1]), bad) == (0, 59 % 12, [])
    assert 30 < len(given) < 50


def test_a_film_that_states_no_times_goes_at_its_rate(tmp_path: Path) -> None:
    given = list(frames(film(tmp_path / "a.h264", steady(10))))
    assert [frame.time for frame in given] == pytest.approx(steady(10))


def unreadable(path: Path) -> None:
    """What path's name says."""
    match path.name:
        case "no-index.mp4":
            data = film(path, steady(30)).read_bytes()
            path.write_bytes(data.replace(b"moov", b"lost"))
        case "header.mp4":
            data = film(path, steady(30)).read_bytes()
            path.write_bytes(data[: data.index(b"mdat") + 12])
        case "sound.mp4":
            with av.open(str(path), "w") as container:
                stream = container.add_stream("aac", rate=44100)
                sound = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), "fltp", "mono")
                sound.sample_rate = 44100
                container.mux(stream.encode(sound))
                container.mux(stream.encode(None))
        case "archive.mp4":
            with zipfile.ZipFile(path, "w") as archive:
                archive.writestr("a.txt", "a" * 1000)
        case "words.txt":
            path.write_text("No picture at all.\n" * 100)
        case "words.mp4":
            path.write_text("No picture at all.\n" * 100)
        case "empty.mp4":
            path.touch()


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("no-index.mp4", "cannot be opened as video"),
        ("header.mp4", "cannot be opened as video"),
        ("sound.mp4", "it holds no moving pictures"),
        ("archive.mp4", "cannot be opened as video"),
        ("words.txt", "cannot be opened as video"),
        ("words.mp4", "cannot be opened as video"),
        ("empty.mp4", "is empty"),
        ("lost.mp4", "does not exist"),
        ("lost.jpg", "does not exist"),
    ],
)
def test_what_is_no_film_is_refused_in_one_line_that_names_it(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], name: str, says: str
) -> None:
    unreadable(tmp_path / name)
    with pytest.raises(BadInput, match=says) as error:
        caught(tmp_path / name)  # a single source raises, whoever listens
    assert str(error.value).startswith(str(tmp_path / name))
    assert "\n" not in str(error.value)
    assert capfd.readouterr() == ("", "")


def test_the_cover_of_a_song_is_no_film(tmp_path: Path) -> None:
    path = tmp_path / "song.mp3"
    with av.open(str(path), "w") as container:
        song = container.add_stream("libmp3lame", rate=44100)
        cover = container.add_stream("mjpeg", rate=1)
        cover.width, cover.height, cover.pix_fmt = 64, 48, "yuvj420p"
        cover.disposition = Disposition.attached_pic.value
        frame = av.VideoFrame.from_ndarray(scene(0), format="bgr24").reformat(format="yuvj420p")
        container.mux(cover.encode(frame))
        container.mux(cover.encode(None))
        sound = av.AudioFrame.from_ndarray(np.zeros((1, 1152), np.float32), "fltp", "mono")
        sound.sample_rate = 44100
        container.mux(song.encode(sound))
        container.mux(song.encode(None))
    with pytest.raises(BadInput, match="no moving pictures"):
        list(frames(path))


@pytest.mark.parametrize(
    ("matrix", "corner"),
    [
        ((1, 0, 0, 1), (0, 0)),
        ((0, 1, -1, 0), (0, -1)),  # a phone held upright: a quarter turn clockwise
        ((-1, 0, 0, -1), (-1, -1)),
        ((0, -1, 1, 0), (-1, 0)),
    ],
)
def test_a_film_of_a_turned_phone_is_upright(
    tmp_path: Path, matrix: tuple[int, ...], corner: tuple[int, int]
) -> None:
    path = film(tmp_path / "phone.mp4", steady(3))
    data, a = path.read_bytes(), [number << 16 for number in matrix]
    still = struct.pack(">9i", 1 << 16, 0, 0, 0, 1 << 16, 0, 0, 0, 1 << 30)
    turned = struct.pack(">9i", a[0], a[1], 0, a[2], a[3], 0, 0, 0, 1 << 30)
    track = data.index(still, data.index(b"tkhd"))
    path.write_bytes(data[:track] + turned + data[track + 36 :])
    image = next(frames(path)).image
    assert image.shape[:2] == ((48, 64) if matrix[0] else (64, 48))
    assert image.flags.c_contiguous
    blue, _, red = image[corner].astype(int)
    assert red > 200 > 100 > blue


def test_tags_that_are_not_utf8_do_not_matter(tmp_path: Path) -> None:
    path = film(tmp_path / "old.avi", steady(5), "mpeg4")
    data = path.read_bytes()
    title = data.index(b"Lavf", data.index(b"ISFT"))
    path.write_bytes(data[:title] + b"Gr\xfc\xdf" + data[title + 4 :])
    assert len(list(frames(path))) == 5


def test_two_films_at_once_do_not_disturb_each_other(tmp_path: Path) -> None:
    path = film(tmp_path / "a.mp4", steady(12))
    ahead, behind = frames(path), frames(path)
    next(ahead)
    pairs = [(told(a), told(b)) for a, b in zip(ahead, behind, strict=False)]
    assert pairs == [(k + 1, k) for k in range(11)]


def test_a_film_left_half_way_is_closed(tmp_path: Path) -> None:
    path = film(tmp_path / "a.mp4", steady(50))
    descriptors = Path("/proc/self/fd")
    if not descriptors.is_dir():
        pytest.skip("/proc/self/fd tells which files are open")
    before = len(os.listdir(descriptors))  # noqa: PTH208 - iterdir would hold it open itself
    given = frames(path)
    next(given)
    assert len(os.listdir(descriptors)) > before  # noqa: PTH208
    given.close()  # type: ignore[attr-defined]
    assert len(os.listdir(descriptors)) == before  # noqa: PTH208


def test_names_that_ffmpeg_would_read_as_something_else_are_names(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("a:b.mp4", "pipe:0.mp4", "%03d.mp4", "a[1]*.mp4"):
        film(tmp_path / "x.mp4", steady(3)).rename(name)
        assert len(list(frames(name))) == 3


@pytest.mark.skipif(not VTEST.exists(), reason="needs ../shared/data/vtest.avi")
def test_a_real_film_is_read_to_its_end() -> None:
    assert count(VTEST) == 795
    last = None
    for frame in islice(frames(VTEST), 100):
        last = frame
    assert last is not None
    assert (last.image.shape, round(last.time, 6)) == ((576, 768, 3), 9.9)


# Animations and pictures


@pytest.mark.parametrize("name", ["a.gif", "a.webp", "a.png"])
def test_an_animation_is_a_film_with_times_of_its_own(tmp_path: Path, name: str) -> None:
    pages = [PIL.Image.fromarray(scene(k)) for k in range(4)]
    path = tmp_path / name
    pages[0].save(path, save_all=True, append_images=pages[1:], duration=[50, 200, 70, 100])
    given = list(frames(path))
    assert [frame.time for frame in given] == [0, 0.05, 0.25, 0.32]
    assert [told(frame) for frame in given] == [0, 1, 2, 3]
    assert {frame.path for frame in given} == {None}
    assert count(path) == 4


@pytest.mark.parametrize("delay", [0, 10])
def test_an_animation_without_delays_moves_as_in_browsers(tmp_path: Path, delay: int) -> None:
    pages = [PIL.Image.fromarray(scene(k)) for k in range(3)]
    pages[0].save(tmp_path / "a.gif", save_all=True, append_images=pages[1:], duration=delay)
    assert [frame.time for frame in frames(tmp_path / "a.gif")] == [0, 0.1, 0.2]


def test_a_cut_animation_gives_its_good_frames_and_then_says_so(tmp_path: Path) -> None:
    noise = np.random.default_rng(0).integers(0, 255, (6, 48, 64, 3), np.uint8)
    pages = [PIL.Image.fromarray(page) for page in noise]
    path = tmp_path / "a.gif"
    pages[0].save(path, save_all=True, append_images=pages[1:], duration=100)
    path.write_bytes(path.read_bytes()[: path.stat().st_size * 6 // 10])
    given, bad = caught(path)
    assert 2 <= len(given) <= 4
    assert bad == [f"{path} is cut off or damaged after frame {len(given)} "
                   f"({given[-1].time:.2f} s): the frames before it are fine"]  # fmt: skip


def test_an_animation_cut_in_its_first_frame_is_a_bad_picture(tmp_path: Path) -> None:
    noise = np.random.default_rng(0).integers(0, 255, (3, 48, 64, 3), np.uint8)
    pages = [PIL.Image.fromarray(page) for page in noise]
    path = tmp_path / "a.png"
    pages[0].save(path, save_all=True, append_images=pages[1:], duration=100)
    path.write_bytes(path.read_bytes()[:3000])
    with pytest.raises(BadInput, match=r"a\.png is cut off"):
        caught(path)


def test_a_still_is_one_frame_that_knows_its_file(tmp_path: Path) -> None:
    path = save(tmp_path / "a.png", 3)
    (frame,) = frames(path)
    assert (frame.time, frame.index, frame.source, frame.path) == (0.0, 0, str(path), path)
    assert np.array_equal(frame.image, read_picture(path))


def test_the_content_decides_where_the_ending_says_nothing(tmp_path: Path) -> None:
    (picture,) = frames(save(tmp_path / "a.png", 3).rename(tmp_path / "picture"))
    assert picture.path == tmp_path / "picture"
    given = frames(film(tmp_path / "a.mp4", TIMES).rename(tmp_path / "film.dat"))
    assert len(list(given)) == len(TIMES)


def test_a_folder_is_read_in_the_order_people_count_in(tmp_path: Path) -> None:
    for k, name in enumerate(["1.png", "2.JPG", "9.png", "10.png", "a1b2.png", "a1b10.png"]):
        save(tmp_path / name, k)
    save(tmp_path / ".hidden.png")
    (tmp_path / "notes.txt").write_text("not a picture")
    (tmp_path / "folder.png").mkdir()
    given = list(frames(tmp_path))
    assert [told(frame) for frame in given] == list(range(6))
    assert [(frame.index, frame.time) for frame in given] == [(k, float(k)) for k in range(6)]
    assert given[3].path == tmp_path / "10.png"
    assert count(tmp_path) == 6


def test_a_bad_picture_among_several_is_reported_and_stepped_over(tmp_path: Path) -> None:
    for k in range(4):
        save(tmp_path / f"{k}.png", k)
    (tmp_path / "1.png").write_bytes((tmp_path / "1.png").read_bytes()[:80])
    (tmp_path / "2.png").write_text("no picture")
    sources = [
        tmp_path,
        f"{tmp_path}/*.png",
        sorted(tmp_path.iterdir()),
        [tmp_path / "lost.png", tmp_path],
    ]
    for source in sources:
        given, bad = caught(source)
        assert [told(frame) for frame in given] == [0, 3]
        assert [frame.index for frame in given] == [0, 1]
        assert [Path(line.split(" ")[0]).name for line in bad][-2:] == ["1.png", "2.png"]
        with pytest.raises(BadInput, match=r"(1|lost)\.png"):
            list(frames(source))


def test_a_single_bad_picture_raises_whoever_listens(tmp_path: Path) -> None:
    (tmp_path / "a.jpg").write_text("no picture")
    with pytest.raises(BadInput, match=r"a\.jpg is not a picture"):
        caught(tmp_path / "a.jpg")


def test_a_pattern_gives_what_it_matches(tmp_path: Path) -> None:
    (tmp_path / "deep").mkdir()
    save(tmp_path / "deep" / "a2.png", 2)
    save(tmp_path / "deep" / "a10.png", 3)
    save(tmp_path / "b.png", 4)
    assert [told(frame) for frame in frames(f"{tmp_path}/**/a*.png")] == [2, 3]
    assert [told(frame) for frame in frames(tmp_path / "deep" / "a?.png")] == [2]
    save(tmp_path / "x[1].png", 5)
    assert [told(frame) for frame in frames(str(tmp_path / "x[1].png"))] == [5]


def test_where_nothing_is_found_that_is_said(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match=r"holds no pictures \(\.jpg "):
        list(frames(tmp_path))
    with pytest.raises(BadInput, match=r"no file is called .*\*\.png"):
        list(frames(f"{tmp_path}/*.png"))


def test_films_and_pictures_mix(tmp_path: Path) -> None:
    given = list(frames([save(tmp_path / "a.png", 5), film(tmp_path / "b.mp4", TIMES)]))
    assert [frame.index for frame in given] == list(range(1 + len(TIMES)))
    assert [frame.time for frame in given] == pytest.approx([0, *TIMES], abs=1e-3)
    assert count([tmp_path / "a.png", tmp_path / "b.mp4"]) == 1 + len(TIMES)


# Standard input


def jpeg(k: int, thumbnail: bytes = b"") -> bytes:
    file = io.BytesIO()
    PIL.Image.fromarray(scene(k)).save(file, "JPEG", quality=95)
    data = file.getvalue()
    body = b"Exif\0\0II*\0\x08\0\0\0\0\0\0\0\0\0" + thumbnail
    segment = b"\xff\xe1" + struct.pack(">H", len(body) + 2) + body
    return data[:2] + segment + data[2:] if thumbnail else data


def test_jpegs_on_stdin_are_frames_even_with_thumbnails_inside() -> None:
    stream = io.BytesIO(jpeg(1) + jpeg(2, thumbnail=jpeg(9)) + jpeg(3))
    given = list(frames("-", stdin=stream))
    assert [told(frame) for frame in given] == [1, 2, 3]
    assert {frame.source for frame in given} == {"stdin"}
    assert given[0].time == 0
    assert given[0].time <= given[1].time <= given[2].time


def test_a_picture_on_stdin_comes_before_the_next_is_sent() -> None:
    out, into = os.pipe()
    with open(out, "rb") as stream, open(into, "wb", buffering=0) as sender:  # noqa: PTH123
        given = frames("-", stdin=stream)
        for k in (1, 2):
            sender.write(jpeg(k))
            assert told(next(given)) == k


def test_a_damaged_picture_on_stdin_costs_no_other() -> None:
    stream = jpeg(1) + jpeg(2)[:600] + jpeg(3) + jpeg(4)[:600]
    given, bad = caught("-", stdin=io.BytesIO(stream))
    assert [told(frame) for frame in given] == [1, 3]
    assert [line[:18] for line in bad] == ["picture 2 of stdin", "2 of 4 pictures of"]
    with pytest.raises(BadInput, match="picture 2 of stdin"):
        list(frames("-", stdin=io.BytesIO(stream)))


def test_raw_frames_on_stdin_are_taken_as_they_are() -> None:
    scenes = [scene(k, (31, 17)) for k in range(3)]
    stream = b"".join(image.tobytes() for image in scenes)
    given, bad = caught("-", stdin=io.BytesIO(stream), raw_size=(31, 17), fps=10)
    assert all(np.array_equal(f.image, image) for f, image in zip(given, scenes, strict=True))
    assert ([frame.time for frame in given], bad) == ([0, 0.1, 0.2], [])
    given, bad = caught("-", stdin=io.BytesIO(stream[:-5]), raw_size=(31, 17))
    assert len(given) == 2
    assert bad[0].startswith("stdin ends within frame 2, which has 1576 bytes instead of 1581")


@pytest.mark.parametrize("settings", [{}, {"raw_size": (4, 4)}])
def test_nothing_on_stdin_is_said(settings: dict[str, tuple[int, int]]) -> None:
    with pytest.raises(BadInput, match=r"^stdin "):
        caught("-", stdin=io.BytesIO(), **settings)
    if not settings:
        with pytest.raises(BadInput, match="no JPEG"):
            caught("-", stdin=io.BytesIO(b"not a picture" * 99))


# Cameras and streams


@pytest.mark.parametrize("source", [97, "97"])
def test_a_camera_that_is_not_there_is_said_in_one_line(
    source: int | str, capfd: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(BadInput, match=r"^camera 97 cannot be opened: [^\n]+$"):
        caught(source)
    assert capfd.readouterr() == ("", "")


class Camera:
    """Three pictures, then the cable is pulled."""

    def __init__(self, number: int) -> None:
        self.left, self.released = 3, False

    def isOpened(self) -> bool:  # noqa: N802
        return True

    def read(self) -> tuple[bool, np.ndarray | None]:
        self.left -= 1
        return self.left >= 0, scene(self.left) if self.left >= 0 else None

    def release(self) -> None:
        self.released = True


def test_a_camera_runs_on_the_clock_and_is_released(monkeypatch: pytest.MonkeyPatch) -> None:
    cameras = []
    monkeypatch.setattr(cv2, "VideoCapture", lambda n: cameras.append(Camera(n)) or cameras[-1])
    given, bad = caught(0)
    assert [told(frame) for frame in given] == [2, 1, 0]
    assert given[0].time == 0 <= given[1].time <= given[2].time < 1
    assert bad == ["camera 0 gives no more pictures: is it still plugged in?"]
    early = frames("0")
    assert next(early).source == "camera 0"
    early.close()  # type: ignore[attr-defined]
    assert [camera.released for camera in cameras] == [True, True]


@pytest.fixture
def site(tmp_path: Path) -> Iterator[str]:
    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *_: object) -> None:
            pass

        def do_GET(self) -> None:
            """Under /broken the line goes dead half way."""
            whole = tmp_path / Path(self.path).name
            if not self.path.startswith("/broken/"):
                return super().do_GET()
            self.send_response(200)
            self.send_header("Content-Length", str(whole.stat().st_size))
            self.end_headers()
            self.wfile.write(whole.read_bytes()[: whole.stat().st_size // 2])
            return None

    handler = partial(Quiet, directory=str(tmp_path))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield f"127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


def test_a_film_behind_a_url_is_a_film(tmp_path: Path, site: str) -> None:
    film(tmp_path / "a.mp4", TIMES)
    given, bad = caught(f"http://me:secret@{site}/a.mp4")
    assert [frame.time for frame in given] == pytest.approx(TIMES, abs=1e-3)
    assert ([told(frame) for frame in given], bad) == (list(range(len(TIMES))), [])
    assert {frame.source for frame in given} == {f"http://{site}/a.mp4"}  # and no password


def test_a_stream_runs_on_the_clock_and_its_end_is_no_damage(tmp_path: Path, site: str) -> None:
    path = film(tmp_path / "a.ts", steady(60))
    (tmp_path / "stream").write_bytes(path.read_bytes())
    given, bad = caught(f"http://{site}/stream")
    assert ([told(frame) for frame in given], bad) == ([k % 12 for k in range(60)], [])
    assert 0 == given[0].time < given[-1].time < 2  # faster than the film would play


def test_a_stream_that_drops_is_opened_again_and_its_clock_runs_on(
    tmp_path: Path, site: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = film(tmp_path / "a.ts", steady(60))
    (tmp_path / "stream").write_bytes(path.read_bytes())
    monkeypatch.setattr(live, "PAUSE", 0.05)
    bad: list[str] = []
    given = []
    url = f"http://{site}/broken/stream"
    for frame in frames(url, on_bad=lambda error: bad.append(str(error)), patience=0.5):
        given.append(frame)
        if len(given) == 60:  # half a film each time
            (tmp_path / "stream").unlink()
    assert len(given) >= 60
    assert all(a.time <= b.time for a, b in pairwise(given))
    assert any("stopped after frame" in line for line in bad)
    assert any("it is tried again for 0.5 s" in line for line in bad)
    with pytest.raises(BadInput, match="404"):  # what never was there is not waited for
        list(frames(f"http://{site}/none", patience=60))


def test_a_line_that_goes_dead_is_told(tmp_path: Path, site: str) -> None:
    path = film(tmp_path / "a.ts", steady(60))
    data = path.read_bytes()
    (tmp_path / "stream").write_bytes(data)
    (tmp_path / "half.ts").write_bytes(data[: len(data) // 2])
    half = len(caught(tmp_path / "half.ts")[0])
    for name, says in (("stream", "stopped after frame"), ("a.ts", "is cut off or damaged after")):
        given, (line,) = caught(f"http://{site}/broken/{name}")
        assert line.startswith(f"http://{site}/broken/{name} {says}")
        assert len(given) == pytest.approx(half, abs=1)


def test_a_url_that_leads_nowhere_is_said_without_its_password(site: str) -> None:
    with pytest.raises(BadInput, match=r"cannot be opened.*404") as error:
        list(frames(f"http://me:secret@{site}/none.mp4"))
    assert "secret" not in str(error.value)
    with pytest.raises(BadInput, match="refused"):
        list(frames("http://127.0.0.1:1/a.mp4"))


@pytest.mark.parametrize(
    ("source", "live"),
    [
        (0, True),
        ("1", True),
        ("-", True),
        ("rtsp://cam/1.mp4", True),
        ("http://cam/stream", True),
        ("https://cam/live.m3u8?x=1", True),
        ("https://site/a.MP4?x=1", False),
        ("a.mp4", False),
        (Path("0"), False),
        (["a.mp4", "b.mp4"], False),
        (["a.mp4", 0], True),
    ],
)
def test_what_is_live_is_told_without_opening_it(source: object, live: bool) -> None:
    assert is_live(source) == live


def test_nobody_knows_how_long_a_stream_is() -> None:
    for source in (0, "-", "rtsp://cam/1"):
        assert count(source) is None


def test_what_cannot_be_read_counts_nothing(tmp_path: Path) -> None:
    assert count([tmp_path / "lost.mp4", save(tmp_path / "a.png")]) == 1
