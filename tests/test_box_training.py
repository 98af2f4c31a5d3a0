"""Boxes in training: they go where the picture goes, and the loss leads to them."""

import json
import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from limbwise.boxes import find_boxes
from limbwise.cli.app import exit_code
from limbwise.data.annotations import LABELLED, UNLABELLED
from limbwise.data.coco import read
from limbwise.export.onnx import export
from limbwise.networks.checkpoint import build, load, save
from limbwise.networks.detector import decoded
from limbwise.skeleton import BODY, Skeleton
from limbwise.train.batches.batch import TargetOptions, augmented
from limbwise.train.batches.loss_masks import boxes_in_sight
from limbwise.train.boxes import BoxTargets, assigned, box_loss, giou
from limbwise.train.config import Augment, TrainConfig
from limbwise.train.run import Data, train
from test_augmentation import ONLY_PLACE, blueness, world
from test_detector import SMALL, script
from test_train_run import kites

NAN = math.nan


pytestmark = pytest.mark.usefixtures("one_thread")


def signs(box: tuple[int, int, int, int]):
    """A picture of a blue rectangle, its two corners the keypoints of one person, as is its box."""
    left, top, right, bottom = box
    image = np.zeros((120, 160, 3), np.uint8)
    image[top : bottom + 1, left : right + 1, 0] = 250
    edges = left - 0.5, top - 0.5, right + 0.5, bottom + 0.5
    return image, [[(*edges[:2], LABELLED), (*edges[2:], LABELLED), (*edges[:2], UNLABELLED)]], []


@settings(max_examples=15, deadline=None)
@given(
    st.integers(40, 60), st.integers(30, 50), st.integers(20, 50), st.integers(20, 40),
    st.integers(0, 10**6), st.sampled_from([0.0, 1.0]), st.sampled_from([0.0, 20.0]),
)  # fmt: skip
def test_a_box_goes_where_its_person_goes(left, top, width, height, seed, mosaic, turn) -> None:
    """Where the whole rectangle is in the crop, its light begins and ends where the box does; the
    box is as upright as the crop, whichever way that is turned."""
    samples = world(*[signs((left, top, left + width, top + height))] * 4)
    generator = torch.Generator().manual_seed(seed)
    how = Augment(mosaic=mosaic, turn=turn, turn_any=0, person=(0.3, 0.7), **ONLY_PLACE)
    only_boxes = TargetOptions(Skeleton((), (), ()), boxes=(8, 16, 32))
    batch = augmented(samples, torch.arange(4), (128, 160), generator, how, only_boxes)
    people, ignored = batch.boxes.people, batch.boxes.ignored
    for image, boxes, hardly in zip(batch.images, people, ignored, strict=True):
        boxes = boxes[~boxes[:, 0].isnan()]
        whole = (boxes > 2).all() and (boxes[:, 2:] < torch.tensor([157, 125])).all()
        if len(boxes) != 1 or not whole or not hardly.isnan().all():
            continue
        rows, columns = (blueness(image) > 125).nonzero()
        light = np.array([columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]) - 0.5
        assert boxes[0].numpy() == pytest.approx(light, abs=2.5 if turn else 1)


def test_a_person_is_what_the_crop_shows_and_a_region_if_that_is_hardly_anything() -> None:
    people = torch.tensor([[[-60.5, 9.5, 39.5, 29.5], [-80.5, 9.5, 19.5, 29.5], [NAN] * 4]])
    regions = torch.tensor([[[0.0, 0.0, 5.0, 5.0]]])
    boxes, ignored = boxes_in_sight(people, regions, (64, 96))
    assert boxes[0, 0].tolist() == [-0.5, 9.5, 39.5, 29.5]
    assert boxes[0, 1:].isnan().all()
    seen = ignored[0][~ignored[0, :, 0].isnan()]
    assert seen.tolist() == [[0, 0, 5, 5], [-0.5, 9.5, 19.5, 29.5]]


# The loss.

STRIDES = (8, 16)


