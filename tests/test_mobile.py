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
from limbwise.export.mobile import _quiet, export_mobile
from limbwise.networks.checkpoint import build, save
from limbwise.places import with_weights
from limbwise.skeleton import BODY, COCO, Skeleton

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
    def export(stage: str, ending: str) -> Path:
        need(*NEEDS[ending])
        out = tmp_path_factory.mktemp("exported") / f"model{ending}"
        assert export_mobile(small[stage], out) < 1e-3
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
    below = np.full_like(image, 128)
    whole = truth(np.concatenate([image, below], axis=1))[0].boxes
    assert made(image)[0].boxes == pytest.approx(whole, abs=0.05)
    with pytest.raises(BadInput, match="takes inputs of 64x64 pixels, not 96x64"):
        made(np.zeros((1, 64, 96, 3), np.uint8))


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
