import base64
import json
import re
from pathlib import Path

import cv2
import numpy as np
import pytest

from limbwise.errors import BadInput
from limbwise.train.check_data import Report, check_data

NAME = "<i>1</i> & 'co'.png"  # nothing a page should take for its own


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Three pictures: two people and a region, nobody, and one that is broken."""
    grey = np.full((120, 160, 3), 90, np.uint8)
    for name in (NAME.replace("/", "_"), "2.png"):
        cv2.imwrite(str(tmp_path / name), grey)
    (tmp_path / "3.png").write_bytes(b"broken")

    def somebody(number: int, picture: int, states: list[int], side: float, **changes: int) -> dict:
        places = [(40, 40), (80, 40), (60, 80)]
        keypoints = [v for xy, state in zip(places, states, strict=True) for v in (*xy, state)]
        entry = {"id": number, "image_id": picture, "keypoints": keypoints, "area": 100}
        entry |= {"bbox": [30, 30, side, 20], "iscrowd": 0, "labels": "teacher"}
        return entry | changes

    content = {
        "images": [
            {"id": n, "file_name": name, "width": 160, "height": 120}
            for n, name in ((11, NAME.replace("/", "_")), (12, "2.png"), (13, "3.png"))
        ],
        "annotations": [
            somebody(1, 11, [2, 2, 2], 63),
            somebody(2, 11, [0, 1, 2], 64, num_keypoints=7),
            somebody(3, 11, [0, 0, 0], 50),
            somebody(4, 99, [2, 2, 2], 50),
        ],
        "categories": [{"keypoints": ["left_a", "right_a", "b"], "skeleton": [[1, 3], [2, 3]]}],
    }
    (tmp_path / "labels.json").write_text(json.dumps(content))
    return tmp_path


@pytest.fixture
def report(folder: Path) -> Report:
    return check_data(folder / "labels.json", folder, folder / "page.html", size=(64, 64))


def test_everything_is_counted(report: Report) -> None:
    assert (report.pictures, report.empty_pictures, report.people, report.regions) == (3, 2, 2, 1)
    assert report.keypoints == {
        "left_a": {"sure": 1, "unsure": 0, "absent": 1},
        "right_a": {"sure": 1, "unsure": 1, "absent": 0},
        "b": {"sure": 2, "unsure": 0, "absent": 0},
    }
    assert {name: count for name, count in report.sizes.items() if count} == {
        "32-63": 1,
        "64-127": 1,
    }


def test_each_fault_has_its_picture(report: Report) -> None:
    found = {(fault.image_id, fault.annotation_id) for fault in report.faults}
    assert found == {(11, 2), (99, 4), (13, None)}


def test_the_page_shows_it_all_and_needs_nothing_else(report: Report) -> None:
    assert report.page
    page = report.page.read_text()
    assert "http" not in page
    assert "<script" not in page
    assert NAME.replace("/", "_") not in page
    sources = re.findall(r'src="([^"]*)"', page)
    assert all(source.startswith("data:image/jpeg;base64,") for source in sources)
    pictures = [
        cv2.imdecode(np.frombuffer(base64.b64decode(source.partition(",")[2]), np.uint8), 1)
        for source in sources
    ]
    assert [picture.shape[:2] for picture in pictures] == [(120, 160), *[(64, 64)] * 3] * 2
    for text in ("picture 11", "picture 12", "says 7", "3.png", "left_a", "32-63"):
        assert text in page
    assert "picture 13" not in page


def test_what_is_drawn_on_the_labels_is_where_they_are(report: Report) -> None:
    """A sure limb is green, an unsure one yellow, a region red; all else is as it was."""
    assert report.page
    source = re.findall(r'base64,([^"]*)"', report.page.read_text())[0]
    drawn = cv2.imdecode(np.frombuffer(base64.b64decode(source), np.uint8), 1).astype(int)
    blue, green, red = drawn[60, 48:53].mean(axis=0)  # one's left limb
    assert green > red + 30
    assert green > blue + 30
    blue, green, red = drawn[40, 80]  # one's keypoint is sure, the other's is not and on top
    assert red > blue + 100
    blue, green, red = drawn[60, 68:73].mean(axis=0)  # the right limbs, likewise
    assert red > blue + 30
    blue, green, red = drawn[29:31, 70].mean(axis=0)
    assert red > green + 30
    assert np.abs(drawn[100:, 100:] - 90).max() < 8


def test_without_a_page_nothing_is_written(folder: Path) -> None:
    before = sorted(folder.iterdir())
    assert check_data(folder / "labels.json", folder, None).page is None
    assert sorted(folder.iterdir()) == before


def test_a_page_that_cannot_be_written_is_refused(folder: Path) -> None:
    with pytest.raises(BadInput, match="does not exist"):
        check_data(folder / "labels.json", folder, folder / "nowhere" / "page.html", shown=1)


def test_progress_sees_every_picture(folder: Path) -> None:
    seen = []

    def progress(jobs):
        seen.extend(jobs)
        return jobs

    check_data(folder / "labels.json", folder, None, progress=progress)
    assert len(seen) == 3
