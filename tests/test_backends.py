"""Model files in, fields out, whoever computes."""

import time
from pathlib import Path

import numpy as np
import onnx
import pytest

from conftest import REFERENCE, needs_reference
from limbwise.backends import onnxruntime, openvino, pytorch
from limbwise.backends.base import Backend
from limbwise.description import KEY, Description
from limbwise.distributed.job import settled
from limbwise.errors import BadInput
from limbwise.estimator import load, load_pair, stages
from limbwise.export.onnx import export, export_like_the_original
from limbwise.export.openvino import to_openvino
from limbwise.geometry import letterbox
from limbwise.models.catalogue import CATALOGUE
from limbwise.networks.picture_model import to_onnx
from limbwise.skeleton import BODY

BACKENDS = {"openvino": openvino, "onnx": onnxruntime, "torch": pytorch}


@pytest.fixture(scope="module")
def inputs(picture) -> np.ndarray:
    return letterbox(picture, 128)[0][None]


@pytest.fixture(scope="module")
def files(checkpoint, tmp_path_factory) -> dict[str, Path]:
    """The same network as every kind of file."""
    folder = tmp_path_factory.mktemp("models")
    files = {name: folder / name for name in ("own.onnx", "own.xml", "seed.onnx", "seed.xml")}
    export(checkpoint, files["own.onnx"])
    export(checkpoint, files["own.xml"])
    export_like_the_original(checkpoint, files["seed.onnx"])
    to_openvino(files["seed.onnx"], files["seed.xml"])
    return files | {"checkpoint": checkpoint}


def largest_difference(one: Backend, other: Backend, inputs: np.ndarray) -> float:
    return max(
        float(np.abs(a - b).max())
        for x, y in zip(one(inputs), other(inputs), strict=True)
        for a, b in ((x.heatmaps, y.heatmaps), (x.limbs, y.limbs))
    )


@pytest.mark.parametrize("name", ["own.onnx", "own.xml", "seed.onnx", "seed.xml", "checkpoint"])
@pytest.mark.parametrize("how", ["openvino", "onnx"])
def test_every_file_says_in_every_runtime_what_pytorch_says(name, how, files, inputs):
    if how == "onnx" and name.endswith("xml"):
        pytest.skip("ONNX Runtime reads no OpenVINO files")
    truth = pytorch.load(files["checkpoint"])
    other = BACKENDS[how].load(files[name], precision="f32")
    assert np.ptp(truth(inputs)[0].heatmaps) > 1e-3  # it says something
    assert largest_difference(truth, other, inputs) < 1e-3


@needs_reference
def test_open_model_zoos_files_give_the_fields_of_their_kind(picture) -> None:
    inputs = letterbox(picture, 368)[0][None]
    path = REFERENCE / "human-pose-estimation-0001.onnx"
    plain = openvino.load(path, precision="f32")
    assert largest_difference(plain, onnxruntime.load(path), inputs) < 1e-3
    quantised = openvino.load(
        REFERENCE / "human-pose-estimation-0001" / "human-pose-estimation-0001.xml"
    )
    a, b = plain(inputs)[0].heatmaps, quantised(inputs)[0].heatmaps
    assert np.corrcoef(a.ravel(), b.ravel())[0, 1] > 0.95


@pytest.mark.parametrize("how", ["openvino", "onnx"])  # PyTorch's networks share their threads
def test_after_an_answer_no_thread_stays_busy(how, checkpoint) -> None:
    """Threads that go on waiting actively take the cores from the next network."""
    run = load(checkpoint, runtime=how, threads=2).runtime
    inputs = np.zeros((1, 160, 160, 3), np.uint8)
    run(inputs)
    busy = []
    for _ in range(3):
        run(inputs)
        began = time.process_time()
        time.sleep(0.1)
        busy.append(time.process_time() - began)
    assert min(busy) < 0.01


@pytest.mark.parametrize("how", ["openvino", "onnx", "torch"])
def test_any_size_any_batch_any_threads(how, checkpoint, inputs) -> None:
    one = BACKENDS[how].load(checkpoint, threads=1, precision="f32")
    both = np.concatenate([inputs, inputs[:, :, ::-1]])
    together = one(both)
    assert len(together) == 2
    for number, fields in enumerate(together):
        alone = one(np.ascontiguousarray(both[number : number + 1]))[0]
        assert np.abs(fields.heatmaps - alone.heatmaps).max() < 1e-4
    smaller = one(np.zeros((1, 64, 40, 3), np.uint8))[0]
    assert smaller.heatmaps.shape == (18, 8, 5)
    assert smaller.limbs.shape == (19, 2, 8, 5)


def test_a_model_file_describes_itself(files) -> None:
    for name in ("own.onnx", "own.xml"):
        told = load(files[name]).runtime.description
        assert told == Description("lightweight-openpose", BODY, 8, 8, 368)
    assert Description.from_json(told.to_json()) == told


