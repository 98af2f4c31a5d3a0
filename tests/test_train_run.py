"""From label files to a model that finds what they label."""

import json
import os
import shutil
import subprocess
import sys
import threading
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from limbwise.backends.base import Backend
from limbwise.cli.app import exit_code
from limbwise.cli.train import _goes_on
from limbwise.data.coco import read
from limbwise.description import Description
from limbwise.errors import BadInput
from limbwise.networks.checkpoint import build, load, save
from limbwise.networks.limbwise import _package_file
from limbwise.skeleton import BODY, Skeleton
from limbwise.train.batches.loader import feed
from limbwise.train.board import target_and_prediction
from limbwise.train.config import Augment, TrainConfig
from limbwise.train.run import Data, train
from limbwise.train.start import TRAINED, begin

NATIVE = shutil.which("c++") is not None
KITE = ["tail", "left_tip", "right_tip", "head"]
KITES = Skeleton(
    tuple(KITE),
    tuple((KITE[a], KITE[b]) for a, b in ((3, 1), (3, 2), (1, 0), (2, 0), (3, 0))),
    (0.05,) * 4,
)
CALM = Augment(mosaic=0, turn_any=0, cut_out=0, soften=0, person=(0.3, 0.8))


def kites(folder: Path, count: int, seed: int) -> Path:
    """Pictures of one to three kites: a tail, two coloured tips and a head; the label file."""
    random = np.random.default_rng(seed)
    folder.mkdir()
    images, annotations = [], []
    for number in range(1, count + 1):
        picture = random.integers(60, 120, (96, 128, 3)).astype(np.uint8)
        for place in random.permutation(3)[: random.integers(1, 4)]:
            size, angle = random.uniform(14, 20), random.uniform(-0.5, 0.5)
            shape = np.array([[0, 1.0], [-0.8, -0.2], [0.8, -0.2], [0, -1.0]]) * size
            turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
            middle = np.array([22 + 42 * place, random.uniform(30, 66)])
            xy = shape @ turn.T + middle
            for part in (1, 2):
                cv2.line(picture, *np.rint(xy[[3, part]]).astype(int).tolist(), (200, 200, 200), 2)
                cv2.line(picture, *np.rint(xy[[0, part]]).astype(int).tolist(), (200, 200, 200), 2)
            colours = [(255, 255, 255), (0, 0, 255), (255, 0, 0), (0, 255, 0)]
            for (x, y), colour in zip(np.rint(xy).astype(int).tolist(), colours, strict=True):
                cv2.circle(picture, (x, y), 4, colour, -1)
            left, top = xy.min(axis=0)
            width, height = np.ptp(xy, axis=0)
            annotations.append(
                {"id": len(annotations) + 1, "image_id": number, "category_id": 1, "iscrowd": 0,
                 "num_keypoints": 4, "bbox": [left, top, width, height], "area": width * height,
                 "keypoints": np.c_[xy + 0.5, np.full(4, 2)].ravel().tolist()}
            )  # fmt: skip
        cv2.imwrite(str(folder / f"{number}.png"), picture)
        images.append({"id": number, "file_name": f"{number}.png", "width": 128, "height": 96})
    skeleton = [[4, 2], [4, 3], [2, 1], [3, 1], [4, 1]]
    category = {"id": 1, "name": "kite", "keypoints": KITE, "skeleton": skeleton}
    labels = {"images": images, "annotations": annotations, "categories": [category]}
    path = folder / "labels.json"
    path.write_text(json.dumps(labels, default=float))
    return path


