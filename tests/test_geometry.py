import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from limbwise.geometry import View, _seen, letterbox, warp_crop

sides = st.integers(1, 700)


@settings(max_examples=60, deadline=None)
@given(sides, sides, st.integers(32, 400), st.sampled_from([8, 16, 32]))
def test_an_input_has_whole_multiples_and_back_undoes_there(rows, columns, height, multiple):
    picture, view = letterbox(np.zeros((rows, columns, 3), np.uint8), height, multiple)
    assert picture.shape[0] % multiple == picture.shape[1] % multiple == 0
    assert picture.shape[0] < height + multiple
    assert picture.shape[1] <= 4 * height + multiple
    corners = np.array([[0, 0], [columns - 1, 0], [0, rows - 1], [columns - 1, rows - 1]])
    assert view.inverse(view.forward(corners)) == pytest.approx(corners, abs=0.01)


@settings(max_examples=40, deadline=None)
@given(st.integers(60, 300), st.integers(60, 230), st.integers(100, 300), st.data())
def test_a_keypoint_goes_where_the_bright_pixels_go(rows, columns, height, data):
    """Paint a blob, fit the picture: the centre of its light is where `there` says. (No picture
    here is more than four times as wide as high, where `fit` goes by the width.)"""
    x = data.draw(st.integers(20, columns - 21))
    y = data.draw(st.integers(20, rows - 21))
    away = np.square(np.arange(columns) - x) + np.square(np.arange(rows) - y)[:, None]
    blob = np.rint(250 * np.exp(-away / (2 * 4.0**2))).astype(np.uint8)
    picture, view = letterbox(np.repeat(blob[..., None], 3, axis=2), height)
    light = picture[:height, : round(columns * height / rows), 0].astype(float)
    centre = [
        (light.sum(axis=axis) * np.arange(light.shape[1 - axis])).sum() / light.sum()
        for axis in (0, 1)
    ]
    assert centre == pytest.approx(view.forward(np.array([x, y])), abs=0.1)


def test_scaling_maps_pixel_edges_to_pixel_edges() -> None:
    view = View.scaling(2.0, 0.5)
    assert view.forward(np.array([-0.5, -0.5])) == pytest.approx([-0.5, -0.5])
    assert view.forward(np.array([9.5, 9.5])) == pytest.approx([19.5, 4.5])


@pytest.mark.parametrize("shape", [(1, 1), (50, 20000), (20000, 50)])
def test_strange_shapes_fit(shape: tuple[int, int]) -> None:
    picture, _ = letterbox(np.zeros((*shape, 3), np.uint8), 368)
    assert picture.shape[0] <= 368
    assert picture.shape[1] <= 4 * 368


@pytest.mark.parametrize(
    ("shape", "size"),
    [((100, 200), (32, 64)), ((200, 100), (64, 32)), ((90, 90), (64, 64)), ((50, 5000), (8, 64))],
)
def test_the_longer_side_is_as_long_as_asked_for_whichever_it_is(shape, size) -> None:
    picture, view = letterbox(np.zeros((*shape, 3), np.uint8), 64, to="side")
    assert picture.shape[:2] == size
    longer = np.argmax(shape)
    assert view.matrix[1 - longer, 1 - longer] == pytest.approx(64 / shape[longer])


@pytest.mark.parametrize("shape", [(50, 100), (50, 199), (50, 1000)])
def test_an_input_is_as_high_as_asked_for_up_to_four_times_as_wide(shape: tuple[int, int]) -> None:
    picture, view = letterbox(np.full((*shape, 3), 255, np.uint8), 64)
    height = min(64, 4 * 64 * 50 / shape[1])
    assert view.matrix[1, 1] == pytest.approx(height / 50, rel=0.05)
    seen = (picture == 255).all(axis=2)
    rows, columns = (int(seen.any(axis=axis).sum()) for axis in (1, 0))
    assert (rows, columns) == (round(height), round(shape[1] * height / 50))
    assert (picture[~seen] == 128).all()  # below and to the right
    assert seen[:rows, :columns].all()


