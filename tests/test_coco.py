import io
import json
import tarfile
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import PIL.Image
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from conftest import SHARED, VAL, needs_val
from limbwise.data import coco
from limbwise.data.annotations import LABELLED, UNCERTAIN, UNLABELLED, Labels, Piece
from limbwise.data.coco_file import read_coco
from limbwise.data.prepare import prepare
from limbwise.errors import BadInput
from limbwise.skeleton import BODY, COCO, Skeleton
from limbwise.train.batches.pictures import load_pictures, memory, unreadable

TRAIN = SHARED / "data" / "train"
SIZE = (40, 60)  # height, width
PERSON = {
    "id": 1,
    "name": "person",
    "keypoints": list(COCO.keypoints),
    "skeleton": [[COCO.index[a] + 1, COCO.index[b] + 1] for a, b in COCO.limbs],
}


def picture(n: int, size: tuple[int, int] = SIZE) -> np.ndarray:
    return np.random.default_rng(n).integers(0, 256, (*size, 3), np.uint8)


def image(n: int, **changes: Any) -> dict[str, Any]:
    entry = {"id": n, "file_name": f"{n}.png", "height": SIZE[0], "width": SIZE[1]}
    return {key: value for key, value in (entry | changes).items() if value is not None}


def somebody(number: int, picture: int, x: float = 20.0, v: int = 2, **changes: Any) -> dict:
    """Every keypoint at (x, 10), so that whose row it is can be seen."""
    entry = {
        "id": number,
        "image_id": picture,
        "category_id": 1,
        "keypoints": [x, 10.0, v] * 17,
        "num_keypoints": 17 if v else 0,
        "bbox": [x - 5, 2, 10, 30],
        "area": 150.0,
        "iscrowd": 0,
    }
    return {key: value for key, value in (entry | changes).items() if value is not None}


