"""Compiled models are kept for the next start, and nothing depends on it."""

import os
import shutil
import stat
from pathlib import Path

import numpy as np
import pytest
import torch

from limbwise import cache
from limbwise.backends import openvino
from limbwise.export.onnx import export
from limbwise.networks.checkpoint import build
from limbwise.networks.checkpoint import save as save_checkpoint
from limbwise.skeleton import Skeleton

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
    return openvino.load(model, precision="f32")(image)[0].heatmaps


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


posix = pytest.mark.skipif(not hasattr(os, "geteuid"), reason="needs owners and modes of POSIX")
root = pytest.mark.skipif(
    not hasattr(os, "geteuid") or os.geteuid() != 0, reason="only root gives files away"
)


@posix
def test_the_folder_is_its_owners_alone(kept, monkeypatch) -> None:
    assert cache.folder() == kept
    assert stat.S_IMODE(kept.stat().st_mode) == 0o700
    mask = os.umask(0)
    try:
        shutil.rmtree(kept)
        assert stat.S_IMODE(cache.folder().stat().st_mode) == 0o700
    finally:
        os.umask(mask)


def open_to_all(kept: Path) -> None:
    kept.chmod(0o777)


def open_to_the_group(kept: Path) -> None:
    kept.chmod(0o770)


def somebody_elses(kept: Path) -> None:
    os.chown(kept, 12345, 12345)


def in_an_open_folder(kept: Path) -> None:
    kept.parent.chmod(0o777)


def a_link_to_an_open_folder(kept: Path) -> None:
    (kept.parent / "open").mkdir()
    (kept.parent / "open").chmod(0o777)
    kept.rmdir()
    kept.symlink_to(kept.parent / "open")


@pytest.mark.parametrize(
    "spoil",
    [
        pytest.param(open_to_all, marks=posix),
        pytest.param(open_to_the_group, marks=posix),
        pytest.param(in_an_open_folder, marks=posix),
        pytest.param(a_link_to_an_open_folder, marks=posix),
        pytest.param(somebody_elses, marks=root),
    ],
)
def test_where_others_may_have_written_nothing_is_loaded_and_nothing_changed(
    spoil, kept, model
) -> None:
    kept.mkdir(mode=0o700)
    (kept / "planted.blob").write_bytes(b"planted")
    if spoil is a_link_to_an_open_folder:
        (kept / "planted.blob").unlink()
    spoil(kept)
    before = sorted(kept.iterdir())
    mode = kept.stat().st_mode
    elsewhere = cache.folder()
    assert elsewhere.resolve() != kept.resolve()
    assert stat.S_IMODE(elsewhere.stat().st_mode) == 0o700
    assert np.isfinite(heatmaps(model)).all()
    assert list(elsewhere.glob("*.blob"))
    assert sorted(kept.iterdir()) == before
    assert kept.stat().st_mode == mode


@posix
def test_a_compiled_model_that_others_may_write_is_compiled_anew(model, kept) -> None:
    heatmaps(model)
    (blob,) = kept.glob("*.blob")
    assert cache.is_ours(blob)
    blob.chmod(0o666)
    assert cache.folder() == kept
    assert not blob.exists()


@pytest.mark.skipif(os.name != "posix", reason="needs names of bytes")
def test_a_folder_whose_name_is_not_utf8_is_stood_in_for(model, tmp_path, monkeypatch) -> None:
    monkeypatch.setenv("LIMBWISE_CACHE", str(tmp_path / "\udcff"))
    assert np.isfinite(heatmaps(model)).all()


def test_who_has_no_home_keeps_nothing(monkeypatch) -> None:
    def home() -> Path:
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.delenv("LIMBWISE_CACHE")
    monkeypatch.setattr(Path, "home", home)
    assert cache.folder() is None
