import json
import math

import numpy as np
import pytest
from PIL import Image

from conftest import REFERENCE, VAL, drawn, needs_reference, needs_val, standing
from limbwise.backends.base import Runtime
from limbwise.backends.openvino import load as openvino
from limbwise.description import ANCESTOR
from limbwise.errors import BadInput
from limbwise.evaluation.evaluate import evaluate
from limbwise.geometry import fit
from limbwise.network_output import Fields
from limbwise.skeleton import BODY, COCO
from limbwise.tta import mirrored, resampled
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
    nobody = Runtime(
        ANCESTOR, "nobody", lambda images: (np.zeros((1, 18, 46, 62)), np.zeros((1, 38, 46, 62)))
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
    runtime = Runtime(ANCESTOR, "perfect", run)
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
    (_, small), (_, large) = fit(image, 184), fit(image, 368)
    place = np.array([[210.0, 120.0]])
    ys, xs = np.mgrid[:46, :66]
    x, y = Fields(np.zeros((1, 1, 1)), np.zeros((1, 2, 1, 1))).cells(large.there(place))[0]
    blob = np.exp(-((xs - x) ** 2 + (ys - y) ** 2) / 8).astype(np.float32)[None]
    moved = resampled(Fields(blob, blob[None].repeat(2, 1)), large, small, (23, 33)).heatmaps[0]
    weight = moved / moved.sum()
    centre = np.array(
        [(weight * np.mgrid[:23, :33][1]).sum(), (weight * np.mgrid[:23, :33][0]).sum()]
    )
    expected = Fields(blob, blob[None]).cells(small.there(place))[0]
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
