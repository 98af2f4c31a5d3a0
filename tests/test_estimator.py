import math
from dataclasses import replace

import numpy as np
import pytest

from conftest import REFERENCE, drawn, needs_reference, standing
from limbwise.backends.base import Backend
from limbwise.decode import DecodeOptions
from limbwise.description import ORIGINAL
from limbwise.errors import BadInput
from limbwise.estimator import SAMPLE, Estimator, load
from limbwise.pose import Pose
from limbwise.skeleton import BODY
from limbwise.sources.image import read_picture


def perfect(people: list[Pose]) -> Backend:
    """A runtime that sees these people, given in input pixels, in every input."""

    def run(images: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        fields = drawn(people, (images.shape[1] // 8, images.shape[2] // 8))
        heatmaps, limbs = fields.heatmaps, fields.limbs.reshape(38, *fields.limbs.shape[2:])
        return np.stack([heatmaps] * len(images)), np.stack([limbs] * len(images))

    return Backend(ORIGINAL, "perfect", run)


def test_poses_come_back_in_the_pixels_of_the_image() -> None:
    seen = standing(250, 200, 60)
    (pose,) = Estimator(perfect([seen]))(np.zeros((736, 1000, 3), np.uint8))  # twice 368
    assert np.abs(pose.xy - ((seen.xy + 0.5) * 2 - 0.5)).max() < 2


def test_images_of_different_sizes_go_through_one_call() -> None:
    estimate = Estimator(perfect([standing(100, 60, 30)]), height=160)
    sizes = [(160, 160), (160, 160), (320, 200)]
    together = estimate.many([np.zeros((*size, 3), np.uint8) for size in sizes])
    assert [len(poses) for poses in together] == [1, 1, 1]
    assert together[2][0].xy[0] == pytest.approx((together[0][0].xy[0] + 0.5) * 2 - 0.5, abs=0.1)


def test_the_list_is_cut_by_score_and_number() -> None:
    people = [standing(100 + 40 * n, 80 + 150 * n, 60) for n in range(3)]
    image = np.zeros((368, 496, 3), np.uint8)
    everybody = Estimator(perfect(people))(image)
    assert len(everybody) == 3
    cut = Estimator(perfect(people), max_people=2)(image)
    assert [pose.score for pose in cut] == [pose.score for pose in everybody[:2]]
    high = Estimator(perfect(people), min_score=everybody[0].score - 1e-6)(image)
    assert len(high) == 1


def test_a_models_own_thresholds_hold_unless_others_are_asked_for() -> None:
    everything = perfect([standing(250, 200, 60)])
    strict = replace(everything, description=replace(ORIGINAL, decoding={"threshold": 2.0}))
    image = np.zeros((368, 496, 3), np.uint8)
    assert len(Estimator(everything)(image)) == 1
    assert Estimator(strict)(image) == Estimator(strict, flip=True)(image) == []
    assert len(Estimator(strict, decoding=DecodeOptions(threshold=0.1))(image)) == 1
    flipped = Estimator(strict, flip=True, decoding=DecodeOptions(threshold=0.1))
    assert flipped(image)


@pytest.mark.parametrize(
    "image",
    [
        np.zeros((10, 10, 2), np.uint8),
        np.zeros((10, 10, 3), np.float32),
        np.zeros((0, 10, 3), np.uint8),
        np.zeros((10, 0, 3), np.uint8),
    ],
)
def test_what_is_no_image_is_refused(image) -> None:
    with pytest.raises(ValueError, match="uint8 BGR array, not"):
        Estimator(perfect([standing(100, 60, 30)]))(image)


@pytest.mark.parametrize("size", [(1, 1), (50, 20000), (20000, 50), (3, 4)])
def test_strange_sizes_give_poses_in_their_pixels(size: tuple[int, int]) -> None:
    for pose in Estimator(perfect([standing(250, 200, 60)]))(np.zeros((*size, 3), np.uint8)):
        assert pose.skeleton is BODY


def test_a_height_below_one_cell_is_refused() -> None:
    with pytest.raises(BadInput, match="too small"):
        Estimator(perfect([standing(100, 60, 30)]), height=4)


@needs_reference
def test_two_people_are_found_and_a_mirrored_picture_gives_mirrored_poses(picture) -> None:
    estimate = load(REFERENCE / "human-pose-estimation-0001.onnx", precision="f32", min_score=0.15)
    plain, turned = estimate(picture), estimate(np.ascontiguousarray(picture[:, ::-1]))
    assert len(plain) == len(turned) == 2
    plain, turned = (sorted(some, key=lambda p: p["nose"][0]) for some in (plain, turned[:]))
    width = picture.shape[1]
    for pose, twin in zip(plain, turned[::-1], strict=True):
        back = replace(twin, xy=((twin.xy * (-1, 1) + (width - 1, 0))[list(BODY.mirror)]))
        for name in ("nose", "left_eye", "right_eye"):
            assert np.abs(back[name] - pose[name]).max() < 12  # of 890 pixels
    left, right = plain
    assert 150 < left["nose"][0] < 300
    assert 600 < right["nose"][0] < 800


def test_an_option_that_there_is_not_is_named_with_the_nearest() -> None:
    with pytest.raises(TypeError, match=r"load has no option hieght: did you mean height\?"):
        load("one-stage", hieght=256)  # type: ignore[call-arg]


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"device": "banana"}, "device banana is for the torch runtime"),
        ({"device": "cuda", "runtime": "onnx"}, "onnx computes on the CPU"),
        ({"device": "banana", "runtime": "torch"}, "device banana is not here: choose cpu"),
        ({"threads": 0}, "threads is 0, not a whole number from 1 to 1024"),
        ({"threads": "two"}, "threads is two"),
        ({"height": 0}, "height is 0, not a whole number from 1 to 4096"),
        ({"height": 10**30}, "height is 10000"),
        ({"height": 256.0}, "height is 256.0"),
        ({"min_score": 7}, "min_score is 7, not a number from 0 to 1"),
        ({"min_score": math.nan}, "min_score is nan"),
        ({"min_box": -0.1}, "min_box is -0.1"),
        ({"max_people": 0}, "max_people is 0"),
        ({"scales": ()}, "the number of scales is 0"),
        ({"scales": (1, math.inf)}, "scale 2 is inf, not a number from 0.1 to 8"),
    ],
)
def test_what_cannot_be_meant_is_told_by_python_at_once(options: dict, told: str) -> None:
    with pytest.raises(BadInput) as error:
        load("one-stage", **options)
    assert told in str(error.value)
    assert "\n" not in str(error.value)


