"""Labels that are written here are read by the tools' own libraries, and the other way round; each
library is wanted by its tests only, which skip where it is absent."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
import pytest

from conftest import standing
from limbwise.data.formats import coco, cvat, label_studio, openpose, yolo
from limbwise.data.formats.dataset import NOT_LABELLED, Dataset, Keypoint, Person, Picture
from limbwise.data.formats.save import save
from limbwise.outputs.records import Result
from limbwise.outputs.results import open_writer
from limbwise.skeleton import COCO

pytestmark = pytest.mark.filterwarnings("ignore")  # of the tools among themselves
SIZE = (120, 90)


def keypoints(seed: int) -> tuple[Keypoint, ...]:
    """COCO's 17: each third not labelled, each third hidden, the rest visible."""
    random = np.random.default_rng(seed)
    xy = random.uniform(5, 80, (17, 2)).round(1).tolist()
    return tuple((x, y, k % 3) if k % 3 else NOT_LABELLED for k, (x, y) in enumerate(xy))


@pytest.fixture
def dataset() -> Dataset:
    """Two people and a crowd in one picture, nobody in another, of another split."""
    people = (
        Person(keypoints(0), (10.0, 20.0, 50.0, 60.0)),
        Person(keypoints(1), (30.5, 5.25, 40.0, 70.0)),
        Person((NOT_LABELLED,) * 17, (0.0, 0.0, 20.0, 20.0), crowd=True),
    )
    pictures = (Picture("1.png", *SIZE, people, "train"), Picture("2.png", *SIZE, (), "val"))
    limbs = COCO.pairs
    return Dataset(COCO.keypoints, pictures, limbs)


def draw_pictures(folder: Path, dataset: Dataset) -> None:
    for n, picture in enumerate(dataset.pictures):
        place = folder / yolo.picture_place(picture)
        place.parent.mkdir(parents=True, exist_ok=True)
        PIL.Image.new("RGB", SIZE, (n, 0, 0)).save(place)


def test_pycocotools_reads_what_is_written(tmp_path: Path, dataset: Dataset) -> None:
    pycocotools = pytest.importorskip("pycocotools.coco")
    save(coco.write(dataset), tmp_path / "out", [])
    read = pycocotools.COCO(tmp_path / "out" / "train.json")
    people = read.loadAnns(read.getAnnIds(iscrowd=0))
    assert [who["keypoints"] for who in people] == [
        [value for point in keypoints(n) for value in point] for n in (0, 1)
    ]
    assert read.loadCats(1)[0]["keypoints"] == list(COCO.keypoints)
    assert len(read.getAnnIds(iscrowd=1)) == 1


def test_datumaro_reads_cocos_and_what_it_writes_is_read(tmp_path: Path, dataset: Dataset) -> None:
    datumaro = imported("datumaro")
    save(coco.write(dataset.of_split("train")), tmp_path / "annotations", [])
    folder = tmp_path / "annotations"
    (folder / "train.json").rename(folder / "person_keypoints_train.json")
    (tmp_path / "images" / "train").mkdir(parents=True)
    PIL.Image.new("RGB", SIZE).save(tmp_path / "images" / "train" / "1.png")
    read = datumaro.Dataset.import_from(str(tmp_path), "coco_person_keypoints")
    read.export(str(tmp_path / "again"), "coco_person_keypoints", save_media=True)
    written = tmp_path / "again" / "annotations" / "person_keypoints_train.json"
    got = coco.read(written)
    assert got.names == dataset.names
    assert sorted(got.limbs) == sorted(dataset.limbs)
    for mine, theirs in zip(got.pictures[0].people, dataset.pictures[0].people, strict=False):
        np.testing.assert_allclose(mine.keypoints, theirs.keypoints, atol=0.01)


def test_datumaro_reads_the_pictures_and_boxes_of_cvats(tmp_path: Path, dataset: Dataset) -> None:
    """It knows no skeletons of CVAT."""
    datumaro = imported("datumaro")
    save(cvat.write(dataset), tmp_path / "annotations.xml", [])
    draw_pictures(tmp_path, dataset)
    items = {item.id: item for item in datumaro.Dataset.import_from(str(tmp_path), "cvat")}
    boxes = [a for a in items["1"].annotations if a.type == datumaro.AnnotationType.bbox]
    assert [tuple(box.get_bbox()) for box in boxes] == [p.box for p in dataset.pictures[0].people]
    assert set(items) == {"1", "2"}


