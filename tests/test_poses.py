"""What `estimate` takes and gives: every kind of picture is the same picture, and its people are a
list that knows where they are from."""

import copy
import csv
import gc
import inspect
import json
import pickle
import timeit
from dataclasses import replace
from pathlib import Path

import numpy as np
import PIL.Image
import pytest
import torch

import limbwise
from conftest import standing
from limbwise.cli.run import run as command
from limbwise.errors import BadInput
from limbwise.estimator import Estimator
from limbwise.follow import run
from limbwise.outputs.results import open_writer
from limbwise.poses import Poses, found_in
from limbwise.skeleton import BODY, COCO
from limbwise.sources.given import as_image


def noise(height: int = 40, width: int = 60, channels: int = 3) -> np.ndarray:
    shape = (height, width, channels) if channels else (height, width)
    return np.random.default_rng(7).integers(0, 256, shape, np.uint8)


def people(**facts) -> Poses:
    first = replace(standing(100, 150, 60), id=4)
    first.xy[3] = np.nan
    first.confidence[3] = 0
    return Poses([first, standing(80, 300, 70)], size=(400, 200), **facts)


# Pictures.


def test_every_kind_of_picture_is_the_same_picture(tmp_path) -> None:
    bgr = noise()
    rgb = np.ascontiguousarray(bgr[:, :, ::-1])
    path = tmp_path / "a.png"
    PIL.Image.fromarray(rgb).save(path)
    opaque = np.dstack([bgr, np.full(bgr.shape[:2], 255, np.uint8)])
    for given, colours in (
        (path, False), (str(path), False), (path.read_bytes(), False), (bgr, False), (rgb, True),
        (PIL.Image.open(path), False), (PIL.Image.open(path), True), (opaque, False),
        (torch.from_numpy(bgr), False), (torch.from_numpy(rgb).permute(2, 0, 1), True),
        (bytearray(path.read_bytes()), False), (opaque[:, :, [2, 1, 0, 3]], True),
    ):  # fmt: skip
        np.testing.assert_array_equal(as_image(given, colours), bgr)
    assert as_image(bgr) is bgr


def test_a_pil_image_is_turned_upright_and_the_callers_stays_as_it_is(tmp_path) -> None:
    turned = PIL.Image.Exif()
    turned[0x0112] = 6
    PIL.Image.fromarray(noise()).save(tmp_path / "a.jpg", exif=turned)
    with PIL.Image.open(tmp_path / "a.jpg") as given:
        for _ in range(2):
            np.testing.assert_array_equal(as_image(given), as_image(tmp_path / "a.jpg"))
        assert given.size == (60, 40)
    (tmp_path / "b.jpg").write_bytes((tmp_path / "a.jpg").read_bytes()[:1500])
    with PIL.Image.open(tmp_path / "b.jpg") as given, pytest.raises(BadInput, match="damaged"):
        as_image(given)


def test_grey_is_grey_and_what_is_transparent_is_white_as_in_files() -> None:
    grey = noise(channels=0)
    for given in (grey, grey[:, :, None], PIL.Image.fromarray(grey), torch.from_numpy(grey)[None]):
        np.testing.assert_array_equal(as_image(given), np.dstack([grey] * 3))
    faint = noise(channels=4)
    by_pillow = as_image(PIL.Image.fromarray(faint[:, :, [2, 1, 0, 3]]))
    assert np.abs(as_image(faint).astype(int) - by_pillow).max() <= 1