class Data:
    """A folder with label files and pictures."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        for n in (1, 2, 3):
            cv2.imwrite(str(folder / f"{n}.png"), picture(n))

    def read(
        self, annotations: list[dict], images: Any = None, category: Any = None, **options: Any
    ) -> Labels:
        path = self.folder / "labels.json"
        images = [image(n) for n in (1, 2, 3)] if images is None else images
        content = {
            "images": images,
            "annotations": annotations,
            "categories": [category or PERSON],
        }
        path.write_text(json.dumps(content))
        return coco.read(path, self.folder, **options)


@pytest.fixture
def data(tmp_path: Path) -> Data:
    return Data(tmp_path)


def test_cocos_pixels_begin_half_a_pixel_before_ours(data: Data) -> None:
    """The centre of the first pixel is 0.5, 0.5 in COCO and 0, 0 here."""
    entry = somebody(1, 1, bbox=[0, 0, 60, 40])
    entry["keypoints"][:3] = [0.5, 0.5, 2]
    labels = data.read([entry])
    assert labels.keypoints[0, 0].tolist() == [0, 0]
    assert labels.boxes[0].tolist() == [-0.5, -0.5, 59.5, 39.5]


@pytest.mark.parametrize(
    ("source", "v", "state"),
    [
        (None, 0, UNLABELLED),
        (None, 1, LABELLED),
        (None, 2, LABELLED),
        ("human", 1, LABELLED),
        ("teacher", 1, UNCERTAIN),
        ("agree", 1, UNCERTAIN),
        ("teacher", 2, LABELLED),
        ("teacher", 0, UNLABELLED),
    ],
)
def test_only_networks_mean_unsure_by_v_1(
    data: Data, source: str | None, v: int, state: int
) -> None:
    entry = somebody(1, 1, labels=source)
    entry["keypoints"][5] = v
    entry["num_keypoints"] -= v == 0
    assert data.read([entry]).state[0].tolist() == [LABELLED, state] + [LABELLED] * 15


@pytest.mark.parametrize(
    ("left", "right", "neck"),
    [(2, 2, LABELLED), (2, 1, UNCERTAIN), (1, 1, UNCERTAIN), (2, 0, UNLABELLED)],
)
def test_a_neck_is_as_sure_as_the_less_sure_shoulder(
    data: Data, left: int, right: int, neck: int
) -> None:
    entry = somebody(1, 1, labels="teacher", num_keypoints=None)
    for name, x, v in (("left_shoulder", 10, left), ("right_shoulder", 30, right)):
        entry["keypoints"][3 * COCO.index[name] : 3 * COCO.index[name] + 3] = [x, 20, v]
    labels = data.read([entry], skeleton=BODY)
    assert labels.state[0, BODY.index["neck"]] == neck
    if neck:
        assert labels.keypoints[0, BODY.index["neck"]].tolist() == [19.5, 19.5]


def test_keypoints_are_found_by_name(data: Data) -> None:
    entry = somebody(1, 1)
    entry["keypoints"] = [value for k in range(17) for value in (k + 0.5, 2 * k + 0.5, 2)]
    labels = data.read([entry], skeleton=BODY)
    for name, k in COCO.index.items():
        assert labels.keypoints[0, BODY.index[name]].tolist() == [k, 2 * k]


def test_crowds_and_people_without_keypoints_are_regions(data: Data) -> None:
    labels = data.read(
        [
            somebody(1, 2, iscrowd=1, bbox=[1, 2, 3, 4]),
            somebody(2, 2, v=0, bbox=[5, 6, 7, 8]),
            somebody(3, 1),
        ]
    )
    assert labels.people_from.tolist() == [0, 1, 1, 1]
    assert labels.regions_from.tolist() == [0, 0, 2, 2]
    assert labels.regions.tolist() == [[0.5, 1.5, 3.5, 5.5], [4.5, 5.5, 11.5, 13.5]]
    assert not labels.faults


@pytest.mark.parametrize("form", ["runs", "polygon"])
def test_a_large_region_follows_its_outline(data: Data, form: str) -> None:
    """A triangle: the cells of its strips hold it, and little else."""
    corners = np.array([[0, 0], [59, 39], [0, 39]])
    mask = cv2.fillPoly(np.zeros(SIZE, np.uint8), [corners], 1)
    flat = mask.T.reshape(-1)
    changes = np.flatnonzero(np.diff(np.concatenate([[0], flat])))
    counts = np.diff(np.concatenate([[0], changes, [len(flat)]])).tolist()
    outline: Any = {"size": list(SIZE), "counts": counts}
    if form == "polygon":
        outline = [(corners + 0.5).reshape(-1).tolist()]
    entry = somebody(1, 1, iscrowd=1, bbox=[0, 0, 60, 40], segmentation=outline)
    labels = data.read([entry])
    inside = np.zeros(SIZE, bool)
    y, x = np.indices(SIZE)
    for left, top, right, bottom in labels.regions:
        inside |= (x > left) & (x < right) & (y > top) & (y < bottom)
    if form == "polygon":  # of which the edge goes through the middle of these pixels
        mask = cv2.erode(mask, np.ones((3, 3), np.uint8), borderValue=0)
    assert inside[mask > 0].all()
    assert inside.sum() < 0.8 * inside.size
    assert not labels.faults


OBJECT = {
    "id": 7,
    "keypoints": ["left_tip", "right_tip", "centre", "nose"],
    "skeleton": [[1, 3], [3, 2], [3, 4]],
}


def test_a_skeleton_comes_from_the_file(data: Data, tmp_path: Path) -> None:
    sigmas = tmp_path / "sigmas.json"
    sigmas.write_text('{"centre": 0.2}')
    entry = somebody(1, 1, category_id=7, keypoints=[20, 10, 2] * 4, num_keypoints=4)
    others = somebody(2, 1, category_id=8)
    skeleton = data.read([entry, others], category=OBJECT, sigmas=sigmas).skeleton
    limbs = (("left_tip", "centre"), ("centre", "right_tip"), ("centre", "nose"))
    expected = Skeleton(tuple(OBJECT["keypoints"]), limbs, (0.05, 0.05, 0.2, 0.026))
    assert skeleton == expected
    assert skeleton.mirror == (1, 0, 2, 3)
    assert data.read([somebody(1, 1)]).skeleton == COCO


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"keypoints": [1, 2, 2]}, "3 numbers"),
        ({"keypoints": None}, "no keypoints"),
        ({"keypoints": ["a"] * 51}, "no keypoints"),
        ({"keypoints": [float("nan"), 1, 2] + [20, 10, 2] * 16}, "1 keypoints that are no numbers"),
        ({"keypoints": [20, 10, 3] + [20, 10, 2] * 16}, "v other than"),
        ({"keypoints": [20, 42, 2] + [20, 10, 2] * 16}, "1 keypoints outside"),
        ({"num_keypoints": 3}, "17 keypoints but says 3"),
        ({"bbox": [1, 1, 0, 5]}, "without area"),
        ({"bbox": [1, 1, float("inf"), 5]}, "without area"),
        ({"bbox": None}, "no bbox"),
        ({"bbox": [1, 2]}, "no bbox"),
        ({"area": None}, "no area"),
        ({"image_id": 9}, "no picture"),
        ({"id": 1}, "id of another annotation"),
        ({"iscrowd": 1, "bbox": [0, 0, 60, 40], "segmentation": {"counts": "abc"}}, "segmentation"),
    ],
)
def test_a_fault_names_the_picture_and_the_annotation(data: Data, changes: dict, text: str) -> None:
    labels = data.read([somebody(1, 1), somebody(5, 2, **changes), somebody(6, 3)])
    [fault] = labels.faults
    assert text in fault.text
    assert (fault.image_id, fault.annotation_id) == (
        changes.get("image_id", 2),
        changes.get("id", 5),
    )
    assert np.isfinite(labels.keypoints).all()
    assert np.isfinite(labels.boxes).all()
    assert len(labels.people_from) == 4


def test_what_is_wrong_with_one_keypoint_leaves_the_others(data: Data) -> None:
    keypoints = [float("nan"), 1, 2, 99, 10, 2, 20, 10, 7] + [20, 10, 2] * 14
    labels = data.read([somebody(1, 1, keypoints=keypoints)])
    assert labels.state[0].tolist() == [UNLABELLED] * 3 + [LABELLED] * 14


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"file_name": "9.png"}, "is not in"),
        ({"file_name": None}, "no file_name"),
        ({"width": None}, "no height or width"),
        ({"height": -3}, "no height or width"),
        ({"id": 1}, "id of another"),
    ],
)
def test_a_faulty_picture_is_named_and_left_out(data: Data, changes: dict, text: str) -> None:
    people = [somebody(1, 1, 11), somebody(2, 2, 22), somebody(3, 3, 33)]
    labels = data.read(people, [image(1), image(2, **changes), image(3)])
    assert text in labels.faults[0].text
    assert labels.faults[0].image_id == changes.get("id", 2)
    assert labels.ids == (1, 3)
    assert labels.keypoints[:, 0, 0].tolist() == [10.5, 32.5]


@pytest.mark.parametrize(
    ("content", "text"),
    [
        ("{", "not a JSON file"),
        ("[" * 100_000, "not a JSON file: it is nested too deeply"),
        ("[]", "no list 'images'"),
        ('{"images": [], "annotations": [3], "categories": []}', "'annotations' of objects"),
        ('{"images": [], "annotations": [], "categories": [{"id": 1}]}', "no category"),
    ],
)
def test_a_file_that_is_no_label_file_is_refused(tmp_path: Path, content: str, text: str) -> None:
    (tmp_path / "labels.json").write_text(content)
    with pytest.raises(BadInput, match=text):
        coco.read(tmp_path / "labels.json", tmp_path)


def test_what_cannot_be_read_at_all_is_refused(data: Data) -> None:
    person = [somebody(1, 1)]
    with pytest.raises(BadInput, match="cannot be read"):
        coco.read(data.folder / "none.json", data.folder)
    with pytest.raises(BadInput, match="none of the 1 pictures"):
        data.read(person, [image(1, file_name="elsewhere.png")])
    with pytest.raises(BadInput, match="no folder and no uncompressed .tar"):
        coco.read(data.folder / "labels.json", data.folder / "1.png")
    with pytest.raises(BadInput, match="1 each"):
        coco.read(data.folder / "labels.json", [data.folder] * 2)
    with pytest.raises(BadInput, match="left_ankle"):
        data.read(person, category=OBJECT, skeleton=COCO)
    for limbs in (None, [], [[0, 1]], [[1, 9]], [3]):
        with pytest.raises(BadInput, match="no skeleton"):
            data.read(person, category=OBJECT | {"skeleton": limbs})
    (data.folder / "sigmas.json").write_text("[1]")
    with pytest.raises(BadInput, match="sigmas.json"):
        data.read(person, sigmas=data.folder / "sigmas.json")


@pytest.mark.parametrize("prefix", ["", "./", "images/"])
def test_a_tar_file_is_as_good_as_a_folder(data: Data, prefix: str) -> None:
    people = [somebody(1, 1, 11), somebody(2, 3, 33)]
    from_folder = data.read(people)
    path = data.folder / "pictures.tar"
    with tarfile.open(path, "w") as tar:
        for n in (3, 1, 2):
            tar.add(data.folder / f"{n}.png", f"{prefix}{n}.png")
    from_tar = coco.read(data.folder / "labels.json", path)
    assert np.array_equal(from_tar.keypoints, from_folder.keypoints)
    assert from_tar.ids == from_folder.ids
    two = load_pictures(from_tar), load_pictures(from_folder)
    assert two[0].pixels.equal(two[1].pixels)
    missing = coco.read(data.folder / "labels.json", path).files[0]._replace(name="x")
    assert missing.read() == (data.folder / "1.png").read_bytes()


def test_several_files_keep_their_people_and_pictures_apart(data: Data, tmp_path: Path) -> None:
    """Both have a picture 1 called 1.png."""
    data.read([somebody(1, 1, 11), somebody(2, 2, 22)], [image(2), image(1)])
    (tmp_path / "more").mkdir()
    more = Data(tmp_path / "more")
    more.read([somebody(1, 1, 33), somebody(7, 9, 1)], [image(1)])
    cv2.imwrite(str(more.folder / "1.png"), picture(7))
    labels = coco.read(
        [data.folder / "labels.json", more.folder / "labels.json"], [data.folder, more.folder]
    )
    assert labels.ids == (2, 1, 1)
    assert [labels.keypoints[labels.people(n), 0, 0].tolist() for n in range(3)] == [
        [21.5], [10.5], [32.5],
    ]  # fmt: skip
    assert [fault.annotation_id for fault in labels.faults] == [7]
    assert np.array_equal(load_pictures(labels).picture(2), picture(7))


@settings(max_examples=30, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 2)), min_size=1, max_size=8), st.data())
def test_a_subset_takes_each_picture_with_all_that_is_in_it(counts, draws) -> None:
    labels = _made_up(counts)
    chosen = draws.draw(st.lists(st.integers(0, len(counts) - 1), min_size=1, max_size=10))
    some = labels.subset(chosen)
    for row, n in enumerate(chosen):
        assert some.ids[row] == n
        assert set(some.keypoints[some.people(row), 0, 0]) <= {n}
        assert some.people(row).stop - some.people(row).start == counts[n][0]
        regions = some.regions[some.regions_from[row] : some.regions_from[row + 1]]
        assert regions.tolist() == [[n] * 4] * counts[n][1]


def _made_up(counts: list[tuple[int, int]]) -> Labels:
    """Pictures with so many people and regions, all of which carry their picture's number."""
    people = np.repeat(np.arange(len(counts)), [people for people, _ in counts])
    regions = np.repeat(np.arange(len(counts)), [regions for _, regions in counts])
    k = len(COCO.keypoints)
    return Labels(
        COCO,
        tuple(range(len(counts))),
        tuple(Piece(Path("none"), str(n)) for n in range(len(counts))),
        np.full((len(counts), 2), 10),
        np.tile(people[:, None, None], (1, k, 2)).astype(np.float32),
        np.full((len(people), k), LABELLED, np.int8),
        np.zeros((len(people), 4), np.float32),
        np.ones(len(people), np.float32),
        np.append(0, np.cumsum([people for people, _ in counts])),
        np.tile(regions[:, None], (1, 4)).astype(np.float32),
        np.append(0, np.cumsum([regions for _, regions in counts])),
    )


