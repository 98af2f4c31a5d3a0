"""int8 says what float says, or is not written."""

import json
import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from conftest import REFERENCE, VAL, needs_reference, needs_val
from limbwise.backends import onnxruntime, openvino, pytorch
from limbwise.cli.app import exit_code
from limbwise.crops import box_crops, crops
from limbwise.errors import BadInput
from limbwise.estimator import load
from limbwise.evaluation.boxes import coco_box, in_picture
from limbwise.export import int8 as quantising
from limbwise.export.int8 import (
    CONVOLUTIONS,
    Outcome,
    _boxes_measured,
    _lost,
    layer_errors,
    quantise,
)
from limbwise.geometry import letterbox
from limbwise.models.catalogue import CATALOGUE, SAMPLE
from limbwise.networks.checkpoint import save
from limbwise.networks.lightweight_openpose import LightweightOpenPose
from limbwise.networks.lite_hrnet import LiteHRNet
from limbwise.networks.picture_model import to_onnx
from limbwise.skeleton import COCO
from limbwise.sources.image import read_picture
from limbwise.train.start import TRAINED, begin
from test_detector import small

pytest.importorskip("nncf")


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """The sample and its mirror image."""
    folder = tmp_path / "photos"
    folder.mkdir()
    sample = read_picture(SAMPLE)
    cv2.imwrite(str(folder / "1.png"), sample)
    cv2.imwrite(str(folder / "2.png"), sample[:, ::-1])
    return folder


@pytest.mark.parametrize("ending", ["xml", "onnx"])
def test_int8_says_what_float_says(ending, checkpoint, photos, tmp_path) -> None:
    out = tmp_path / f"a.{ending}"
    quantise(checkpoint, out, photos, height=128, max_drop=100)
    run = onnxruntime.load if ending == "onnx" else openvino.load
    quantised, plain = run(out), openvino.load(checkpoint, precision="f32")
    assert quantised.description.height == 128
    if ending == "xml":
        assert openvino.load(out, precision="int8").label.startswith("openvino int8, ")
    picture = letterbox(read_picture(SAMPLE), 128)[0][None]
    said, truth = (each(picture)[0].heatmaps for each in (quantised, plain))
    assert np.abs(said - truth).max() > 0  # it is another network
    assert np.linalg.norm(said - truth) < 0.2 * np.linalg.norm(truth)


def test_all_but_the_first_and_last_layers_are_stored_in_int8(checkpoint, photos, tmp_path) -> None:
    import openvino as ov

    quantise(checkpoint, tmp_path / "a.xml", photos, height=128, max_drop=100)
    layers = [op for op in ov.Core().read_model(tmp_path / "a.xml").get_ordered_ops()
              if op.get_type_name() in CONVOLUTIONS]  # fmt: skip
    assert any(op.get_type_name() == "GroupConvolution" for op in layers)
    types = [_constant(op.input_value(1).get_node()) for op in layers]
    assert types[0] != "i8"
    assert len(types) - types.count("i8") == 3  # the first, and the ends at each kind of map


def _stored(op):
    """The numbers that a layer's weights are made of."""
    while op.get_type_name() != "Constant":
        op = op.input_value(0).get_node()
    return op


def _constant(op) -> str:
    """Their type."""
    return _stored(op).get_element_type().get_type_name()


def test_a_loss_of_people_is_refused_and_the_layers_are_named(checkpoint, photos, tmp_path, capsys):
    out = tmp_path / "a.xml"
    out.write_bytes(b"old")
    args = ["export", str(checkpoint), str(out), "--int8", "--calibration", str(photos)]
    assert exit_code([*args, "--size", "128", "--max-drop", "-101"]) == 2
    line = capsys.readouterr().err.strip().splitlines()[-1]
    assert "was not written: int8 takes" in line
    assert "--annotations" in line
    assert "Conv" in line
    assert out.read_bytes() == b"old"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.xml", "photos"]


@pytest.fixture(scope="module")
def told(tmp_path_factory) -> Path:
    """A second stage that is told prior keypoints; its weights are ImageNet's and chance's."""
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("told") / "told.safetensors"
    save(begin("limbwise-person", "imagenet", TRAINED, 64, {}), path)
    return path


@pytest.fixture(scope="module")
def shortened(tmp_path_factory) -> Path:
    """A bundled second stage with one module of each kind, which is quick to quantise."""
    whole = CATALOGUE["fast"].second.checkpoint
    path = tmp_path_factory.mktemp("shortened") / "shortened.safetensors"
    save(begin("lite-hrnet", str(whole), COCO, 96, {"modules": (1, 1, 1)}), path)
    return path