def test_kites_are_found_after_a_minute_of_training_with_no_change_of_code(tmp_path, capsys):
    """Train, export, evaluate, run and draw an object nobody thought of."""
    labels, fresh = kites(tmp_path / "a", 80, 0), kites(tmp_path / "b", 30, 1)
    small = {"width": 0.25, "channels": 32, "blocks": 2}
    train(
        Data([labels], [labels.parent]), tmp_path / "run", lambda step, figures: None,
        TrainConfig(size=64, steps=250, batch_size=8, lr=1.2e-2, augment=CALM, options=small,
                    ema=0.98, native=NATIVE),
    )  # fmt: skip
    model = tmp_path / "kite.onnx"
    assert exit_code(["export", str(tmp_path / "run" / "last.safetensors"), str(model)]) == 0
    metrics = tmp_path / "metrics.json"
    args = ["eval", str(fresh), str(fresh.parent), "--model", str(model), "--size", "96"]
    assert exit_code([*args, "--metrics", str(metrics)]) == 0
    assert json.loads(metrics.read_text())["AP"] > 0.9
    person = str(_second_stage(labels, tmp_path / "person"))
    assert exit_code([*args, "--person-model", person, "--metrics", str(metrics)]) == 0
    assert json.loads(metrics.read_text())["AP"] > 0.9
    args = ["eval", str(fresh), str(fresh.parent), "--model", person, "--metrics", str(metrics)]
    assert exit_code(args) == 0  # told where they are
    assert json.loads(metrics.read_text())["AP"] > 0.5
    one = str(fresh.parent / "1.png")
    drawn = tmp_path / "drawn.png"
    args = ["run", one, "--model", str(model), "--size", "96", "--json", "-", "--save", str(drawn)]
    capsys.readouterr()
    assert exit_code(args) == 0
    said = json.loads(capsys.readouterr().out)
    assert list(said["people"][0]["keypoints"]) == KITE
    assert not np.array_equal(cv2.imread(one), cv2.imread(str(drawn)))


def _second_stage(labels: Path, out: Path) -> Path:
    small = {"width": 0.25, "channels": 32, "blocks": 1}
    train(
        Data([labels], [labels.parent]), out, lambda step, figures: None,
        TrainConfig(network="limbwise-person", size=64, steps=80, batch_size=8, lr=1.2e-2,
                    augment=CALM, options=small, ema=0.98, native=NATIVE),
    )  # fmt: skip
    return out / "last.safetensors"


def test_the_command_trains_logs_and_resumes(tmp_path) -> None:
    labels = kites(tmp_path / "a", 8, 0)
    args = ["train", str(labels), str(labels.parent), "--size", "64", "--batch-size", "2"]
    args += ["--out", str(tmp_path / "run"), "--val-annotations", str(kites(tmp_path / "b", 2, 1))]
    args += ["--val-images", str(tmp_path / "b")]
    assert exit_code([*args, "--epochs", "0.5"]) == 0
    assert load(tmp_path / "run" / "last.safetensors").training["steps"] == 2
    assert exit_code([*args, "--epochs", "1", "--resume"]) == 0
    assert load(tmp_path / "run" / "last.safetensors").training["steps"] == 4
    log = [json.loads(line) for line in (tmp_path / "run" / "log.jsonl").read_text().splitlines()]
    assert [line["step"] for line in log if "total" in line] == [2, 4]
    assert any("AP" in line for line in log)
    assert list((tmp_path / "run").glob("events.out.tfevents*"))


def test_a_checkpoint_of_another_skeleton_gives_all_but_its_last_layers(tmp_path) -> None:
    old = build("limbwise", BODY, width=0.25)
    save(old, tmp_path / "a.safetensors")
    kite = Skeleton(tuple(KITE), (("tail", "head"),), (0.1,) * 4)
    made = begin("limbwise", str(tmp_path / "a.safetensors"), kite, 64, {})
    assert made.description.skeleton == kite
    before, after = old.network.state_dict(), made.network.state_dict()
    assert after["last.weight"].shape[0] == 4 + 2
    same = [key for key in after if torch.equal(before[key], after[key])]
    assert set(after) - set(same) == {f"{head}.weight" for head in ("early", "last")} | {
        f"{head}.bias" for head in ("early", "last")
    }


def test_a_checkpoint_with_some_of_the_limbs_keeps_them(tmp_path) -> None:
    save(build("lightweight-openpose", BODY), tmp_path / "a.safetensors")
    made = begin("limbwise", str(tmp_path / "a.safetensors"), TRAINED, 64, {})
    assert made.description.name == "lightweight-openpose"
    assert made.description.skeleton == BODY


