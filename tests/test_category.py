"""Which category of a COCO file counts: the same one in whatever reads the file, once a command."""

import contextlib
import io
import json
import os
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from limbwise.cli.app import exit_code
from limbwise.data.coco import read
from limbwise.data.coco_file import read_coco
from limbwise.data.prepare import prepare, subset
from limbwise.errors import BadInput
from limbwise.evaluation.boxes import score_boxes
from limbwise.evaluation.evaluate import evaluate
from limbwise.skeleton import BODY, COCO
from limbwise.train.check_data import check_data
from limbwise.train.loop import Run
from test_detector import script
from test_estimator import perfect
from test_evaluate import labelled as two_people_each
from test_train_run import KITE, kites

labelled = two_people_each
CAR = {"id": 2, "name": "car"}
DOG = {"id": 9, "name": "dog", "keypoints": ["nose", "tail"], "skeleton": [[1, 2]]}


def changed(folder: Path, categories: list[dict[str, Any]], number: int) -> Path:
    """The labels with these categories, their people in that of this number."""
    path = folder / "labels.json"
    labels = json.loads(path.read_text())
    labels["categories"] = categories
    for entry in labels["annotations"]:
        entry["category_id"] = number
    a_car = {"id": 77, "image_id": 1, "category_id": 2, "bbox": [1, 1, 90, 90], "area": 8100}
    if labels["annotations"][0]["id"] != 77:
        labels["annotations"].insert(0, a_car)
    labels["annotations"][0] = a_car
    path.write_text(json.dumps(labels))
    return path


def people(number: Any, name: Any = "person") -> dict[str, Any]:
    entry = {"id": number, "name": name, "keypoints": list(COCO.keypoints), "skeleton": [[1, 2]]}
    return {key: value for key, value in entry.items() if value is not None}


@pytest.mark.parametrize("number", [1, 3, 0, -4, 90, 2**40])
@pytest.mark.parametrize("name", ["person", "acrobat", None])
@pytest.mark.parametrize("order", ["alone", "first", "last"])
def test_perfect_poses_have_ap_1_whatever_the_category(number, name, order, labelled) -> None:
    folder, seen = labelled
    its = people(number, name)
    path = changed(folder, {"alone": [its], "first": [its, CAR], "last": [CAR, its]}[order], number)
    found, detections = evaluate(perfect(seen), path, folder)
    assert found["AP"] == found["AR"] == 1
    assert {each["category_id"] for each in detections} == {number}


def test_what_is_written_has_ap_1_by_cocos_own_code_too(labelled) -> None:
    from pycocotools import coco
    from pycocotools.cocoeval import COCOeval

    folder, seen = labelled
    path = changed(folder, [CAR, people(3)], 3)
    _, detections = evaluate(perfect(seen), path, folder)
    (folder / "found.json").write_text(json.dumps(detections))
    with contextlib.redirect_stdout(io.StringIO()):
        truth = coco.COCO()
        truth.dataset = {"info": {}, **json.loads(path.read_text())}
        truth.dataset["annotations"].pop(0)  # the car, of whose keypoints COCO's code must know
        truth.createIndex()
        judge = COCOeval(truth, truth.loadRes(str(folder / "found.json")), "keypoints")
        judge.evaluate()
        judge.accumulate()
        judge.summarize()
    assert judge.stats[0] == 1


def test_perfect_boxes_have_ap_1_whatever_the_category(labelled) -> None:
    folder, _ = labelled
    labels = read_coco(changed(folder, [CAR, people(3)], 3)).boxes_only
    boxes = [
        {"image_id": each["image_id"], "category_id": 3, "bbox": each["bbox"], "score": 1}
        for each in labels.people
    ]
    assert len(boxes) == 4
    assert score_boxes(labels, boxes, [1, 2])["AP"] == 1


def test_of_several_categories_with_keypoints_it_is_person_or_the_one_that_is_asked_for(
    labelled,
) -> None:
    folder, seen = labelled
    path = changed(folder, [DOG, people(3)], 3)
    assert read_coco(path).category.id == 3
    assert read_coco(path, "dog").category.id == read_coco(path, 9).category.id == 9
    path = changed(folder, [DOG, people(3, "acrobat")], 3)
    with pytest.raises(BadInput, match=r"dog \(9\), acrobat \(3\): choose one with --category"):
        evaluate(perfect(seen), path, folder)
    for wanted in ("acrobat", "3", 3):
        assert evaluate(perfect(seen), path, folder, category=wanted)[0]["AP"] == 1
    for wanted in ("cat", "1", ""):
        with pytest.raises(BadInput, match="no single .* among"):
            read_coco(path, wanted)
    path = changed(folder, [people(3), people(4)], 3)
    with pytest.raises(BadInput, match="choose one"):
        read_coco(path)
    assert read_coco(path, "4").category.id == 4


