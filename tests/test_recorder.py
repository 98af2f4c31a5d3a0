"""A recording is what was added, when it was added, whole or not there at all."""

import subprocess
import sys
from pathlib import Path

import av
import numpy as np
import PIL.Image
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from limbwise.errors import BadInput
from limbwise.outputs.films import LARGEST
from limbwise.outputs.recorder import Recorder

TIMES = [5.0, 5.1, 5.15, 5.5, 5.52, 6.5]
COLOURS = [(0, 0, 255), (0, 255, 0), (255, 0, 0), (255, 255, 255), (0, 0, 0), (40, 120, 200)]
FILMS = ["a.mp4", "a.m4v", "a.mov"]
ANIMATIONS = ["a.gif", "a.webp"]


def plain(k: int, width: int = 64, height: int = 48) -> np.ndarray:
    return np.full((height, width, 3), COLOURS[k % 6], np.uint8)


def noise(k: int, width: int = 64, height: int = 48) -> np.ndarray:
    return np.random.default_rng(k).integers(0, 255, (height, width, 3), np.uint8)


def film(path: Path) -> tuple[list[float], list[np.ndarray]]:
    """When which pictures are shown."""
    with av.open(f"file:{path}") as container:
        shots = [(f.time, f.to_ndarray(format="bgr24")) for f in container.decode(video=0)]
    return [time for time, _ in shots], [image for _, image in shots]


def animation(path: Path) -> tuple[list[int], list[np.ndarray]]:
    """How many milliseconds which pictures are shown."""
    with PIL.Image.open(path) as picture:
        lengths, images = [], []
        for page in range(picture.n_frames):
            picture.seek(page)
            images.append(np.asarray(picture.convert("RGB"))[:, :, ::-1])
            lengths.append(picture.info["duration"])
    return lengths, images


def close(a: np.ndarray, b: np.ndarray, tolerance: int = 16) -> bool:
    return int(np.abs(a.astype(int) - b).max()) <= tolerance


def left_over(folder: Path) -> list[str]:
    return sorted(file.name for file in folder.iterdir())


@pytest.mark.parametrize("name", FILMS)
def test_a_film_shows_what_was_added_when_it_was_added(tmp_path: Path, name: str) -> None:
    with Recorder(tmp_path / name) as recorder:
        for k, time in enumerate(TIMES):
            recorder.add(plain(k), time)
        assert recorder.count == 6
    times, images = film(tmp_path / name)
    assert times == pytest.approx([time - 5 for time in TIMES], abs=1e-4)
    assert all(close(image, plain(k)) for k, image in enumerate(images))
    assert left_over(tmp_path) == [name]


@pytest.mark.parametrize("name", FILMS)
def test_a_film_is_one_that_browsers_play(tmp_path: Path, name: str) -> None:
    with Recorder(tmp_path / name) as recorder:
        for k, time in enumerate(TIMES):
            recorder.add(plain(k), time)
    with av.open(str(tmp_path / name)) as container:
        (stream,) = container.streams
        codec = stream.codec_context
        assert (codec.name, codec.pix_fmt, stream.frames) == ("h264", "yuv420p", 6)
        assert (codec.colorspace, codec.color_range) == (1, 1)
        # The last picture stays as long as the one before.
        assert container.duration / av.time_base == pytest.approx(1.5 + 0.98, abs=0.01)
    data = (tmp_path / name).read_bytes()
    assert 0 < data.index(b"moov") < data.index(b"mdat")


@pytest.mark.parametrize("name", ANIMATIONS)
def test_an_animation_shows_what_was_added_when_it_was_added(tmp_path: Path, name: str) -> None:
    with Recorder(tmp_path / name) as recorder:
        for k, time in enumerate(TIMES):
            recorder.add(plain(k), time)
    lengths, images = animation(tmp_path / name)
    assert lengths[:5] == pytest.approx([100, 50, 350, 20, 980], abs=1)
    assert lengths[5] >= 100
    assert all(close(image, plain(k)) for k, image in enumerate(images))
    with PIL.Image.open(tmp_path / name) as picture:
        assert picture.info["loop"] == 0  # for ever


@pytest.mark.parametrize("name", ANIMATIONS)
def test_an_animation_keeps_its_pace_by_leaving_frames_out(tmp_path: Path, name: str) -> None:
    with Recorder(tmp_path / name) as recorder:
        for k in range(60):
            recorder.add(noise(k), k / 120)
    lengths, _ = animation(tmp_path / name)
    assert min(lengths) >= 20  # browsers slow down what is quicker
    assert sum(lengths) == pytest.approx(500, abs=50)


