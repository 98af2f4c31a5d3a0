"""A network that finds people as boxes: what it is made of, where its boxes lie, how it travels."""

import importlib.util
import json
from dataclasses import replace
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import torch

from conftest import REFERENCE, VAL
from limbwise.backends import onnxruntime, openvino, pytorch
from limbwise.backends.base import Backend
from limbwise.description import Description
from limbwise.errors import BadInput
from limbwise.estimator import Estimator
from limbwise.evaluation.boxes import evaluate_boxes
from limbwise.export.onnx import export
from limbwise.geometry import letterbox
from limbwise.networks.checkpoint import Checkpoint, build, load, save
from limbwise.networks.detector import STRIDES, decoded
from limbwise.skeleton import BODY, Skeleton
from limbwise.sources.image import read_picture

PUBLISHED = REFERENCE / "teachers" / "rtmdet-nano-320-person.onnx"
NOBODY = Skeleton((), (), ())
SMALL = {"width": 0.125, "depth": 0.2, "channels": 16}

needs_published = pytest.mark.skipif(
    not (PUBLISHED.is_file() and VAL.is_dir()), reason="the published detector is not here"
)


def script(name: str) -> ModuleType:
    path = Path(__file__).parents[1] / "scripts" / f"{name}.py"
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def small(**options) -> Checkpoint:
    """A little detector that is sure of people here and there, and sees what it is shown: as it
    begins, hardly anything of a picture arrives at its end."""
    torch.manual_seed(0)
    made = build("limbwise-detector", NOBODY, **(SMALL | options))
    for module in made.network.modules():
        if isinstance(module, torch.nn.Conv2d):
            torch.nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
    for head in made.network.heads:
        torch.nn.init.normal_(head.score.bias, 0.0, 0.1)
        torch.nn.init.normal_(head.edges.weight, std=0.1)
    made.network.eval()
    return made


