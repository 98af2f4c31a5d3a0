"""Pictures are read as viewers show them, or refused in one line that names them."""

import io
import random
import struct
import time
import warnings
import zlib
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import PIL.Image
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from limbwise.errors import BadInput
from limbwise.sources.image import read_picture, split_jpegs

RED, GREEN, BLUE, GREY = (255, 0, 0), (0, 255, 0), (0, 0, 255), (100, 100, 100)
SCENE = np.zeros((40, 64, 3), np.uint8)  # RGB, no two corners alike
SCENE[:20, :32], SCENE[:20, 32:], SCENE[20:, :32], SCENE[20:, 32:] = RED, GREEN, BLUE, GREY
RAMP = np.linspace(0, 65535, 40 * 64).reshape(40, 64).astype(np.uint16)


def encoded(picture: PIL.Image.Image, form: str, **options: object) -> bytes:
    file = io.BytesIO()
    picture.save(file, form, **options)
    return file.getvalue()


def read_rgb(data: bytes) -> np.ndarray:
    image = read_picture(data, "it")
    assert image.dtype == np.uint8
    assert image.ndim == 3
    assert image.flags.c_contiguous
    return image[:, :, ::-1]


def grey(values: np.ndarray) -> np.ndarray:
    return np.repeat(values[:, :, None], 3, axis=2)


def same(a: np.ndarray, b: np.ndarray, tolerance: int = 0) -> bool:
    """Away from the seams, where JPEG rings."""
    inner = np.ones((40, 64), bool)
    inner[17:23], inner[:, 29:35] = tolerance == 0, tolerance == 0
    return a.shape == b.shape and int(np.abs(a.astype(int) - b)[inner].max()) <= tolerance


@pytest.mark.parametrize(
    ("mode", "form", "tolerance"),
    [
        ("RGB", "PNG", 0),
        ("RGB", "BMP", 0),
        ("RGB", "PPM", 0),
        ("RGB", "TIFF", 0),
        ("RGB", "JPEG", 12),
        ("RGB", "WEBP", 12),
        ("P", "PNG", 0),
        ("P", "GIF", 0),
        ("RGBA", "PNG", 0),
        ("RGBA", "TIFF", 0),
        ("CMYK", "TIFF", 0),
        ("CMYK", "JPEG", 12),  # with Adobe's marker, ink upside down
        ("YCbCr", "JPEG", 12),
    ],
)
def test_every_mode_of_colour_gives_the_colours_that_were_saved(
    mode: str, form: str, tolerance: int
) -> None:
    options = {"P": {"palette": PIL.Image.Palette.ADAPTIVE}}.get(mode, {})
    data = encoded(PIL.Image.fromarray(SCENE).convert(mode, **options), form)
    assert same(read_rgb(data), SCENE, tolerance)


def test_grey_and_black_and_white_become_three_equal_channels() -> None:
    levels = (RAMP >> 8).astype(np.uint8)
    assert same(read_rgb(encoded(PIL.Image.fromarray(levels), "PNG")), grey(levels))
    bits = levels > 127
    assert same(read_rgb(encoded(PIL.Image.fromarray(bits), "PNG")), grey(bits * 255))


@pytest.mark.parametrize("form", ["PNG", "TIFF"])
def test_sixteen_bits_are_scaled_and_not_clipped(form: str) -> None:
    data = encoded(PIL.Image.fromarray(RAMP), form)
    assert same(read_rgb(data), grey(RAMP >> 8), tolerance=1)


def test_sixteen_bits_of_colour_are_scaled_too() -> None:
    done, data = cv2.imencode(".png", SCENE.astype(np.uint16)[:, :, ::-1] * 257)
    assert done
    assert same(read_rgb(data.tobytes()), SCENE)


@pytest.mark.parametrize("top", [1, 255, 65535, 1_000_000])
def test_deep_numbers_reach_from_black_to_white_whatever_their_range(top: int) -> None:
    ramp = RAMP.astype(np.float64) / 65535 * top
    expected = grey(np.round(RAMP / 65535 * 255))
    floats = encoded(PIL.Image.fromarray(ramp.astype(np.float32)), "TIFF")
    assert same(read_rgb(floats), expected, tolerance=1)
    if top > 1:
        whole = encoded(PIL.Image.fromarray(ramp.round().astype(np.int32)), "TIFF")
        assert same(read_rgb(whole), expected, tolerance=1)


def test_numbers_that_are_none_and_flat_pictures_are_no_trouble() -> None:
    values = np.full((40, 64), np.nan, np.float32)
    values[0, 0] = 0
    assert not read_rgb(encoded(PIL.Image.fromarray(values), "TIFF")).any()