@pytest.mark.parametrize("times", [2, 3, 4, 7.3])
def test_an_input_that_is_made_small_is_the_mean_of_what_it_covers(times: float) -> None:
    """Of noise at most the share is left that means of 2 x 2 pixels leave, halved again and again,
    and the last step is between pixels."""
    side = 512
    noise = np.random.default_rng(0).choice([0, 255], (side, side)).astype(np.uint8)
    picture, _ = letterbox(np.repeat(noise[..., None], 3, axis=2), round(side / times))
    inner = picture[: round(side / times), : round(side / times)].astype(float)
    halvings = int(np.log2(times))
    assert inner.std() <= 1.02 * noise.std() / 2**halvings
    assert inner.mean() == pytest.approx(noise.mean(), abs=2)


@settings(max_examples=40, deadline=None)
@given(
    st.integers(2, 121), st.integers(2, 121), st.floats(0.04, 4), st.floats(0, 1), st.floats(0, 1)
)
def test_a_cut_shows_a_ramp_where_its_view_says(rows, columns, scale, x, y) -> None:
    """Up to the edges of pictures with even and odd sides, however much smaller it is shown."""
    ramp = np.zeros((rows, columns, 3))
    ramp[..., 0] = np.linspace(20, 230, columns)
    ramp[..., 1] = np.linspace(20, 230, rows)[:, None]
    image = np.rint(ramp).astype(np.uint8)
    view = View(np.array([[scale, 0, 20 - scale * x * columns], [0, scale, 15 - scale * y * rows]]))
    shown = warp_crop(image, view, (30, 40)).astype(float)
    r, c = np.mgrid[:30, :40]
    place = view.inverse(np.stack([c, r], axis=2).reshape(-1, 2)).reshape(30, 40, 2)
    margin = 1 + 1.5 / scale  # what a shown pixel may cover on either side
    sides = np.array([columns, rows])
    inside = ((place >= margin) & (place <= sides - 1 - margin)).all(axis=2)
    expected = 20 + 210 * place / (sides - 1)
    slack = 1.5 + 210 / (sides - 1) * (0.5 if scale < 0.5 else 0.1) / min(scale, 1)
    assert (np.abs(shown[..., :2] - expected) <= slack)[inside].all()
    outside = ((place < -1 - 1.5 / scale) | (place > sides + 1.5 / scale)).any(axis=2)
    assert (shown[outside] == 128).all()


@settings(max_examples=30, deadline=None)
@given(st.floats(0.5, 3), st.floats(-50, 250), st.floats(-50, 150))
def test_a_cut_of_the_part_that_is_seen_is_one_of_the_whole_and_reads_no_more(scale, x, y) -> None:
    image = np.random.default_rng(0).integers(0, 256, (200, 300, 3), np.uint8)
    view = View(np.array([[scale, 0, -scale * x], [0, scale, -scale * y]]))
    size = 24, 32
    whole = cv2.warpAffine(image, view.matrix, size[::-1], flags=cv2.INTER_LINEAR,
                           borderValue=(128, 128, 128))  # fmt: skip
    assert np.abs(warp_crop(image, view, size).astype(int) - whole).max() <= 1
    part, matrix = _seen(image, view, size)
    assert part.shape[0] <= (24 + 8) / scale + 3
    assert part.shape[1] <= (32 + 8) / scale + 3
    assert matrix[:, :2] == pytest.approx(view.matrix[:, :2])


@pytest.mark.parametrize("shape", [(1, 40), (40, 1), (1, 1)])
def test_a_line_of_pixels_can_be_cut_however_small(shape: tuple[int, int]) -> None:
    image = np.full((*shape, 3), 200, np.uint8)
    for scale in (0.1, 0.4, 3.0):
        shown = warp_crop(image, View.scaling(scale, scale), (16, 16))
        assert shown.shape == (16, 16, 3)
        assert shown.max() <= 200
        assert (shown[-4:, -4:] == 128).all() or scale == 3.0