def test_ultralytics_reads_what_is_written(tmp_path: Path, dataset: Dataset) -> None:
    utils = imported("ultralytics.data.utils")
    folder = tmp_path / "yolo"
    save(yolo.write(dataset), folder, [])
    draw_pictures(folder, dataset)
    about = utils.check_det_dataset(str(folder / "data.yaml"), autodownload=False)
    assert Path(about["train"]) == folder / "images" / "train"
    assert about["kpt_shape"] == [17, 3]
    assert about["flip_idx"] == list(COCO.mirror)
    picture, labels = folder / "images/train/1.png", folder / "labels/train/1.txt"
    read = utils.verify_image_label((str(picture), str(labels), "", True, 1, 17, 3, False))
    _, boxes, shape, _, points, *_, message = read
    assert message == ""
    assert tuple(shape) == SIZE[::-1]
    scale = np.array([*SIZE, 1])
    np.testing.assert_allclose(points * scale, [keypoints(0), keypoints(1)], atol=0.01)
    x, y, w, h = (boxes[0, 1:] * [*SIZE, *SIZE]).tolist()
    np.testing.assert_allclose((x - w / 2, y - h / 2, w, h), (10, 20, 50, 60), atol=0.01)


def test_a_data_set_as_ultralytics_documents_it_is_read(tmp_path: Path) -> None:
    """coco8-pose: `path` is relative to where its author keeps data; a list of pictures; x and y
    without v."""
    (tmp_path / "images/train").mkdir(parents=True)
    (tmp_path / "labels/train").mkdir(parents=True)
    PIL.Image.new("L", SIZE).save(tmp_path / "images/train/a.jpg")
    (tmp_path / "labels/train/a.txt").write_text("0 0.5 0.5 1 1 0.25 0.5 0 0\n")
    (tmp_path / "train.txt").write_text("./images/train/a.jpg\n")
    (tmp_path / "data.yaml").write_text(
        "path: coco8-pose # dataset root dir\ntrain: train.txt\nval: images/train\n"
        "kpt_shape: [2, 2]\nflip_idx: [0, 1]\nnames:\n  0: pen\n"
    )
    got = yolo.read(tmp_path)
    assert [picture.split for picture in got.pictures] == ["train", "val"]
    assert got.pictures[0].people[0].keypoints == ((30.0, 45.0, 2), NOT_LABELLED)
    assert (got.category, got.names) == ("pen", ("keypoint_1", "keypoint_2"))


def test_label_studio_accepts_what_is_written(tmp_path: Path, dataset: Dataset) -> None:
    sdk = imported("label_studio_sdk.label_interface")
    files = label_studio.write(dataset)
    interface = sdk.LabelInterface(files[".xml"])
    interface.validate()
    for task in json.loads(files[""]):
        assert all(interface.validate_annotation(each) for each in task["annotations"])


def test_label_studios_own_export_to_coco_has_the_same_people(
    tmp_path: Path, dataset: Dataset
) -> None:
    sdk = imported("label_studio_sdk.converter")
    files = label_studio.write(dataset)
    tasks = json.loads(files[""])
    for n, task in enumerate(tasks):
        task["id"] = n
        task["annotations"][0] |= {"id": 1, "completed_by": {"id": 1, "email": "a@b.c"}}
    (tmp_path / "tasks.json").write_text(json.dumps(tasks))
    converter = sdk.Converter(files[".xml"], str(tmp_path), download_resources=False)
    converter.convert_to_yolo(str(tmp_path / "tasks.json"), str(tmp_path / "yolo"), is_dir=False)
    (label,) = (p for p in (tmp_path / "yolo" / "labels").glob("*.txt") if p.read_text().strip())
    lines = [[float(word) for word in line.split()] for line in label.read_text().splitlines()]
    lines = [line for line in lines if len(line) > 5][:2]
    for line, n in zip(lines, (0, 1), strict=True):
        points = np.reshape(line[5:], (17, 3))[:, :2] * SIZE
        np.testing.assert_allclose(points, np.array(keypoints(n))[:, :2], atol=0.01)


def test_an_export_of_label_studio_without_parents_is_read(tmp_path: Path) -> None:
    """As people label who draw points into boxes: what is uploaded has a name of its own."""
    about = {"original_width": 200, "original_height": 100, "image_rotation": 0, "to_name": "img"}
    box = {"x": 10, "y": 10, "width": 50, "height": 50, "rotation": 0, "rectanglelabels": ["pen"]}
    point = {"x": 20, "y": 30, "width": 0.6, "keypointlabels": ["tip"]}
    regions = [
        about | {"id": "a", "type": "rectanglelabels", "from_name": "l", "value": box},
        about | {"id": "b", "type": "keypointlabels", "from_name": "k", "value": point},
    ]
    done = {"id": 3, "was_cancelled": False, "result": regions}
    bad = {"id": 2, "was_cancelled": True, "result": []}
    data = {"img": "/data/upload/1/0a1b2c3d-a%20pen.jpg"}
    task = {"id": 1, "data": data, "annotations": [bad, done], "predictions": []}
    path = tmp_path / "project.json"
    path.write_text(json.dumps([task]))
    got = label_studio.read(path)
    assert got.pictures[0].name == "a pen.jpg"
    assert got.names == ("tip",)
    (who,) = got.pictures[0].people
    assert (who.keypoints, who.box) == (((40.0, 30.0, 2),), (20.0, 10.0, 100.0, 50.0))


