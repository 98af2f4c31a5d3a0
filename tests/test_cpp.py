"""The example in C++ says what Python says. `make test-cpp` builds it and runs this."""

import json
import os
import subprocess
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import onnx
import pytest

from limbwise.cli.app import exit_code
from limbwise.models.catalogue import CATALOGUE, DEFAULT

PROGRAM = os.environ.get("LIMBWISE_CPP", "")
pytestmark = pytest.mark.skipif(
    not Path(PROGRAM).is_file(), reason="the C++ example is not built: make test-cpp does it"
)

FRAMES = 6
PAIR = CATALOGUE[DEFAULT]
assert PAIR.second
DETECTOR, SECOND = str(PAIR.first.plain), str(PAIR.second.plain)


@pytest.fixture(scope="module")
def film(picture: np.ndarray, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two people who move to the right; without loss, so that every decoder sees the same."""
    path = tmp_path_factory.mktemp("film") / "walk.mkv"
    with av.open(str(path), "w") as out:
        stream = out.add_stream("ffv1", rate=Fraction(25))
        stream.height, stream.width = picture.shape[:2]
        stream.pix_fmt = "bgr0"
        for n in range(FRAMES):
            image = np.roll(picture, 7 * n, axis=1)
            out.mux(stream.encode(av.VideoFrame.from_ndarray(image, format="bgr24")))
        out.mux(stream.encode())
    return path


def said(*words: object) -> subprocess.CompletedProcess[bytes]:
    command = [PROGRAM, *map(str, words)]
    return subprocess.run(command, capture_output=True, check=False, timeout=100)


@pytest.mark.parametrize("pair", ["accurate", "fast"])
def test_it_writes_the_lines_that_python_writes(pair: str, film: Path, tmp_path: Path) -> None:
    bundled = CATALOGUE[pair]
    assert bundled.second
    size = [] if bundled.height is None else ["f32", bundled.height]
    done = said(DETECTOR, bundled.second.plain, film, 2, *size)
    assert done.returncode == 0, done.stderr
    ours = tmp_path / "python.jsonl"
    words = ["run", str(film), "--model", pair, "--precision", "f32", "--no-track"]
    assert exit_code([*words, "--json", str(ours)]) == 0
    lines = [list(map(json.loads, text.splitlines())) for text in (done.stdout, ours.read_text())]
    assert len(lines[0]) == len(lines[1]) == FRAMES
    for its, wanted in zip(*lines, strict=True):
        assert its | {"people": []} == wanted | {"people": []}
        assert len(its["people"]) == len(wanted["people"]) >= 2
        for person, other in zip(its["people"], wanted["people"], strict=True):
            assert list(person["keypoints"]) == list(other["keypoints"])
            assert person["score"] == pytest.approx(other["score"], abs=0.01)
            assert person["box"] == pytest.approx(other["box"], abs=0.5)
            for one, same in zip(
                person["keypoints"].values(), other["keypoints"].values(), strict=True
            ):
                assert one == (same and pytest.approx(same, abs=0.5))


def test_the_lines_do_not_depend_on_the_threads(film: Path) -> None:
    assert said(DETECTOR, SECOND, film, 1).stdout == said(DETECTOR, SECOND, film, 3).stdout


def test_bad_input_is_one_line_and_nothing_is_written(film: Path, tmp_path: Path) -> None:
    text, foreign = tmp_path / "text.onnx", tmp_path / "foreign.onnx"
    text.write_text("no model")
    model = onnx.load(DETECTOR)
    del model.metadata_props[:]
    onnx.save(model, foreign)
    for words, line in [
        ((DETECTOR, SECOND), "DETECTOR SECOND_STAGE FILM"),
        ((DETECTOR, SECOND, text), "cannot be opened as video"),
        ((text, SECOND, film), "not a model that OpenVINO can read"),
        ((foreign, SECOND, film), "was not exported by limbwise"),
        ((SECOND, DETECTOR, film), "is not a detector"),
        ((DETECTOR, DETECTOR, film), "is not a second stage"),
        ((DETECTOR, SECOND, film, "many"), "THREADS is a number"),
        ((DETECTOR, SECOND, film, 2, "f32", 8), "SIZE is a number"),
    ]:
        done = said(*words)
        assert done.returncode == 2
        assert done.stdout == b""
        *before, last = done.stderr.decode().splitlines()
        assert last.startswith("limbwise_film: ")
        assert line in last
        assert not before or words[0] is text, before  # OpenVINO's own words on a broken file