@pytest.mark.parametrize(
    ("given", "told"),
    [
        (np.ones((4, 5, 3), np.float32), r"\(image \* 255\).round"),
        (np.full((4, 5, 3), 200.0), "with image.round"),
        (noise()[None], "estimate.batch"),
        ([noise()], "estimate.batch"),
        (noise().transpose(2, 0, 1), r"image.transpose\(1, 2, 0\)"),
        (np.ones((4, 5), bool), r"\* 255"),
        (np.ones((4, 5), np.uint16), ">> 8"),
        (np.ones((4, 5), np.int64), "clip"),
        (np.zeros((0, 5, 3), np.uint8), "empty"),
        (np.zeros((4, 5, 2), np.uint8), "not uint8"),
        (None, "a PIL image"),
        (3, "a PIL image"),
    ],
)
def test_what_is_no_picture_is_told_in_one_line_what_to_do(given, told) -> None:
    with pytest.raises(ValueError, match=told) as error:
        as_image(given)
    assert "\n" not in str(error.value)


def test_addresses_and_films_are_sent_to_run(tmp_path) -> None:
    for name in ("https://example.org/a.jpg", "street.mp4", tmp_path / "a.webm"):
        with pytest.raises(BadInput, match="limbwise.run"):
            as_image(name)
    with pytest.raises(BadInput, match="gone.png does not exist"):
        as_image(tmp_path / "gone.png")


# The estimator.


class Counting(Estimator):
    """Finds a person as high as the picture, and counts how many it has seen."""

    def __init__(self) -> None:
        self.seen: list[int] = []

    def _poses(self, images):
        self.seen.append(len(images))
        return [[standing(len(image), 5, 5)] for image in images]

    def infer(self, image):
        return (image,)

    def decode(self, said, image):
        return [standing(len(image), 5, 5)]


def test_batch_is_lazy_takes_any_iterable_and_keeps_the_order() -> None:
    estimate, taken = Counting(), []

    def pictures():
        for height in range(10, 17):
            taken.append(height)
            yield noise(height)

    found = estimate.batch(pictures())
    assert taken == []
    first = next(found)
    assert (taken, first.size) == ([10], (60, 10))
    assert [poses.size[1] for poses in found] == list(range(11, 17))
    together = estimate.batch(pictures(), together=3)
    assert next(together).size == (60, 10)
    assert taken[7:] == [10, 11, 12]
    assert len(list(together)) == 6
    assert estimate.seen[7:] == [3, 3, 1]
    assert list(estimate.batch([])) == []
    for wrong in ("a.jpg", Path("a.jpg"), b"a"):
        with pytest.raises(ValueError, match=r"estimate\(image\)"):
            estimate.batch(wrong)


def test_estimate_says_where_the_people_are_from(tmp_path) -> None:
    path = tmp_path / "000042.png"
    PIL.Image.fromarray(noise()).save(path)
    found = Counting()(path)
    assert (found.source, found.size, found.time, found.frame) == (str(path), (60, 40), None, 0)
    assert found.to_coco()[0]["image_id"] == 42
    assert Counting()(noise()).source == ""


def test_run_gives_the_people_of_each_frame_with_ids_and_their_picture(tmp_path) -> None:
    path = tmp_path / "a.gif"
    frames = [PIL.Image.fromarray(np.roll(noise(200, channels=0), n)) for n in range(4)]
    frames[0].save(path, save_all=True, append_images=frames[1:], duration=100)
    kept = []
    for n, found in enumerate(run(path, Counting())):
        assert (found.frame, found.time, found.source) == (n, n / 10, str(path))
        assert found.image.shape == (200, 60, 3)
        assert found.draw().shape == (200, 60, 3)
        kept.append(found)
    assert [[pose.id for pose in found] for found in kept] == [[1]] * 4
    gc.collect()
    with pytest.raises(ValueError, match="not kept"):  # a film's results stay small
        _ = kept[0].image
    assert next(run(path, Counting(), track=False))[0].id is None
    frames[0].save(tmp_path / "still.png")
    still = next(run(tmp_path / "still.png", Counting()))
    assert (still.time, still[0].id) == (None, None)
    assert limbwise.run is run