def nothing_said() -> list[torch.Tensor]:
    """Maps of a 96 x 64 input that are sure of nobody, boxes of a stride round their cells."""
    maps = [torch.zeros(1, 5, 64 // s, 96 // s) for s in STRIDES]
    for each, stride in zip(maps, STRIDES, strict=True):
        each[:, 0], each[:, 1:] = -3, stride
        each.requires_grad_()
    return maps


def wanted(people: list[list[float]], ignored: list[list[float]]) -> BoxTargets:
    return BoxTargets(
        torch.tensor(people).reshape(1, -1, 4), torch.tensor(ignored).reshape(1, -1, 4), STRIDES
    )


def reference_giou(a: list[float], b: list[float]) -> float:
    width = min(a[2], b[2]) - max(a[0], b[0])
    height = min(a[3], b[3]) - max(a[1], b[1])
    common = width * height if width > 0 and height > 0 else 0
    union = (a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - common
    hull = (max(a[2], b[2]) - min(a[0], b[0])) * (max(a[3], b[3]) - min(a[1], b[1]))
    return common / union - (hull - union) / hull


corner, side = st.floats(0, 50), st.floats(1, 40)
box = st.tuples(corner, corner, side, side).map(lambda b: [b[0], b[1], b[0] + b[2], b[1] + b[3]])


@given(st.lists(st.tuples(box, box), min_size=1, max_size=4))
def test_giou_is_what_its_paper_says(pairs) -> None:
    a, b = (torch.tensor(several, dtype=torch.float64) for several in zip(*pairs, strict=True))
    expected = [reference_giou(*pair) for pair in pairs]
    assert giou(a, b).numpy() == pytest.approx(expected, abs=1e-6)


def test_maps_that_follow_the_loss_say_the_boxes() -> None:
    people = [[9.5, 7.5, 30.5, 55.5], [50.5, 20.5, 80.5, 44.5]]
    maps, targets = nothing_said(), wanted(people, [])
    descent = torch.optim.Adam(maps, lr=0.3)
    for _ in range(150):
        descent.zero_grad()
        box_loss(maps, targets)["boxes"].backward()
        descent.step()
    found = find_boxes(decoded(maps, STRIDES)[0].detach().numpy(), min_score=0.5)
    assert len(found) == 2
    ordered = found[np.argsort(found[:, 0])]
    assert ordered[:, :4] == pytest.approx(np.array(people), abs=1)


def test_nobody_is_punished_in_an_ignored_region_but_everywhere_else() -> None:
    maps = nothing_said()
    box_loss(maps, wanted([], [[-0.5, -0.5, 39.5, 31.5], [NAN] * 4]))["boxes"].backward()
    for each, stride in zip(maps, STRIDES, strict=True):
        punished = each.grad[0, 0] != 0
        y, x = torch.meshgrid(*(torch.arange(n) * stride for n in punished.shape), indexing="ij")
        assert (punished == ~((x < 40) & (y < 32) & (x >= 0) & (y >= 0) & inner(x, y))).all()
        assert (each.grad[0, 1:] == 0).all()


def inner(x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    """Cells measure from their corner, at -0.5: on the region's very edge they are outside."""
    return (x > 0) & (y > 0)


def test_a_person_in_an_ignored_region_is_found_all_the_same() -> None:
    maps = nothing_said()
    person = [17.5, 9.5, 50.5, 50.5]
    found = box_loss(maps, wanted([person], [[-1, -1, 96, 64]]))
    found["boxes"].backward()
    assert found["edges"] > 0
    for row in (0, 1):  # scores and edges, in cells of this person only
        learning = torch.cat([(each.grad[0, row] != 0).flatten() for each in maps]).sum()
        assert 1 <= learning <= 13


def test_a_cell_finds_one_person_whom_it_lies_in_and_everybody_is_found() -> None:
    people = torch.tensor([[[10.0, 10, 50, 50], [12.0, 10, 52, 50], [60.0, 8, 76, 40], [NAN] * 4]])
    maps = nothing_said()
    boxes = decoded(maps, STRIDES)[..., :4]
    places = torch.cat(
        [torch.stack([boxes.new_tensor([x * s - 0.5, y * s - 0.5, s]) for y in range(64 // s)
         for x in range(96 // s)]) for s in STRIDES]
    )  # fmt: skip
    logits = torch.full(boxes.shape[:2], -3.0)
    person, quality = assigned(logits, boxes, places, people)
    assert set(person.unique().tolist()) == {-1, 0, 1, 2}
    for cell in (person[0] >= 0).nonzero()[:, 0]:
        left, top, right, bottom = people[0, person[0, cell]]
        assert left < places[cell, 0] < right
        assert top < places[cell, 1] < bottom
    assert ((quality > 0) == (person >= 0)).all()
    tiny = torch.tensor([[[1.0, 1, 5, 5]]])  # between the cells
    assert (assigned(logits, boxes, places, tiny)[0] == -1).all()


def test_without_people_and_regions_there_is_a_loss_and_it_is_finite() -> None:
    found = box_loss(nothing_said(), wanted([], []))
    assert 0 < found["boxes"].item() < 100
    assert found["edges"] == 0


# From files to a network.


def test_a_detector_of_kites_is_trained_resumed_validated_and_exported(tmp_path) -> None:
    labels, fresh = kites(tmp_path / "a", 24, 0), kites(tmp_path / "b", 6, 1)
    args = ["train", str(labels), str(labels.parent), "--network", "limbwise-detector", "--size"]
    args += ["64", "--batch-size", "4", "--out", str(tmp_path / "run"), "--room", "0"]
    args += ["--val-annotations", str(fresh), "--val-images", str(fresh.parent)]
    assert exit_code([*args, "--steps", "2"]) == 0
    before = load(tmp_path / "run" / "last.safetensors").network.state_dict()
    assert exit_code([*args, "--steps", "4", "--resume"]) == 0
    made = load(tmp_path / "run" / "last.safetensors")
    assert made.training["steps"] == 4
    assert made.description.boxes
    after = made.network.state_dict()
    assert not [
        key for key in after if key.endswith("weight") and (after[key] == before[key]).all()
    ]
    lines = (tmp_path / "run" / "log.jsonl").read_text().splitlines()
    log = [json.loads(line) for line in lines]
    assert {"total", "boxes", "scores", "edges"} <= set(log[0])
    assert [line["AP"] >= 0 for line in log if "AP" in line] == [True, True]


def test_kites_are_found_as_boxes_after_seconds_of_training(tmp_path) -> None:
    labels, fresh = kites(tmp_path / "a", 40, 0), kites(tmp_path / "b", 12, 1)
    said: list[dict[str, float]] = []
    calm = Augment(mosaic=0, turn=0, turn_any=0, person=(0.2, 0.5), cut_out=0, soften=0)
    train(
        Data([labels], [labels.parent], fresh, fresh.parent), tmp_path / "run",
        lambda step, figures: said.append(figures),
        TrainConfig(network="limbwise-detector", size=96, steps=120, batch_size=8, lr=8e-3,
                    ema=0.95, options={**SMALL, "channels": 32}, augment=calm),
    )  # fmt: skip
    assert said[-1]["AP50"] > 0.5


def test_a_file_of_boxes_without_keypoints_trains_a_detector_and_nothing_else(tmp_path) -> None:
    labels = kites(tmp_path / "a", 4, 0)
    data = json.loads(labels.read_text())
    data["categories"] = [{"id": 1, "name": "kite"}]
    for entry in data["annotations"]:
        del entry["keypoints"], entry["num_keypoints"]
    data["annotations"][0]["iscrowd"] = 1
    labels.write_text(json.dumps(data))
    found = read(labels, labels.parent, Skeleton((), (), ()))
    assert len(found.boxes) == len(data["annotations"]) - 1
    assert (len(found.regions), found.faults) == (1, ())
    args = ["train", str(labels), str(labels.parent), "--size", "64", "--batch-size", "2"]
    args += ["--steps", "1", "--out", str(tmp_path / "run")]
    assert exit_code([*args, "--network", "limbwise-detector"]) == 0
    assert exit_code(args) == 2


def test_without_a_box_a_person_has_that_of_his_keypoints_widened(tmp_path) -> None:
    labels = kites(tmp_path / "a", 1, 0)
    data = json.loads(labels.read_text())
    for entry in data["annotations"]:
        del entry["bbox"]
    labels.write_text(json.dumps(data))
    found = read(labels, labels.parent)
    low, high = found.keypoints.min(axis=1), found.keypoints.max(axis=1)
    wide = (high - low) / 8
    assert found.boxes == pytest.approx(np.concatenate([low - wide, high + wide], axis=1), abs=0.01)


def test_limbwises_own_network_finds_boxes_too_if_it_is_to(tmp_path) -> None:
    small = {"width": 0.25, "channels": 16, "blocks": 1}
    plain, both = build("limbwise", BODY, **small), build("limbwise", BODY, boxes=True, **small)
    assert (plain.description.outputs, both.description.outputs) == (
        ("heatmaps", "limbs"), ("heatmaps", "limbs", "boxes"),
    )  # fmt: skip
    missing = set(both.network.state_dict()) - set(plain.network.state_dict())
    assert all(key.startswith("box_heads.") for key in missing)
    x = torch.randn(2, 3, 72, 96)
    shapes = [tuple(each.shape) for each in both.network.train()(x)[-2:]]
    assert shapes == [(2, 5, 9, 12), (2, 5, 5, 6)]
    both.network.eval()
    save(both, tmp_path / "a.safetensors")
    assert load(tmp_path / "a.safetensors").description == both.description
    assert export(tmp_path / "a.safetensors", tmp_path / "a.onnx") < 1e-3
    labels = kites(tmp_path / "kites", 4, 0)
    args = ["train", str(labels), str(labels.parent), "--boxes", "--size", "64", "--steps", "1"]
    assert exit_code([*args, "--batch-size", "2", "--out", str(tmp_path / "run")]) == 0
    line = json.loads((tmp_path / "run" / "log.jsonl").read_text().splitlines()[0])
    assert {"heatmaps", "limbs", "scores", "edges"} <= set(line)
    assert exit_code([*args, "--network", "lightweight-openpose"]) == 2


def test_whom_a_label_covers_is_no_new_region() -> None:
    covered = script("bundled_model_data").covered
    labels = np.array([[0, 0, 100, 200]], np.float32)
    boxes = np.array(
        [[0, 0, 90, 210, 1], [10, 10, 30, 40, 1], [90, 0, 190, 200, 1], [300, 0, 400, 200, 1]],
        np.float32,
    )
    assert covered(boxes, labels).tolist() == [True, True, False, False]
    assert not covered(boxes, labels[:0]).any()