@pytest.fixture(scope="module")
def file(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("detector") / "small.safetensors"
    save(small(), path)
    return path


@pytest.fixture
def sample(picture) -> np.ndarray:
    return letterbox(picture, 96, 32, to="side")[0][None]


def published_boxes(inputs: np.ndarray) -> np.ndarray:
    """(2100, 5) of a 320 x 320 input, of the published graph: cell m measures from m * stride in
    pixels counted from the corner."""
    import onnxruntime

    session = onnxruntime.InferenceSession(str(PUBLISHED))
    mean = np.array((103.53, 116.28, 123.675), np.float32)
    scale = 1 / np.array((57.375, 57.12, 58.395), np.float32)
    planes = ((inputs - mean) * scale).transpose(0, 3, 1, 2)
    levels = []
    for maps, stride in zip(session.run(None, {"images": planes}), STRIDES, strict=True):
        score, left, top, right, bottom = maps[0].transpose(2, 0, 1)
        y, x = np.mgrid[: score.shape[0], : score.shape[1]] * stride
        sides = x - left, y - top, x + right, y + bottom
        levels.append(np.stack([*sides, 1 / (1 + np.exp(-score))], axis=-1).reshape(-1, 5))
    return np.concatenate(levels) - (0.5, 0.5, 0.5, 0.5, 0)


@needs_published
def test_with_published_weights_it_says_what_the_published_graph_says(tmp_path) -> None:
    save(script("detector_from_published").converted(PUBLISHED), tmp_path / "a.safetensors")
    ours = pytorch.load(tmp_path / "a.safetensors")
    for path in sorted((VAL / "images").glob("*.jpg"))[:4]:
        inputs = letterbox(read_picture(path), 320, 32, to="side")[0][None]
        below, right = (320 - side for side in inputs.shape[1:3])
        inputs = np.pad(inputs, ((0, 0), (0, below), (0, right), (0, 0)), constant_values=114)
        boxes, truth = ours(inputs)[0].boxes, published_boxes(inputs)
        assert np.abs(boxes - truth)[:, 4].max() < 1e-3
        sure = truth[:, 4] > 0.05
        assert sure.any()
        # Nearer than 0.01 pixels float32 does not compute the published graph itself.
        assert np.abs(boxes - truth)[sure].max() < 0.01


def test_another_networks_file_is_refused(tmp_path) -> None:
    convert = script("detector_from_published")
    save(small(norm=False), tmp_path / "a.safetensors")
    export(tmp_path / "a.safetensors", tmp_path / "a.onnx")
    with pytest.raises(BadInput, match="convolution|weights"):
        convert.converted(tmp_path / "a.onnx")
    (tmp_path / "b.onnx").write_bytes(b"no")
    with pytest.raises(BadInput, match="not an ONNX file"):
        convert.converted(tmp_path / "b.onnx")


def test_a_cell_measures_from_its_upper_left_corner() -> None:
    """Cell (row 2, column 3) of stride 16, nothing to the left and top and 10 and 20 pixels to the
    right and bottom: its box begins at its first pixel's corner, 48 and 32 pixels in."""
    maps = [torch.full((1, 5, 64 // stride, 96 // stride), 0.0) for stride in STRIDES]
    maps[1][0, :, 2, 3] = torch.tensor([5, 0, 0, 10, 20])
    boxes = decoded(maps, STRIDES)
    assert boxes.shape == (1, 8 * 12 + 4 * 6 + 2 * 3, 5)
    best = boxes[0, boxes[0, :, 4].argmax()]
    assert best.tolist() == pytest.approx([47.5, 31.5, 57.5, 51.5, 1 / (1 + np.exp(-5))])


@pytest.mark.parametrize("norm", [True, False])
def test_training_gives_the_maps_that_the_boxes_are_read_from(norm) -> None:
    made = small(norm=norm)
    x = torch.randn(2, 3, 64, 96)
    maps = made.network.train()(x)
    assert [tuple(each.shape) for each in maps] == [(2, 5, 64 // s, 96 // s) for s in STRIDES]
    (boxes,) = made.network.eval()(x)
    assert boxes.shape == (2, sum(64 * 96 // s**2 for s in STRIDES), 5)
    if not norm:
        assert torch.allclose(boxes, decoded(maps, STRIDES))


def test_a_detector_is_saved_and_loaded_with_no_skeleton(file) -> None:
    made, back = small(), load(file)
    assert back.description == made.description
    assert (back.description.boxes, back.description.skeleton) == (True, NOBODY)
    x = torch.randn(1, 3, 64, 32)
    with torch.no_grad():
        assert torch.equal(made.network(x)[0], back.network(x)[0])


def test_every_runtime_finds_the_same_boxes_in_inputs_of_any_size(file, picture, tmp_path) -> None:
    export(file, tmp_path / "a.xml")
    reference = pytorch.load(file)
    others = [
        openvino.load(file, precision="f32"),
        openvino.load(tmp_path / "a.xml", precision="f32"),
        onnxruntime.load(file),
    ]
    for side in (64, 160):
        inputs = np.repeat(letterbox(picture, side, 32, to="side")[0][None], 2, axis=0)
        inputs[1] //= 2
        truth = reference(inputs)
        assert np.abs(truth[0].boxes - truth[1].boxes).max() > 1e-3
        for other in others:
            assert other.description == reference.description
            for fields, right in zip(other(inputs), truth, strict=True):
                assert fields.heatmaps.shape == (0, inputs.shape[1] // 8, inputs.shape[2] // 8)
                assert fields.limbs.shape == (0, 2, *fields.heatmaps.shape[1:])
                assert np.abs(fields.boxes - right.boxes).max() < 1e-2


def test_an_export_that_moves_boxes_is_not_written(file, tmp_path, monkeypatch) -> None:
    assert export(file, tmp_path / "a.onnx", fp16=True) < 2e-2
    other = tmp_path / "other.safetensors"
    made = small()
    with torch.no_grad():
        for head in made.network.heads:
            head.edges.bias += 1
    save(made, other)
    right = pytorch.load
    monkeypatch.setattr("limbwise.backends.pytorch.load", lambda path: right(other))
    with pytest.raises(BadInput, match="was not written"):
        export(file, tmp_path / "b.onnx", fp16=True)


def test_a_description_of_before_has_no_boxes_and_fits_by_height() -> None:
    old = json.loads(Description("limbwise", BODY).to_json())
    del old["boxes"], old["fit"]
    assert Description.from_json(json.dumps(old)) == Description("limbwise", BODY)
    with pytest.raises(ValueError, match="fit is width"):
        Description("limbwise", BODY, fit="width")


def test_what_finds_boxes_only_estimates_no_poses(file) -> None:
    with pytest.raises(BadInput, match="finds boxes of people, not keypoints"):
        Estimator(pytorch.load(file))


# How well people are found.

PEOPLE = [(40.0, 30.0, 160.0, 230.0), (200.0, 20.0, 240.0, 120.0)]  # corners, COCO's way


def finder(boxes: list[tuple[float, ...]], size: tuple[int, int] = (240, 320)) -> Backend:
    """A detector that says these boxes of a picture of `size`, given as COCO counts."""

    def run(images: np.ndarray) -> tuple[np.ndarray]:
        scale = min(320 / size[0], 320 / size[1])
        said = np.array(boxes, np.float32).reshape(-1, 5)
        said[:, :4] = said[:, :4] * scale - 0.5
        return (said[None],)

    its = Description("finder", NOBODY, multiple=32, height=320, boxes=True, fit="side")
    return Backend(its, "finder", run)


@pytest.fixture
def labelled(tmp_path) -> Path:
    from PIL import Image

    Image.new("RGB", (320, 240)).save(tmp_path / "1.png")
    annotations = [
        {"id": n, "image_id": 1, "category_id": 1, "iscrowd": int(n == 3), "keypoints": [0] * 51,
         "num_keypoints": 0, "bbox": [left, top, right - left, bottom - top],
         "area": (right - left) * (bottom - top)}
        for n, (left, top, right, bottom) in enumerate([*PEOPLE, (250, 0, 320, 240)], start=1)
    ]  # fmt: skip
    from limbwise.skeleton import COCO

    labels = {
        "images": [{"id": 1, "file_name": "1.png", "height": 240, "width": 320}],
        "annotations": annotations,
        "categories": [{"id": 1, "name": "person", "keypoints": list(COCO.keypoints)}],
    }
    (tmp_path / "labels.json").write_text(json.dumps(labels))
    return tmp_path


def measured(folder: Path, boxes: list[tuple[float, ...]]) -> dict[str, float]:
    return evaluate_boxes(finder(boxes), folder / "labels.json", folder)[0]


def test_the_labelled_boxes_score_one_and_are_told_in_cocos_pixels(labelled) -> None:
    boxes = [(*box, 0.9) for box in PEOPLE]
    found, results = evaluate_boxes(finder(boxes), labelled / "labels.json", labelled)
    assert found["AP"] == found["recall_medium"] == found["recall_large"] == 1
    assert [each["bbox"] for each in results] == [[40, 30, 120, 200], [200, 20, 40, 100]]


def test_whoever_is_missed_costs_the_recall_of_his_size_only(labelled) -> None:
    found = measured(labelled, [(*PEOPLE[0], 0.9)])
    assert (found["recall_medium"], found["recall_large"]) == (0, 1)
    assert measured(labelled, [])["AP"] == 0


def test_a_box_in_a_crowd_is_not_wrong_but_one_of_nobody_is(labelled) -> None:
    boxes = [(*box, 0.8) for box in PEOPLE]
    assert measured(labelled, [*boxes, (260, 10, 300, 100, 0.9)])["AP"] == 1
    assert measured(labelled, [*boxes, (100, 120, 190, 200, 0.9)])["AP"] < 0.8


def test_of_other_networks_the_poses_widened_are_the_boxes(labelled) -> None:
    from conftest import standing
    from test_estimator import perfect

    pose = standing(200, 150, 60)
    left, top, right, bottom = pose.box
    across, down = (right - left) / 8, (bottom - top) / 8
    box = np.array([left - across, top - down, right + across, bottom + down]) + 0.5
    _, (result,) = evaluate_boxes(perfect([pose]), labelled / "labels.json", labelled, height=240)
    assert result["bbox"] == pytest.approx([*box[:2], *(box[2:] - box[:2])], abs=3)


def test_long_sides_are_as_long_as_asked() -> None:
    for rows, columns in ((100, 300), (300, 100), (7, 5)):
        image = np.zeros((rows, columns, 3), np.uint8)
        picture, view = letterbox(image, 160, 32, to="side")
        assert max(picture.shape) == 160
        assert (
            min(picture.shape[:2])
            == -(-round(160 * min(rows, columns) / max(rows, columns)) // 32) * 32
        )
        corner = np.array([columns - 0.5, rows - 0.5])
        assert view.forward(corner).max() == 159.5


def test_a_detector_takes_its_part_of_any_skeleton() -> None:
    assert (
        replace(build("limbwise-detector", BODY, **SMALL).description, height=0).skeleton == NOBODY
    )