def test_more_stages_begin_afresh_and_the_others_go_on(tmp_path) -> None:
    save(build("lightweight-openpose", BODY), tmp_path / "a.safetensors")
    old = load(tmp_path / "a.safetensors").network.state_dict()
    made = begin(
        "lightweight-openpose",
        str(tmp_path / "a.safetensors"),
        TRAINED,
        64,
        {"refinement_stages": 2},
    )
    new = made.network.state_dict()
    assert all(torch.equal(new[key], old[key]) for key in old)
    assert any(key.startswith("refinement_stages.1.") for key in set(new) - set(old))


def test_a_teacher_looks_at_the_crops_and_speaks_in_the_students_order(tmp_path) -> None:
    labels = kites(tmp_path / "a", 6, 0)
    made = build("limbwise", KITES, 64, width=0.25)

    def said(images: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Each keypoint's number in its map, times how bright the picture is."""
        bright = images.mean(axis=(1, 2, 3))[:, None, None, None]
        maps = np.arange(4, dtype=np.float32)[None, :, None, None] * bright
        return np.broadcast_to(maps, (len(images), 4, 8, 8)), np.zeros((len(images), 10, 8, 8))

    other_order = Skeleton(KITES.keypoints[::-1], KITES.limbs, KITES.sigmas)
    teacher = Backend(Description("limbwise", other_order), "teacher", said)
    give = feed(read(labels, labels.parent), made, 64, torch.device("cpu"), teacher=teacher)
    batch = give(0, 4, (0, 1))
    bright = batch.images.float().mean(dim=(1, 2, 3))
    for number in range(4):
        assert torch.allclose(batch.teacher_maps[:, number, 0, 0], (3 - number) * bright, rtol=1e-4)
    for stranger in (Description("x", KITES, stride=4), Description("x", BODY)):
        with pytest.raises(BadInput, match="teacher"):
            feed(read(labels, labels.parent), made, 64, torch.device("cpu"),
                 teacher=Backend(stranger, "", said))  # fmt: skip


def test_batches_are_the_same_whether_begun_ahead_or_asked_for_at_random(tmp_path) -> None:
    labels = kites(tmp_path / "a", 6, 0)
    made = build("limbwise", KITES, 64, width=0.25)
    for room in (None, 0):  # from memory, from the files
        give, again = (
            feed(read(labels, labels.parent), made, 64, torch.device("cpu"), room=room)
            for _ in range(2)
        )
        in_order = [give(number, 4, (0, 1)) for number in range(3)]
        for number in (2, 0):
            batch = again(number, 4, (0, 1))
            assert torch.equal(batch.images, in_order[number].images)
            assert torch.equal(batch.limbs, in_order[number].limbs)


def test_batches_are_made_beside_the_network_without_taking_its_threads(tmp_path) -> None:
    labels = kites(tmp_path / "a", 6, 0)
    made = build("limbwise", KITES, 64, width=0.25)
    seen = []

    def said(images: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        seen.append((threading.current_thread(), torch.get_num_threads()))
        return np.zeros((len(images), 4, 8, 8), np.float32), np.zeros((len(images), 10, 8, 8))

    teacher = Backend(Description("limbwise", KITES), "teacher", said)
    before = torch.get_num_threads()
    give = feed(read(labels, labels.parent), made, 64, torch.device("cpu"), teacher=teacher)
    for number in range(3):
        give(number, 4, (0, 1))
    assert torch.get_num_threads() == before
    assert {threads for _, threads in seen} == {1}
    assert threading.current_thread() not in {thread for thread, _ in seen}


def test_pictures_that_fit_into_no_memory_are_trained_on_too(tmp_path) -> None:
    labels = kites(tmp_path / "a", 4, 0)
    (labels.parent / "2.png").write_bytes(b"not a picture")
    made = build("limbwise", KITES, 64, width=0.25)
    give = feed(
        read(labels, labels.parent), made, 64, torch.device("cpu"), room=0,
        settings=Augment(mosaic=1.0),
    )  # fmt: skip
    for number in range(3):
        batch = give(number, 4, (0, 1))
        assert batch.images.shape == (4, 3, 64, 64)
        assert batch.heatmaps.amax() > 0.5
    for n in range(1, 5):
        (labels.parent / f"{n}.png").write_bytes(b"not a picture")
    with pytest.raises(BadInput, match="none of 4 pictures can be read"):
        give(9, 4, (0, 1))


def test_what_is_wanted_is_shown_beside_what_is_said(tmp_path) -> None:
    labels = kites(tmp_path / "a", 4, 0)
    made = build("limbwise", KITES, 64, width=0.25)
    sample = feed(read(labels, labels.parent), made, 64, torch.device("cpu"), settings=CALM)
    batch = sample(0, 4, (0, 1))
    shown = target_and_prediction(made, sample)
    assert [picture.shape for picture in shown] == [(128, 192, 3)] * 4
    wanted = shown[0][:64, 64:128].astype(int).sum(axis=2)
    row, column = divmod(int(batch.heatmaps[0].amax(dim=0).argmax()), 8)
    cell = wanted[row * 8 : row * 8 + 8, column * 8 : column * 8 + 8]
    dimmed = (
        batch.images[0].permute(1, 2, 0).numpy()[row * 8 : row * 8 + 8, column * 8 : column * 8 + 8]
    )
    assert cell.mean() > 0.4 * dimmed.sum(axis=2).mean() + 100  # bright where a keypoint is


def test_two_processes_train_together_and_one_tells(tmp_path) -> None:
    labels = kites(tmp_path / "a", 4, 0)
    command = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2"]
    command += ["--standalone", "-m", "limbwise", "train", str(labels)]
    command += [str(labels.parent), "--size", "64", "--batch-size", "4", "--steps", "2"]
    command += ["--log-every", "1", "--out", str(tmp_path / "run"), "--device", "cpu"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, capture_output=True, text=True, timeout=200, env=environment)
    assert done.returncode == 0, done.stderr
    log = (tmp_path / "run" / "log.jsonl").read_text().splitlines()
    assert [json.loads(line)["step"] for line in log] == [1, 2]


def test_resuming_under_torchrun_begins_anew_where_nothing_was_saved(tmp_path, monkeypatch) -> None:
    monkeypatch.setenv("TORCHELASTIC_RUN_ID", "1")
    assert not _goes_on(True, tmp_path)
    (tmp_path / "last.pth").touch()
    assert _goes_on(True, tmp_path)
    assert not _goes_on(False, tmp_path)
    monkeypatch.delenv("TORCHELASTIC_RUN_ID")
    assert _goes_on(True, tmp_path / "nowhere")  # which is then told


def test_the_trunk_starts_from_imagenet() -> None:
    fresh, pretrained = (begin("limbwise", init, BODY, 64, {}) for init in (None, "imagenet"))
    one, other = (made.network.state_dict() for made in (fresh, pretrained))
    assert not torch.equal(one["trunk.stem.0.weight"], other["trunk.stem.0.weight"])
    assert other["trunk.stem.1.running_var"].std() > 0  # statistics of real pictures


def test_people_are_trained_with_limbs_that_hold_them_together() -> None:
    assert TRAINED.limbs[: len(BODY.limbs)] == BODY.limbs
    assert len(TRAINED.mirrored_limbs) == len(TRAINED.limbs)
    assert sorted(twin for twin, _ in TRAINED.mirrored_limbs) == list(range(len(TRAINED.limbs)))


def test_bad_input_to_training_is_one_line(tmp_path, capsys) -> None:
    labels = kites(tmp_path / "a", 2, 0)
    (tmp_path / "cat.txt").write_text("meow")
    nothing = kites(tmp_path / "b", 2, 0)
    for name in ("1.png", "2.png"):
        (nothing.parent / name).write_bytes(b"not a picture")
    for args, told in (
        ([str(tmp_path / "gone.json"), str(tmp_path)], "gone.json"),
        ([str(tmp_path / "cat.txt"), str(tmp_path)], "cat.txt"),
        ([str(labels), str(labels.parent), "--network", "resnet"], "resnet"),
        ([str(labels), str(labels.parent), "--resume"], "nothing to resume"),
        ([str(labels), str(labels.parent), "--init", str(tmp_path / "cat.txt")], "cat.txt"),
        ([str(labels), str(labels.parent), "--device", "gpu"], "device gpu is not here"),
        ([str(labels), str(labels.parent), "--init", "mobilenet:cat.pth"], "only lightweight"),
        ([str(labels), str(labels.parent), "--also", "more.json"], "ANNOTATIONS:IMAGES"),
        (
            [
                str(labels),
                str(labels.parent),
                "--val-annotations",
                str(labels),
                "--val-images",
                str(labels.parent),
            ],
            "nothing is left to train on",
        ),
        ([str(nothing), str(nothing.parent)], "none of the 2 pictures can be read"),
        ([str(labels), str(labels.parent), "--augment", "mosaik=0"], "mosaic"),
        ([str(labels), str(labels.parent), "--augment", "person=1"], "person"),
    ):
        assert exit_code(["train", *args, "--out", str(tmp_path / "run")]) == 2, told
        lines = capsys.readouterr().err.strip().splitlines()
        assert told in lines[-1]
        assert "Traceback" not in "".join(lines)


def test_the_same_seed_gives_the_same_network(tmp_path) -> None:
    labels = kites(tmp_path / "a", 6, 0)
    ends = []
    for name in ("one", "two"):
        made = train(
            Data([labels], [labels.parent]), tmp_path / name, lambda step, figures: None,
            TrainConfig(size=64, steps=2, batch_size=2,
                        options={"width": 0.25, "channels": 16, "blocks": 1}),
        )  # fmt: skip
        ends.append(made.network.state_dict())
    assert all(torch.allclose(ends[0][key], ends[1][key], atol=1e-6) for key in ends[0])


def test_check_data_counts_and_names_faults(tmp_path, capsys) -> None:
    path = kites(tmp_path / "a", 3, 0)
    labels = json.loads(path.read_text())
    labels["annotations"][0]["keypoints"][0] = 900
    path.write_text(json.dumps(labels))
    (tmp_path / "a" / "3.png").write_bytes(b"not a picture")
    page = tmp_path / "page.html"
    assert exit_code(["check-data", str(path), str(path.parent), "--page", str(page)]) == 0
    said = capsys.readouterr().out
    people = len(labels["annotations"])
    assert f"3 pictures (0 without people), {people} people with keypoints" in said
    assert "image 1, annotation 1: " in said
    assert "image 3, annotation None: " in said
    assert "left_tip" in said
    assert "<img" in page.read_text()


def test_found_is_for_one_label_file_and_a_network_that_is_told(tmp_path, capsys) -> None:
    labels = kites(tmp_path / "a", 2, 0)
    found = tmp_path / "found.json"
    found.write_text("[]")
    args = ["train", str(labels), str(labels.parent), "--steps", "1", "--found", str(found)]
    args += ["--out", str(tmp_path / "run")]
    person = [*args, "--network", "limbwise-person"]
    for command, text in (
        (args, "--found is for limbwise-person"),
        ([*person, "--also", f"{labels}:{labels.parent}"], "one label file"),
        (person, "has no people in the pictures"),
    ):
        assert exit_code(command) == 2
        assert text in " ".join(capsys.readouterr().err.split())


def test_crops_of_a_person_have_whole_cells() -> None:
    for height, crop in ((128, (128, 96)), (100, (104, 80)), (32, (32, 24))):
        assert build("limbwise-person", KITES, height, width=0.25).description.crop == crop


def test_the_stem_learnt_from_rgb_and_sees_bgr() -> None:
    """The weights of ImageNet's stem say of a picture's channels, the other way round, what they
    said of them in their own order; the other layers are as they were."""
    source = torch.load(_package_file(), map_location="cpu", weights_only=True)
    trunk = begin("limbwise", "imagenet", BODY, 64, {}).network.trunk
    first, second = [value for value in source.values() if value.ndim == 4][:2]
    rgb = torch.rand(1, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    seen = torch.nn.functional.conv2d(rgb, first, stride=2, padding=1)
    assert torch.allclose(trunk.stem[0](rgb[:, [2, 1, 0]]), seen, atol=1e-5)
    assert not torch.allclose(trunk.stem[0](rgb), seen, atol=0.1)
    assert any(torch.equal(second, value) for value in trunk.state_dict().values())
