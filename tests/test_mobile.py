"""Exports for phones. `make test-exports` installs the converters and backends and runs this."""

import importlib.util
import json
import os
import subprocess
from collections.abc import Callable
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import torch

from limbwise.backends import pytorch
from limbwise.backends.mobile import load as load_mobile
from limbwise.backends.mobile import padded
from limbwise.cli.app import exit_code
from limbwise.description import Description
from limbwise.errors import BadInput
from limbwise.estimator import load
from limbwise.export.mobile import _quiet, export_mobile, in_pytorch
from limbwise.geometry import letterbox
from limbwise.models.catalogue import CATALOGUE, SAMPLE
from limbwise.networks.checkpoint import build, save
from limbwise.networks.margin import mean, picture_part
from limbwise.places import with_weights
from limbwise.skeleton import BODY, COCO, Skeleton
from limbwise.sources.image import read_picture

pytestmark = pytest.mark.timeout(1200)  # converters of big makers are slow

NEEDS = {".tflite": ("litert_torch", "ai_edge_litert"), ".ncnn.param": ("pnnx", "ncnn")}


def need(*modules: str) -> None:
    for module in modules:
        if not importlib.util.find_spec(module):
            pytest.skip(f"{module} is not installed: make test-exports does it")


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Small networks with random weights: a detector, a second stage, and one that needs more."""
    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("small")
    few = {"channels": (8, 8, 8, 8), "modules": (1, 1, 1)}
    made = {
        "detector": build("limbwise-detector", Skeleton((), (), ()), 64, width=0.0625),
        "second": build("lite-hrnet", COCO, 80, **few),
        "told": build("limbwise-person", BODY, 64, width=0.25, channels=16, blocks=1),
    }
    for name, checkpoint in made.items():
        for weights in checkpoint.network.parameters():  # else all inputs come to the same
            if weights.ndim == 4:
                torch.nn.init.kaiming_normal_(weights)
        if name == "second":
            with torch.no_grad():
                maps = checkpoint.network.eval()(torch.randn(1, 3, 80, 64))[0]
                checkpoint.network.last.weight /= maps.abs().max()
        save(checkpoint, folder / f"{name}.safetensors")
    return {name: folder / f"{name}.safetensors" for name in made}


@pytest.fixture(scope="module")
def exported(small, tmp_path_factory) -> Callable[[str, str], Path]:
    """A small network's export, made once: converters take half a minute for any network."""

    @cache
    def export(stage: str, ending: str, size: tuple[int, int] | None = None) -> Path:
        need(*NEEDS[ending])
        out = tmp_path_factory.mktemp("exported") / f"model{ending}"
        assert export_mobile(small[stage], out, size) < 1e-3
        return out

    return export


@pytest.mark.parametrize("ending", NEEDS)
@pytest.mark.parametrize("stage", ["detector", "second"])
def test_an_export_says_what_pytorch_says(ending, stage, small, exported) -> None:
    out = exported(stage, ending)
    assert sorted(out.parent.iterdir()) == sorted(with_weights(out))
    made, truth = load_mobile(out, 1), pytorch.load(small[stage])
    assert made.description == truth.description
    rows, columns = made.description.crop or (64, 64)
    images = np.random.default_rng(0).integers(0, 256, (2, rows, columns, 3), np.uint8)
    said = truth(images)
    assert np.abs(said[0].heatmaps - said[1].heatmaps).max(initial=0) > 0.01 or stage == "detector"
    for one, other in zip(made(images), said, strict=True):
        assert one.heatmaps == pytest.approx(other.heatmaps, abs=1e-3)
        assert one.boxes is None or one.boxes == pytest.approx(other.boxes, abs=0.05)


def test_padding_is_grey_right_and_below() -> None:
    image = np.random.default_rng(0).integers(0, 100, (2, 3, 4, 3), np.uint8)
    whole = padded(image, (5, 4))
    assert (whole[:, :3] == image).all()
    assert (whole[:, 3:] == 128).all()
    assert (padded(image, (3, 6))[:, :, 4:] == 128).all()


@pytest.mark.parametrize("ending", NEEDS)
def test_a_smaller_input_is_padded_and_a_larger_one_refused(ending, small, exported) -> None:
    made, truth = load_mobile(exported("detector", ending), 1), pytorch.load(small["detector"])
    image = np.random.default_rng(0).integers(0, 256, (1, 32, 64, 3), np.uint8)
    said, alone = made(image)[0].boxes, truth(image)[0].boxes
    assert said is not None
    assert alone is not None
    assert inside(said, 64, (32, 64)) == pytest.approx(alone, abs=0.05)
    with pytest.raises(BadInput, match="takes inputs of 64x64 pixels, not 96x64"):
        made(np.zeros((1, 64, 96, 3), np.uint8))