@pytest.mark.parametrize("kind", ["told", "shortened"])
def test_a_second_stage_in_int8_keeps_the_people_of_the_first(
    kind, request, photos, tmp_path
) -> None:
    out = tmp_path / "a.xml"
    checkpoint = request.getfixturevalue(kind)
    kept = quantise(checkpoint, out, photos, max_drop=100)
    assert kept.measure == "OKS"
    quantised, plain = openvino.load(out), openvino.load(checkpoint)
    assert quantised.description == plain.description
    image = read_picture(SAMPLE)
    if kind == "told":
        people = load("one-stage", precision="f32", height=160)(image)[:2]
        given = crops(image, people, plain.description.crop)[:2]
    else:
        boxes = np.array([[70, 20, 420, 479, 1], [480, 20, 850, 479, 1]], np.float32)
        given = (box_crops(image, boxes, plain.description.crop)[0],)
    said, truth = (np.stack([a.heatmaps for a in each(*given)]) for each in (quantised, plain))
    assert np.abs(said - truth).max() > 0  # it is another network
    assert np.linalg.norm(said - truth) < (0.6 if kind == "told" else 0.2) * np.linalg.norm(truth)
    parts = LiteHRNet.float_parts if kind == "shortened" else ()
    names = [name for name in _int8_layers(out) if name.split("/")[2].split(".")[0] in parts]
    assert (len(_int8_layers(out)) > 50, names) == (True, [])
    if kind == "shortened":
        assert any(low < 0 and low + high > 0.1 * high for low, high in _ranges(out))
        assert_no_sum_overflows(out)


def test_no_sum_of_a_bundled_second_stage_overflows() -> None:
    assert_no_sum_overflows(CATALOGUE["accurate"].second.quantised)


def assert_no_sum_overflows(path: Path) -> None:
    """Without VNNI two products are added in 16 bits: 2 * 255 * 64 fits, 2 * 255 * 127 does not. Of
    convolutions per channel NNCF leaves the whole range."""
    import openvino as ov

    layers = [op for op in ov.Core().read_model(path).get_ordered_ops()
              if op.get_type_name() == "Convolution"]  # fmt: skip
    weights = [_stored(op.input_value(1).get_node()) for op in layers]
    largest = [np.abs(each.data.astype(int)).max() for each in weights
               if each.get_element_type() == ov.Type.i8]  # fmt: skip
    assert len(largest) > 50
    assert max(largest) <= 64


def _ranges(path: Path) -> list[tuple[float, float]]:
    """From where to where one value for a whole map is rounded."""
    import openvino as ov

    model = ov.Core().read_model(path)
    rounded = (op for op in model.get_ordered_ops() if op.get_type_name() == "FakeQuantize")
    ends = [[op.input_value(n).get_node() for n in (1, 2)] for op in rounded]
    return [
        (float(low.data.item()), float(high.data.item())) for low, high in ends
        if low.get_type_name() == high.get_type_name() == "Constant" and low.data.size == 1
    ]  # fmt: skip


def _int8_layers(path: Path) -> list[str]:
    """Names of the convolutions whose weights are stored in int8."""
    import openvino as ov

    layers = (op for op in ov.Core().read_model(path).get_ordered_ops()
              if op.get_type_name() in CONVOLUTIONS)  # fmt: skip
    return [
        op.get_friendly_name() for op in layers if _constant(op.input_value(1).get_node()) == "i8"
    ]


@pytest.mark.parametrize("kind", ["told", "shortened"])
def test_a_second_stage_learns_no_ranges_where_nobody_is(kind, request, tmp_path) -> None:
    folder = tmp_path / "walls"
    folder.mkdir()
    cv2.imwrite(str(folder / "1.png"), np.full((90, 120, 3), 128, np.uint8))
    checkpoint = request.getfixturevalue(kind)
    with pytest.raises(BadInput, match="nobody is found in the pictures of .*walls"):
        quantise(checkpoint, tmp_path / "a.xml", folder)
    assert not (tmp_path / "a.xml").exists()


def test_rounding_hurts_most_where_one_channel_is_far_larger(checkpoint, tmp_path) -> None:
    alike = np.random.default_rng(0).normal(size=(8, 20, 20)).astype(np.float32)
    loud = alike * np.array([1000] + [1] * 7, np.float32)[:, None, None]
    assert _lost(alike) < 1e-3
    assert _lost(loud) > 0.5
    path = tmp_path / "a.onnx"
    path.write_bytes(to_onnx(checkpoint))
    errors = layer_errors(path, letterbox(read_picture(SAMPLE), 128)[0][None])
    convolutions = [m for m in LightweightOpenPose().modules() if isinstance(m, torch.nn.Conv2d)]
    assert len(errors) == len(convolutions)
    assert all(0 <= error <= 1 for error in errors.values())


def test_labels_on_which_the_float_network_finds_nobody_let_nothing_pass(
    checkpoint, photos, tmp_path, monkeypatch
) -> None:
    """AP 0.0 before and after is no loss, but no measurement either."""
    labels = {
        "images": [{"id": 1, "file_name": "1.png"}],
        "annotations": [
            {"id": 1, "image_id": 1, "bbox": [1, 1, 9, 9], "area": 81, "keypoints": [5, 5, 2] * 17}
        ],
        "categories": [{"id": 3, "name": "person", "keypoints": list(COCO.keypoints)}],
    }
    (tmp_path / "labels.json").write_text(json.dumps(labels))
    monkeypatch.setattr(
        quantising, "_write", lambda plain, inputs, path, parts: path.write_bytes(plain)
    )
    out = tmp_path / "a.onnx"
    with pytest.raises(BadInput, match=r"has AP 0.00 on .*labels.json, so that nothing"):
        quantise(checkpoint, out, photos, tmp_path / "labels.json", height=64, limit=1)
    assert not out.exists()