def test_pictures_are_decoded_as_they_are(data: Data) -> None:
    labels = data.read([], [image(3), image(1)])
    pictures = load_pictures(labels, workers=2)
    assert np.array_equal(pictures.picture(0), picture(3))
    assert np.array_equal(pictures.picture(1), picture(1))
    assert pictures.picture(1, level=1).shape == (20, 30, 3)
    expected = picture(1).reshape(20, 2, 30, 2, 3).mean(axis=(1, 3))
    assert np.abs(pictures.picture(1, level=1) - expected).max() <= 0.5
    assert not pictures.faults


@settings(max_examples=20, deadline=None)
@given(st.integers(1, 50), st.integers(1, 50), st.integers(5, 60), st.integers(1, 4))
def test_the_memory_needed_is_told_beforehand(height, width, long_side, levels) -> None:
    labels = _made_up([(0, 0)])
    labels.sizes[:] = height, width
    with_room = load_pictures(labels, long_side=long_side, levels=levels)
    needed = memory(labels, long_side=long_side, levels=levels)
    assert 0 <= with_room.pixels.numel() - needed <= 3 * (long_side + 2)
    assert with_room.faults  # there is no such file
    assert not with_room.sizes.any()


def test_long_pictures_are_made_smaller(data: Data) -> None:
    pictures = load_pictures(data.read([]), long_side=30, levels=1)
    assert pictures.sizes.tolist() == [[[20, 30]]] * 3
    assert pictures.scales.tolist() == [[0.5, 0.5]] * 3
    assert pictures.picture(0).shape == (20, 30, 3)


