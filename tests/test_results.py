"""What is written is read back; a file is whole or the old one; nothing says nan."""

import csv
import io
import json
import math
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from limbwise.errors import BadInput
from limbwise.outputs.records import Result, record
from limbwise.outputs.results import open_writer
from limbwise.pose import Pose
from limbwise.skeleton import BODY, BODY_25, COCO, Skeleton

FISH = Skeleton(("snout", "left_fin", "right_fin", "tail"), (("snout", "tail"),), (0.1,) * 4)
FILES = ("jsonl", "coco", "csv")
posix = pytest.mark.skipif(os.name != "posix", reason="needs pipes, devices and limits of POSIX")

quick = settings(max_examples=25, deadline=None)
coordinates = st.floats(-1e4, 1e4, width=32)
absent = st.sampled_from([math.nan, math.inf])


@st.composite
def drawn_poses(draw: st.DrawFn) -> Pose:
    places = st.tuples(coordinates, coordinates) | st.tuples(absent, coordinates | absent)
    places |= st.tuples(coordinates, absent)
    xy = np.array(draw(st.lists(places, min_size=18, max_size=18)), np.float32)
    sure = draw(st.lists(st.floats(0.01, 1), min_size=18, max_size=18))
    confidence = np.where(np.isfinite(xy).all(axis=1), sure, 0).astype(np.float32)
    score = draw(st.floats(0, 20) | st.just(math.nan))
    return Pose(BODY, xy, confidence, score, draw(st.none() | st.integers(0, 1000)))


@st.composite
def drawn_results(draw: st.DrawFn) -> list[Result]:
    crowds = draw(st.lists(st.lists(drawn_poses(), max_size=3), max_size=4))
    return [Result("films/a, b.mp4", n, n / 30, 640, 480, poses) for n, poses in enumerate(crowds)]


def person(skeleton: Skeleton = BODY, id: int | None = None) -> Pose:  # noqa: A002
    count = len(skeleton.keypoints)
    xy = np.arange(2 * count, dtype=np.float32).reshape(count, 2) + np.float32(10.125)
    return Pose(skeleton, xy, np.full(count, 0.5, np.float32), 3.25, id)


def result(*poses: Pose, index: int = 0, source: str = "street.mp4") -> Result:
    return Result(source, index, index / 25, 640, 480, list(poses), source.endswith("g"))


def write(path: Path | str, kind: str, results: list[Result], **settings: int) -> None:
    with open_writer(path, kind, **settings) as writer:
        for one in results:
            writer.add(one)


def strict_json(text: str) -> Any:
    """json.loads that refuses NaN and Infinity, as other languages' parsers do."""

    def refuse(word: str) -> None:
        raise AssertionError(f"{word} is not JSON")

    return json.loads(text, parse_constant=refuse)


def found(pose: Pose) -> np.ndarray:
    return np.isfinite(pose.xy).all(axis=1)


def same(keypoints: list[Any], pose: Pose) -> None:
    """Each keypoint is (x, y, confidence) within rounding, None exactly where it was not found."""
    assert [keypoint is not None for keypoint in keypoints] == found(pose).tolist()
    for keypoint, xy, confidence in zip(keypoints, pose.xy, pose.confidence, strict=True):
        if keypoint is not None:
            np.testing.assert_allclose(keypoint[:2], xy, atol=0.0051)
            assert keypoint[2] == pytest.approx(confidence, abs=0.000051)


def triples(flat: list[float]) -> list[Any]:
    """x, y, confidence, ... as keypoints, zeros as None."""
    rows = np.reshape(flat, (-1, 3)).tolist()
    return [row if any(row) else None for row in rows]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("written")


