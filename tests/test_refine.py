"""The second stage, with a network that sees three lights: the laws of crops and of who is kept."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from conftest import drawn, standing
from limbwise.backends.base import Backend
from limbwise.cli.app import exit_code
from limbwise.crops import crop_view
from limbwise.description import ORIGINAL, Description
from limbwise.errors import BadInput
from limbwise.estimator import Estimator, load
from limbwise.geometry import View, warp_crop
from limbwise.models.catalogue import CATALOGUE, SAMPLE
from limbwise.networks.checkpoint import build, save
from limbwise.peaks import argmax
from limbwise.pipeline import flow
from limbwise.pose import Pose
from limbwise.refine import distinct, expected_oks, refine
from limbwise.skeleton import BODY, Skeleton
from limbwise.sources.frames import Frame

ONE_STAGE = CATALOGUE["one-stage"].first.plain
LIGHTS = Skeleton(("blue", "green", "red"), (), (0.1, 0.1, 0.1))
SIZE = 128, 96


def seeing_lights(calls: list[tuple[int, ...]] | None = None) -> Backend:
    """Its heatmaps are the crop's three colours, each cell the mean of 4 x 4 pixels."""

    def run(crops: np.ndarray, found: np.ndarray) -> tuple[np.ndarray]:
        if calls is not None:
            calls.append(found.shape)
        n, h, w, _ = crops.shape
        cells = crops.reshape(n, h // 4, 4, w // 4, 4, 3).mean(axis=(2, 4)) / 255
        return (np.ascontiguousarray(cells.transpose(0, 3, 1, 2), np.float32),)

    return Backend(Description("lights", LIGHTS, 4, 8, SIZE[0], crop=SIZE), "lights", run)


def lit(size: tuple[int, int], lights: np.ndarray, radius: float) -> np.ndarray:
    """An image with a soft light of each colour at lights (3, 2)."""
    y, x = np.mgrid[: size[0], : size[1]]
    away = [(x - light[0]) ** 2 + (y - light[1]) ** 2 for light in lights]
    return (255 * np.exp(-np.stack(away, axis=2) / (2 * radius**2))).astype(np.uint8)


def pose(xy: np.ndarray, score: float = 1.0) -> Pose:
    return Pose(LIGHTS, np.float32(xy), np.float32(~np.isnan(xy[:, 0])), score)


places = st.tuples(st.floats(0.1, 0.9), st.floats(0.1, 0.9))


@settings(max_examples=40, deadline=None)
@given(
    lights=st.tuples(places, places, places),
    off=st.tuples(places, places, places),
    scale=st.floats(0.3, 3),
    left=st.floats(60, 200),
    top=st.floats(60, 200),
)
def test_a_keypoint_goes_where_the_light_is(lights, off, scale, left, top) -> None:
    """However large the person is, wherever in the picture, and a little beside the first stage."""
    truth = np.array(lights) * 60 * scale + [left, top]
    first = pose(truth + (np.array(off) - 0.5) * 12 * scale)
    box = np.array(first.box)
    extent = max((box[2] - box[0]) / SIZE[1], (box[3] - box[1]) / SIZE[0]) * 1.3
    if extent < 0.1:
        return  # three lights in one place
    image = lit((480, 480), truth, max(4 * extent, 1.5))
    inside = crop_view(first, SIZE).forward(truth)
    away = np.minimum(inside, np.array(SIZE[::-1]) - 1 - inside).min(axis=1)  # from the crop's edge
    if away.max() <= 8:
        return  # nothing to be seen whole
    (found,) = refine(image, [first], seeing_lights())
    wrong = np.abs(found.xy - truth).max(axis=1) / max(extent, 1)
    assert wrong[away > 8].max(initial=0) < 0.6
    assert wrong[away > 4].max(initial=0) < 1.2  # the edge cuts off some of its light


@settings(max_examples=40, deadline=None)
@given(places, places, places, st.integers(0, 2))
def test_a_crop_holds_who_was_found_and_more_where_less_was(one, two, three, lost) -> None:
    xy = np.array([one, two, three]) * 300 + 0.001 * np.arange(6).reshape(3, 2)
    whole, part = pose(xy), pose(np.where(np.arange(3)[:, None] == lost, np.nan, xy))
    for each in (whole, part):
        there = crop_view(each, SIZE).forward(each.xy[each.found])
        assert (there >= 0).all()
        assert (there <= np.array(SIZE[::-1]) - 1).all()
        middle = (there.min(axis=0) + there.max(axis=0)) / 2
        assert middle == pytest.approx((np.array(SIZE[::-1]) - 1) / 2, abs=0.1)
    whole, part = (crop_view(replace(whole, xy=np.float32(x)), SIZE) for x in (xy, _hidden(xy)))
    assert part.matrix[0, 0] < whole.matrix[0, 0]


def _hidden(xy: np.ndarray) -> np.ndarray:
    """The same box with one keypoint fewer: the one that lies most in the middle."""
    inner = np.argmin(np.abs(xy - (xy.min(axis=0) + xy.max(axis=0)) / 2).max(axis=1))
    hidden = np.vstack([xy.min(axis=0), xy.max(axis=0), xy[inner]])
    hidden[2] = np.nan
    return hidden


def test_one_keypoint_or_a_place_outside_is_looked_at_too() -> None:
    one = pose(np.array([[50.0, 60], [np.nan, np.nan], [np.nan, np.nan]]))
    far = pose(np.array([[900.0, 900], [910, 905], [905, 930]]))
    image = lit((200, 200), np.full((3, 2), [50.0, 60]), 2)
    found = refine(image, [one, far], seeing_lights())
    assert len(found) == 2
    assert found[0].xy == pytest.approx(np.full((3, 2), [50.0, 60]), abs=0.5)
    assert np.isfinite(found[1].xy).all()


def test_one_person_found_twice_is_kept_once_and_two_are_two() -> None:
    truth = np.array([[40.0, 40], [100, 50], [60, 110]])
    near, far = pose(truth + 3, 0.5), pose(truth - 3, 0.9)
    image = lit((200, 500), truth, 3) + lit((200, 500), truth + [300, 0], 3)
    found = refine(image, [near, far, pose(truth + [300, 0])], seeing_lights())
    assert [round(each.xy[0, 0]) for each in found] == [340, 40]
    assert [each.score for each in found] == [1.0, 0.9]  # the first stage's


def test_the_better_of_two_alike_is_kept_in_any_order() -> None:
    xy = np.array([[40.0, 40], [100, 50], [60, 110]])
    poses = [pose(xy, 0.3), pose(xy + 1, 0.8), pose(xy + 200, 0.1)]
    for order in (poses, poses[::-1]):
        assert [each.score for each in distinct(order, 0.7)] == [0.8, 0.1]


def test_what_shows_nothing_is_not_found() -> None:
    truth = np.array([[40.0, 40], [100, 50], [60, 110]])
    image = lit((200, 200), truth, 5)
    image[..., 2] = 0
    (found,) = refine(image, [pose(truth)], seeing_lights())
    assert found.found.tolist() == [True, True, False]
    assert found.confidence[2] == 0
    assert found.confidence[:2].min() > 0.8


@pytest.mark.parametrize(("sigma", "found"), [(0.1, True), (0.01, False)])
def test_a_faint_keypoint_is_found_where_oks_is_wide(sigma: float, found: bool) -> None:
    truth = np.array([[40.0, 40], [100, 50], [60, 110]])
    runtime = seeing_lights()
    eyes = replace(LIGHTS, sigmas=(sigma,) * 3)
    runtime = replace(runtime, description=replace(runtime.description, skeleton=eyes))
    faint = (lit((200, 200), truth, 5) * 0.2).astype(np.uint8)
    seen = refine(faint, [replace(pose(truth), skeleton=eyes)], runtime)
    assert [each.found.all() for each in seen] == [True] * found
    assert all(each.confidence.max() < 0.25 for each in seen)


def test_nobody_costs_nothing_and_only_the_best_are_looked_at() -> None:
    calls: list[tuple[int, ...]] = []
    image = np.zeros((200, 200, 3), np.uint8)
    nowhere = pose(np.full((3, 2), np.nan))
    assert refine(image, [], seeing_lights(calls)) == refine(image, [nowhere], seeing_lights(calls))
    assert not calls
    xy = np.array([[40.0, 40], [100, 50], [60, 110]])
    crowd = [pose(xy + 300 * n, 1 - n / 10) for n in range(5)]
    crowded = lit((1500, 1500), xy, 5)
    for n in range(1, 5):
        crowded += lit((1500, 1500), xy + 300 * n, 5)
    found = refine(crowded, crowd, seeing_lights(calls), max_people=3)
    assert calls == [(3, 3, 3)]
    assert [each.score for each in found] == [each.score for each in crowd]
    assert found[4] is crowd[4]  # as it was


def test_the_network_is_told_what_was_found_in_pixels_of_its_crop() -> None:
    told = []

    def run(crops: np.ndarray, found: np.ndarray) -> tuple[np.ndarray]:
        told.append(found)
        return (np.zeros((1, 3, 32, 24), np.float32),)

    xy = np.array([[40.0, 40], [np.nan, np.nan], [60, 110]])
    runtime = replace(seeing_lights(), run=run)
    refine(np.zeros((200, 200, 3), np.uint8), [pose(xy)], runtime)
    there = crop_view(pose(xy), SIZE).forward(np.float32(xy))
    assert told[0][0, [0, 2]] == pytest.approx(np.column_stack([there, [1, 1, 1]])[[0, 2]])
    assert told[0][0, 1].tolist() == [0, 0, 0]
    refine(np.zeros((200, 200, 3), np.uint8), [pose(xy)], runtime, use_prior=False)
    assert not told[1].any()


@pytest.mark.parametrize("scale", [4.0, 1.0, 0.3, 0.1])
def test_a_cut_shows_what_its_view_says(scale: float) -> None:
    rng = np.random.default_rng(0)
    image = np.repeat(np.repeat(rng.integers(0, 256, (30, 40, 3), np.uint8), 20, 0), 20, 1)
    view = View(np.array([[scale, 0, -37 * scale], [0, scale, -11 * scale]]))
    shown = warp_crop(image, view, (64, 48))
    y, x = np.mgrid[4:60:7, 4:44:5]
    at = view.inverse(np.stack([x, y], axis=2).reshape(-1, 2))
    for (column, row), place in zip(np.stack([x, y], axis=2).reshape(-1, 2), at, strict=True):
        far = np.abs((place + 0.5) % 20 - 10).max() > 10 - 2 / min(scale, 1)
        if not far:  # from the edges of the squares
            assert shown[row, column] == pytest.approx(
                image[tuple(np.rint(place[::-1]).astype(int))], abs=3
            )
    assert (warp_crop(image, View.scaling(0.01, 0.01), (64, 48))[20:, 20:] == 128).all()


def test_the_estimator_looks_twice_and_so_does_a_film() -> None:
    seen = standing(250, 200, 120)
    nudged = replace(seen, xy=seen.xy + 2)

    def first(images: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        fields = drawn([seen], (images.shape[1] // 8, images.shape[2] // 8))
        return fields.heatmaps[None], fields.limbs.reshape(1, 38, *fields.limbs.shape[2:])

    def second(crops: np.ndarray, found: np.ndarray) -> tuple[np.ndarray]:
        y, x = np.mgrid[:32, :24] * 4 + 1.5
        there = crop_view(once, SIZE).forward(nudged.xy)
        away = [(x - a) ** 2 + (y - b) ** 2 for a, b in there]
        return (np.exp(-np.stack(away)[None] / 32).astype(np.float32),)

    eyes = Backend(ORIGINAL, "first", first)
    person = Backend(
        Description("second", replace(BODY, limbs=()), 4, 8, 128, crop=SIZE), "2", second
    )
    image = np.zeros((368, 496, 3), np.uint8)
    estimate = Estimator(eyes, person=person)
    (once,) = Estimator(eyes)(image)
    (twice,) = estimate(image)
    assert twice.skeleton == once.skeleton  # its limbs are drawn
    assert np.abs(once.xy - nudged.xy).max() > 1.5
    assert np.abs(twice.xy - nudged.xy).max() < 0.5
    ((_, (again,)),) = flow([Frame(image, "film", 0, 0.0)], estimate)
    assert np.array_equal(again.xy, twice.xy)


def test_networks_that_do_not_fit_together_are_refused(tmp_path) -> None:
    image = np.zeros((64, 64, 3), np.uint8)
    eyes = Backend(ORIGINAL, "first", lambda images: (image, image))
    for first, second, text in (
        (eyes, seeing_lights(), "lights and lightweight-openpose know other keypoints"),
        (eyes, eyes, "takes whole pictures"),
        (seeing_lights(), None, "takes crops of one person"),
    ):
        with pytest.raises(BadInput, match=text):
            Estimator(first, person=second)
    with pytest.raises(ValueError, match="takes whole pictures"):
        refine(image, [standing(30, 30, 20)], eyes)
    with pytest.raises(BadInput, match=r"nothing\.onnx does not exist"):
        load(person=tmp_path / "nothing.onnx")


def test_contradictions_and_wrong_files_are_one_line(tmp_path, capsys) -> None:
    model = tmp_path / "person.safetensors"
    save(build("limbwise-person", BODY, 64, width=0.25, channels=16, blocks=1), model)
    for args, text in (
        (["--person-model", str(model), "--no-refine"], "contradict each other"),
        (["--model", str(model)], "takes crops of one person, not pictures"),
        (
            ["--person-model", str(CATALOGUE["one-stage"].first.plain)],
            "takes whole pictures, not crops",
        ),
        (["--person-model", str(tmp_path / "none.onnx")], "none.onnx does not exist"),
    ):
        assert exit_code(["run", str(SAMPLE), *args]) == 2
        said = capsys.readouterr().err
        assert text in " ".join(said.split())
        assert "Traceback" not in said


@settings(max_examples=40, deadline=None)
@given(
    centre=st.tuples(st.floats(12, 18), st.floats(17, 23)),
    cell=st.tuples(st.integers(0, 29), st.integers(0, 39)),
    sigma=st.floats(0.3, 5),
)
def test_a_keypoint_whose_place_is_certain_may_expect_oks_itself(centre, cell, sigma) -> None:
    """OKS falls like a Gaussian with the distance; below a cell it is as wide as what is learnt."""
    heat = light_at(centre)
    expected = expected_oks(heat, np.array([[sigma]]), 1.0)[0, 0, cell[1], cell[0]]
    square = (cell[0] - centre[0]) ** 2 + (cell[1] - centre[1]) ** 2
    assert expected == pytest.approx(np.exp(-square / (2 * max(sigma, 1) ** 2)), abs=0.02)


def test_the_middle_of_many_guesses_beats_the_likeliest_where_oks_is_wide() -> None:
    """Three guesses of 0.3 side by side, one of 0.4 alone."""
    heat = sum(0.3 * light_at((10, y)) for y in (8, 11, 14)) + 0.4 * light_at((22, 30))
    for sigma, place in ((1.0, (22, 30)), (4.0, (10, 11))):
        cells, _ = argmax(expected_oks(heat, np.array([[sigma]]), 1.0))
        assert np.allclose(cells[0, 0], place, atol=0.3)


def light_at(centre: tuple[float, float]) -> np.ndarray:
    """(1, 1, 40, 30), a Gaussian of a sigma of one cell."""
    y, x = np.mgrid[:40, :30]
    away = (x - centre[0]) ** 2 + (y - centre[1]) ** 2
    return np.exp(-away / 2, dtype=np.float32)[None, None]


@pytest.mark.parametrize("lost", [0, 1, 2])
def test_a_crop_is_a_quarter_larger_than_the_pose_and_more_where_less_was_found(lost: int) -> None:
    xy = np.array([[100.0, 100], [160, 140], [130, 300]])
    xy[[1, 2, 0][:lost]] = np.nan
    one = pose(xy)
    left, top, right, bottom = one.box
    extent = max((right - left) / SIZE[1], (bottom - top) / SIZE[0], 0.05)
    view = crop_view(one, SIZE)
    assert view.matrix[0, 0] == pytest.approx(1 / (extent * (1.25 + 0.7 * lost / 3)))


def test_people_are_alike_for_the_area_of_their_keypoints_unless_it_is_told() -> None:
    """0.6 of the box of the keypoints; sigmas are 0.1, half of COCO's constants."""
    xy = np.array([[40.0, 40], [100, 50], [60, 110]])
    for areas, area in ((None, 0.6 * 60 * 70), ([900.0, 900.0], 900.0)):
        far = 0.2 * np.sqrt(-2 * np.log(0.7) * area)
        for share, count in ((0.99, 1), (1.01, 2)):
            both = [pose(xy, 0.9), pose(xy + [share * far, 0], 0.8)]
            assert len(distinct(both, 0.7, areas)) == count