def test_results_outlive_the_next_call(checkpoint, inputs) -> None:
    runs = openvino.load(checkpoint, precision="f32")
    first = runs(inputs)[0]
    kept = first.heatmaps.copy()
    runs(np.ascontiguousarray(inputs[:, :, ::-1]))
    assert np.array_equal(first.heatmaps, kept)


def refused(path: Path, **options) -> str:
    with pytest.raises(BadInput) as caught:
        load(path, **options)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_a_file_that_is_no_model_is_refused_in_one_line(tmp_path) -> None:
    assert "does not exist" in refused(tmp_path / "gone.onnx")
    (tmp_path / "a.jpg").write_bytes(b"x")
    assert "is not a model file" in refused(tmp_path / "a.jpg")
    for name in ("a.onnx", "a.xml", "a.pth"):
        (tmp_path / name).write_bytes(b"not a model")
        assert name in refused(tmp_path / name)
    assert "a.onnx" in refused(tmp_path / "a.onnx", runtime="onnx")


def test_a_model_of_another_kind_is_refused_with_what_it_has(tmp_path) -> None:
    make, kind = onnx.helper.make_tensor_value_info, onnx.TensorProto.FLOAT
    x, y = make("x", kind, ["n", 3, "h", "w"]), make("boxes", kind, ["n", 3, "h", "w"])
    graph = onnx.helper.make_graph([onnx.helper.make_node("Relu", ["x"], ["boxes"])], "g", [x], [y])
    opset = [onnx.helper.make_opsetid("", 17)]
    onnx.save(onnx.helper.make_model(graph, opset_imports=opset, ir_version=9), tmp_path / "b.onnx")
    for how in ("openvino", "onnx"):
        message = refused(tmp_path / "b.onnx", runtime=how)
        assert "boxes (3)" in message
        assert "heatmaps (19)" in message


def test_a_damaged_description_is_an_error_at_load(checkpoint, tmp_path) -> None:
    model = onnx.load_from_string(to_onnx(checkpoint))
    text = model.metadata_props[0].value
    for number, broken in enumerate(
        [text[:-9], text.replace('"nose", ', "", 1), "[]", "{}", text.replace("{}", '{"size": 2}')]
    ):
        model.metadata_props[0].value = broken
        onnx.save(model, tmp_path / f"{number}.onnx")
        for how in ("openvino", "onnx"):
            assert f"{number}.onnx" in refused(tmp_path / f"{number}.onnx", runtime=how)


def test_a_runtime_that_cannot_take_the_file_says_which_can(files, checkpoint) -> None:
    assert "needs an .onnx file" in refused(files["own.xml"], runtime="onnx")
    assert "cannot be trained on" in refused(files["own.onnx"], runtime="torch")
    assert "choose openvino, onnx or torch" in refused(checkpoint, runtime="tpu")
    assert "choose fast, int8, bf16 or f32" in refused(checkpoint, precision="f8")
    assert "f32 only" in refused(checkpoint, runtime="onnx", precision="bf16")


def test_int8_is_asked_of_a_quantised_file_only(checkpoint) -> None:
    assert "is not an int8 model: limbwise export --int8" in refused(checkpoint, precision="int8")


def test_each_runtime_and_precision_takes_its_file_of_a_bundled_model(monkeypatch) -> None:
    taken: list[tuple[str, ...]] = []
    for name in ("openvino", "onnx", "torch"):
        monkeypatch.setattr(
            BACKENDS[name], "load", lambda path, *how, n=name: taken.append((n, path.name))
        )
    monkeypatch.setattr("limbwise.loading.fastest", lambda ways, threads: ways[-1])
    monkeypatch.setattr("limbwise.backends.precision.capabilities", lambda: ["FP32", "INT8"])
    there = (".onnx", ".xml")
    monkeypatch.setattr("pathlib.Path.is_file", lambda path: path.suffix in there)
    for how in (("openvino", "f32"), ("openvino", "fast"), ("onnx", "fast"), ("torch", "fast")):
        load_pair("accurate", runtime=how[0], precision=how[1])
    assert taken == [
        ("openvino", "limbwise-detector.onnx"), ("openvino", "limbwise-pose.onnx"),
        ("openvino", "limbwise-detector-int8.xml"), ("openvino", "limbwise-pose-int8.xml"),
        ("onnx", "limbwise-detector.onnx"), ("onnx", "limbwise-pose.onnx"),
        ("torch", "limbwise-detector.onnx"), ("torch", "limbwise-pose.onnx"),
    ]  # fmt: skip


def test_int8_of_a_pair_is_what_there_is_of_it_in_int8() -> None:
    """Of the accurate one the second stage; the detector is computed in what is quickest."""
    first, second = load_pair("accurate", precision="int8", threads=1)
    assert second.label.startswith("openvino int8")
    assert "int8" not in first.label
    with pytest.raises(BadInput, match=r"^fast is not there in int8: limbwise export --int8"):
        load_pair("fast", precision="int8")


