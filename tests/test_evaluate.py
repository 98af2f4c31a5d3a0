import json
import math
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from conftest import REFERENCE, VAL, drawn, needs_reference, needs_val, standing
from limbwise.backends.base import Backend
from limbwise.backends.openvino import load as openvino
from limbwise.crops import box_view, crop_view
from limbwise.data.coco_file import read_coco
from limbwise.description import ORIGINAL, Description
from limbwise.errors import BadInput
from limbwise.estimator import Estimator
from limbwise.evaluation.evaluate import as_pose, evaluate, layout_of
from limbwise.geometry import letterbox
from limbwise.network_output import NetworkOutput
from limbwise.skeleton import BODY, COCO, Skeleton
from limbwise.tta import mean, mirrored, resampled
from test_estimator import perfect


@pytest.fixture
def labelled(tmp_path):
    """Two pictures of 368 x 496 pixels, each labelled with the two people that `perfect` sees."""
    people = [standing(250, 120, 60), standing(180, 330, 60)]
    annotations = []
    for image_id in (1, 2):
        Image.new("RGB", (496, 368)).save(tmp_path / f"{image_id}.png")
        for pose in people:
            body = pose.as_skeleton(COCO)
            left, top, right, bottom = body.box
            box = [left, top, right - left, bottom - top]
            keypoints = np.c_[body.xy + 0.5, np.full(17, 2)].ravel().tolist()  # from the corner
            annotations.append(
                {"id": len(annotations) + 1, "image_id": image_id, "category_id": 1, "bbox": box,
                 "area": box[2] * box[3], "iscrowd": 0, "num_keypoints": 17,
                 "keypoints": keypoints}
            )  # fmt: skip
    labels = {
        "images": [{"id": n, "file_name": f"{n}.png"} for n in (1, 2)],
        "annotations": annotations,
        "categories": [{"id": 1, "name": "person", "keypoints": list(COCO.keypoints)}],
    }
    (tmp_path / "labels.json").write_text(json.dumps(labels))
    return tmp_path, people


def test_perfect_fields_score_one(labelled) -> None:
    folder, people = labelled
    found, detections = evaluate(perfect(people), folder / "labels.json", folder)
    assert list(found) == ["AP", "AP50", "AP75", "APM", "APL", "AR", "images", "seconds"]
    assert found["AP"] == found["AR"] == 1
    assert found["images"] == 2
    assert len(detections) == 4


def test_a_missing_person_costs_recall_and_nobody_scores_zero(labelled) -> None:
    folder, people = labelled
    found, _ = evaluate(perfect(people[:1]), folder / "labels.json", folder)
    assert found["AR"] == 0.5
    nobody = Backend(
        ORIGINAL, "nobody", lambda images: (np.zeros((1, 18, 46, 62)), np.zeros((1, 38, 46, 62)))
    )
    found, _ = evaluate(nobody, folder / "labels.json", folder)
    assert found["AP"] == found["AR"] == 0