@pytest.mark.parametrize("turned", [False, True])
def test_a_picture_is_turned_as_its_labels_were(data: Data, turned: bool) -> None:
    """A camera's file lies on its side and says so; some label tools look, some do not."""
    bright_left = np.zeros((40, 60, 3), np.uint8)
    bright_left[:, :30] = 255
    file = io.BytesIO()
    exif = PIL.Image.Exif()
    exif[0x0112] = 6  # to be turned clockwise
    PIL.Image.fromarray(bright_left).save(file, "JPEG", exif=exif, quality=95)
    (data.folder / "1.jpg").write_bytes(file.getvalue())
    size = {"height": 60, "width": 40} if turned else {"height": 40, "width": 60}
    labels = data.read([], [image(1, file_name="1.jpg", **size)])
    found = load_pictures(labels).picture(0) > 128
    expected = np.rot90(bright_left, -1) if turned else bright_left
    assert (found == (expected > 128)).mean() > 0.99


def test_what_is_no_picture_is_a_fault_and_left_empty(data: Data) -> None:
    (data.folder / "2.png").write_bytes(b"not a picture")
    (data.folder / "3.png").write_bytes(b"")
    cv2.imwrite(str(data.folder / "4.png"), picture(4, (40, 50)))
    labels = data.read([], [image(n) for n in (1, 2, 3, 4)])
    pictures = load_pictures(labels)
    assert [fault.image_id for fault in pictures.faults] == [2, 3, 4]
    assert "50 x 40 pixels, its labels say 60 x 40" in pictures.faults[2].text
    assert pictures.sizes[:, 0].tolist() == [[40, 60], [0, 0], [0, 0], [0, 0]]
    assert unreadable(labels) == pictures.faults


