"""The command line as a new user meets it: help, formats by ending, folders, what files are, and
what is wrong with a machine."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import av
import numpy as np
import PIL.Image
import pytest

from conftest import standing
from limbwise.cli import doctor
from limbwise.cli.app import VERBS, exit_code
from limbwise.errors import BadInput
from limbwise.estimator import SAMPLE
from limbwise.models.catalogue import CATALOGUE
from limbwise.outputs.films import FILMS
from limbwise.outputs.outputs import chosen_format, named_format
from limbwise.outputs.recorder import Recorder
from limbwise.outputs.records import Result, record
from limbwise.outputs.results import FORMATS, open_writer
from limbwise.sources.frames import frames
from test_cli import clip, model  # noqa: F401 - fixtures


def small(path: Path) -> Path:
    PIL.Image.open(SAMPLE).resize((96, 64)).save(path)
    return path


def told(capsys) -> str:
    (line,) = capsys.readouterr().err.strip().splitlines()
    return line


# Help.


@pytest.mark.parametrize("option", ["-h", "--help"])
def test_every_verb_helps_with_examples(option, capsys) -> None:
    assert exit_code([option]) == 0
    overview = capsys.readouterr().out
    for theme, verb, _, examples in VERBS:
        assert theme in overview
        assert verb in overview
        assert exit_code([verb, option]) == 0
        page = " ".join(capsys.readouterr().out.split())
        assert all(example in page for example in examples)
        assert all(example.startswith(f"limbwise {verb}") for example in examples)


def test_shells_are_told_how_to_complete() -> None:
    environment = {**os.environ, "_LIMBWISE_COMPLETE": "complete_bash",
                   "COMP_WORDS": "limbwise do", "COMP_CWORD": "1"}  # fmt: skip
    command = [sys.executable, "-m", "limbwise"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60)
    assert done.stdout.split() == ["doctor"]
    done = subprocess.run(
        [*command, "--show-completion", "bash"],
        capture_output=True,
        text=True,
        timeout=60,
        env={**os.environ, "_TYPER_COMPLETE_TEST_DISABLE_SHELL_DETECTION": "1"},
    )
    assert "_LIMBWISE_COMPLETE" in done.stdout


# Formats.


def test_the_place_may_name_the_format() -> None:
    assert named_format("coco:out.json", None) == ("out.json", "coco")
    assert named_format("openpose:folder/", None) == ("folder/", "openpose")
    assert named_format("csv:-", "csv") == ("-", "csv")
    assert named_format("./coco:out.json", None) == ("./coco:out.json", None)
    assert named_format("C:/out.json", None) == ("C:/out.json", None)
    with pytest.raises(BadInput, match="contradict"):
        named_format("coco:out.json", "csv")
    with pytest.raises(BadInput, match="contradict"):
        chosen_format(*named_format("coco:out.csv", None))


def test_json_and_parquet_hold_what_json_lines_and_csv_hold(tmp_path) -> None:
    lost = standing(50, 20, 20)
    lost.xy[2] = np.nan
    lost.confidence[2] = 0
    crowds = [[], [lost, standing(70, 30, 9)], [], [standing(60, 4, 4)]] * 3
    results = [Result("a.mp4", n, n / 25, 64, 48, poses) for n, poses in enumerate(crowds)]
    kinds = ["jsonl", "json", "csv"]
    for kind in kinds:
        with open_writer(tmp_path / f"a.{kind}", kind) as writer:
            for one in results:
                writer.add(one)
    assert json.loads((tmp_path / "a.json").read_text()) == [record(one) for one in results]
    with open_writer(tmp_path / "none.json", "json"):
        pass
    assert json.loads((tmp_path / "none.json").read_text()) == []
    parquet = pytest.importorskip("pyarrow.parquet")
    for few in (2, 1000):
        with pytest.MonkeyPatch.context() as patched:
            patched.setattr("limbwise.outputs.tables.ROWS", few)
            with open_writer(tmp_path / "a.parquet", "parquet") as writer:
                for one in results:
                    writer.add(one)
        table = parquet.read_table(tmp_path / "a.parquet")
        rows = [list(row.values()) for row in table.to_pylist()]
        lines = (tmp_path / "a.csv").read_text().splitlines()
        assert [",".join("" if c is None else str(c) for c in row) for row in rows] == lines[1:]
        assert table.column_names == lines[0].split(",")
    with open_writer(tmp_path / "none.parquet", "parquet"):
        pass
    assert parquet.read_table(tmp_path / "none.parquet").num_rows == 0
    (tmp_path / "old.parquet").write_text("old")
    with pytest.raises(KeyError), open_writer(tmp_path / "old.parquet", "parquet"):
        raise KeyError
    assert (tmp_path / "old.parquet").read_text() == "old"
    assert not list(tmp_path.glob(".*"))


def test_parquet_without_its_library_is_one_line(tmp_path, monkeypatch) -> None:
    monkeypatch.setitem(sys.modules, "pyarrow.parquet", None)
    with pytest.raises(BadInput, match="pip install pyarrow"):
        open_writer(tmp_path / "a.parquet", "parquet")
    assert set(FORMATS) == {"jsonl", "json", "openpose", "coco", "csv", "parquet", "label-studio"}


@pytest.mark.parametrize("ending", [".mkv", ".webm", ".avi"])
def test_films_of_every_container_keep_their_frames_and_times(ending, tmp_path) -> None:
    path, times = tmp_path / f"a{ending}", [0, 0.04, 0.12, 0.5]
    with Recorder(path) as recorder:
        for n, time in enumerate(times):
            recorder.add(np.full((49, 65, 3), 60 * n, np.uint8), time)
    shown = list(frames(path))
    assert [frame.time for frame in shown] == pytest.approx(times, abs=1 / 120)
    assert [frame.image.mean() for frame in shown] == pytest.approx([0, 60, 120, 180], abs=6)
    with av.open(str(path)) as film:
        codec = {".mkv": "h264", ".webm": "vp9", ".avi": "mpeg4"}[ending]
        assert film.streams.video[0].codec_context.name == codec


# Folders.


def test_folders_hold_pictures_and_films_and_deeper_ones_where_asked(
    model, tmp_path, capsys  # noqa: F811
) -> None:  # fmt: skip
    folder = tmp_path / "in"
    (folder / "deep" / ".hidden").mkdir(parents=True)
    small(folder / "b.jpg")
    with Recorder(folder / "a.mp4") as recorder:
        for n in range(3):
            recorder.add(np.full((64, 96, 3), 80 * n, np.uint8), n / 10)
    small(folder / "deep" / "c.png")
    small(folder / "deep" / ".hidden" / "d.png")
    small(folder / ".e.png")
    args = ["run", str(folder), "--model", model, "--size", "64", "--json"]
    assert exit_code([*args, str(tmp_path / "flat.json")]) == 0
    assert exit_code([*args, str(tmp_path / "deep.jsonl"), "-r"]) == 0
    flat = json.loads((tmp_path / "flat.json").read_text())
    assert [Path(each["source"]).name for each in flat] == ["a.mp4"] * 3 + ["b.jpg"]
    assert [each["time"] for each in flat[:3]] == pytest.approx([0, 0.1, 0.2])
    assert flat[-1]["time"] is None  # a still belongs to no time
    lines = (tmp_path / "deep.jsonl").read_text().splitlines()
    deep = [json.loads(line) for line in lines]
    assert [Path(each["source"]).name for each in deep[3:]] == ["b.jpg", "c.png"]
    assert capsys.readouterr().err == ""
    (tmp_path / "empty" / "deep").mkdir(parents=True)
    small(tmp_path / "empty" / "deep" / "a.png")
    with pytest.raises(BadInput, match="recursive looks into"):
        next(frames(tmp_path / "empty"))
    assert next(frames(tmp_path / "empty", recursive=True)).path.name == "a.png"


def test_several_pictures_onto_one_are_refused_before_the_first_is_written(
    model, tmp_path, capsys  # noqa: F811
) -> None:  # fmt: skip
    small(tmp_path / "a.jpg")
    small(tmp_path / "b.jpg")
    out = tmp_path / "o" / "o.png"
    out.parent.mkdir()
    args = ["run", str(tmp_path), "--model", model, "--size", "64", "--save", str(out)]
    assert exit_code(args) == 2
    assert "holds one picture" in told(capsys)
    assert list(out.parent.iterdir()) == []
    out.write_bytes(b"old")
    assert exit_code(args) == 2
    assert out.read_bytes() == b"old"
    assert exit_code(["run", str(tmp_path / "a.jpg"), *args[2:]]) == 0
    assert facts(capsys, out)["size"] == "96 x 64 pixels"


def test_stats_of_files_speak_of_throughput(model, tmp_path, capsys) -> None:  # noqa: F811
    args = ["run", str(small(tmp_path / "a.jpg")), "--model", model, "--size", "64"]
    assert exit_code([*args, "--json", str(tmp_path / "o.json"), "--stats"]) == 0
    assert re.fullmatch(r"1 frames in [\d.]+ s, [\d.]+ a second", told(capsys))


# eval, info, doctor.


@pytest.mark.parametrize("verb", ["eval", "train", "check-data"])
def test_swapped_arguments_are_noticed(verb, tmp_path, capsys) -> None:
    labels = tmp_path / "labels.json"
    labels.write_text("{}")
    assert exit_code([verb, str(tmp_path), str(labels)]) == 2
    assert "are swapped: the label file comes first" in told(capsys)


def facts(capsys, *args: object) -> dict[str, str]:
    assert exit_code(["info", *map(str, args)]) == 0
    lines = capsys.readouterr().out.splitlines()
    return dict(re.split(r"\s{2,}", line, maxsplit=1) for line in lines)


def test_info_tells_what_a_file_is(model, clip, checkpoint, tmp_path, capsys) -> None:  # noqa: F811
    found = facts(capsys, model)
    assert (found["kind"], found["finds"]) == ("model", "18 keypoints")
    assert facts(capsys, checkpoint)["parameters"] == "4.09 million"
    assert facts(capsys, CATALOGUE["fast"].second.plain)["kind"] == "model, second stage"
    assert facts(capsys, "fast")["kind"] == "bundled model"
    film = facts(capsys, clip)
    assert (film["size"], film["frames"], film["length"]) == ("64 x 48 pixels", "20", "2.00 s")
    picture = facts(capsys, small(tmp_path / "a.jpg"))
    assert (picture["form"], picture["size"]) == ("JPEG", "96 x 64 pixels")
    shutil.copy(clip, tmp_path / "film.dat")
    assert facts(capsys, tmp_path / "film.dat")["kind"] == "film"
    labels = {
        "images": [{"id": 1, "file_name": "a.jpg", "width": 96, "height": 64}],
        "annotations": [{"id": 1, "image_id": 1, "category_id": 1, "iscrowd": 1}],
        "categories": [{"id": 1, "name": "pers\udcffon", "keypoints": ["nose", "tail"]}],
    }
    (tmp_path / "labels.json").write_text(json.dumps(labels))
    found = facts(capsys, tmp_path / "labels.json")
    assert (found["pictures"], found["crowds"], found["keypoints"]) == ("1", "1", "nose, tail")
    found = facts(capsys, tmp_path)
    assert (found["pictures"], found["films"]) == ("1", "1")
    (tmp_path / "results.json").write_text('[{"image_id": 1}]')
    assert facts(capsys, tmp_path / "results.json")["kind"] == "COCO results"


def test_info_of_what_it_does_not_know_is_one_line(tmp_path, capsys) -> None:
    (tmp_path / "cat.txt").write_text("meow")
    (tmp_path / "cat.jpg").write_text("meow")
    (tmp_path / "cat.json").write_text("[1]")
    for name, said in (
        ("cat.txt", "no model, film, picture"), ("cat.jpg", "cat.jpg"), ("cat.json", "a list of"),
        ("gone.mp4", "does not exist"),
    ):  # fmt: skip
        assert exit_code(["info", str(tmp_path / name)]) == 2
        assert said in told(capsys)


def test_the_doctor_goes_on_after_a_failure_and_tells_nothing_personal(
    tmp_path, monkeypatch, capsys
) -> None:
    home = tmp_path / "jane doe"
    home.mkdir()
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.setenv("LIMBWISE_CACHE", str(home / "cache"))

    def broken(name: str) -> str:
        raise OSError(f"{home}/secret project/model.onnx: no such file")

    monkeypatch.setattr(doctor, "_model", broken)
    monkeypatch.setattr(
        doctor, "_machine", lambda: f"made at /opt/secret/{home.name}/m.bin, {home}"
    )
    assert exit_code(["doctor"]) == 1
    said = capsys.readouterr().out
    assert f"{len(CATALOGUE)} checks failed" in said
    assert "FAILED: OSError" in said
    for ending in FILMS:
        assert re.search(rf"films {re.escape(ending)} +written and read", said)
    for private in (str(home), str(tmp_path), "jane doe", "secret"):
        assert private not in said


@pytest.mark.parametrize(
    ("text", "clean"),
    [
        ("cannot open /data/jane/models/a.onnx: gone", "cannot open a.onnx: gone"),
        (r"C:\Users\jane\a.onnx is bad", "a.onnx is bad"),
        ("'/srv/jane/x' and \"/srv/jane/y\"", "'x' and \"y\""),
        ("1.5/2.5 ms, and/or", "1.5/2.5 ms, and/or"),
        ("h264 yes, 0 of 1", "h264 yes, 0 of 1"),
    ],
)
def test_paths_are_cut_to_their_last_part(text, clean) -> None:
    assert doctor.without_paths(text) == clean
