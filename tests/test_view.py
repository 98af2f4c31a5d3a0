import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from limbwise.geometry import View, fit

sides = st.integers(1, 700)


@settings(max_examples=60, deadline=None)
@given(sides, sides, st.integers(32, 400), st.sampled_from([8, 16, 32]))
def test_an_input_has_whole_multiples_and_back_undoes_there(rows, columns, height, multiple):
    picture, view = fit(np.zeros((rows, columns, 3), np.uint8), height, multiple)
    assert picture.shape[0] % multiple == picture.shape[1] % multiple == 0
    assert picture.shape[0] < height + multiple
    assert picture.shape[1] <= 4 * height + multiple
    corners = np.array([[0, 0], [columns - 1, 0], [0, rows - 1], [columns - 1, rows - 1]])
    assert view.back(view.there(corners)) == pytest.approx(corners, abs=0.01)


@settings(max_examples=40, deadline=None)
@given(st.integers(60, 300), st.integers(60, 230), st.integers(100, 300), st.data())
def test_a_keypoint_goes_where_the_bright_pixels_go(rows, columns, height, data):
    """Paint a blob, fit the picture: the centre of its light is where `there` says. (No picture
    here is more than four times as wide as high, where `fit` goes by the width.)"""
    x = data.draw(st.integers(20, columns - 21))
    y = data.draw(st.integers(20, rows - 21))
    away = np.square(np.arange(columns) - x) + np.square(np.arange(rows) - y)[:, None]
    blob = np.rint(250 * np.exp(-away / (2 * 4.0**2))).astype(np.uint8)
    picture, view = fit(np.repeat(blob[..., None], 3, axis=2), height)
    light = picture[:height, : round(columns * height / rows), 0].astype(float)
    centre = [
        (light.sum(axis=axis) * np.arange(light.shape[1 - axis])).sum() / light.sum()
        for axis in (0, 1)
    ]
    assert centre == pytest.approx(view.there(np.array([x, y])), abs=0.1)


def test_scaling_maps_pixel_edges_to_pixel_edges() -> None:
    view = View.scaling(2.0, 0.5)
    assert view.there(np.array([-0.5, -0.5])) == pytest.approx([-0.5, -0.5])
    assert view.there(np.array([9.5, 9.5])) == pytest.approx([19.5, 4.5])


@pytest.mark.parametrize("shape", [(1, 1), (50, 20000), (20000, 50)])
def test_strange_shapes_fit(shape: tuple[int, int]) -> None:
    picture, _ = fit(np.zeros((*shape, 3), np.uint8), 368)
    assert picture.shape[0] <= 368
    assert picture.shape[1] <= 4 * 368
