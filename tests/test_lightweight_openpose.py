from pathlib import Path

import numpy as np
import pytest
import torch

from conftest import REFERENCE, needs_reference
from limbwise.errors import BadInput
from limbwise.networks.lightweight_openpose import LightweightOpenPose, load_lightweight_openpose


@needs_reference
def test_the_outputs_are_the_originals() -> None:
    golden = np.load(REFERENCE / "golden.npz")
    network = load_lightweight_openpose(REFERENCE / "lightweight-openpose.pth")
    image = torch.from_numpy(golden["image"]).permute(2, 0, 1)[None].float()
    with torch.no_grad():
        outputs = network((image - 128) / 256)
    names = ["stage_0_heatmaps", "stage_0_pafs", "stage_1_heatmaps", "stage_1_pafs"]
    for name, output in zip(names, outputs, strict=True):
        assert np.abs(golden[name] - output.numpy()).max() < 1e-4


def test_it_has_the_papers_size() -> None:
    assert sum(p.numel() for p in LightweightOpenPose().parameters()) == 4_091_698


def saved(state: dict[str, torch.Tensor], path: Path) -> Path:
    torch.save({"state_dict": state}, path)
    return path


@pytest.fixture
def state() -> dict[str, torch.Tensor]:
    return LightweightOpenPose(2).state_dict()


def test_a_data_parallel_prefix_is_taken_off(state, tmp_path) -> None:
    path = saved({f"module.{key}": value for key, value in state.items()}, tmp_path / "a.pth")
    loaded = load_lightweight_openpose(path).state_dict()
    assert all(torch.equal(loaded[key], value) for key, value in state.items())


def test_missing_refinement_stages_start_fresh_and_spare_ones_are_left(state, tmp_path) -> None:
    path = saved(state, tmp_path / "a.pth")
    assert len(load_lightweight_openpose(path).refinement_stages) == 2
    more = load_lightweight_openpose(path, refinement_stages=3)
    assert len(more.refinement_stages) == 3
    key = "refinement_stages.1.pafs.1.0.bias"
    assert torch.equal(more.state_dict()[key], state[key])
    assert len(load_lightweight_openpose(path, refinement_stages=1).refinement_stages) == 1


def test_every_other_mismatch_is_named(state, tmp_path) -> None:
    del state["cpm.conv.0.bias"]
    del state["refinement_stages.1.pafs.1.0.bias"]
    state["something.else"] = torch.zeros(1)
    state["model.0.0.weight"] = torch.zeros(32, 3, 5, 5)
    with pytest.raises(BadInput) as caught:
        load_lightweight_openpose(saved(state, tmp_path / "a.pth"))
    message = str(caught.value)
    for fault in (
        "4 tensors",
        "cpm.conv.0.bias is missing",
        "refinement_stages.1.pafs.1.0.bias is missing",
        "something.else is unknown",
        "model.0.0.weight is (32, 3, 5, 5) instead of (32, 3, 3, 3)",
    ):
        assert fault in message


@pytest.mark.parametrize("content", [b"", b"hello", b"PK\x03\x04" + bytes(100)])
def test_a_file_of_another_kind_is_refused(content: bytes, tmp_path) -> None:
    path = tmp_path / "a.pth"
    path.write_bytes(content)
    with pytest.raises(BadInput, match="a.pth is not a checkpoint"):
        load_lightweight_openpose(path)


def test_a_pickle_that_runs_code_is_not_run(tmp_path) -> None:
    class Evil:
        def __reduce__(self):
            return Path.touch, (tmp_path / "evil",)

    torch.save({"state_dict": {"a": Evil()}}, tmp_path / "a.pth")
    with pytest.raises(BadInput):
        load_lightweight_openpose(tmp_path / "a.pth")
    assert not (tmp_path / "evil").exists()
