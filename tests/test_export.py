import onnx
import pytest
import torch

from limbwise import runtime
from limbwise.errors import BadInput
from limbwise.estimator import load
from limbwise.train import export as module
from limbwise.train.export import export
from limbwise.train.lightweight_openpose import LightweightOpenPose


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
    right = runtime.torch
    monkeypatch.setattr(module.runtime, "torch", lambda path: right(other))
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
    assert {entry.key for entry in onnx.load(tmp_path / "a.onnx").metadata_props} == {"limbwise"}