def test_the_defaults_of_python_are_those_of_the_command_line() -> None:
    def defaults(function) -> dict:
        parameters = inspect.signature(function).parameters.values()
        return {each.name: each.default for each in parameters}

    by_command, by_run, by_load = (
        defaults(each) for each in (command, limbwise.run, limbwise.load)
    )
    for name in ("track", "smooth", "patience", "model"):
        assert by_run[name] == by_command[name], name
    for name in ("min_score", "max_people", "threads", "runtime", "precision"):
        assert by_load[name] == by_command[name], name
    assert by_load["height"] == by_command["size"]


# The list.


def test_people_are_the_list_they_were() -> None:
    one, two = people()
    found = people(source="a.jpg", frame=3, time=1.5)
    found[:] = [one, two]
    assert isinstance(found, list)
    assert found == [one, two]
    assert [one, two] == found
    assert found != [two, one]
    assert (len(found), found[0], found[-1]) == (2, one, two)
    assert found.index(two) == 1
    assert found + [one] == [one, two, one]
    assert [one] + found == [one, one, two]
    assert not Poses()
    for some in (found[:1], found + [one], found.copy(), copy.copy(found)):
        assert isinstance(some, Poses)
        assert (some.size, some.source, some.frame, some.time) == ((400, 200), "a.jpg", 3, 1.5)
    for some in (pickle.loads(pickle.dumps(found)), copy.deepcopy(found)):
        assert (some.size, some.source, some.frame, some.time) == ((400, 200), "a.jpg", 3, 1.5)
        np.testing.assert_array_equal(some[1].xy, two.xy)


def test_a_result_costs_microseconds() -> None:
    picture, poses = noise(), list(people())
    least = min(timeit.repeat(lambda: found_in(poses, picture, picture), number=200, repeat=20))
    assert least / 200 < 50e-6


def test_reprs_are_one_short_line() -> None:
    found = people(source="a.jpg", frame=3, time=1.5)
    assert repr(found) == "<Poses: 2 people in a.jpg, 400 x 200, frame 3, 1.50 s>"
    assert repr(found[:1]).startswith("<Poses: 1 person in")
    assert repr(found[0]) == "<Pose: id 4, 17 of 18 keypoints, score 1.00, box (133, 50, 167, 140)>"


# The picture.


def test_the_picture_is_drawn_while_somebody_holds_it_or_it_is_given(tmp_path) -> None:
    picture = noise(200, 400)
    found = found_in(people(), picture, picture)
    expected = limbwise.draw(picture, found, ids=True)
    np.testing.assert_array_equal(found.draw(), expected)
    np.testing.assert_array_equal(found[:2].draw(), expected)
    page = found._repr_html_()
    assert 'src="data:image/jpeg;base64,' in page
    assert len(page) < 200_000
    rgb = np.ascontiguousarray(picture[:, :, ::-1])
    np.testing.assert_array_equal(found_in(people(), picture, rgb, True).draw(), expected)
    del picture
    with pytest.raises(ValueError, match=r"poses.draw\(image\)"):
        found.draw()
    assert found._repr_html_() == "<p>2 people in a picture, 400 x 200</p>"
    np.testing.assert_array_equal(found.draw(rgb, rgb=True), expected)
    PIL.Image.fromarray(rgb).save(tmp_path / "a.png")
    of_file = found_in(people(), rgb, tmp_path / "a.png")
    np.testing.assert_array_equal(of_file.draw(), expected)
    of_bytes = found_in(people(), rgb, (tmp_path / "a.png").read_bytes())
    np.testing.assert_array_equal(of_bytes.draw(), expected)


def test_the_notebook_shows_names_as_text() -> None:
    assert "<script>" not in Poses(source="<script>.jpg")._repr_html_()


# Files and other libraries.