def test_all_that_reads_labels_takes_the_category_that_is_asked_for(labelled, tmp_path) -> None:
    folder, _ = labelled
    path = changed(folder, [DOG, people(3, "acrobat")], 3)
    labels = json.loads(path.read_text())
    labels["images"] = [each | {"width": 496, "height": 368} for each in labels["images"]]
    path.write_text(json.dumps(labels))
    assert len(read(path, folder, category="acrobat").keypoints) == 4
    report = check_data(path, folder, None, category="acrobat")
    assert (report.people, list(report.keypoints)) == (4, list(COCO.keypoints))
    assert check_data(path, folder, None, category="dog").people == 0
    assert prepare(path, tmp_path / "small.json", "acrobat") == (2, 4)
    assert read_coco(tmp_path / "small.json").category.id == 3
    assert subset(path, tmp_path / "some.json", category="acrobat") == 2
    with pytest.raises(BadInput, match="nobody"):
        prepare(path, tmp_path / "none.json", "dog")
    made = script("bundled_model_data")
    made.in_picture = lambda *of: np.array([[400, 5, 440, 50, 1]], np.float32)
    regions = made.unlabelled(read_coco(path, "acrobat"), folder, None)
    assert [(each["category_id"], len(each["keypoints"])) for each in regions] == [(3, 51)] * 2
    for args in (["eval"], ["check-data", "--page", "a.html"], ["train"]):
        assert exit_code([args[0], str(path), str(folder), "--category", "cat", *args[1:]]) == 2


opened: Counter[str] = Counter()


@pytest.fixture
def counted():
    """How often each file is opened meanwhile."""
    if not hasattr(sys, "_limbwise_counts"):
        sys._limbwise_counts = False
        sys.addaudithook(_count)
    opened.clear()
    sys._limbwise_counts = True
    yield opened
    sys._limbwise_counts = False


def _count(event: str, args: tuple[Any, ...]) -> None:
    if event == "open" and sys._limbwise_counts and isinstance(args[0], str | os.PathLike):
        opened[os.fspath(args[0])] += 1


def test_a_command_opens_each_label_file_once(counted, checkpoint, monkeypatch, tmp_path) -> None:
    def validated_twice(run: Run, batches: Any, validate: Any, *rest: Any) -> None:
        for _ in range(2 if validate else 0):
            assert validate(run.averaged())["images"] == 2

    monkeypatch.setattr(Run, "train", validated_twice)
    first, more, held = (kites(tmp_path / name, 2, n) for n, name in enumerate("abc"))
    found = tmp_path / "found.json"
    results = [{"image_id": 1, "category_id": 1, "keypoints": [9.0, 9, 1] * 4, "score": 1.0}]
    found.write_text(json.dumps(results))
    person = tmp_path / "person.json"
    person.write_text(
        first.read_text().replace(json.dumps(KITE), json.dumps(list(BODY.keypoints[:4])))
    )
    small = ["--size", "32", "--room", "0", "--out", str(tmp_path / "run")]
    val = ["--val-annotations", str(held), "--val-images", str(held.parent)]
    pictures = str(first.parent)
    for command in (
        ["train", str(first), pictures, "--also", f"{more}:{more.parent}", *val, *small],
        ["train", str(first), pictures, *val, *small, "--network", "limbwise-detector"],
        [
            "train",
            str(first),
            pictures,
            *small,
            "--network",
            "limbwise-person",
            "--found",
            str(found),
        ],
        ["eval", str(person), pictures, "--model", str(checkpoint), "--size", "64"],
        ["check-data", str(first), pictures, "--page", str(tmp_path / "page.html")],
    ):
        opened.clear()
        assert exit_code(command) == 0, command
        named = [
            file for file in (first, more, held, found, person) if str(file) in " ".join(command)
        ]
        assert [opened[str(file)] for file in named] == [1] * len(named), command
