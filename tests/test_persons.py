"""Crops of one person for training: labels and told keypoints go where the person goes."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from limbwise.data.annotations import LABELLED, UNCERTAIN, UNLABELLED
from limbwise.data.coco import read
from limbwise.errors import BadInput
from limbwise.pose import Pose
from limbwise.train.batches.augmentation import Augment
from limbwise.train.batches.loader import feed
from limbwise.train.batches.persons import person_crops
from limbwise.train.batches.prior_poses import _matched, read_found
from limbwise.train.start import begin
from test_augmentation import ONLY_PLACE, blobs, blueness, inside, places, world
from test_train_run import CALM, KITES, kites

SIZE = 128, 96


def crops(samples, rows: list[int], seed: int = 0, **options: float):
    """The people `rows`, each of whom is alone in the picture of that number."""
    generator = torch.Generator().manual_seed(seed)
    numbers = torch.tensor(rows)
    return person_crops(samples, numbers, numbers, SIZE, generator, Augment(**options))


@settings(max_examples=20, deadline=None)
@given(st.lists(st.tuples(places, places, places), min_size=3, max_size=3), st.integers(0, 10**6))
def test_a_keypoint_goes_where_the_bright_pixels_go(people, seed) -> None:
    assume(all(np.ptp(one, axis=0).max() > 40 for one in people))
    pictures = []
    for number, one in enumerate(people):
        keypoints = [(*xy, LABELLED) for xy in one]
        pictures.append((blobs((120, 160), [one[number]], 4), [keypoints], []))
    batch = crops(world(*pictures), [0, 1, 2], seed, **ONLY_PLACE)
    for n, image in enumerate(batch.images):
        light = blueness(image)
        bright = np.argwhere(light > 0.7 * max(light.max(), 100))
        shown = [k for k in range(3) if inside(batch.keypoints[n, 0, k], SIZE, 10)]
        if len(bright) and len(shown) == 3:
            away = np.linalg.norm(batch.keypoints[n, 0].numpy() - bright.mean(axis=0)[::-1], axis=1)
            assert away.min() < 1.5  # a mirror image has swapped the ends


def stick_figure(offset: float = 0.0, state: tuple[int, ...] = (LABELLED, LABELLED, LABELLED)):
    xy = [(40 + offset, 30), (60 + offset, 60), (50 + offset, 90)]
    return [(*place, known) for place, known in zip(xy, state, strict=True)]


def test_what_is_told_is_near_the_truth_for_most_and_never_what_nobody_knows() -> None:
    image = np.zeros((120, 160, 3), np.uint8)
    one = stick_figure(state=(LABELLED, LABELLED, LABELLED))
    samples = world(*[(image, [one], [])] * 200)
    batch = crops(samples, list(range(200)))
    told = batch.prior_keypoints[..., 2] == 1
    away = (batch.prior_keypoints[..., :2] - batch.keypoints[:, 0]).norm(dim=2)
    assert away[told].median() < 10
    assert away[told].max() > 20
    assert 0.25 < told.float().mean() < 0.5
    nothing = ~told.any(dim=1)
    assert 0.4 < nothing.float().mean() < 0.6
    hidden = world(*[(image, [stick_figure(state=(LABELLED, UNLABELLED, LABELLED))], [])] * 50)
    batch = crops(hidden, list(range(50)), flip=0.0)
    assert not batch.prior_keypoints[:, 1, 2].any()


def test_the_sure_count_the_unsure_do_not_and_the_absent_little() -> None:
    image = np.zeros((120, 160, 3), np.uint8)
    person = (
        stick_figure(state=(LABELLED, UNCERTAIN, UNLABELLED)),
        stick_figure(state=(LABELLED, LABELLED, UNLABELLED)),
    )
    samples = world(*((image, [each], []) for each in person))
    batch = crops(samples, [0, 1], flip=0.0)
    counts = batch.heatmap_weight.amax(dim=(2, 3))
    assert torch.equal(counts, batch.heatmap_weight.amin(dim=(2, 3)))
    order = [[0, 1, 2], [1, 0, 2]]
    assert counts[0].tolist() in [[[1.0, 0.0, 0.1][k] for k in each] for each in order] + [
        [1.0, 0.0, torch.tensor(0.1).item()]
    ]
    assert counts[1, :2].tolist() == [1, 1]


def test_whoever_else_is_there_does_not_count() -> None:
    image = np.zeros((120, 160, 3), np.uint8)
    samples = world((image, [stick_figure(), stick_figure(60)], []))
    generator = torch.Generator().manual_seed(1)
    batch = person_crops(
        samples, torch.tensor([0, 0]), torch.tensor([0, 1]), SIZE, generator, Augment(flip=0)
    )
    assert batch.visible.shape == (2, 1, 3)
    assert batch.visible.all()


def test_the_same_generator_makes_the_same_crops() -> None:
    samples = world(*[(np.zeros((120, 160, 3), np.uint8), [stick_figure()], [])] * 4)
    one, other = (crops(samples, [0, 1, 2, 3], 5) for _ in range(2))
    assert torch.equal(one.images, other.images)
    assert torch.equal(one.prior_keypoints, other.prior_keypoints)
    assert not torch.equal(one.images, crops(samples, [0, 1, 2, 3], 6).images)


def test_everybody_comes_once_an_epoch_with_their_own_labels(tmp_path: Path) -> None:
    """A peak of a heatmap lies on its keypoint's colour."""
    labels = read([kites(tmp_path / "a", 12, 0)], [tmp_path / "a"], KITES)
    made = begin("limbwise-person", None, labels.skeleton, 64, {"width": 0.25, "channels": 16})
    calm = Augment(**{**vars(CALM), **ONLY_PLACE, "flip": 0.0, "turn": 5.0})
    people = len(labels.keypoints)
    for room in (None, 0):  # all in memory, or each batch's own pictures
        sample = feed(labels, made, 64, torch.device("cpu"), settings=calm, room=room)
        batch = sample(0, people, (0, 1))
        assert batch.images.shape == (people, 3, 64, 48)
        assert batch.prior_keypoints.shape == (people, 4, 3)
        assert batch.limbs.shape[1] == 0
        right = total = 0
        for image, heat in zip(batch.images, batch.heatmaps, strict=True):
            for k, bgr in ((1, 2), (2, 0), (3, 1)):
                if heat[k].max() > 0.9:
                    row, column = divmod(int(heat[k].argmax()), heat.shape[2])
                    patch = image[:, row * 4 : row * 4 + 4, column * 4 : column * 4 + 4].float()
                    right += int(patch.mean(dim=(1, 2)).argmax()) == bgr
                    total += 1
        assert total > people
        assert right > 0.9 * total