def inside(boxes: np.ndarray, side: int, size: tuple[int, int]) -> np.ndarray:
    """What the cells of a square that lie in `size` (height, width) of it say."""
    kept = []
    for stride in (8, 16, 32):
        cells = side // stride
        level, boxes = boxes[: cells * cells].reshape(cells, cells, 5), boxes[cells * cells :]
        kept.append(level[: size[0] // stride, : size[1] // stride].reshape(-1, 5))
    return np.concatenate(kept)


@pytest.mark.parametrize("side", [320, 256])
@pytest.mark.parametrize("upright", [False, True])
def test_the_detector_says_of_a_square_what_it_says_of_the_picture_in_it(side, upright) -> None:
    detector = CATALOGUE["fast"].first.checkpoint
    truth = pytorch.load(detector)
    image = read_picture(SAMPLE)
    image = np.ascontiguousarray(image.transpose(1, 0, 2)) if upright else image
    picture = letterbox(image, side, 32, to="side")[0]
    alone = truth(picture[None])[0].boxes
    whole = padded(picture[None], (side, side))
    said = in_pytorch(detector, truth.description)(whole)[0].boxes
    assert alone is not None
    assert said is not None
    assert picture.shape[:2] != (side, side)
    assert inside(said, side, picture.shape[:2]) == pytest.approx(alone, abs=0.01)
    assert said[:, 4].sum() == pytest.approx(alone[:, 4].sum(), abs=1e-3)  # the margin scores 0
    untold = truth(whole)[0].boxes
    assert untold is not None
    assert np.abs(inside(untold, side, picture.shape[:2]) - alone).max() > 1


def test_the_margin_begins_after_the_last_row_and_column_with_a_pixel_that_is_not_grey() -> None:
    beyond = torch.zeros(1, 3, 96, 128)
    beyond[0, 2, 40, 5], beyond[0, 0, 3, 70] = -1, 1
    part = picture_part(beyond, 32)
    assert sorted(part) == [3, 6, 12, 24, 48, 96]
    expected = torch.zeros(96, 128)
    expected[:64, :96] = 1
    for rows, mask in part.items():
        step = 96 // rows
        assert (mask[0, 0] == expected[::step, ::step]).all()
    x = torch.randn(1, 4, 12, 16)
    wanted = x[:, :, :8, :12].mean(dim=(2, 3), keepdim=True)
    assert mean(x, part) == pytest.approx(wanted, abs=1e-6)
    assert mean(x, picture_part(torch.zeros_like(beyond), 32)).isfinite().all()


@pytest.mark.parametrize("ending", NEEDS)
def test_an_input_of_a_cameras_shape_takes_its_pictures_and_others(
    ending, small, exported, tmp_path, capsys
) -> None:
    made = load_mobile(exported("detector", ending, (48, 128)), 1)
    truth = pytorch.load(small["detector"])
    assert (made.description.shape, made.description.height) == ((64, 128), 128)
    image = np.random.default_rng(0).integers(0, 256, (1, 64, 128, 3), np.uint8)
    assert made(image)[0].boxes == pytest.approx(truth(image)[0].boxes, abs=0.05)
    with pytest.raises(BadInput, match="takes inputs of 128x64 pixels, not 64x128"):
        made(np.zeros((1, 128, 64, 3), np.uint8))
    estimate = load(exported("detector", ending, (48, 128)), person=exported("second", ending))
    for size, fitted in ((480, 640), (64, 96)), ((640, 480), (64, 64)), ((240, 640), (64, 128)):
        assert estimate.letterbox(np.zeros((*size, 3), np.uint8))[0].shape[:2] == fitted
        assert isinstance(list(estimate(np.zeros((*size, 3), np.uint8))), list)


def test_a_shape_is_said_in_a_description_and_none_is_not() -> None:
    its = Description("a", COCO, shape=(64, 96), fit="side")
    assert Description.from_json(its.to_json()) == its
    assert "shape" not in json.loads(Description("a", COCO).to_json())
    for wrong in [64], [64, 0], [64, 1 << 20], "ab":
        with pytest.raises((ValueError, TypeError)):
            Description.from_json(json.dumps(json.loads(its.to_json()) | {"shape": wrong}))


@pytest.mark.parametrize(
    ("size", "ending", "line"),
    [
        ("64x96", ".onnx", "--size 64x96 is for phones"),
        ("64x96", ".xml", "--size 64x96 is for phones"),
        ("31", ".tflite", "--size is from 32 to 4096 pixels, not 31"),
        ("64x9999", ".tflite", "--size is from 32 to 4096 pixels, not 64x9999"),
        ("9" * 5000, ".onnx", "--size is from 32 to 4096 pixels"),
        ("64x", ".param", "HEIGHTxWIDTH, not 64x"),
        ("64x64x3", ".param", "HEIGHTxWIDTH, not 64x64x3"),
        ("-64", ".param", "HEIGHTxWIDTH, not -64"),
        ("٦٤", ".param", "HEIGHTxWIDTH"),
    ],
)
def test_a_size_that_is_none_is_one_line(size, ending, line, small, tmp_path, capsys) -> None:
    out = tmp_path / f"a{ending}"
    assert exit_code(["export", str(small["detector"]), str(out), f"--size={size}"]) == 2
    said = capsys.readouterr().err.strip()
    assert "\n" not in said
    assert line in said
    assert not any(tmp_path.iterdir())


def test_core_ml_is_written_and_says_what_it_is(small, tmp_path) -> None:
    need("coremltools")
    import coremltools

    out = tmp_path / "second.mlpackage"
    assert export_mobile(small["second"], out) is None
    assert [path.name for path in tmp_path.iterdir()] == [out.name]
    said = coremltools.utils.load_spec(str(out)).description
    assert said.input[0].type.imageType.width == 64
    description = Description.from_json(said.metadata.userDefined["limbwise"])
    assert description == pytorch.load(small["second"]).description
    with pytest.raises(BadInput, match="is there already"):
        export_mobile(small["second"], out)


@pytest.mark.parametrize("ending", [".tflite", ".ncnn.param", ".mlpackage"])
def test_a_network_without_one_size_is_refused(ending, small, checkpoint, tmp_path) -> None:
    for path in small["told"], checkpoint:
        with pytest.raises(BadInput, match="phones take inputs of one size"):
            export_mobile(path, tmp_path / f"a{ending}")
    assert not any(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("ending", "module"),
    [(".tflite", "litert_torch"), (".ncnn.param", "pnnx"), (".mlpackage", "coremltools")],
)
def test_a_missing_converter_is_one_line(ending, module, small, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("limbwise.export.mobile.has", lambda name: name != module)
    assert exit_code(["export", str(small["second"]), str(tmp_path / f"a{ending}")]) == 2
    said = capsys.readouterr().err.strip()
    assert "\n" not in said
    assert "pip install 'limbwise[mobile]'" in said
    assert not any(tmp_path.iterdir())


@pytest.mark.parametrize("ending", NEEDS)
def test_an_operator_that_cannot_be_converted_is_one_line(
    ending, small, tmp_path, monkeypatch
) -> None:
    need(*NEEDS[ending])
    monkeypatch.setattr(
        "limbwise.networks.lite_hrnet.LiteHRNet.forward",
        lambda self, x: [torch.linalg.svdvals(x)[..., None], x],
    )
    with pytest.raises(BadInput, match=r"was not written: .+") as failed:
        export_mobile(small["second"], tmp_path / f"a{ending}")
    assert "\n" not in str(failed.value)
    assert not any(tmp_path.iterdir())


def test_converters_are_not_heard_and_what_fails_is_their_last_line(capfd) -> None:
    def convert() -> None:
        with _quiet(Path("a.tflite")):
            print("by Python")
            os.write(1, b"by C")
            subprocess.run(["echo", "by another process"], check=True)
            raise RuntimeError("a long story\nno such operator")

    with pytest.raises(BadInput, match=r"^a.tflite was not written: no such operator$"):
        convert()
    print("after")
    assert capfd.readouterr() == ("after\n", "")


def test_files_that_are_none_of_ours_are_one_line(tmp_path) -> None:
    need("ai_edge_litert", "ncnn")
    text, foreign = tmp_path / "text.tflite", tmp_path / "foreign.param"
    text.write_text("no model at all")
    foreign.write_text("7767517\n1 1\nInput in0 0 1 in0\n")
    for path, line in (text, "is not a LiteRT model"), (foreign, "was not exported by limbwise"):
        with pytest.raises(BadInput, match=line):
            load(path)
    described = tmp_path / "a.param"
    described.write_text("7767517\n1 1\nMagic a 0 1 in0\n")
    described.with_suffix(".bin").write_bytes(b"")
    its = Description("a", COCO, crop=(64, 48), prior=False)
    described.with_suffix(".json").write_text(its.to_json())
    with pytest.raises(BadInput, match="cannot be run by NCNN"):
        load_mobile(described)
    described.with_suffix(".json").write_text(json.dumps({"name": "a"}))
    with pytest.raises(BadInput, match="damaged limbwise description"):
        load_mobile(described)
    damaged = tmp_path / "damaged.tflite"
    damaged.write_bytes(b"\x1c\0\0\0TFL3" + b"\xff" * 40)
    with pytest.raises(BadInput, match=r"LiteRT model|not exported"):
        load_mobile(damaged)