@quick
@given(drawn_results())
def test_json_lines_are_read_back_to_the_same_people(folder: Path, results: list[Result]) -> None:
    write(folder / "a.jsonl", "jsonl", results)
    lines = (folder / "a.jsonl").read_text().splitlines()
    assert len(lines) == len(results)
    for line, one in zip(map(strict_json, lines), results, strict=True):
        assert (line["source"], line["frame"]) == (one.source, one.index)
        assert (line["width"], line["height"]) == (one.width, one.height)
        assert line["time"] == pytest.approx(one.time, abs=1e-6)
        for person, pose in zip(line["people"], one.poses, strict=True):
            assert list(person["keypoints"]) == list(BODY.keypoints)
            assert person["id"] == pose.id
            assert person["score"] == pytest.approx(np.nan_to_num(pose.score), abs=1e-4)
            same(list(person["keypoints"].values()), pose)
            if found(pose).any():
                xy = pose.xy[found(pose)]
                np.testing.assert_allclose(
                    person["box"], [*xy.min(axis=0), *xy.max(axis=0)], atol=0.0051
                )


def test_a_record_is_the_documented_object() -> None:
    pose = Pose(FISH, np.float32([[1.234, 2], [np.nan, np.nan], [5, 6.789], [3, 4]]),
                np.float32([0.12344, 0, 1, 0.5]), 1.23456, 7)  # fmt: skip
    assert record(result(pose, index=3)) == {
        "source": "street.mp4",
        "frame": 3,
        "time": 0.12,
        "width": 640,
        "height": 480,
        "people": [
            {
                "id": 7,
                "score": 1.2346,
                "box": [1.23, 2.0, 5.0, 6.79],
                "keypoints": {
                    "snout": [1.23, 2.0, 0.1234],
                    "left_fin": None,
                    "right_fin": [5.0, 6.79, 1.0],
                    "tail": [3.0, 4.0, 0.5],
                },
            }
        ],
    }


def test_somebody_without_keypoints_has_no_box() -> None:
    nobody = Pose(FISH, np.full((4, 2), np.nan, np.float32), np.zeros(4, np.float32), 0.0)
    assert record(result(nobody))["people"][0]["box"] is None


@quick
@given(drawn_results(), st.sampled_from([18, 25]))
def test_openpose_files_are_read_back_to_the_same_people(
    folder: Path, results: list[Result], points: int
) -> None:
    write(folder / "op", "openpose", results, points=points)
    skeleton = BODY if points == 18 else BODY_25
    for one in results:
        content = strict_json((folder / f"op/a, b_{one.index:012}_keypoints.json").read_text())
        assert content["version"] == 1.3
        for person, pose in zip(content["people"], one.poses, strict=True):
            assert person["person_id"] == [-1 if pose.id is None else pose.id]
            same(triples(person["pose_keypoints_2d"]), pose.as_skeleton(skeleton))


def test_openpose_people_have_the_keys_of_openpose_in_its_order(tmp_path: Path) -> None:
    write(tmp_path / "out", "openpose", [result(person(id=0), person())])
    people = json.loads((tmp_path / "out/street_000000000000_keypoints.json").read_text())["people"]
    assert list(people[0]) == [
        "person_id",
        "pose_keypoints_2d",
        "face_keypoints_2d",
        "hand_left_keypoints_2d",
        "hand_right_keypoints_2d",
        "pose_keypoints_3d",
        "face_keypoints_3d",
        "hand_left_keypoints_3d",
        "hand_right_keypoints_3d",
    ]
    assert [one["person_id"] for one in people] == [[0], [-1]]
    assert all(people[0][key] == [] for key in list(people[0])[2:])


def test_the_layouts_are_those_of_openpose() -> None:
    # POSE_COCO_BODY_PARTS and POSE_BODY_25_BODY_PARTS of its doc/02_output.md
    arms, face = "RShoulder RElbow RWrist LShoulder LElbow LWrist", "REye LEye REar LEar"
    legs = "RHip RKnee RAnkle LHip LKnee LAnkle"

    def theirs(skeleton: Skeleton) -> str:
        words = " ".join(skeleton.keypoints).replace("left_", "L ").replace("right_", "R ")
        return words.title().replace("_", "").replace("L ", "L").replace("R ", "R")

    assert theirs(BODY) == f"Nose Neck {arms} {legs} {face}"
    feet = "LBigToe LSmallToe LHeel RBigToe RSmallToe RHeel"
    assert theirs(BODY_25) == f"Nose Neck {arms} MidHip {legs} {face} {feet}"