def test_save_writes_what_the_ending_says_as_the_command_does(tmp_path) -> None:
    found = people(source="a.mp4", frame=3, time=1.5)
    for ending, form in ((".json", "jsonl"), (".jsonl", "jsonl"), (".csv", "csv")):
        assert found.save(tmp_path / f"a{ending}") == tmp_path / f"a{ending}"
        with open_writer(tmp_path / "expected", form) as writer:
            writer.add(found.result)
        assert (tmp_path / f"a{ending}").read_text() == (tmp_path / "expected").read_text()
    assert json.loads((tmp_path / "a.json").read_text()) == found.to_dict()
    picture = noise(200, 400)
    found.save(str(tmp_path / "a.png"), picture)
    drawn = as_image(tmp_path / "a.png")
    np.testing.assert_array_equal(drawn, found.draw(picture))


def test_save_never_writes_over_the_picture_and_tells_what_it_cannot(tmp_path) -> None:
    path = tmp_path / "a.png"
    PIL.Image.fromarray(noise()).save(path)
    before = path.read_bytes()
    found = found_in(people(), noise(), path)
    (tmp_path / "link.png").symlink_to(path)
    for name in ("a.png", "link.png"):
        with pytest.raises(BadInput, match="would replace"):
            found.save(tmp_path / name)
    assert path.read_bytes() == before
    with pytest.raises(BadInput, match="unknown ending"):
        found.save(tmp_path / "a.xyz")
    with pytest.raises(BadInput, match="does not exist"):
        found.save(tmp_path / "no" / "a.json")


def test_to_dict_is_plain_json_and_a_still_has_no_time() -> None:
    found = people(source="a.jpg").to_dict()
    assert json.loads(json.dumps(found, allow_nan=False)) == found
    assert (found["time"], found["width"], found["height"]) == (None, 400, 200)
    assert found["people"][0]["keypoints"]["right_elbow"] is None
    assert found["people"][1]["keypoints"]["nose"][:2] == [300.0, 63.6]


def test_to_coco_counts_from_the_corner_and_has_17_keypoints() -> None:
    first, second = people(source="photos/0007.jpg").to_coco()
    assert (first["image_id"], first["category_id"], len(first["keypoints"])) == (7, 1, 51)
    assert second["keypoints"][:3] == [300.5, 64.1, 1.0]
    assert people().to_coco(9)[0]["image_id"] == 9


@pytest.mark.parametrize("library", ["pandas", "polars"])
def test_a_dataframe_has_the_rows_of_the_csv_file(library, tmp_path) -> None:
    pytest.importorskip(library)
    found = people(source="a.jpg")
    table = found.to_dataframe(library)
    found.save(tmp_path / "a.csv")
    rows = list(csv.DictReader((tmp_path / "a.csv").read_text().splitlines()))
    assert list(table.columns) == list(rows[0])
    for name in rows[0]:
        cells = [None if cell != cell else cell for cell in table[name]]
        assert ["" if cell is None else str(cell) for cell in cells] == [r[name] for r in rows]
    assert len(Poses().to_dataframe(library)) == 0


def test_a_library_that_is_not_there_is_one_line(monkeypatch) -> None:
    for name in ("pandas", "polars", "supervision"):
        monkeypatch.setitem(__import__("sys").modules, name, None)
    with pytest.raises(BadInput, match="pip install pandas"):
        people().to_dataframe()
    with pytest.raises(BadInput, match="pip install polars"):
        people().to_dataframe("polars")
    with pytest.raises(BadInput, match="choose pandas"):
        people().to_dataframe("excel")
    with pytest.raises(BadInput, match="pip install supervision"):
        people().to_supervision()


def test_supervision_gets_the_same_people() -> None:
    pytest.importorskip("supervision")
    found = people()
    points = found.to_supervision()
    assert points.xy.shape == (2, len(BODY.keypoints), 2)
    np.testing.assert_array_equal(points.xy[1], found[1].xy)
    assert points.xy[0][3].tolist() == [0, 0]
    assert points.data["tracker_id"].tolist() == [4, -1]
    boxes = points.as_detections().xyxy
    np.testing.assert_allclose(boxes, [pose.box for pose in found])
    assert len(Poses().to_supervision()) == 0
    assert COCO.keypoints[0] == "nose"
