"""The models in the package find people, in every form they come in."""

import json
import pickle
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from conftest import VAL, needs_val
from limbwise.backends.openvino import capabilities
from limbwise.estimator import MIN_SCORE, Estimator, load
from limbwise.models.catalogue import CATALOGUE, MODELS
from limbwise.pose import Pose, oks
from limbwise.skeleton import BODY
from limbwise.sources.image import read_picture
from limbwise.train.start import TRAINED, begin

NAMES = list(CATALOGUE)
HEIGHTS = {"one-stage": 160}  # the sample's people fill it
FORMS = [("openvino", "f32"), ("openvino", "bf16"), ("openvino", "int8"), ("onnx", "f32"),
         ("torch", "f32")]  # fmt: skip


def middle(pose: Pose) -> float:
    return float(np.nanmean(pose.xy[:, 0]))


@pytest.fixture(scope="module")
def truth(picture: np.ndarray) -> dict[str, list[Pose]]:
    return {
        name: load(name, precision="f32", height=HEIGHTS.get(name))(picture)[:2] for name in NAMES
    }


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(("runtime", "precision"), FORMS)
def test_the_two_people_of_the_sample_are_found_alike(name, runtime, precision, truth, picture):
    if precision == "int8" and not CATALOGUE[name].in_int8:
        pytest.skip("int8 took too much of this model's AP to be in the package")
    found = load(name, runtime=runtime, precision=precision, height=HEIGHTS.get(name))(picture)
    two = sorted(map(middle, truth[name]))
    assert two[0] < picture.shape[1] / 2 < two[1]
    for pose in truth[name]:
        assert pose.skeleton.keypoints == BODY.keypoints
        assert pose.found.sum() >= 9
        left, top, right, bottom = pose.box
        assert max(oks(pose, found[:2], (right - left) * (bottom - top) / 2)) > 0.8


@pytest.mark.parametrize("name", ["accurate", "fast"])
def test_a_portrait_has_its_shoulders_under_its_face_at_the_default_size(name, truth, picture):
    """Two women to the waist: shoulders on both sides of the neck, below eyes and nose."""
    for pose in truth[name]:
        for part in ("nose", "neck", "left_shoulder", "right_shoulder", "left_eye", "right_eye"):
            assert np.isfinite(pose[part]).all(), part
        assert pose["right_shoulder"][0] < pose["neck"][0] < pose["left_shoulder"][0]
        assert pose["nose"][1] < min(pose["left_shoulder"][1], pose["right_shoulder"][1])
        middle = (pose["left_shoulder"] + pose["right_shoulder"]) / 2
        assert pose["neck"] == pytest.approx(middle, abs=0.01)
        height, width = picture.shape[:2]
        assert (pose.xy[pose.found] >= -0.5).all()
        assert (pose.xy[pose.found] <= [width - 0.5, height - 0.5]).all()


def test_the_accurate_pair_is_what_is_loaded_and_one_stage_does_without() -> None:
    pair, alone = load(precision="f32"), load(person=False, precision="f32")
    assert pair.runtime.description.boxes
    assert pair.person is not None
    assert pair.person.description.crop == (256, 192)
    assert alone.person is None
    assert alone.runtime.description.skeleton.limbs
    assert pair.min_score == alone.min_score == MIN_SCORE


def test_its_files_are_small_enough_for_every_wheel() -> None:
    sizes = {path.name: path.stat().st_size for path in MODELS.iterdir()}
    assert max(sizes.values()) < 10e6
    assert sum(sizes.values()) < 28e6  # 25 MB in a wheel, which compresses them a little


def test_what_was_measured_of_them_is_there() -> None:
    known = json.loads((MODELS / "models.json").read_text())
    assert set(known) == set(NAMES)
    for name in NAMES:
        assert CATALOGUE[name].figures == known[name]
        assert set(known[name]) >= {"AP", "GMACs", "parameters"}
    assert known["accurate"]["AP"] > known["fast"]["AP"] > known["one-stage"]["AP"]


def test_training_goes_on_from_each_of_them() -> None:
    crops = {"limbwise": None, "lite-hrnet": (256, 192), "limbwise-detector": None}
    for network, crop in crops.items():
        made = begin(network, "bundled", TRAINED, None, {})
        assert (made.description.name, made.description.crop) == (network, crop)
    assert begin("limbwise", "bundled", TRAINED, 64, {}).description.skeleton == TRAINED


def test_keypoints_that_a_bundled_network_knows_keep_their_weights() -> None:
    old = begin("lite-hrnet", "bundled", replace_names(TRAINED), None, {}).network.last
    kept = begin("lite-hrnet", "bundled", TRAINED, None, {}).network.last
    nose, neck = (TRAINED.keypoints.index(name) for name in ("nose", "neck"))
    assert kept.weight[nose].abs().max() > 0
    assert kept.weight[neck].abs().max() == 0
    assert old.weight.shape[0] == len(TRAINED.keypoints)
    assert not np.array_equal(old.weight.detach().numpy(), kept.weight.detach().numpy())


def replace_names(skeleton):
    """The same with other names, which no network knows."""
    from limbwise.skeleton import Skeleton

    names = tuple(f"{name}_of_a_kite" for name in skeleton.keypoints)
    limbs = tuple((f"{a}_of_a_kite", f"{b}_of_a_kite") for a, b in skeleton.limbs)
    return Skeleton(names, limbs, skeleton.sigmas)


def alike(found: list[Pose], wanted: list[Pose]) -> bool:
    return len(found) == len(wanted) and all(
        np.array_equal(a.xy, b.xy, equal_nan=True) and a.score == b.score
        for a, b in zip(found, wanted, strict=True)
    )


@pytest.mark.parametrize("runtime", ["openvino", "onnx", "torch"])
def test_any_number_of_threads_get_the_answers_of_one(runtime, picture) -> None:
    """People of one picture are never those of another, and nothing raises."""
    estimate = load("fast", runtime=runtime, precision="f32", threads=1)
    pictures = [picture, np.ascontiguousarray(picture[:, ::-1]), picture[:, :445], picture[:, 445:],
                picture[::2, ::2], np.zeros((120, 160, 3), np.uint8)]  # fmt: skip
    wanted = [estimate(each) for each in pictures]
    assert len(wanted[0]) == 2
    assert wanted[-1] == []
    with ThreadPoolExecutor(8) as pool:
        jobs = [(n, pool.submit(estimate, each)) for n, each in enumerate(pictures * 5)]
        assert all(alike(job.result(), wanted[n % len(pictures)]) for n, job in jobs)


def test_an_estimator_is_pickled_by_what_it_was_loaded_with(picture) -> None:
    estimate = load("fast", precision="f32", threads=1, height=256, max_people=1)
    again = pickle.loads(pickle.dumps(estimate))
    assert alike(again(picture), estimate(picture))
    assert (again.height, again.max_people, len(again(picture))) == (256, 1, 1)
    with pytest.raises(TypeError, match="only an estimator that limbwise.load made"):
        pickle.dumps(Estimator(estimate.runtime, person=estimate.person))


@needs_val
@pytest.mark.skipif("BF16" not in capabilities(), reason="there is no bf16 here")
def test_bf16_finds_the_same_people() -> None:
    image = read_picture(VAL / "images" / "000000001000.jpg")
    exact, quick = (load("fast", precision=how)(image)[0] for how in ("f32", "bf16"))
    left, top, right, bottom = exact.box
    assert oks(exact, [quick], 0.5 * (right - left) * (bottom - top))[0] > 0.9