def test_many_colours_stay_near_in_256(tmp_path: Path) -> None:
    across = np.linspace(0, 255, 64).astype(np.uint8)
    image = np.dstack(
        [np.tile(across, (64, 1)), np.tile(across[:, None], 64), np.full((64, 64), 90, np.uint8)]
    )
    with Recorder(tmp_path / "a.gif") as recorder:
        recorder.add(image)
    assert np.abs(animation(tmp_path / "a.gif")[1][0].astype(int) - image).mean() < 12


@given(st.lists(st.none() | st.floats(-10, 10), min_size=1, max_size=12))
@settings(max_examples=25, deadline=None)
def test_any_times_make_a_film_of_growing_times_from_0(
    tmp_path_factory: pytest.TempPathFactory, times: list[float | None]
) -> None:
    path = tmp_path_factory.mktemp("times") / "a.mp4"
    with Recorder(path) as recorder:
        for k, time in enumerate(times):
            recorder.add(plain(k, 16, 16), time)
    shown, _ = film(path)
    assert shown[0] == 0
    assert all(np.diff(shown) > 0)
    assert len(shown) <= len(times)


def test_a_second_film_follows_the_first(tmp_path: Path) -> None:
    with Recorder(tmp_path / "a.mp4") as recorder:
        for k, time in enumerate([0, 0.1, 0.2, 0, 0.1, 0.5]):
            recorder.add(plain(k), time)
    assert film(tmp_path / "a.mp4")[0] == pytest.approx([0, 0.1, 0.2, 0.3, 0.4, 0.8], abs=1e-3)


@pytest.mark.parametrize(("fps", "seconds"), [(None, 0.04), (2, 0.5)])
def test_a_film_of_one_picture_lasts_one_picture(
    tmp_path: Path, fps: float | None, seconds: float
) -> None:
    with Recorder(tmp_path / "a.mp4", fps) as recorder:
        recorder.add(plain(0), 17)
    with av.open(str(tmp_path / "a.mp4")) as container:
        assert container.duration / av.time_base == pytest.approx(seconds, abs=1e-3)


def test_a_rate_that_is_asked_for_counts_and_not_the_times(tmp_path: Path) -> None:
    with Recorder(tmp_path / "a.mp4", fps=10) as recorder:
        for k, time in enumerate(TIMES):
            recorder.add(plain(k), time)
    assert film(tmp_path / "a.mp4")[0] == pytest.approx([k / 10 for k in range(6)], abs=1e-3)
    with Recorder(tmp_path / "b.mp4") as recorder:
        for k in range(3):
            recorder.add(plain(k))
    assert film(tmp_path / "b.mp4")[0] == pytest.approx([0, 0.04, 0.08], abs=1e-3)
    with pytest.raises(BadInput, match="frames a second"):
        Recorder(tmp_path / "c.mp4", fps=0)


@pytest.mark.parametrize(("width", "height"), [(1, 1), (1, 7), (51, 33), (64, 33), (51, 48)])
@pytest.mark.parametrize("name", ["a.mp4", "a.gif", "a.webp"])
def test_odd_sizes_lose_no_pixel(tmp_path: Path, name: str, width: int, height: int) -> None:
    with Recorder(tmp_path / name) as recorder:
        recorder.add(plain(5, width, height), 0)
        recorder.add(plain(0, width, height), 1)
    images = film(tmp_path / name)[1] if name == "a.mp4" else animation(tmp_path / name)[1]
    even = 2 if name == "a.mp4" else 1
    assert images[0].shape[:2] == (height + height % even, width + width % even)
    assert close(images[0], COLOURS[5])
    assert close(images[1], COLOURS[0])


def test_a_strip_too_long_for_a_film_is_made_smaller(tmp_path: Path) -> None:
    with Recorder(tmp_path / "a.mp4") as recorder:
        recorder.add(plain(5, 20000, 50), 0)
    (image,) = film(tmp_path / "a.mp4")[1]
    assert image.shape == (20, LARGEST, 3)
    assert close(image, COLOURS[5])


