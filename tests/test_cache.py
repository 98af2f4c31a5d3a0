"""Compiled models are kept for the next start, and nothing depends on it."""

import os
from pathlib import Path

import numpy as np
import pytest
import torch

from limbwise import cache, runtime
from limbwise.skeleton import Skeleton
from limbwise.train.checkpoint import build
from limbwise.train.checkpoint import save as save_checkpoint
from limbwise.train.export import export

STICK = Skeleton(("left_end", "right_end"), (("left_end", "right_end"),), (0.1, 0.1))


@pytest.fixture(scope="module")
def model(tmp_path_factory) -> Path:
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("model") / "small.onnx"
    made = build("limbwise", STICK, channels=16, blocks=1, width=0.25)
    save_checkpoint(made, path.with_suffix(".safetensors"))
    export(path.with_suffix(".safetensors"), path)
    return path


@pytest.fixture(autouse=True)
def kept(tmp_path, monkeypatch) -> Path:
    monkeypatch.setenv("LIMBWISE_CACHE", str(tmp_path / "kept"))
    return tmp_path / "kept"


def heatmaps(model: Path) -> np.ndarray:
    image = np.arange(64 * 64 * 3, dtype=np.uint32).reshape(1, 64, 64, 3).astype(np.uint8)
    return runtime.openvino(model, precision="f32")(image)[0].heatmaps


def test_the_second_start_takes_what_the_first_compiled(model, kept) -> None:
    first = heatmaps(model)
    (blob,) = kept.glob("*.blob")
    written = blob.stat().st_mtime_ns
    assert np.array_equal(heatmaps(model), first)
    assert [file.stat().st_mtime_ns for file in kept.glob("*.blob")] == [written]


def test_a_damaged_file_is_compiled_anew(model, kept) -> None:
    first = heatmaps(model)
    (blob,) = kept.glob("*.blob")
    blob.chmod(0o600)
    blob.write_bytes(blob.read_bytes()[:1000])
    assert np.array_equal(heatmaps(model), first)
    assert blob.stat().st_size > 1000


def test_only_the_newest_stay(kept) -> None:
    kept.mkdir()
    for number in range(5):
        (kept / f"{number}.blob").touch()
        os.utime(kept / f"{number}.blob", (number, number))
    (kept / "note.txt").touch()
    cache.prune(kept, 2)
    assert sorted(file.name for file in kept.iterdir()) == ["3.blob", "4.blob", "note.txt"]
    cache.prune(kept / "gone")


@pytest.mark.parametrize("where", ["", "/dev/null/nowhere"])
def test_without_a_folder_it_works_as_well(where, model, monkeypatch) -> None:
    monkeypatch.setenv("LIMBWISE_CACHE", where)
    assert cache.folder() is None
    assert np.isfinite(heatmaps(model)).all()
