"""The original's training, end to end: prepare, three steps, validate."""

import json
import runpy
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from limbwise.data.prepare import prepare, subset
from limbwise.errors import BadInput
from limbwise.networks.checkpoint import load
from limbwise.networks.lightweight_openpose import LightweightOpenPose, load_mobilenet
from limbwise.skeleton import COCO

ROOT = Path(__file__).parents[1]


@pytest.fixture
def people(tmp_path) -> Path:
    """Six pictures of noise, a person in all but the last, a crowd in the first; the labels."""
    random = np.random.default_rng(0)
    folder = tmp_path / "pictures"
    folder.mkdir()
    images, annotations = [], []
    for number in range(1, 7):
        name = f"{number}.png"
        cv2.imwrite(str(folder / name), random.integers(0, 256, (64, 80, 3)).astype(np.uint8))
        images.append({"id": number, "file_name": name, "width": 80, "height": 64, "url": "x" * 99})
        xy = np.c_[random.uniform(5, 75, 17), random.uniform(5, 59, 17), np.full(17, 2)]
        person = {"id": number, "image_id": number, "category_id": 1, "iscrowd": 0,
                  "num_keypoints": 17, "keypoints": xy.ravel().tolist(), "area": 3000,
                  "bbox": [5, 5, 70, 54], "segmentation": [[5, 5, 75, 5, 75, 59]]}  # fmt: skip
        annotations += [person] * (number < 6)
    crowd = {"id": 99, "image_id": 1, "category_id": 1, "iscrowd": 1, "num_keypoints": 0,
             "keypoints": [0] * 51, "area": 100, "bbox": [0, 0, 10, 10],
             "segmentation": [[0, 0, 10, 0, 10, 10]]}  # fmt: skip
    category = {"id": 1, "name": "person", "keypoints": list(COCO.keypoints), "skeleton": [[1, 2]]}
    path = tmp_path / "labels.json"
    labels = {"images": images, "annotations": [*annotations, crowd], "categories": [category]}
    path.write_text(json.dumps(labels))
    return path


def in_a_process(name: str, *args: object, cwd: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(ROOT / name), *map(str, args)]
    return subprocess.run(command, capture_output=True, text=True, timeout=240, cwd=cwd)


@pytest.fixture
def run(monkeypatch, tmp_path: Path) -> Callable[..., int]:
    """A script as the command line runs it, in the test's folder and, for speed, in this process;
    the exit code."""

    def run(name: str, *args: object) -> int:
        monkeypatch.chdir(tmp_path)
        monkeypatch.setattr(sys, "argv", [name, *map(str, args)])
        monkeypatch.setattr("limbwise.cli.app.listen", lambda: None)
        try:
            runpy.run_path(str(ROOT / name), run_name="__main__")
        except SystemExit as end:
            return int(end.code or 0)
        return 0

    return run


