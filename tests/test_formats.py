"""Labels written in any format are read back as they were, as far as the format has words."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import PIL.Image
import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from limbwise.data.formats import coco, cvat, label_studio, openpose, yolo
from limbwise.data.formats.dataset import (
    CROWDPOSE,
    NOT_LABELLED,
    Dataset,
    Keypoint,
    Person,
    Picture,
    known_limbs,
)
from limbwise.data.formats.save import save
from limbwise.data.formats.table import FORMATS, guess_by_content
from limbwise.errors import BadInput
from limbwise.skeleton import BODY, BODY_25, COCO

FISH = ("snout", "left_fin", "right_fin", "tail")
FISH_LIMBS = ((0, 3), (1, 2))
WIDTH, HEIGHT = 96, 64
quick = settings(
    max_examples=8, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
quarters = st.integers(1, 4 * HEIGHT - 1).map(lambda n: n / 4)


@st.composite
def keypoints(draw: st.DrawFn, states: tuple[int, ...]) -> Keypoint:
    v = draw(st.sampled_from(states))
    return (draw(quarters), draw(quarters), v) if v else NOT_LABELLED


@st.composite
def people(draw: st.DrawFn, count: int, states: tuple[int, ...], crowds: bool) -> Person:
    left, top = draw(st.integers(0, 40)), draw(st.integers(0, 40))
    box = float(left), float(top), draw(st.integers(1, 20)) + 0.5, draw(st.integers(1, 20)) + 0.25
    if crowds and draw(st.booleans()):
        return Person((NOT_LABELLED,) * count, box, crowd=True)
    return Person(tuple(draw(keypoints(states)) for _ in range(count)), box)


@st.composite
def datasets(
    draw: st.DrawFn,
    names: tuple[str, ...] = FISH,
    splits: tuple[str, ...] = ("train", "val"),
    states: tuple[int, ...] = (0, 1, 2),
    crowds: bool = True,
) -> Dataset:
    """Crowds come last in a picture, as CVAT gives them back."""
    pictures = []
    for n in range(draw(st.integers(1, 3))):
        who = draw(st.lists(people(len(names), states, crowds), max_size=3))
        who.sort(key=lambda person: person.crowd)
        split = draw(st.sampled_from(splits))
        folder = draw(st.sampled_from(["", "a b/", "ä/"]))
        pictures.append(Picture(f"{folder}{n}.png", WIDTH, HEIGHT, tuple(who), split))
    pictures.sort(key=lambda picture: (picture.split, picture.name))
    limbs = FISH_LIMBS if names == FISH else known_limbs(names)
    return Dataset(names, tuple(pictures), limbs)


def written(dataset: Dataset, name: str, folder: Path) -> Path:
    """The data set in a format, in a new place."""
    form = FORMATS[name]
    several = not form.folder and "" not in form.write(dataset)
    target = (
        folder / f"{len(list(folder.iterdir()))}{'' if form.folder or several else form.ending}"
    )
    save(form.write(dataset), target, [])
    if name == "yolo":
        for picture in dataset.pictures:
            draw_picture(target / yolo.picture_place(picture))
    return target


def draw_picture(path: Path, size: tuple[int, int] = (WIDTH, HEIGHT)) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    PIL.Image.new("L", size).save(path)


def same(got: Dataset, wanted: Dataset, *, boxes: bool = True, limbs: bool = True) -> None:
    """Equal to a hundredth of a pixel, whatever ids and areas the format made."""
    assert got.names == wanted.names
    assert got.category == wanted.category
    assert not limbs or got.limbs == wanted.limbs
    pictures = sorted(got.pictures, key=lambda picture: (picture.split, picture.name))
    assert [(p.name, p.split, p.width, p.height) for p in pictures] == [
        (p.name, p.split, p.width, p.height) for p in wanted.pictures
    ]
    for mine, theirs in zip(pictures, wanted.pictures, strict=True):
        assert [who.crowd for who in mine.people] == [who.crowd for who in theirs.people]
        for a, b in zip(mine.people, theirs.people, strict=True):
            np.testing.assert_allclose(a.keypoints, b.keypoints, atol=0.01)
            if boxes:
                np.testing.assert_allclose(a.box, b.box, atol=0.01)


@given(datasets())
@quick
def test_coco_comes_back_whole(tmp_path: Path, dataset: Dataset) -> None:
    same(coco.read(written(dataset, "coco", tmp_path)), dataset)


@given(datasets(names=CROWDPOSE))
@quick
def test_crowdpose_comes_back_whole(tmp_path: Path, dataset: Dataset) -> None:
    same(coco.read(written(dataset, "crowdpose", tmp_path)), dataset)


@given(datasets(crowds=False))
@quick
def test_yolo_comes_back_but_for_crowds_and_limbs(tmp_path: Path, dataset: Dataset) -> None:
    if "train" not in {picture.split for picture in dataset.pictures}:  # YOLO cannot be without
        dataset = replace(
            dataset, pictures=tuple(replace(p, split="train") for p in dataset.pictures)
        )
    same(yolo.read(written(dataset, "yolo", tmp_path)), dataset, limbs=False)


@given(datasets(splits=("", "train", "val")))
@quick
def test_cvat_comes_back_whole(tmp_path: Path, dataset: Dataset) -> None:
    same(cvat.read(written(dataset, "cvat", tmp_path)), dataset)


@given(datasets(splits=("", "train")))
@quick
def test_label_studio_comes_back_but_for_limbs(tmp_path: Path, dataset: Dataset) -> None:
    same(label_studio.read(written(dataset, "label-studio", tmp_path)), dataset, limbs=False)


@pytest.mark.parametrize("names", [BODY_25.keypoints, BODY.keypoints])
def test_openpose_comes_back_but_for_boxes_and_what_is_hidden(
    tmp_path: Path, names: tuple[str, ...]
) -> None:
    @given(datasets(names=names, splits=("",), states=(0, 2), crowds=False))
    @quick
    def law(dataset: Dataset) -> None:
        flat = [replace(p, name=Path(p.name).name) for p in dataset.pictures]
        seen = [
            replace(p, people=tuple(w for w in p.people if any(v for _, _, v in w.keypoints)))
            for p in flat
        ]
        dataset = replace(dataset, pictures=tuple(sorted(seen, key=lambda p: p.name)))
        assume(any(p.people for p in seen))  # else nothing tells how many keypoints there are
        for picture in dataset.pictures:
            draw_picture(tmp_path / picture.name)
        folder = tmp_path / "openpose"
        folder.mkdir(exist_ok=True)
        got = openpose.read(written(dataset, "openpose", folder), tmp_path)
        same(got, dataset, boxes=False)

    law()


CHAINS = ["cvat", "label-studio", "yolo"]


@pytest.mark.parametrize("way", CHAINS)
@given(dataset=datasets(names=COCO.keypoints, splits=("train",), crowds=False))
@quick
def test_coco_to_another_format_and_back_is_coco(
    tmp_path: Path, way: str, dataset: Dataset
) -> None:
    first = coco.read(written(dataset, "coco", tmp_path))
    there = FORMATS[way].read(written(first, way, tmp_path))
    if way == "yolo":
        there = there.of_split("train")
    back = coco.read(written(there, "coco", tmp_path))
    same(back, dataset)


def test_a_picture_keeps_its_id_and_a_person_the_area_and_outline(tmp_path: Path) -> None:
    who = Person(
        ((1.0, 2.0, 2),) * 4, (0.0, 0.0, 9.0, 9.0), area=33.5, outline=[[1, 2, 3, 4, 5, 6]]
    )
    dataset = Dataset(FISH, (Picture("7.png", 9, 9, (who,), id=285),), FISH_LIMBS)
    got = coco.read(written(dataset, "coco", tmp_path))
    assert got == dataset


def test_the_neck_lies_between_the_shoulders_and_other_missing_points_are_not_labelled() -> None:
    points = [NOT_LABELLED] * 17
    points[5], points[6] = (10.0, 20.0, 2), (30.0, 24.0, 1)
    person = Person(tuple(points), (0.0, 0.0, 40.0, 40.0))
    dataset = Dataset(COCO.keypoints, (Picture("a.png", 50, 50, (person,)),))
    got = dataset.as_keypoints(CROWDPOSE)
    found = dict(zip(got.names, got.pictures[0].people[0].keypoints, strict=True))
    assert found["neck"] == (20.0, 22.0, 1)
    assert found["head"] == NOT_LABELLED
    assert found["left_shoulder"] == (10.0, 20.0, 2)


@pytest.mark.parametrize(("distance", "crowd"), [(0.0, 1.0), (100.0, 0.0)])
def test_the_crowd_index_is_one_of_people_in_one_place_and_none_of_people_apart(
    distance: float, crowd: float
) -> None:
    def someone(left: float) -> Person:
        points = tuple((left + 5 + k, 20.0, 2) for k in range(14))
        return Person(points, (left, 0.0, 30.0, 40.0))

    pair = (someone(0.0), someone(distance))
    dataset = Dataset(CROWDPOSE, (Picture("a.png", 200, 50, pair),))
    content = json.loads(coco.write_crowdpose(dataset)[""])
    assert content["images"][0]["crowdIndex"] == crowd


def test_limbs_that_fit_no_keypoint_are_those_that_are_known(tmp_path: Path) -> None:
    """As in CrowdPose's own files, which name 14 keypoints and have COCO's limbs."""
    dataset = Dataset(CROWDPOSE, (Picture("a.png", 9, 9),), ())
    content = json.loads(coco.write(dataset)[""])
    content["categories"][0]["skeleton"] = [[16, 14], [14, 12]]
    path = tmp_path / "crowdpose.json"
    path.write_text(json.dumps(content))
    assert coco.read(path).limbs == known_limbs(CROWDPOSE)


def test_pictures_that_would_share_a_label_file_are_told() -> None:
    dataset = Dataset(FISH, (Picture("a.png", 9, 9), Picture("a.jpg", 9, 9)))
    for name in ("yolo", "openpose"):
        with pytest.raises(BadInput, match="rename one"):
            FORMATS[name].write(dataset)


@pytest.mark.parametrize("name", ["../a.png", "/etc/a.png", "", "a/../../b.png"])
def test_a_picture_outside_its_folder_is_refused(tmp_path: Path, name: str) -> None:
    content = json.loads(coco.write(Dataset(FISH, (Picture("a.png", 9, 9),)))[""])
    content["images"][0]["file_name"] = name
    path = tmp_path / "a.json"
    path.write_text(json.dumps(content))
    with pytest.raises(BadInput):
        coco.read(path)


def test_a_picture_turned_by_exif_has_the_size_that_viewers_show(tmp_path: Path) -> None:
    dataset = Dataset(FISH, (Picture("a.jpg", HEIGHT, WIDTH, split="train"),))
    folder = tmp_path / "y"
    save(yolo.write(dataset), folder, [])
    place = folder / yolo.picture_place(dataset.pictures[0])
    place.parent.mkdir(parents=True)
    exif = PIL.Image.Exif()
    exif[0x0112] = 6
    PIL.Image.new("L", (WIDTH, HEIGHT)).save(place, exif=exif)
    picture = yolo.read(folder).pictures[0]
    assert (picture.width, picture.height) == (HEIGHT, WIDTH)


def _break_yolo(folder: Path) -> None:
    label = next((folder / "labels").rglob("*.txt"))
    label.write_text("0 0.5 0.5 one\n")


BREAKS: dict[str, list[Callable[[Path], None]]] = {
    "coco": [lambda p: p.write_text("{}"), lambda p: p.write_text("[")],
    "yolo": [
        _break_yolo,
        lambda p: (p / "data.yaml").write_text("kpt_shape: [4"),
        lambda p: (p / "data.yaml").write_text("kpt_shape: many"),
        lambda p: (p / "data.yaml").write_text("- 1"),
        lambda p: next((p / "images").rglob("*.png")).write_bytes(b"none"),
    ],
    "cvat": [
        lambda p: p.write_text("<annotations>"),
        lambda p: p.write_text("<annotations/>"),
        lambda p: p.write_text("<!DOCTYPE a [<!ENTITY b 'c'>]><annotations/>"),
        lambda p: p.write_text(p.read_text().replace('points="', 'points="x')),
        lambda p: p.write_bytes(b"\xff\xfe\x00"),
    ],
    "label-studio": [
        lambda p: p.write_text("{}"),
        lambda p: p.write_text('[{"image": "a.png"}]'),
        lambda p: p.write_text(p.read_text().replace('"x": ', '"x": "?", "_": ')),
        lambda p: p.write_text(
            p.read_text().replace("original_width", "w").replace('"width"', '"w"')
        ),
        lambda p: p.with_suffix(".xml").write_text("<View>"),
    ],
    "openpose": [
        lambda p: next(p.iterdir()).write_text("{}"),
        lambda p: next(p.iterdir()).write_text('{"people": [{"pose_keypoints_2d": [1, 2]}]}'),
    ],
}


@pytest.mark.parametrize(
    ("name", "n"), [(name, n) for name in BREAKS for n in range(len(BREAKS[name]))]
)
def test_a_broken_file_is_told_in_one_line(tmp_path: Path, name: str, n: int) -> None:
    person = Person(((1.0, 2.0, 2),) * 4, (0.0, 0.0, 9.0, 9.0))
    split = "train" if name == "yolo" else ""
    dataset = Dataset(FISH, (Picture("a.png", WIDTH, HEIGHT, (person,), split),), FISH_LIMBS)
    draw_picture(tmp_path / "a.png")
    (tmp_path / "out").mkdir()
    path = written(dataset, name, tmp_path / "out")
    FORMATS[name].read(path, tmp_path if name == "openpose" else None)
    BREAKS[name][n](path)
    with pytest.raises(BadInput) as told:
        FORMATS[name].read(path, tmp_path if name == "openpose" else None)
    assert "\n" not in str(told.value)
    assert str(tmp_path) in str(told.value)


@pytest.mark.parametrize("name", [name for name in FORMATS if name != "crowdpose"])
def test_what_is_written_tells_its_own_format(tmp_path: Path, name: str) -> None:
    dataset = Dataset(COCO.keypoints, (Picture("a.png", WIDTH, HEIGHT, split=""),))
    assert guess_by_content(written(dataset, name, tmp_path)) == name
