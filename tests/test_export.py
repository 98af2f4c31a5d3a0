import os
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch

from limbwise.backends import openvino, pytorch
from limbwise.errors import BadInput
from limbwise.estimator import load
from limbwise.export.onnx import export
from limbwise.networks.checkpoint import build, save
from limbwise.networks.lightweight_openpose import LightweightOpenPose
from limbwise.train.start import TRAINED


@pytest.mark.parametrize("ending", ["onnx", "xml"])
def test_fp16_halves_the_file_and_keeps_the_answer(ending, checkpoint, tmp_path) -> None:
    whole, half = tmp_path / f"whole.{ending}", tmp_path / f"half.{ending}"
    assert export(checkpoint, whole) < 1e-3
    assert export(checkpoint, half, fp16=True) < 2e-2
    weights = {"onnx": "onnx", "xml": "bin"}[ending]
    sizes = [path.with_suffix(f".{weights}").stat().st_size for path in (whole, half)]
    assert 0.45 < sizes[1] / sizes[0] < 0.6
    assert sorted(path.stem for path in tmp_path.iterdir()) == sorted(
        ["whole", "half"] * (1 if ending == "onnx" else 2)
    )


def test_the_height_travels_in_the_file(checkpoint, tmp_path) -> None:
    export(checkpoint, tmp_path / "a.onnx", height=256)
    assert load(tmp_path / "a.onnx").height == 256


def test_a_mismatch_is_not_written_and_the_old_file_stays(checkpoint, tmp_path, monkeypatch):
    out = tmp_path / "a.onnx"
    out.write_bytes(b"old")
    other = tmp_path / "other.pth"
    torch.save(LightweightOpenPose().state_dict(), other)
    right = pytorch.load
    monkeypatch.setattr(pytorch, "load", lambda path: right(other))
    with pytest.raises(BadInput, match=r"was not written: it differs from PyTorch by"):
        export(checkpoint, out)
    assert out.read_bytes() == b"old"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.onnx", "other.pth"]


def test_only_known_endings_and_real_folders(checkpoint, tmp_path) -> None:
    with pytest.raises(BadInput, match=r"should end in \.onnx"):
        export(checkpoint, tmp_path / "a.tflite")
    with pytest.raises(BadInput, match="does not exist"):
        export(checkpoint, tmp_path / "gone" / "a.onnx")


def test_nothing_of_the_exporting_machine_is_in_the_file(checkpoint, tmp_path) -> None:
    export(checkpoint, tmp_path / "a.onnx")
    content = (tmp_path / "a.onnx").read_bytes()
    assert str(tmp_path).encode() not in content
    assert b".py" not in content
    assert {entry.key for entry in onnx.load(tmp_path / "a.onnx").metadata_props} == {
        "limbwise",
        "limbwise-options",
    }


@pytest.fixture
def person(tmp_path) -> Path:
    """A network for crops of one person, with random weights."""
    torch.manual_seed(0)
    made = build("limbwise-person", TRAINED, 64, width=0.25, channels=16, blocks=1)
    save(made, tmp_path / "person.safetensors")
    return tmp_path / "person.safetensors"


@pytest.mark.parametrize("ending", ["onnx", "xml"])
def test_a_network_for_crops_says_the_same_everywhere(ending, person, tmp_path) -> None:
    out = tmp_path / f"person.{ending}"
    assert export(person, out) < 1e-3
    reference, exported = pytorch.load(person), openvino.load(out, precision="f32")
    assert exported.description == reference.description
    assert exported.description.crop == (64, 48)
    assert exported.description.skeleton.keypoints == TRAINED.keypoints
    rng = np.random.default_rng(0)
    for count in (1, 3):
        crops = rng.integers(0, 256, (count, 64, 48, 3), np.uint8)
        found = rng.uniform(0, 48, (count, 18, 3)).astype(np.float32)
        found[..., 2] = rng.integers(0, 2, (count, 18))
        truth, said = reference(crops, found), exported(crops, found)
        assert [one.heatmaps.shape for one in said] == [(18, 16, 12)] * count
        for one, other in zip(said, truth, strict=True):
            assert one.heatmaps == pytest.approx(other.heatmaps, abs=1e-3)
        unlike = reference(crops, np.zeros_like(found))
        assert abs(unlike[0].heatmaps - truth[0].heatmaps).max() > 1e-5  # what is told counts


@pytest.mark.skipif(os.name != "posix", reason="needs RLIMIT_FSIZE")
@pytest.mark.parametrize("ending", ["onnx", "xml"])
def test_a_full_disk_is_one_line_and_keeps_the_old_files(ending, person, tmp_path) -> None:
    """Python ignores SIGXFSZ, so that a file which grows too large is as on a full disk."""
    import resource

    out, room = tmp_path / f"a.{ending}", 20_000
    out.write_text("old")
    (tmp_path / "a.bin").write_text("old weights")
    before = sorted(tmp_path.iterdir())
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (room, limits[1]))
    try:
        with pytest.raises(BadInput, match=rf"a\.{ending} could not be written"):
            export(person, out)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert sorted(tmp_path.iterdir()) == before
    assert out.read_text() == "old"
    assert (tmp_path / "a.bin").read_text() == "old weights"