def test_the_middle_of_the_hips_is_made_of_both(tmp_path: Path) -> None:
    pose = person()
    write(tmp_path, "openpose", [result(pose)])
    content = json.loads((tmp_path / "street_000000000000_keypoints.json").read_text())
    middle = triples(content["people"][0]["pose_keypoints_2d"])[8]
    np.testing.assert_allclose(middle[:2], (pose["left_hip"] + pose["right_hip"]) / 2, atol=0.0051)


def test_openpose_names_pictures_after_themselves(tmp_path: Path) -> None:
    write(tmp_path, "openpose", [result(source="in/my cat.jpg", index=4)])
    assert [path.name for path in tmp_path.iterdir()] == ["my cat_keypoints.json"]


def test_openpose_writes_camera_addresses_as_file_names(tmp_path: Path) -> None:
    write(tmp_path, "openpose", [result(source="rtsp://host/live?profile=1:2", index=4)])
    assert [path.name for path in tmp_path.iterdir()] == [
        "live_profile=1_2_000000000004_keypoints.json"
    ]


def test_openpose_loses_no_picture_to_another_of_the_same_name(tmp_path: Path) -> None:
    with open_writer(tmp_path, "openpose") as writer:
        writer.add(result(source="cat.jpg"))
        with pytest.raises(BadInput, match=r"cat_keypoints.json was written from another source"):
            writer.add(result(source="cat.png"))


@quick
@given(drawn_results())
def test_coco_results_are_read_back_to_the_same_people(folder: Path, results: list[Result]) -> None:
    write(folder / "a.json", "coco", results)
    people = strict_json((folder / "a.json").read_text())
    poses = [(one, pose.as_skeleton(COCO)) for one in results for pose in one.poses]
    poses = [(one, pose) for one, pose in poses if found(pose).any()]
    for person, (one, pose) in zip(people, poses, strict=True):
        assert (person["image_id"], person["category_id"]) == (one.index, 1)
        assert person["score"] == pytest.approx(np.nan_to_num(pose.score), abs=1e-4)
        same(triples(person["keypoints"]), pose.moved(lambda xy: xy + 0.5))  # from the corner