@pytest.mark.parametrize("form", ["PNG", "WEBP", "TIFF"])
@pytest.mark.parametrize("alpha", [0, 128, 255])
def test_transparent_parts_show_white_paper(form: str, alpha: int) -> None:
    rgba = np.dstack([SCENE, np.full((40, 64), alpha, np.uint8)])
    options = {"lossless": True, "exact": True} if form == "WEBP" else {}
    shown = SCENE * (alpha / 255) + 255 * (1 - alpha / 255)
    assert same(read_rgb(encoded(PIL.Image.fromarray(rgba), form, **options)), shown, tolerance=1)


def test_one_transparent_colour_shows_white_paper_in_every_mode() -> None:
    shown = np.where((SCENE == BLUE).all(axis=2, keepdims=True), 255, SCENE)
    assert same(read_rgb(encoded(PIL.Image.fromarray(SCENE), "PNG", transparency=BLUE)), shown)
    palette = PIL.Image.fromarray(SCENE).convert("P", palette=PIL.Image.Palette.ADAPTIVE)
    blue = palette.getpixel((0, 39))
    for form in ("PNG", "GIF"):
        assert same(read_rgb(encoded(palette, form, transparency=blue)), shown)
    levels = SCENE[:, :, 2]
    shown = grey(np.where(levels == 0, 255, levels))
    assert same(read_rgb(encoded(PIL.Image.fromarray(levels), "PNG", transparency=0)), shown)
    dim = np.dstack([levels, np.where(levels == 0, 0, 255).astype(np.uint8)])
    assert same(read_rgb(encoded(PIL.Image.fromarray(dim), "PNG")), shown)


# What turns the stored picture into the one that is shown (EXIF 2.32, tag 274), undone.
STORED = {
    1: lambda shown: shown,
    2: lambda shown: shown[:, ::-1],
    3: lambda shown: shown[::-1, ::-1],
    4: lambda shown: shown[::-1],
    5: lambda shown: shown.transpose(1, 0, 2),
    6: lambda shown: np.rot90(shown, 1),
    7: lambda shown: np.rot90(shown, 2).transpose(1, 0, 2),
    8: lambda shown: np.rot90(shown, -1),
}


@pytest.mark.parametrize("form", ["JPEG", "PNG", "WEBP", "TIFF"])
@pytest.mark.parametrize("orientation", STORED)
def test_a_camera_held_in_any_way_gives_an_upright_picture(form: str, orientation: int) -> None:
    exif = PIL.Image.Exif()
    exif[274] = orientation
    stored = np.ascontiguousarray(STORED[orientation](SCENE))
    assert same(read_rgb(encoded(PIL.Image.fromarray(stored), form, exif=exif)), SCENE, 12)


def test_damaged_exif_does_not_hide_the_picture() -> None:
    data = encoded(PIL.Image.fromarray(SCENE), "JPEG", exif=b"Exif\0\0II*\0\xff\xff\xff\x7f")
    assert same(read_rgb(data), SCENE, 12)


@pytest.mark.parametrize("size", [(20000, 50), (1, 1), (50, 20000)])
def test_strips_and_single_pixels_are_pictures(size: tuple[int, int]) -> None:
    data = encoded(PIL.Image.new("RGB", size, RED), "PNG")
    assert read_picture(data).shape == (size[1], size[0], 3)


def bomb(width: int, height: int) -> bytes:
    def chunk(kind: bytes, data: bytes) -> bytes:
        return (
            struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        )

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    packed = chunk(b"IDAT", zlib.compress(bytes(1000)))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + packed + chunk(b"IEND", b"")


def test_a_bomb_is_refused_by_its_header() -> None:
    with pytest.raises(BadInput, match=r"^bomb.png has 60000 x 60000 pixels, .*max_pixels$"):
        read_picture(bomb(60000, 60000), "bomb.png")
    with pytest.raises(BadInput, match="64 x 40"):
        read_picture(encoded(PIL.Image.fromarray(SCENE), "PNG"), max_pixels=64 * 40 - 1)
    assert read_picture(encoded(PIL.Image.fromarray(SCENE), "PNG"), max_pixels=64 * 40).any()