def test_a_picture_of_another_size_is_shown_whole_on_black(tmp_path: Path) -> None:
    with Recorder(tmp_path / "a.mp4") as recorder:
        for k, (width, height) in enumerate([(64, 48), (32, 48), (128, 32), (640, 480)]):
            recorder.add(plain(0, width, height), k)
    _, (_, tall, wide, large) = film(tmp_path / "a.mp4")
    assert all(image.shape == (48, 64, 3) for image in (tall, wide, large))
    assert close(tall[:, 20:44], COLOURS[0], 40)
    assert not (tall[:, :12] > 40).any()
    assert not (tall[:, 52:] > 40).any()
    assert close(wide[20:28], COLOURS[0], 40)
    assert not (wide[:12] > 40).any()
    assert close(large, COLOURS[0])


@pytest.mark.parametrize("name", ["a.png", "a.jpg", "a.JPEG"])
def test_a_picture_name_holds_one_picture(tmp_path: Path, name: str) -> None:
    with Recorder(tmp_path / name) as recorder:
        recorder.add(plain(5), 0)
        with pytest.raises(BadInput, match=r"give a folder or a \.mp4 name"):
            recorder.add(plain(0), 1)
    assert left_over(tmp_path) == []  # several were meant, and none is written
    with Recorder(tmp_path / name) as recorder:
        recorder.add(plain(5), 0)
    with PIL.Image.open(tmp_path / name) as picture:
        assert close(np.asarray(picture)[:, :, ::-1], plain(5), 0 if name == "a.png" else 6)
    assert left_over(tmp_path) == [name]


def test_a_folder_holds_pictures_named_after_their_sources(tmp_path: Path) -> None:
    names = [
        "in/street.png",
        Path("b/Street.JPG"),
        None,
        "street_2.bmp",
        "street",
        "clip.mp4",
        None,
    ]
    with Recorder(tmp_path / "out") as recorder:
        for k, name in enumerate(names):
            recorder.add(plain(k), 0, name)
    made = [
        "000002.jpg",
        "000006.jpg",
        "Street_2.jpg",
        "clip.jpg",
        "street.jpg",
        "street_2_2.jpg",
        "street_3.jpg",
    ]
    assert left_over(tmp_path / "out") == made
    with PIL.Image.open(tmp_path / "out" / "000002.jpg") as picture:
        assert close(np.asarray(picture)[:, :, ::-1], plain(2), 6)


def test_a_folder_that_is_there_is_added_to(tmp_path: Path) -> None:
    for place in (tmp_path / "a.b", tmp_path / "c"):
        place.mkdir()
        (place / "note.txt").touch()
        with Recorder(place) as recorder:
            recorder.add(plain(0))
        assert left_over(place) == ["000000.jpg", "note.txt"]
    with Recorder(f"{tmp_path}/new.dir/") as recorder:
        recorder.add(plain(0))
    assert left_over(tmp_path / "new.dir") == ["000000.jpg"]


@pytest.mark.parametrize("name", [*FILMS, *ANIMATIONS, "a.png", "a.jpg", "folder"])
def test_nothing_added_makes_nothing(tmp_path: Path, name: str) -> None:
    with Recorder(tmp_path / name):
        pass
    assert left_over(tmp_path) == []


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("a.mpg", r"unknown ending: use one of \.mp4 .*\.png"),
        ("none/a.mp4", "none does not exist"),
        ("none/a.png", "none does not exist"),
        ("none/folder", "none does not exist"),
        ("file", "is a file, not a folder"),
        ("file/a.mp4", "file does not exist"),
    ],
)
def test_a_place_that_cannot_be_written_to_is_refused_at_once(
    tmp_path: Path, name: str, says: str
) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(BadInput, match=says):
        Recorder(tmp_path / name)
    assert left_over(tmp_path) == ["file"]


@pytest.mark.parametrize("name", ["a.mp4", "a.gif", "a.webp"])
@pytest.mark.parametrize("stop", [KeyboardInterrupt, BadInput, ZeroDivisionError])
def test_what_was_recorded_before_an_interruption_is_kept(
    tmp_path: Path, name: str, stop: type[BaseException]
) -> None:
    def record() -> None:
        with Recorder(tmp_path / name) as recorder:
            for k in range(5):
                recorder.add(plain(k), k / 10)
            raise stop

    with pytest.raises(stop):
        record()
    shown = film(tmp_path / name)[1] if name == "a.mp4" else animation(tmp_path / name)[1]
    assert len(shown) == 5
    assert left_over(tmp_path) == [name]