def test_the_seeds_three_steps_run_from_labels_to_ap(people, tmp_path, run, capsys) -> None:
    done = in_a_process("scripts/prepare_train_labels.py", "--labels", people, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert run("scripts/make_val_subset.py", "--labels", people, "--num-images", 2) == 0
    mobilenet = {f"module.{key}": value for key, value in LightweightOpenPose().state_dict().items()
                 if key.startswith("model.")}  # fmt: skip
    torch.save({"state_dict": mobilenet | {"module.fc.weight": torch.ones(1000, 9)}},
               tmp_path / "mobilenet.pth.tar")  # fmt: skip
    common = ["--train-images-folder", "pictures", "--val-images-folder", "pictures",
              "--prepared-train-labels", "prepared_train_annotation.json", "--batch-size", 2,
              "--val-labels", "val_subset.json", "--num-workers", 1, "--log-after", 1,
              "--epochs", 1, "--size", 64, "--experiment-name"]  # fmt: skip
    three_stages = ["--num-refinement-stages", 3]
    last = "{}_checkpoints/last.safetensors".format
    steps = [
        ("one", "mobilenet.pth.tar", "--from-mobilenet"),
        ("two", last("one"), "--weights-only"),
        ("three", last("two"), "--weights-only", *three_stages),
    ]
    for name, checkpoint, *flags in steps:
        assert run("train.py", *common, name, "--checkpoint-path", checkpoint, *flags) == 0
    made = load(tmp_path / last("three"))
    assert made.options["refinement_stages"] == 3
    log = (tmp_path / "three_checkpoints" / "log.jsonl").read_text().splitlines()
    assert "AP" in json.loads(log[-1])
    validated = run("val.py", "--labels", "val_subset.json", "--images-folder", "pictures",
                    "--checkpoint-path", last("three"))  # fmt: skip
    assert validated == 0
    resumed = run("train.py", *common, "three", *three_stages, "--checkpoint-path",
                  "three_checkpoints/last.pth", "--epochs", 2)  # fmt: skip
    assert resumed == 0
    assert load(tmp_path / last("three")).training["steps"] > made.training["steps"]
    capsys.readouterr()
    assert run("train.py", *common, "four", "--checkpoint-path", "mobilenet.pth.tar") == 2
    assert "--weights-only" in capsys.readouterr().err.splitlines()[-1]


TRAIN = ["train.py", "--train-images-folder", "pictures", "--prepared-train-labels", "labels.json",
         "--checkpoint-path", "none.pth", "--from-mobilenet"]  # fmt: skip


@pytest.mark.parametrize(
    ("args", "told"),
    [
        ([*TRAIN, "--num-workers", -1], "--num-workers"), ([*TRAIN, "--base-lr", -1], "--base-lr"),
        ([*TRAIN, "--log-after", 0], "--log-after"), ([*TRAIN, "--val-after", -1], "--val-after"),
        ([*TRAIN, "--checkpoint-after", 0], "--checkpoint-after"),
        ([*TRAIN, "--batches-per-iter", 0], "--batches-per-iter"),
        ([*TRAIN, "--num-refinement-stages", -1], "--num-refinement-stages"),
        ([*TRAIN, "--num-workers", 0], "none.pth"),
        (["demo.py", "--images", "pictures", "--height-size", 3], "--height-size"),
        (["val.py", "--labels", "labels.json", "--images-folder", "pictures", "--checkpoint-path",
          "labels.json", "--output-name", "labels.json"], "--output-name"),
    ],
)  # fmt: skip
def test_errors_of_the_seeds_scripts_speak_of_their_own_options(
    args: list[object], told: str, people, run, capsys
) -> None:
    assert run(*args) == 2
    (line,) = capsys.readouterr().err.strip().splitlines()
    assert told in line
    theirs = ("--workers", "--lr", "--accumulate", "--stages", "--size", "--detections", "-every")
    assert not any(word in line.replace("--height-size", "") for word in theirs)


def test_mobilenet_fills_the_trunk_and_nothing_else(tmp_path: Path) -> None:
    network, donor = LightweightOpenPose(), LightweightOpenPose()
    before = {key: value.clone() for key, value in network.state_dict().items()}
    torch.save({"state_dict": donor.state_dict()}, tmp_path / "a.pth")
    count = load_mobilenet(network, tmp_path / "a.pth")
    after, given = network.state_dict(), donor.state_dict()
    trunk = [key for key in after if key.startswith("model.")]
    assert count == len(trunk)
    assert all(torch.equal(after[key], given[key]) for key in trunk)
    assert all(torch.equal(after[key], before[key]) for key in set(after) - set(trunk))
    torch.save({"state_dict": {"fc.weight": torch.ones(2)}}, tmp_path / "b.pth")
    with pytest.raises(BadInput, match="does not hold the weights of a MobileNet"):
        load_mobilenet(network, tmp_path / "b.pth")


def test_prepared_labels_train_alike_and_are_smaller(people: Path, tmp_path: Path) -> None:
    from limbwise.data.coco import read

    out = tmp_path / "small.json"
    assert prepare(people, out) == (5, 5)
    assert out.stat().st_size < people.stat().st_size * 0.9
    whole = read(people, tmp_path / "pictures").subset(range(5))
    small = read(out, tmp_path / "pictures")
    assert small.ids == whole.ids
    for name in ("keypoints", "state", "boxes", "areas", "regions", "regions_from"):
        assert np.array_equal(getattr(small, name), getattr(whole, name)), name


def test_annotations_that_lack_something_are_passed_over(people: Path, tmp_path: Path) -> None:
    labels = json.loads(people.read_text())
    labels["annotations"] += [{"id": 7, "category_id": 1}, {"image_id": 1, "keypoints": None}]
    people.write_text(json.dumps(labels))
    assert prepare(people, tmp_path / "small.json") == (5, 5)


def test_a_subset_is_whole_pictures_with_people(people: Path, tmp_path: Path) -> None:
    out = tmp_path / "some.json"
    assert subset(people, out, 3) == 3
    some, whole = json.loads(out.read_text()), json.loads(people.read_text())
    ids = {image["id"] for image in some["images"]}
    assert len(ids) == 3
    assert 6 not in ids  # nobody is on it
    expected = [entry for entry in whole["annotations"] if entry["image_id"] in ids]
    assert some["annotations"] == expected
    assert subset(people, out, 50) == 5


def test_labels_of_nobody_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    category = {"id": 1, "keypoints": list(COCO.keypoints)}
    path.write_text(json.dumps({"images": [], "annotations": [], "categories": [category]}))
    for refuse in (prepare, subset):
        with pytest.raises(BadInput, match=r"nobody"):
            refuse(path, tmp_path / "b.json")
    assert not (tmp_path / "b.json").exists()