def test_prior_keypoints_are_in_the_pixels_of_the_crop() -> None:
    image = np.zeros((120, 160, 3), np.uint8)
    samples = world(*[(image, [stick_figure()], [])] * 100)
    said = samples.keypoints + torch.tensor([3.0, -2.0])
    said[50:] = torch.nan  # found by nobody: made up
    generator, numbers = torch.Generator().manual_seed(0), torch.arange(100)
    calm = Augment(**{**ONLY_PLACE, "flip": 0.0, "turn": 0.0, "stretch": 0.0})
    batch = person_crops(samples, numbers, numbers, SIZE, generator, calm, prior=said)
    off = (batch.prior_keypoints[..., :2] - batch.keypoints[:, 0])[
        batch.prior_keypoints[..., 2] == 1
    ]
    slope = (off[:, 1] / off[:, 0]).sub(-2 / 3).abs() < 0.01
    assert 0.2 < slope.float().mean() < 0.6


def results(path: Path, people: list[tuple[int, np.ndarray]]) -> Path:
    entries = [
        {"image_id": image, "category_id": 1, "score": 0.5,
         "keypoints": np.c_[xy + 0.5, np.full(len(xy), 0.9)].ravel().tolist()}
        for image, xy in people
    ]  # fmt: skip
    path.write_text(json.dumps(entries))
    return path