def test_flip_and_scales_agree_with_one_pass_where_the_network_is_perfect(labelled) -> None:
    folder, people = labelled

    def run(images: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Sees the people at the scale of its input, and mirrored where pixel (0, 0) is dark."""
        rows, columns = images.shape[1:3]
        scale = rows / 368
        seen = [pose.moved(lambda xy: (xy + 0.5) * scale - 0.5) for pose in people]
        if images[0, 0, 0, 0] == 0:
            seen = [
                pose.moved(lambda xy: (xy * (-1, 1) + (columns - 1, 0))[list(BODY.mirror)])
                for pose in seen
            ]
        fields = drawn(seen, (rows // 8, columns // 8), sigma=7 * scale)
        return fields.heatmaps[None], fields.limbs.reshape(1, 38, *fields.limbs.shape[2:])

    for number in (1, 2):
        picture = Image.new("RGB", (496, 368))
        picture.paste((255, 255, 255), (0, 0, 248, 368))
        picture.save(folder / f"{number}.png")
    runtime = Backend(ORIGINAL, "perfect", run)
    for how in ({"flip": True}, {"scales": [0.5, 1, 1.5]}, {"flip": True, "scales": [1, 2]}):
        found, _ = evaluate(runtime, folder / "labels.json", folder, **how)
        assert found["AP"] > 0.95, how


def test_fields_of_a_mirrored_picture_are_turned_back() -> None:
    people = [standing(250, 120, 60), standing(180, 330, 60)]
    turned = [
        pose.moved(lambda xy: (xy * (-1, 1) + (495, 0))[list(BODY.mirror)]) for pose in people
    ]
    back = mirrored(drawn(turned, (46, 62)), BODY)
    plain = drawn(people, (46, 62))
    assert np.abs(back.heatmaps - plain.heatmaps).max() < 1e-4
    assert np.abs(back.limbs - plain.limbs).max() < 1e-2


def test_resampling_moves_a_peak_to_where_the_other_view_has_it() -> None:
    image = np.zeros((300, 430, 3), np.uint8)
    (_, small), (_, large) = letterbox(image, 184), letterbox(image, 368)
    place = np.array([[210.0, 120.0]])
    ys, xs = np.mgrid[:46, :66]
    x, y = NetworkOutput(np.zeros((1, 1, 1)), np.zeros((1, 2, 1, 1))).cells(large.forward(place))[0]
    blob = np.exp(-((xs - x) ** 2 + (ys - y) ** 2) / 8).astype(np.float32)[None]
    moved = resampled(
        NetworkOutput(blob, blob[None].repeat(2, 1)), large, small, (23, 33)
    ).heatmaps[0]
    weight = moved / moved.sum()
    centre = np.array(
        [(weight * np.mgrid[:23, :33][1]).sum(), (weight * np.mgrid[:23, :33][0]).sum()]
    )
    expected = NetworkOutput(blob, blob[None]).cells(small.forward(place))[0]
    assert centre == pytest.approx(expected, abs=0.05)


def test_limit_takes_the_first_pictures(labelled) -> None:
    folder, people = labelled
    (folder / "2.png").unlink()
    found, _ = evaluate(perfect(people), folder / "labels.json", folder, limit=1)
    assert found["images"] == 1
    with pytest.raises(BadInput, match=r"2\.png"):
        evaluate(perfect(people), folder / "labels.json", folder)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda labels: labels.pop("annotations"), "no list 'annotations'"),
        (lambda labels: labels["annotations"][1].pop("keypoints"), "has no keypoints"),
        (lambda labels: labels["annotations"][1].pop("bbox"), "2 of picture 1 has no bbox"),
        (lambda labels: labels["annotations"][1].update(area=math.nan), "has no area"),
        (lambda labels: labels["annotations"][1].update(area=1e30), "has no area"),
        (lambda labels: labels["annotations"][1]["keypoints"].__setitem__(2, 7), "v other than"),
        (lambda labels: labels["images"][0].pop("file_name"), "has no id or no file_name"),
        (lambda labels: labels["images"][0].update(id=[1]), "has no id or no file_name"),
        (lambda labels: labels["images"][0].update(id=2), "has the id of another picture"),
        (lambda labels: labels["images"].clear(), "no pictures"),
        (lambda labels: labels["categories"][0].pop("keypoints"), "with 'keypoints'"),
        (lambda labels: labels["categories"].clear(), "no category"),
    ],
)  # fmt: skip
def test_what_cannot_be_evaluated_in_a_label_file_is_named(change, message, labelled) -> None:
    folder, people = labelled
    labels = json.loads((folder / "labels.json").read_text())
    change(labels)
    (folder / "labels.json").write_text(json.dumps(labels))
    with pytest.raises(BadInput, match=message):
        evaluate(perfect(people), folder / "labels.json", folder)


def test_a_label_file_of_other_keypoints_is_named(labelled) -> None:
    folder, people = labelled
    text = (folder / "labels.json").read_text().replace("left_wrist", "tail")
    (folder / "labels.json").write_text(text)
    with pytest.raises(BadInput, match="lacks: tail"):
        evaluate(perfect(people), folder / "labels.json", folder)


@needs_reference
@needs_val
def test_the_reference_scores_far_above_chance_on_real_pictures() -> None:
    """The exact figures, on all pictures, are benchmarks/accuracy.py's."""
    runtime = openvino(REFERENCE / "human-pose-estimation-0001.onnx", precision="f32")
    found, _ = evaluate(runtime, VAL / "annotations.json", VAL / "images", height=256, limit=25)
    assert found["AP"] > 0.25


CROP = 128, 96
SECOND = Skeleton(COCO.keypoints, (), COCO.sigmas)


def seeing_crops(people, views, calls: list, prior: bool, height: float = 1.0) -> Backend:
    """A second stage that sees each of the people in a crop of its own, the same of any picture, in
    maps of this `height`."""

    def run(crops: np.ndarray, *found: np.ndarray) -> tuple[np.ndarray]:
        calls.append((len(crops), *found))
        y, x = np.mgrid[:32, :24] * 4 + 1.5
        maps = []
        for pose, view in zip(people, views, strict=True):
            there = view.forward(pose.as_skeleton(COCO).xy)
            maps.append([height * np.exp(-((x - a) ** 2 + (y - b) ** 2) / 32) for a, b in there])
        return (np.array(maps, np.float32),)

    its = Description("second", SECOND, 4, 8, CROP[0], crop=CROP, prior=prior)
    return Backend(its, "second", run)


def assert_exact(detections: list[dict], labels: dict, score: float) -> None:
    """Each labelled person is found where the labels have each keypoint, to a fifth of a pixel."""
    assert len(detections) == len(labels["annotations"])
    for found, entry in zip(detections, labels["annotations"], strict=True):
        assert found["image_id"] == entry["image_id"]
        wrong = np.subtract(found["keypoints"], entry["keypoints"]).reshape(-1, 3)[:, :2]
        assert np.abs(wrong).max() < 0.2
        assert found["score"] == pytest.approx(score, abs=0.1)


def test_labels_say_where_people_are_and_nothing_of_their_keypoints(labelled) -> None:
    """Else a network that is told prior keypoints had only to repeat them."""
    folder, people = labelled
    labels = json.loads((folder / "labels.json").read_text())
    views = [crop_view(pose.as_skeleton(COCO), CROP) for pose in people]
    calls: list = []
    second = seeing_crops(people, views, calls, prior=True, height=0.6)
    found, detections = evaluate(second, folder / "labels.json", folder)
    assert found["AP"] == 1
    assert [call[0] for call in calls] == [2, 2]
    assert not any(told.any() for _, told in calls)
    assert_exact(detections, labels, 0.55)  # the mean confidence


def test_a_second_stage_alone_is_given_the_labelled_boxes(labelled) -> None:
    """COCO's boxes count from the corner of the first pixel; of those without keypoints none."""
    folder, people = labelled
    labels = json.loads((folder / "labels.json").read_text())
    unseen = labels["annotations"][0] | {
        "id": 99, "keypoints": [0] * 51, "num_keypoints": 0, "bbox": [0, 0, 400, 300],
    }  # fmt: skip
    for entry in labels["annotations"]:
        entry["bbox"] = [entry["bbox"][0] + 0.5, entry["bbox"][1] + 0.5, *entry["bbox"][2:]]
    labels["annotations"].append(unseen)
    (folder / "labels.json").write_text(json.dumps(labels))
    views = [box_view(np.array(pose.as_skeleton(COCO).box), CROP) for pose in people]
    calls: list = []
    second = seeing_crops(people, views, calls, prior=False)
    _, detections = evaluate(second, folder / "labels.json", folder)
    assert calls == [(2,), (2,)]
    labels["annotations"].pop()
    assert_exact(detections, labels, 0.9)
    _, mirrored_too = evaluate(second, folder / "labels.json", folder, flip=True)
    assert len(calls) == 6  # each crop and its mirror image
    assert_exact(mirrored_too, labels, 0.9)  # who stands straight is their own mirror image


def test_a_detector_is_asked_for_everybody_down_to_a_score_of_a_twentieth(labelled) -> None:
    folder, people = labelled
    boxes = [[*pose.as_skeleton(COCO).box, sure] for pose, sure in
             zip(people, (0.051, 0.049), strict=True)]  # fmt: skip
    seen = []

    def look(images: np.ndarray) -> tuple[np.ndarray]:
        seen.append(images.shape)
        return (np.array([boxes], np.float32),)

    first = Backend(Description("boxes", Skeleton((), (), ()), boxes=True), "first", look)
    calls: list = []
    views = [box_view(np.array(box), CROP) for box in boxes]
    second = seeing_crops(people[:1], views[:1], calls, prior=False)
    _, detections = evaluate(first, folder / "labels.json", folder, person=second, height=368)
    assert calls == [(1,), (1,)]
    assert [each["score"] for each in detections] == pytest.approx([0.05] * 2, abs=0.01)
    assert seen == [(1, 368, 496, 3)] * 2
    two = seeing_crops(people, views, calls, prior=False)
    evaluate(first, folder / "labels.json", folder, person=two, height=368, min_box=0.04)
    assert calls[2:] == [(2,), (2,)]


def test_with_a_second_stage_everybody_found_is_looked_at_again(labelled) -> None:
    folder, people = labelled
    calls: list = []
    labels = json.loads((folder / "labels.json").read_text())
    # They are found as they are, the larger one first.
    (one, other) = Estimator(perfect(people))(np.zeros((368, 496, 3), np.uint8))
    views = [crop_view(pose, CROP) for pose in (one, other)]
    eyes = replace(perfect(people), description=replace(ORIGINAL, skeleton=BODY))
    second = seeing_crops(people, views, calls, prior=True)
    body = replace(second, run=lambda crops, found: (_with_neck(second.run(crops, found)[0]),))
    body = replace(body, description=replace(body.description, skeleton=replace(BODY, limbs=())))
    found, detections = evaluate(eyes, folder / "labels.json", folder, person=body)
    assert [call[0] for call in calls] == [2, 2]
    assert calls[0][1].any()  # what the first stage found is told
    assert found["AP"] == 1
    assert len(detections) == len(labels["annotations"])
    with pytest.raises(BadInput, match="takes whole pictures"):
        evaluate(eyes, folder / "labels.json", folder, person=eyes)


def _with_neck(maps: np.ndarray) -> np.ndarray:
    order = [COCO.index.get(name, 0) for name in BODY.keypoints]
    return np.ascontiguousarray(maps[:, order])


def test_the_ap_of_the_first_pictures_is_theirs_alone(labelled) -> None:
    """Whoever is on the others is neither missed nor wrong."""
    folder, people = labelled
    found, detections = evaluate(perfect(people), folder / "labels.json", folder, limit=1)
    assert found["AP"] == found["AR"] == 1
    assert {each["image_id"] for each in detections} == {1}
    assert 0 <= found["seconds"] < 60


def test_the_metrics_are_cocos_by_size_and_by_strictness(labelled) -> None:
    """A person 40 pixels away from where they are is found by nobody's standards; one a little off
    by the looser ones. The first is large, the second of medium size by what the labels say."""
    folder, people = labelled
    labels = json.loads((folder / "labels.json").read_text())
    for entry in labels["annotations"]:
        entry["area"] = 20000 if entry["id"] % 2 else 5000
    (folder / "labels.json").write_text(json.dumps(labels))
    off = people[1].moved(lambda xy: xy + 6)
    found, _ = evaluate(perfect([people[0], off]), folder / "labels.json", folder)
    assert found["APL"] == 1
    assert found["APM"] < 0.7
    assert found["AP75"] < found["AP50"] == 1
    assert found["APM"] < found["AP"] < found["APL"]
    assert found["AR"] == pytest.approx((1 + found["APM"]) / 2, abs=0.06)


def test_how_far_off_is_too_far_is_said_by_the_skeleton(labelled) -> None:
    folder, people = labelled
    eyes = perfect([pose.moved(lambda xy: xy + 12) for pose in people])
    for times, low, high in ((0.2, 0, 0.1), (5, 0.9, 1)):
        wide = replace(BODY, sigmas=tuple(times * sigma for sigma in BODY.sigmas))
        judged = replace(eyes, description=replace(ORIGINAL, skeleton=wide))
        found, _ = evaluate(judged, folder / "labels.json", folder)
        assert low <= found["AP"] <= high


def test_what_is_judged_are_the_keypoints_of_the_labels_with_the_models_sigmas(labelled) -> None:
    labels = json.loads((labelled[0] / "labels.json").read_text())
    labels["categories"][0]["keypoints"] = ["left_knee", "neck", "nose"]
    (labelled[0] / "labels.json").write_text(json.dumps(labels))
    file = read_coco(labelled[0] / "labels.json")
    own = Skeleton(("nose", "left_knee", "neck"), (), (0.1, 0.2, 0.3))
    assert layout_of(file, own) == Skeleton(("left_knee", "neck", "nose"), (), (0.2, 0.3, 0.1))
    expected = tuple(BODY.sigmas[BODY.index[name]] for name in ("left_knee", "neck", "nose"))
    assert layout_of(file, COCO).sigmas == expected  # whose poses have a neck, too
    with pytest.raises(BadInput, match="lacks: neck"):
        layout_of(file, replace(own, keypoints=("nose", "left_knee", "tail")))


def test_a_person_of_a_results_file_is_one_in_limbwises_pixels() -> None:
    pose = as_pose([10.5, 20.5, 2, 0, 0, 0, 30.5, 40.5, 0.25], Skeleton(tuple("abc"), (), (1,) * 3))
    assert pose.xy[[0, 2]].tolist() == [[10, 20], [30, 40]]
    assert np.isnan(pose.xy[1]).all()
    assert pose.confidence.tolist() == [1, 0, 0.25]
    assert pose.score == 1
    with pytest.raises(ValueError, match="reshape"):
        as_pose([1, 2], COCO)


def test_the_mean_of_fields_is_that_of_each_cell() -> None:
    one, other = (drawn([standing(250, x, 60)], (46, 62)) for x in (120, 330))
    both = mean([one, other])
    assert np.allclose(both.heatmaps, (one.heatmaps + other.heatmaps) / 2)
    assert np.allclose(both.limbs, (one.limbs + other.limbs) / 2)
    assert both.stride == 8


def looking(seen: list) -> Backend:
    """Finds nobody; notes each input's size and whether its left is bright."""

    def look(images: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        seen.append((images.shape[1:3], bool(images[0, 0, 0, 0] > 128)))
        cells = images.shape[1] // 8, images.shape[2] // 8
        return np.zeros((1, 18, *cells), np.float32), np.zeros((1, 38, *cells), np.float32)

    return Backend(ORIGINAL, "eyes", look)


def test_scales_see_the_picture_at_these_heights_and_flip_its_mirror_image(labelled) -> None:
    picture = np.zeros((200, 300, 3), np.uint8)
    picture[:, :150] = 255
    asked = {"height": 96, "flip": True, "scales": (0.5, 1, 2)}
    seen: list = []
    assert Estimator(looking(seen), **asked)(picture) == []
    sizes = [(48, 72), (96, 144), (192, 288)]
    expected = [(size, bright) for size in sizes for bright in (True, False)]
    assert seen == expected
    folder, _ = labelled
    for number in (1, 2):
        Image.fromarray(picture).save(folder / f"{number}.png")
    seen.clear()
    evaluate(looking(seen), folder / "labels.json", folder, **asked)
    assert seen == 2 * expected