@needs_val
def test_the_validation_labels_have_no_faults() -> None:
    labels = coco.read(VAL / "annotations.json", VAL / "images", BODY)
    assert (len(labels), len(labels.keypoints), len(labels.faults)) == (113, 339, 0)
    assert not (labels.state == UNCERTAIN).any()


@pytest.mark.skipif(not TRAIN.is_dir(), reason="the training pack is not here")
def test_the_training_pack_is_what_its_readme_says() -> None:
    labels = coco.read(TRAIN / "annotations-extra.json", TRAIN / "images", BODY)
    assert (len(labels), len(labels.keypoints), len(labels.regions)) == (7042, 14215, 1683)
    assert not labels.faults
    assert (labels.state == UNCERTAIN).any()


@pytest.mark.parametrize(
    "outline",
    [
        {"counts": [10**12, 5], "size": list(SIZE)},
        {"counts": [-5, 2405], "size": list(SIZE)},
        {"counts": [5, 5], "size": list(SIZE)},  # of which the rest of a mask would be left over
        {"counts": [2399.5, 0.5], "size": list(SIZE)},
        {"counts": "1" * 99, "size": list(SIZE)},
        {"counts": [2400], "size": [10**9, 10**9]},
        {"counts": None},
        [[1e9, 0, 0, 1e9, 5, 5]],
        [[float("nan")] * 6],
        [[1, 2, 3, 4]],
        [[1, 2, 3, 4, 5, 6, 7]],
        [[[1, 2]] * 3],
        [["a"] * 6],
        [10**5000],
        "text",
        7,
        True,
    ],
    ids=lambda outline: str(outline)[:40] if outline != [10**5000] else "endless",
)
def test_no_outline_takes_time_or_memory_or_makes_up_a_mask(data: Data, outline: Any) -> None:
    """What pycocotools would believe does not reach it: the box counts."""
    entry = somebody(1, 1, iscrowd=1, bbox=[0, 0, 60, 40])
    file = data.read([entry, somebody(2, 1)]) and read_coco(data.folder / "labels.json")
    file = file.having(file.images, [entry | {"segmentation": outline}])
    labels = coco.read(file, data.folder)
    assert labels.regions.tolist() == [[-0.5, -0.5, 59.5, 39.5]]
    assert "segmentation" in labels.faults[0].text