def test_our_limit_counts_and_not_pillows(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(PIL.Image, "MAX_IMAGE_PIXELS", 100)
    for form in ("PNG", "GIF", "JPEG", "WEBP", "TIFF"):
        assert read_picture(encoded(PIL.Image.fromarray(SCENE), form)).any()
    assert PIL.Image.MAX_IMAGE_PIXELS == 100


def test_threads_leave_the_settings_of_others_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    data = encoded(PIL.Image.fromarray(SCENE), "JPEG")
    slow_open = PIL.Image.open

    def open_slowly(*source: Any, **settings: Any) -> PIL.Image.Image:
        time.sleep(random.random() / 500)
        return slow_open(*source, **settings)

    monkeypatch.setattr(PIL.Image, "open", open_slowly)
    before = list(warnings.filters), PIL.Image.MAX_IMAGE_PIXELS
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(read_picture, [data] * 50))
    assert (warnings.filters, PIL.Image.MAX_IMAGE_PIXELS) == before


@pytest.mark.parametrize(
    ("name", "data", "says"),
    [
        ("cat.txt", b"Cats are liquid.\n" * 50, "is not a picture"),
        ("empty.jpg", b"", "is empty"),
        ("half.jpg", encoded(PIL.Image.fromarray(SCENE), "JPEG")[:650], "is cut off"),
        ("half.png", encoded(PIL.Image.fromarray(SCENE), "PNG")[:100], "is cut off"),
        ("head.jpg", encoded(PIL.Image.fromarray(SCENE), "JPEG")[:10], "is not a picture"),
        ("lost.jpg", None, "does not exist"),
    ],
)
def test_what_is_no_picture_is_refused_in_one_line_that_names_it(
    tmp_path: Path, name: str, data: bytes | None, says: str
) -> None:
    if data is not None:
        (tmp_path / name).write_bytes(data)
    with pytest.raises(BadInput, match=says) as caught:
        read_picture(tmp_path / name)
    assert str(caught.value).startswith(str(tmp_path / name))
    assert "\n" not in str(caught.value)


def test_a_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="is a folder"):
        read_picture(tmp_path)


WHOLE = {
    form: encoded(
        PIL.Image.fromarray(np.random.default_rng(1).integers(0, 255, (48, 48, 3), np.uint8)), form
    )
    for form in ("JPEG", "PNG", "GIF", "WEBP", "TIFF", "BMP", "PPM")
}


@given(st.sampled_from(sorted(WHOLE)), st.floats(0.0, 0.95))
@settings(max_examples=80, deadline=None)
def test_a_picture_cut_anywhere_is_refused(form: str, part: float) -> None:
    data = WHOLE[form]
    with pytest.raises(BadInput, match=r"^it (is|has) "):
        read_picture(data[: int(len(data) * part)], "it")


@given(st.sampled_from(sorted(WHOLE)), st.randoms(use_true_random=False))
@settings(max_examples=150, deadline=None)
def test_a_damaged_picture_is_shown_or_refused_and_nothing_else(
    form: str, draw: random.Random
) -> None:
    data = bytearray(WHOLE[form])
    for _ in range(draw.randint(1, 8)):
        within = min(len(data), draw.choice([64, 700, len(data)]))
        data[draw.randrange(within)] = draw.randrange(256)
    with suppress(BadInput):
        assert read_picture(bytes(data), "it", max_pixels=10**6).ndim == 3


def with_thumbnail(data: bytes) -> bytes:
    """The JPEG with another one, whole, in its EXIF segment."""
    thumbnail = encoded(PIL.Image.new("RGB", (16, 16), GREY), "JPEG")
    body = b"Exif\0\0II*\0\x08\0\0\0\0\0\0\0\0\0" + thumbnail
    return data[:2] + b"\xff\xe1" + struct.pack(">H", len(body) + 2) + body + data[2:]


@given(st.lists(st.integers(1, 3000), min_size=1), st.booleans())
@settings(max_examples=50, deadline=None)
def test_joined_jpegs_come_apart_however_they_arrive(sizes: list[int], progressive: bool) -> None:
    scenes = [PIL.Image.fromarray(np.roll(SCENE, k, axis=1)) for k in range(3)]
    jpegs = [
        encoded(scene, "JPEG", progressive=progressive, restart_marker_blocks=2) for scene in scenes
    ]
    jpegs[1] = with_thumbnail(jpegs[1])
    stream = io.BytesIO(b"--boundary\r\n\r\n\xff\xc0" + b"\r\n\xff\xff".join(jpegs))
    steps = iter(sizes)
    assert list(split_jpegs(lambda: stream.read(next(steps, 1000)))) == jpegs


def test_a_jpeg_that_breaks_off_costs_no_other() -> None:
    whole = encoded(PIL.Image.fromarray(SCENE), "JPEG")
    stream = io.BytesIO(whole + whole[:650] + whole + whole[:650])
    assert list(split_jpegs(stream.read)) == [whole, whole[:650], whole, whole[:650]]