CVAT_EXPORT = """<?xml version="1.0" encoding="utf-8"?>
<annotations>
  <version>1.1</version>
  <meta><job><id>4</id><mode>annotation</mode><labels>
    <label><name>fish</name><color>#ff6037</color><type>skeleton</type><attributes></attributes>
      <svg>&lt;line x1="36" y1="45" x2="59" y2="23" stroke="black" data-type="edge"
        data-node-from="2" stroke-width="0.5" data-node-to="1"&gt;&lt;/line&gt;&lt;circle r="1.5"
        stroke="black" fill="#b3b3b3" cx="36" cy="45" stroke-width="0.1" data-type="element node"
        data-element-id="1" data-node-id="1" data-label-name="snout"&gt;&lt;/circle&gt;&lt;circle
        r="1.5" cx="59" cy="23" data-type="element node" data-element-id="2" data-node-id="2"
        data-label-name="tail"&gt;&lt;/circle&gt;</svg></label>
    <label><name>snout</name><type>points</type><attributes></attributes><parent>fish</parent></label>
    <label><name>tail</name><type>points</type><attributes></attributes><parent>fish</parent></label>
  </labels></job><dumped>2026-01-01 00:00:00+00:00</dumped></meta>
  <image id="0" name="pond/1.jpg" width="640" height="480">
    <skeleton label="fish" source="manual" z_order="0">
      <points label="tail" source="manual" outside="0" occluded="1" points="20.00,30.50"></points>
      <points label="snout" source="manual" outside="0" occluded="0" points="10.00,11.00"></points>
    </skeleton>
    <skeleton label="fish" source="manual" z_order="0">
      <points label="snout" source="manual" outside="1" occluded="0" points="1.00,1.00"></points>
      <points label="tail" source="manual" outside="0" occluded="0" points="50.00,60.00"></points>
    </skeleton>
  </image>
</annotations>
"""


def test_a_job_that_cvat_exports_is_read(tmp_path: Path) -> None:
    """Written by hand as its documentation has it: CVAT's own library leaves that to the server."""
    path = tmp_path / "annotations.xml"
    path.write_text(CVAT_EXPORT)
    got = cvat.read(path)
    assert (got.category, got.names, got.limbs) == ("fish", ("snout", "tail"), ((1, 0),))
    (picture,) = got.pictures
    assert (picture.name, picture.width, picture.height) == ("pond/1.jpg", 640, 480)
    assert [who.keypoints for who in picture.people] == [
        ((10.0, 11.0, 2), (20.0, 30.5, 1)),
        (NOT_LABELLED, (50.0, 60.0, 2)),
    ]
    assert all(who.box[2] > 0 for who in picture.people)


def test_cvat_takes_the_labels_as_they_are_written(dataset: Dataset) -> None:
    """Its own model of a label checks the drawing and the parts."""
    models = imported("cvat_sdk.models")
    parts = [models.SublabelRequest(name=name, type="points") for name in dataset.names]
    label = models.PatchedLabelRequest(
        name="person", type="skeleton", sublabels=parts, svg=cvat.drawing(dataset)
    )
    assert label.svg.count("<circle") == 17
    assert label.svg.count("<line") == len(dataset.limbs)


def test_what_run_writes_for_openpose_is_read(tmp_path: Path) -> None:
    person = standing(60, 50, 20, COCO)
    with open_writer(tmp_path / "out", "openpose") as writer:
        writer.add(Result("1.png", 0, 0.0, *SIZE, [person], picture=True))
    PIL.Image.new("L", SIZE).save(tmp_path / "1.png")
    got = openpose.read(tmp_path / "out", tmp_path)
    found = dict(zip(got.names, got.pictures[0].people[0].keypoints, strict=True))
    for name, (x, y) in zip(COCO.keypoints, person.xy, strict=True):
        assert found[name] == pytest.approx((x + 0.5, y + 0.5, 2), abs=0.01)


def imported(name: str) -> Any:
    """A tool's library, or the test is skipped."""
    return pytest.importorskip(name, exc_type=ImportError)


def test_label_studio_shows_what_run_finds(tmp_path: Path) -> None:
    sdk = imported("label_studio_sdk.label_interface")
    interface = sdk.LabelInterface(label_studio.labelling_interface(COCO.keypoints))
    with open_writer(tmp_path / "tasks.json", "label-studio") as writer:
        writer.add(Result("a b/1.png", 0, 0.0, *SIZE, [standing(60, 50, 20)], picture=True))
    (task,) = json.loads((tmp_path / "tasks.json").read_text())
    (prediction,) = task["predictions"]
    assert interface.validate_prediction(prediction, return_errors=True) == []