@pytest.mark.parametrize(
    "size",
    [{"width": 10**30}, {"width": 1e30}, {"height": "40"}, {"height": True}, {"width": 10**8}],
)
def test_a_picture_has_a_size_that_pictures_can_have(data: Data, size: dict[str, Any]) -> None:
    labels = data.read([somebody(1, 1)], [image(1), image(2, **size)])
    assert [fault.text for fault in labels.faults] == ["2.png has no height or width of a picture"]


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_any_value_anywhere_is_a_fault_or_one_line(tmp_path_factory, draws) -> None:
    odd = st.sampled_from([
        None, "", "x", "\ud800", "\0", [], {}, [[1]], {"a": []}, True, -1, 0.5, 1e30, -1e300,
        float("nan"), float("inf"), 2**70, 10**400, "a" * 5000,
    ])  # fmt: skip
    content: Any = {"images": [image(1), image(2)], "categories": [PERSON],
                    "annotations": [somebody(1, 1), somebody(2, 2, iscrowd=1)]}  # fmt: skip
    content = json.loads(json.dumps(content))
    inside = content[draws.draw(st.sampled_from(list(content)))]
    while True:
        keys = list(inside) if isinstance(inside, dict) else list(range(len(inside)))
        key = draws.draw(st.sampled_from(keys))
        if not (isinstance(inside[key], dict | list) and inside[key] and draws.draw(st.booleans())):
            break
        inside = inside[key]
    inside[key] = draws.draw(odd)
    folder = Data(tmp_path_factory.mktemp("odd")).folder
    (folder / "labels.json").write_text(json.dumps(content))
    for use in (
        lambda: coco.read(folder / "labels.json", folder),
        lambda: read_coco(folder / "labels.json").people,
        lambda: prepare(folder / "labels.json", folder / "out.json"),
    ):
        told = ""
        try:
            use()
        except BadInput as error:
            told = str(error)
        assert len(told.splitlines()) <= 1
        assert len(told) < 1000