def test_pycocotools_loads_coco_results(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    coco = pytest.importorskip("pycocotools.coco").COCO()
    coco.dataset = {"images": [{"id": 139}], "annotations": [], "categories": [{"id": 1}]}
    coco.createIndex()
    picture = result(person(), person(COCO), source="val/000000000139.jpg", index=8)
    write(tmp_path / "a.json", "coco", [picture])
    loaded = coco.loadRes(str(tmp_path / "a.json"))
    assert [one["image_id"] for one in loaded.dataset["annotations"]] == [139, 139]


def test_coco_leaves_out_whoever_has_no_coco_keypoint(tmp_path: Path) -> None:
    write(tmp_path / "a.json", "coco", [result(person(FISH)), result(person(), index=1)])
    assert [one["image_id"] for one in json.loads((tmp_path / "a.json").read_text())] == [1]


def test_coco_results_of_nobody_are_an_empty_array(tmp_path: Path) -> None:
    write(tmp_path / "a.json", "coco", [result(), result(index=1)])
    assert json.loads((tmp_path / "a.json").read_text()) == []


def test_a_picture_whose_name_is_no_number_has_its_index_for_image_id(tmp_path: Path) -> None:
    named = result(person(), source="cat.jpg", index=5)
    film = result(person(), source="12.mp4", index=6)
    write(tmp_path / "a.json", "coco", [named, film])
    assert [one["image_id"] for one in json.loads((tmp_path / "a.json").read_text())] == [5, 6]


@quick
@given(drawn_results())
def test_csv_has_a_row_per_person_that_reads_back(folder: Path, results: list[Result]) -> None:
    write(folder / "a.csv", "csv", results)
    with (folder / "a.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    people = [(one, n, pose) for one in results for n, pose in enumerate(one.poses)]
    for row, (one, n, pose) in zip(rows, people, strict=True):
        assert (row["source"], row["frame"]) == (one.source, str(one.index))
        assert row["person"] == str(n if pose.id is None else pose.id)
        cells = [[row[f"{name}_{c}"] for c in ("x", "y", "confidence")] for name in BODY.keypoints]
        same([[float(cell) for cell in three] if three[0] else None for three in cells], pose)
        assert (row["left"] == "") == (not found(pose).any())
        assert "nan" not in row.values()


def test_csv_of_nobody_is_a_header(tmp_path: Path) -> None:
    write(tmp_path / "a.csv", "csv", [result()])
    header = "source,frame,time,person,score,left,top,right,bottom\n"
    assert (tmp_path / "a.csv").read_text() == header


def test_csv_keeps_the_columns_of_the_first_person(tmp_path: Path) -> None:
    write(tmp_path / "a.csv", "csv", [result(), result(person(COCO)), result(person())])
    lines = list(csv.reader(io.StringIO((tmp_path / "a.csv").read_text())))
    assert {len(line) for line in lines} == {9 + 3 * 17}
    assert lines[2][lines[0].index("nose_x")] == "10.12"


def test_names_that_are_not_utf8_are_written_as_they_are(tmp_path: Path) -> None:
    odd = result(person(), source=b"caf\xe9.mp4".decode("utf-8", "surrogateescape"))
    write(tmp_path / "a.csv", "csv", [odd])
    write(tmp_path / "a.jsonl", "jsonl", [odd])
    assert b"\ncaf\xe9.mp4,0," in (tmp_path / "a.csv").read_bytes()
    assert json.loads((tmp_path / "a.jsonl").read_text())["source"] == odd.source


def read_people(path: Path, kind: str) -> int:
    text = path.read_text()
    return {
        "jsonl": lambda: sum(len(json.loads(line)["people"]) for line in text.splitlines()),
        "coco": lambda: len(json.loads(text)),
        "csv": lambda: len(text.splitlines()) - 1,
    }[kind]()


@pytest.mark.parametrize("kind", FILES)
@pytest.mark.parametrize("error", [KeyboardInterrupt, BadInput("the film ends here")])
def test_an_interrupted_body_keeps_what_was_added(
    tmp_path: Path, kind: str, error: BaseException
) -> None:
    path = tmp_path / "out"
    path.write_text("old")

    def work() -> None:
        with open_writer(path, kind) as writer:
            writer.add(result(person(), person()))
            assert path.read_text() == "old"
            raise error

    with pytest.raises(type(error) if isinstance(error, BadInput) else KeyboardInterrupt):
        work()
    assert read_people(path, kind) == 2
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("kind", FILES)
def test_work_that_fails_before_its_first_result_leaves_the_old_file(
    tmp_path: Path, kind: str
) -> None:
    path = tmp_path / "out"
    path.write_text("old")
    with pytest.raises(BadInput, match="no such film"), open_writer(path, kind):
        raise BadInput("no such film")
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


# Python ignores SIGXFSZ, so a write beyond the limit fails as on a full disk.
PROGRAM = """
import resource, sys
import numpy as np
from limbwise.errors import BadInput
from limbwise.pose import Pose
from limbwise.skeleton import BODY
from limbwise.outputs.records import Result
from limbwise.outputs.results import open_writer

pose = Pose(BODY, np.ones((18, 2), np.float32), np.ones(18, np.float32), 1.0)
limit = int(sys.argv[3])
resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
try:
    with open_writer(sys.argv[1], sys.argv[2]) as writer:
        for index in range(20):
            writer.add(Result("a.mp4", index, 0.0, 9, 9, [pose]))
except BadInput as bad:
    print(bad, end="", file=sys.stderr)
"""


def on_a_full_disk(path: Path, kind: str, limit: int) -> str:
    command = [sys.executable, "-c", PROGRAM, str(path), kind, str(limit)]
    return subprocess.run(command, capture_output=True, text=True).stderr


@posix
@pytest.mark.parametrize("kind", FILES)
def test_a_full_disk_keeps_the_old_file_and_is_one_line(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "out"
    path.write_text("old")
    assert on_a_full_disk(path, kind, 3000) == f"{path} could not be written: File too large"
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


@posix
def test_a_full_disk_leaves_no_half_openpose_file(tmp_path: Path) -> None:
    path = tmp_path / "a_000000000000_keypoints.json"
    assert on_a_full_disk(tmp_path, "openpose", 100) == (
        f"{path} could not be written: File too large"
    )
    assert list(tmp_path.iterdir()) == []


@posix
def test_standard_output_has_each_line_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    reader, pipe = os.pipe()
    os.set_blocking(reader, False)
    with os.fdopen(pipe, "w") as stdout, os.fdopen(reader, "rb", 0) as arrived:
        monkeypatch.setattr(sys, "stdout", stdout)
        with open_writer("-", "jsonl") as writer:
            for index in range(3):
                writer.add(result(person(), index=index))
                line = arrived.read(100_000)
                assert line.endswith(b"\n")
                assert json.loads(line)["frame"] == index
        assert not stdout.closed


def test_standard_output_takes_csv(capsys: pytest.CaptureFixture[str]) -> None:
    write("-", "csv", [result(person()), result(person(), index=1)])
    rows = list(csv.DictReader(io.StringIO(capsys.readouterr().out)))
    assert [row["frame"] for row in rows] == ["0", "1"]


@posix
def test_a_reader_who_leaves_is_the_callers_matter() -> None:
    reader, pipe = os.pipe()
    os.close(reader)
    program = PROGRAM.replace("BadInput as bad", "BrokenPipeError as bad")
    command = [sys.executable, "-c", program, "-", "jsonl", "100000"]
    run = subprocess.run(command, stdout=pipe, stderr=subprocess.PIPE, text=True)
    os.close(pipe)
    assert run.stderr.startswith("[Errno 32]")


@posix
def test_a_link_stays_a_link(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(tmp_path / "real")
    (tmp_path / "real").write_text("old")
    write(tmp_path / "link", "coco", [])
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "real").read_text() == "[]\n"


@posix
def test_pipes_and_devices_are_written_to_and_not_replaced(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    reader = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
    write(pipe, "jsonl", [result(person())])
    assert pipe.is_fifo()
    assert json.loads(os.read(reader, 100_000))["frame"] == 0
    os.close(reader)


@pytest.mark.parametrize("kind", [*FILES, "openpose"])
def test_a_place_that_cannot_be_written_is_refused_at_opening(tmp_path: Path, kind: str) -> None:
    with pytest.raises(BadInput, match="missing"):
        open_writer(tmp_path / "missing" / "out", kind)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("kind", FILES)
def test_a_folder_is_no_file_to_write(tmp_path: Path, kind: str) -> None:
    with pytest.raises(BadInput, match="is a folder"):
        open_writer(tmp_path, kind)


def test_a_file_is_no_folder_for_openpose(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("old")
    with pytest.raises(BadInput, match="file could not be written: File exists"):
        open_writer(tmp_path / "file", "openpose")


def test_unknown_wishes_name_what_there_is(tmp_path: Path) -> None:
    with pytest.raises(
        BadInput, match=r"'xml'.* jsonl, json, openpose, coco, csv, parquet, label-st"
    ):
        open_writer(tmp_path / "a.xml", "xml")
    with pytest.raises(BadInput, match="18 and of 25"):
        open_writer(tmp_path / "a", "openpose", points=19)
    with pytest.raises(BadInput, match="name a folder"):
        open_writer("-", "openpose")


def test_closing_twice_does_no_harm(tmp_path: Path) -> None:
    writer = open_writer(tmp_path / "a.json", "coco")
    writer.close()
    writer.close()
    assert json.loads((tmp_path / "a.json").read_text()) == []