def test_bad_input_is_one_line(checkpoint, photos, tmp_path, capsys) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(BadInput, match="holds no pictures"):
        quantise(checkpoint, tmp_path / "a.xml", tmp_path / "empty")
    with pytest.raises(BadInput, match=r"should end in \.onnx"):
        quantise(checkpoint, tmp_path / "a.tflite", photos)
    assert exit_code(["export", str(checkpoint), str(tmp_path / "a.xml"), "--int8"]) == 2
    assert "--calibration" in capsys.readouterr().err


@needs_reference
@needs_val
def test_people_are_found_in_int8(tmp_path: Path) -> None:
    folder = tmp_path / "some"
    folder.mkdir()
    for file in sorted((VAL / "images").iterdir())[:6]:
        shutil.copy(file, folder)
    weights = REFERENCE / "lightweight-openpose.pth"
    outcome = quantise(weights, tmp_path / "a.xml", folder, height=256, max_drop=10)
    assert outcome.measure == "OKS"
    assert 90 < outcome.after < 100


def test_a_detector_in_int8_is_measured_by_its_boxes(photos, tmp_path) -> None:
    """Without labels by how well the float network's boxes are kept, with labels, here just these
    boxes, by their AP; x * sigmoid(x) and what is made of the last layers stay in float."""
    import openvino as ov

    save(small(), tmp_path / "a.safetensors")
    out = tmp_path / "a.xml"
    kept = quantise(tmp_path / "a.safetensors", out, photos, height=96, max_drop=100)
    assert kept.measure == "IoU"
    assert 50 < kept.after < 100
    rounded = [
        target.get_node().get_type_name()
        for op in ov.Core().read_model(out).get_ops()
        if op.get_type_name() == "FakeQuantize"
        for target in op.output(0).get_target_inputs()
    ]
    assert "Convolution" in rounded
    assert not set(rounded) & {"Multiply", "Subtract", "Squeeze", "Sigmoid"}
    plain = pytorch.load(tmp_path / "a.safetensors")
    found = {
        name: in_picture(plain, read_picture(photos / name), 96) for name in ("1.png", "2.png")
    }
    labels = {
        "images": [{"id": n, "file_name": name} for n, name in enumerate(found, start=1)],
        "annotations": [
            {"id": 100 * n + k, "image_id": n, "category_id": 1, "bbox": coco_box(box),
             "area": 2000, "iscrowd": 0}
            for n, boxes in enumerate(found.values(), start=1) for k, box in enumerate(boxes, 1)
        ],
        "categories": [{"id": 1, "name": "person"}],
    }  # fmt: skip
    (tmp_path / "labels.json").write_text(json.dumps(labels))
    both = openvino.load(tmp_path / "a.safetensors", precision="f32"), openvino.load(out)
    files = sorted(photos.iterdir())
    by_labels = _boxes_measured(both, files, tmp_path / "labels.json", 96)
    assert by_labels.measure == "box AP"
    assert by_labels.before > 90
    assert by_labels.after < by_labels.before


@pytest.fixture(scope="module")
def exported(checkpoint) -> bytes:
    return to_onnx(checkpoint, 64)


@pytest.mark.parametrize(
    ("before", "after", "written"),
    [(50, 49.6, True), (50, 49.4, False), (50, 70, True), (50, np.nan, False)],
)
def test_int8_is_written_if_it_takes_at_most_half_a_point(
    before, after, written, exported, checkpoint, photos, tmp_path, monkeypatch
) -> None:
    """What it brings is no loss, and what cannot be told is one."""

    def measured(both, files, annotations, first, height) -> Outcome:
        return Outcome("AP", before, after)

    def write(plain: bytes, inputs: list, path: Path, float_parts: tuple) -> None:
        path.write_bytes(b"int8")
        path.with_suffix(".bin").write_bytes(b"weights")

    monkeypatch.setattr("limbwise.export.int8.to_onnx", lambda path, height: exported)
    monkeypatch.setattr("limbwise.export.int8._measured", measured)
    monkeypatch.setattr("limbwise.export.int8._write", write)
    monkeypatch.setattr("limbwise.export.int8._runtime", lambda path: None)
    monkeypatch.setattr("limbwise.export.int8._worst", lambda model, given: "the last")
    out = tmp_path / "a.xml"
    if written:
        assert quantise(checkpoint, out, photos, height=64).after == after
    else:
        with pytest.raises(BadInput, match="was not written"):
            quantise(checkpoint, out, photos, height=64)
    assert out.is_file() == out.with_suffix(".bin").is_file() == written
    assert Outcome("AP", 50, 49.4).drop == pytest.approx(0.6)