def test_a_pairs_own_input_size_is_used_however_it_is_loaded():
    bundled = CATALOGUE["fast"]
    assert bundled.height
    assert bundled.height != load_pair("accurate", precision="f32")[0].description.height
    assert load_pair("fast", precision="f32")[0].description.height == bundled.height
    assert load("fast", precision="f32").height == bundled.height
    assert load("fast", precision="f32", height=224).height == 224
    assert settled("fast", precision="f32").estimator().height == bundled.height
    assert settled("fast", precision="f32", height=224).estimator().height == 224
    alone = load_pair(bundled.first.plain, person=False, precision="f32")[0]
    assert alone.description.height != bundled.height


def test_names_of_models_mean_pairs_and_one_stage_does_without() -> None:
    pairs = {name: (each.first, each.second) for name, each in CATALOGUE.items()}
    assert stages(None) == stages("accurate") == pairs["accurate"]
    assert stages("fast") == pairs["fast"]
    assert stages("fast")[0] == stages("accurate")[0]
    assert stages(None, False) == stages("one-stage") == pairs["one-stage"]
    assert pairs["one-stage"][1] is None
    assert stages("one-stage", True) == (pairs["one-stage"][0], pairs["accurate"][1])
    for asked, line in (
        (("fast", False), "needs its second stage: --model one-stage"),
        (("quick", None), "quick does not exist; bundled are accurate, fast, one-stage"),
    ):
        with pytest.raises(BadInput, match=line):
            stages(*asked)


def test_a_file_of_a_models_name_is_that_file(tmp_path, monkeypatch, checkpoint) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "fast").write_bytes(b"")
    with pytest.raises(BadInput, match="fast is not a model file"):
        stages("fast")


@pytest.mark.parametrize("stated", [4, 7, 9, 16])
@pytest.mark.parametrize("how", ["openvino", "onnx"])
def test_a_stride_that_the_network_does_not_have_is_an_error_at_load(
    stated: int, how: str, checkpoint: Path, tmp_path: Path
) -> None:
    path = tmp_path / "m.onnx"
    model = onnx.load_from_string(to_onnx(checkpoint))
    text = model.metadata_props[0].value
    model.metadata_props[0].value = text.replace('"stride": 8', f'"stride": {stated}')
    onnx.save(model, path)
    assert f"states a stride of {stated}, but" in refused(path, runtime=how)


@pytest.mark.parametrize("how", ["openvino", "onnx"])
def test_a_wrong_stride_of_crops_is_an_error_too(how: str, tmp_path: Path) -> None:
    path = tmp_path / "m.onnx"
    model = onnx.load(CATALOGUE["fast"].second.plain)
    its = next(each for each in model.metadata_props if each.key == KEY)
    its.value = its.value.replace('"stride": 4', '"stride": 2')
    onnx.save(model, path)
    with pytest.raises(
        BadInput, match="states a stride of 2, but of 120x160 pixels it makes 30x40"
    ):
        BACKENDS[how].load(path, precision="f32")


@pytest.mark.parametrize("how", ["openvino", "onnx"])
def test_a_foreign_model_is_given_pictures_less_128_over_256(how: str, tmp_path: Path) -> None:
    """As the Lightweight OpenPose family was trained; here its maps are means of its input."""
    make, kind = onnx.helper.make_tensor_value_info, onnx.TensorProto.FLOAT
    shape = ["n", "c", "h", "w"]
    nodes = [
        onnx.helper.make_node("AveragePool", ["x"], ["cells"], kernel_shape=[8, 8], strides=[8, 8]),
        onnx.helper.make_node("Concat", ["cells"] * 7, ["many"], axis=1),
        onnx.helper.make_node("Split", ["many"], ["heatmaps", "rest"], "split", axis=1),
        onnx.helper.make_node("Concat", ["heatmaps"] * 2, ["pafs"], axis=1),
    ]
    nodes[2].input.append("sizes")
    sizes = onnx.numpy_helper.from_array(np.array([19, 2], np.int64), "sizes")
    outputs = [make(name, kind, ["n", count, "rows", "columns"]) for name, count in
               (("heatmaps", 19), ("pafs", 38))]  # fmt: skip
    graph = onnx.helper.make_graph(nodes, "g", [make("x", kind, [1, 3, *shape[2:]])], outputs)
    graph.initializer.append(sizes)
    opset = [onnx.helper.make_opsetid("", 17)]
    path = tmp_path / "foreign.onnx"
    onnx.save(onnx.helper.make_model(graph, opset_imports=opset, ir_version=9), path)
    picture = np.random.default_rng(0).integers(0, 256, (1, 16, 24, 3), np.uint8)
    said = BACKENDS[how].load(path, precision="f32")(picture)[0]
    expected = (picture[0].astype(float).reshape(2, 8, 3, 8, 3).mean(axis=(1, 3)) - 128) / 256
    for channel in range(3):  # BGR, as it is
        assert said.heatmaps[channel] == pytest.approx(expected[..., channel], abs=1e-5)