def test_an_interruption_in_the_first_picture_leaves_what_was_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    (tmp_path / "a.mp4").write_text("older")
    monkeypatch.setattr("limbwise.outputs.films._encodable", interrupted)
    with pytest.raises(KeyboardInterrupt), Recorder(tmp_path / "a.mp4") as recorder:
        recorder.add(plain(0))
    assert left_over(tmp_path) == ["a.mp4"]
    assert (tmp_path / "a.mp4").read_text() == "older"


def test_an_older_file_stays_until_the_new_one_is_whole(tmp_path: Path) -> None:
    (tmp_path / "a.mp4").write_text("older")
    with Recorder(tmp_path / "a.mp4") as recorder:
        recorder.add(plain(0))
        assert (tmp_path / "a.mp4").read_text() == "older"
    assert len(film(tmp_path / "a.mp4")[1]) == 1


def test_a_recording_never_replaces_its_own_source(tmp_path: Path) -> None:
    for name in ("a.mp4", "a.jpg"):
        (tmp_path / name).write_text("the original")
        places = [tmp_path / name, tmp_path] if name == "a.jpg" else [tmp_path / name]
        for place in places:
            with Recorder(place) as recorder, pytest.raises(BadInput, match="made from"):
                recorder.add(plain(0), 0, tmp_path / name)
        assert (tmp_path / name).read_text() == "the original"


def test_a_closed_recorder_takes_nothing_more(tmp_path: Path) -> None:
    recorder = Recorder(tmp_path / "a.mp4")
    recorder.add(plain(0))
    recorder.close()
    recorder.close()
    with pytest.raises(ValueError, match="is closed"):
        recorder.add(plain(0))


def test_two_recorders_at_once_do_not_disturb_each_other(tmp_path: Path) -> None:
    with Recorder(tmp_path / "a.mp4") as a, Recorder(tmp_path / "a.gif") as b:
        for k in range(4):
            a.add(plain(k), k)
            b.add(plain(k + 1, 32, 32), k / 2)
    assert film(tmp_path / "a.mp4")[0] == pytest.approx([0, 1, 2, 3])
    assert animation(tmp_path / "a.gif")[0][:3] == [500, 500, 500]


FULL = """
import os, resource, signal, sys
import numpy as np
from limbwise.errors import BadInput
from limbwise.outputs.recorder import Recorder

signal.signal(signal.SIGXFSZ, signal.SIG_IGN)  # a file that grows too large is then an OSError
resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[2]), resource.RLIM_INFINITY))
draw = np.random.default_rng(0)
try:
    with Recorder(sys.argv[1]) as recorder:
        for k in range(int(sys.argv[3])):
            recorder.add(draw.integers(0, 255, (240, 320, 3), np.uint8), k / 10)
except BadInput as bad:
    print(bad)
    print(*sorted(os.listdir(os.path.dirname(sys.argv[1]))))
"""


@pytest.mark.skipif(sys.platform == "win32", reason="needs RLIMIT_FSIZE")
@pytest.mark.parametrize(
    ("name", "room", "count"),
    [
        ("a.mp4", 100_000, 60),  # no room while pictures come
        ("a.mp4", 100_000, 4),  # no room when the film is ended
        ("a.gif", 100_000, 5),
        ("a.webp", 50_000, 5),
        ("a.png", 10_000, 1),
        ("folder", 10_000, 1),
    ],
)
def test_a_full_disk_leaves_the_older_file_and_says_so(
    tmp_path: Path, name: str, room: int, count: int
) -> None:
    if "." in name:
        (tmp_path / name).write_text("older")
    command = [
        sys.executable,
        "-W",
        "error",
        "-c",
        FULL,
        str(tmp_path / name),
        str(room),
        str(count),
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    says, there = done.stdout.splitlines()
    assert says == f"{tmp_path / name} could not be written: File too large"
    assert there == name  # though the recorder is still about
    assert (done.stderr, done.returncode) == ("", 0)
    if "." in name:
        assert (tmp_path / name).read_text() == "older"
    else:
        assert left_over(tmp_path / name) == []


def test_a_name_that_ffmpeg_would_read_as_something_else_is_a_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with Recorder("a:b%03d.mp4") as recorder:
        recorder.add(plain(0))
    assert left_over(tmp_path) == ["a:b%03d.mp4"]