def test_each_person_gets_the_pose_most_like_it_and_each_pose_one_person(tmp_path: Path) -> None:
    file = kites(tmp_path / "a", 6, 0)
    labels = read([file], [tmp_path / "a"], KITES)
    several = next(n for n in range(6) if len(labels.keypoints[labels.people(n)]) > 1)
    rows = labels.people(several)
    first, second = labels.keypoints[rows][:2]
    said = [(labels.ids[several], xy) for xy in (second + 1, first + 2, first + 0.5, first + 300)]
    told = read_found(labels, file, results(tmp_path / "found.json", said))
    assert told.shape == labels.keypoints.shape
    assert told[rows][:2] == pytest.approx(np.stack([first + 0.5, second + 1]), abs=0.01)
    others = np.ones(len(told), bool)
    others[rows.start : rows.start + 2] = False
    assert np.isnan(told[others]).all()


def test_files_that_are_no_results_for_these_labels_are_refused(tmp_path: Path) -> None:
    file = kites(tmp_path / "a", 2, 0)
    labels = read([file], [tmp_path / "a"], KITES)
    elsewhere = results(tmp_path / "elsewhere.json", [(99, np.zeros((4, 2)))])
    people = results(tmp_path / "people.json", [(1, np.zeros((17, 2)))])
    broken = tmp_path / "broken.json"
    broken.write_text("[{}]")
    for path, text in (
        (elsewhere, "no people in the pictures"),
        (people, "no COCO results of these keypoints"),
        (broken, "no COCO results of these keypoints"),
        (tmp_path / "nothing.json", "cannot be read"),
    ):
        with pytest.raises(BadInput, match=text):
            read_found(labels, file, path)


def test_a_pose_that_is_like_two_people_goes_to_the_one_it_is_more_like() -> None:
    xy = np.array([[0, 30], [-24, -6], [24, -6], [0, -30]], np.float32) + 100
    people = [Pose(KITES, xy + off, np.ones(4, np.float32), 1.0) for off in (2, 0)]
    told = _matched(people, np.full(2, 2000.0, np.float32), [people[1]], 4)
    assert np.isnan(told[0]).all()
    assert np.array_equal(told[1], people[1].xy)


def test_every_row_of_people_is_asked_for_once_an_epoch(tmp_path: Path, monkeypatch) -> None:
    labels = read([kites(tmp_path / "a", 12, 0)], [tmp_path / "a"], KITES)
    made = begin("limbwise-person", None, labels.skeleton, 64, {"width": 0.25, "channels": 16})
    asked: list[int] = []

    def record(samples, pictures, people, *rest, **options):
        asked.extend(people.tolist())
        of = torch.searchsorted(samples.people_from, people, right=True) - 1
        assert torch.equal(of, pictures)
        return person_crops(samples, pictures, people, *rest, **options)

    monkeypatch.setattr("limbwise.train.batches.loader.person_crops", record)
    sample = feed(labels, made, 64, torch.device("cpu"))
    sample(0, len(labels.keypoints), (0, 1))
    assert sorted(asked[: len(labels.keypoints)]) == list(range(len(labels.keypoints)))


def test_what_was_found_is_told_in_pictures_that_are_stored_smaller_too(tmp_path: Path) -> None:
    labels = read([kites(tmp_path / "a", 12, 0)], [tmp_path / "a"], KITES)
    made = begin("limbwise-person", None, labels.skeleton, 64, {"width": 0.25, "channels": 16})
    sample = feed(
        labels, made, 64, torch.device("cpu"), long_side=64, found=labels.keypoints, settings=CALM
    )
    batch = sample(0, len(labels.keypoints), (0, 1))
    near = []
    for person, heat in zip(batch.prior_keypoints, batch.heatmaps, strict=True):
        for (x, y, known), one in zip(person.tolist(), heat, strict=True):
            if known and one.max() > 0.8:
                row, column = divmod(int(one.argmax()), heat.shape[2])
                near.append(abs(column * 4 + 1.5 - x) < 3 and abs(row * 4 + 1.5 - y) < 3)
    assert len(near) > 20
    assert np.mean(near) > 0.7