def test_numbers_of_numpy_are_numbers() -> None:
    estimate = Estimator(
        perfect([standing(100, 60, 30)]), height=np.int64(128), min_score=np.float32(0)
    )
    assert len(estimate(np.zeros((128, 192, 3), np.uint8))) == 1


def test_many_takes_what_can_be_gone_through_once() -> None:
    estimate = Estimator(perfect([standing(100, 60, 30)]))
    assert len(estimate.many(np.zeros((128, 192, 3), np.uint8) for _ in range(3))) == 3


def test_flip_and_scales_are_the_same_in_python_and_in_evaluation() -> None:
    sample = read_picture(SAMPLE)
    plain = load("one-stage", precision="f32")
    both = load("one-stage", precision="f32", flip=True, scales=(1.0, 1.25))
    assert plain.infer(sample)[0].heatmaps.shape == both.infer(sample)[0].heatmaps.shape
    fields, view = both.infer(sample)
    people = both.decode(fields, view, sample)
    assert [pose.score for pose in both(sample)] == [pose.score for pose in people]
    assert [pose.score for pose in both(sample)] != [pose.score for pose in plain(sample)]


def test_a_detector_has_no_use_for_scales() -> None:
    with pytest.raises(BadInput, match="no use for scales"):
        load("accurate", precision="f32", scales=(1.0, 2.0))
