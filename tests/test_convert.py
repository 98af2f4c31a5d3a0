"""`limbwise convert`: whole files or none, no input lost, one line of complaint."""

import json
from pathlib import Path

import pytest

from limbwise.cli.app import exit_code
from limbwise.data.formats import coco, cvat, label_studio, save
from limbwise.data.formats.dataset import NOT_LABELLED, Dataset, Person, Picture
from limbwise.errors import BadInput
from test_formats import FISH, FISH_LIMBS, HEIGHT, WIDTH, draw_picture, same


@pytest.fixture
def dataset() -> Dataset:
    who = Person(((1.0, 2.0, 2), (3.0, 4.0, 1), NOT_LABELLED, (5.5, 6.0, 2)), (0.0, 1.0, 9.0, 9.0))
    crowd = Person((NOT_LABELLED,) * 4, (20.0, 20.0, 9.0, 9.0), crowd=True)
    pictures = (Picture("a.png", WIDTH, HEIGHT, (who, crowd)), Picture("b.png", WIDTH, HEIGHT))
    return Dataset(FISH, pictures, FISH_LIMBS)


@pytest.fixture
def source(tmp_path: Path, dataset: Dataset) -> Path:
    """A COCO file, and the pictures beside it in photos/."""
    for picture in dataset.pictures:
        draw_picture(tmp_path / "photos" / picture.name)
    path = tmp_path / "labels.json"
    path.write_text(coco.write(dataset)[""])
    return path


def convert(*args: object) -> int:
    return exit_code(["convert", *map(str, args)])


def test_to_cvat_and_back(source: Path, tmp_path: Path, dataset: Dataset) -> None:
    assert convert(source, tmp_path / "out.xml") == 0
    assert convert(tmp_path / "out.xml", tmp_path / "back.json") == 0
    same(coco.read(tmp_path / "back.json"), dataset)


def test_yolo_gets_the_pictures_and_crowds_are_told_to_be_left_out(
    source: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    assert convert(source, tmp_path / "y", "--to", "yolo", "--images", tmp_path / "photos") == 0
    assert (tmp_path / "y" / "images" / "train" / "b.png").is_file()
    assert "1 regions of crowds left out" in capfd.readouterr().err
    assert convert(tmp_path / "y", tmp_path / "c", "--split", "train", "--to", "coco") == 0


def test_standard_output_is_a_place_for_a_file(
    source: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    assert convert(source, "-", "--to", "label-studio") == 0
    assert len(json.loads(capfd.readouterr().out)) == 2


def test_a_folder_in_use_is_left_as_it_is(
    source: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "y").mkdir()
    (tmp_path / "y" / "data.yaml").write_text("mine")
    assert convert(source, tmp_path / "y", "--to", "yolo") == 2
    assert [p.name for p in (tmp_path / "y").iterdir()] == ["data.yaml"]
    assert "is not empty: name a new folder" in capfd.readouterr().err


def test_no_input_is_written_over(source: Path, tmp_path: Path, dataset: Dataset) -> None:
    before = source.read_bytes()
    assert convert(source, source, "--to", "label-studio") == 2
    (tmp_path / "link.json").hardlink_to(source)
    assert convert(source, tmp_path / "link.json", "--to", "crowdpose") == 2
    assert source.read_bytes() == before
    for ending, text in label_studio.write(dataset).items():  # the interface was read, too
        (tmp_path / f"tasks{ending or '.json'}").write_text(text)
    interface = (tmp_path / "tasks.xml").read_bytes()
    assert convert(tmp_path / "tasks.json", tmp_path / "tasks.xml", "--to", "cvat") == 2
    assert (tmp_path / "tasks.xml").read_bytes() == interface
    cvat_file = tmp_path / "job.xml"  # which the interface of job.json would replace
    cvat_file.write_text(cvat.write(dataset)[""])
    assert convert(cvat_file, tmp_path / "job.json", "--to", "label-studio") == 2
    assert not (tmp_path / "job.json").exists()


def test_a_disk_that_fails_leaves_nothing_behind(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(save.shutil, "copyfile", full)
    assert convert(source, tmp_path / "y", "--to", "yolo", "--images", tmp_path / "photos") == 2
    assert sorted(p.name for p in tmp_path.iterdir()) == ["labels.json", "photos"]


@pytest.mark.parametrize(
    "args",
    [
        ["nowhere.json", "out.xml"],
        ["labels.json", "out.txt"],
        ["labels.json", "out", "--to", "yolov5"],
        ["labels.json", "-", "--to", "yolo"],
        ["labels.json", "out.xml", "--split", "test"],
        ["labels.json", "out.xml", "--category", "bird"],
        ["labels.json", "out", "--to", "yolo", "--images", "labels.json"],
        ["labels.json", "out", "--to", "yolo", "--images", "."],
        ["labels.json", "missing/out.xml"],
        ["photos", "out.xml"],
    ],
)
def test_what_cannot_be_done_is_told_in_one_line(
    source: Path,
    tmp_path: Path,
    args: list[str],
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    assert convert(*args) == 2
    assert capfd.readouterr().err.count("\n") == 1
    assert sorted(p.name for p in tmp_path.iterdir()) == ["labels.json", "photos"]


def test_files_that_name_other_keypoints_are_not_mixed(tmp_path: Path) -> None:
    for name, names in (("a", FISH), ("b", FISH[:2])):
        text = coco.write(Dataset(names, (Picture("1.png", 9, 9),)))[""]
        (tmp_path / f"{name}.json").write_text(text)
    with pytest.raises(BadInput, match="same keypoints"):
        coco.read(tmp_path)
