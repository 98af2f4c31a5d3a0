"""Nothing that is read is written over, nothing is written twice: whatever the names are."""

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import PIL.Image
import pytest

from limbwise.cli import bench as cli_bench
from limbwise.cli import eval as cli_eval
from limbwise.cli import run as cli_run
from limbwise.cli import train as cli_train
from limbwise.cli.app import exit_code
from limbwise.errors import BadInput
from limbwise.models.catalogue import CATALOGUE, SAMPLE
from limbwise.outputs.outputs import chosen_format
from limbwise.outputs.recorder import Recorder
from limbwise.outputs.results import open_writer
from limbwise.places import check_places

BUNDLED = CATALOGUE["one-stage"].first.plain

posix = pytest.mark.skipif(os.name != "posix", reason="needs links")


def spelt(path: Path) -> str:
    return str(path.parent / ".." / path.parent.name / path.name)


def linked(path: Path) -> str:
    (path.parent / "soft").symlink_to(path)
    return str(path.parent / "soft")


def twice_linked(path: Path) -> str:
    (path.parent / "softer").symlink_to(linked(path))
    return str(path.parent / "softer")


def hard_linked(path: Path) -> str:
    os.link(path, path.parent / "hard")
    return str(path.parent / "hard")


def through_a_folder(path: Path) -> str:
    (path.parent.parent / "way").symlink_to(path.parent)
    return str(path.parent.parent / "way" / path.name)


WAYS = (str, spelt, linked, twice_linked, hard_linked, through_a_folder)


@posix
@pytest.mark.parametrize("way", WAYS)
def test_an_input_is_no_output_however_it_is_called(way: Callable, tmp_path: Path) -> None:
    (tmp_path / "here").mkdir()
    path = tmp_path / "here" / "me.jpg"
    path.write_bytes(b"picture")
    with pytest.raises(BadInput, match=r"--json .* would replace .*me\.jpg, which is read"):
        check_places([path], {"--json": way(path)})
    check_places([path], {"--json": tmp_path / "here" / "other.jpg"})


@posix
@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("there", [True, False])
def test_two_outputs_are_two_files(way: Callable, there: bool, tmp_path: Path) -> None:
    (tmp_path / "here").mkdir()
    path = tmp_path / "here" / "o.mp4"
    if there or way is hard_linked:
        path.touch()
    with pytest.raises(BadInput, match="--save and --json both write"):
        check_places([], {"--save": path, "--json": way(path)})


def test_new_names_that_differ_in_their_letters_case_only_are_one_file(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="both write"):
        check_places([], {"--save": tmp_path / "A.mp4", "--json": tmp_path / "a.MP4"})


def test_a_model_is_two_files(tmp_path: Path) -> None:
    for name in ("m.xml", "m.bin"):
        (tmp_path / name).touch()
    with pytest.raises(BadInput, match=r"m\.bin would replace"):
        check_places([tmp_path / "m.bin"], {"OUT": tmp_path / "m.xml"})
    with pytest.raises(BadInput, match="both write"):
        check_places([], {"--json": tmp_path / "m.bin", "OUT": tmp_path / "m.xml"})


def test_standard_output_is_one_output_and_what_is_thrown_away_none() -> None:
    with pytest.raises(BadInput, match="both write"):
        check_places([], {"--metrics": "-", "--detections": "/dev/stdout"})
    check_places([], {"--metrics": os.devnull, "--detections": os.devnull})


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with one input of each kind; whatever computes fails, since nothing should."""

    def worked(*_: object, **__: object) -> None:
        raise AssertionError("work began")

    for module in (cli_eval, cli_train):
        monkeypatch.setattr(module, "load_pair", worked)
    monkeypatch.setattr(cli_run, "load", worked)
    monkeypatch.setattr("limbwise.export.onnx.export", worked)
    monkeypatch.setattr("limbwise.train.check_data.check_data", worked)
    monkeypatch.setattr("limbwise.train.run.train", worked)
    monkeypatch.setattr("limbwise.bench.table", worked)
    monkeypatch.chdir(tmp_path)
    assert cli_bench
    PIL.Image.open(SAMPLE).resize((64, 48)).save("me.jpg")
    Path("labels.json").write_text(json.dumps({"images": []}))
    for name in ("film.mp4", "net.pth", "run/last.safetensors", "found.json", "sigmas.json"):
        Path(name).parent.mkdir(exist_ok=True)
        Path(name).write_bytes(b"input")
    shutil.copy(BUNDLED, "model.onnx")
    shutil.copy(BUNDLED, "person.onnx")
    Path("net.onnx").symlink_to("net.pth")
    Path("folder").mkdir()
    shutil.copy("me.jpg", "folder")
    return tmp_path


MODELS = "--model model.onnx --person-model person.onnx"


@posix
@pytest.mark.parametrize(
    "line",
    [
        "run me.jpg --json me.jpg",
        "run me.jpg --save me.jpg",
        "run film.mp4 --json film.mp4",
        "run folder --json folder/me.jpg",
        "run folder/*.jpg me.jpg --json ./me.jpg",
        f"run me.jpg {MODELS} --json model.onnx",
        f"run me.jpg {MODELS} --json person.onnx",
        f"run me.jpg --json {BUNDLED}",
        "run me.jpg --save o.mp4 --json o.mp4",
        "run me.jpg --save o --json o --format jsonl",
        "eval labels.json folder --metrics labels.json",
        "eval labels.json folder --detections labels.json",
        "eval labels.json folder --detections folder/me.jpg",
        "eval labels.json folder --detections o.json --metrics o.json",
        f"eval labels.json folder {MODELS} --metrics person.onnx",
        "check-data labels.json folder --page labels.json",
        "export net.pth net.onnx",
        "export net.pth new.onnx --int8 --calibration folder --annotations new.onnx",
        "bench --image me.jpg --json me.jpg",
        "bench --model model.onnx --plot model.onnx",
        "bench --json o.png --plot o.png",
        "train labels.json folder --out run --init run/last.safetensors",
        "train labels.json folder --out run --teacher run/last.safetensors",
    ],
)
def test_no_command_writes_over_what_it_reads(line: str, here: Path, capsys) -> None:
    if "--annotations" in line:
        Path("new.onnx").touch()
    before = {path: path.read_bytes() for path in here.rglob("*") if path.is_file()}
    assert exit_code(line.split()) == 2
    (told,) = capsys.readouterr().err.strip().splitlines()
    assert "would replace" in told or "both write" in told
    assert {path: path.read_bytes() for path in here.rglob("*") if path.is_file()} == before


def test_a_file_behind_stdin_is_an_input(here: Path) -> None:
    if not Path("/dev/stdin").exists():
        pytest.skip("stdin has no name here")
    import subprocess
    import sys

    with Path("me.jpg").open("rb") as file:
        command = [sys.executable, "-m", "limbwise", "run", "-", "--json", "me.jpg"]
        done = subprocess.run(command, stdin=file, capture_output=True, text=True)
    assert (done.returncode, "would replace" in done.stderr) == (2, True)


def test_in_a_folder_of_drawings_or_poses_no_input_is_replaced(tmp_path: Path, picture) -> None:
    source = tmp_path / "a.jpg"
    source.write_bytes(b"input")
    with (
        Recorder(tmp_path, inputs=[source]) as recorder,
        pytest.raises(BadInput, match="a file that is read"),
    ):
        recorder.add(picture, 0, Path("elsewhere") / "a.png")
    from limbwise.outputs.records import Result

    source = tmp_path / "a_keypoints.json"
    source.write_bytes(b"input")
    with (
        open_writer(tmp_path, "openpose", inputs=[source]) as writer,
        pytest.raises(BadInput, match="a file that is read"),
    ):
        writer.add(Result("elsewhere/a.png", 0, 0.0, 9, 9, [], picture=True))
    assert source.read_bytes() == b"input"


@pytest.mark.parametrize(
    ("name", "wanted", "chosen"),
    [
        ("poses.csv", None, "csv"),
        ("poses.jsonl", None, "jsonl"),
        ("poses.json", None, "json"),
        ("poses.json", "jsonl", "jsonl"),
        ("poses.parquet", None, "parquet"),
        ("poses.json", "coco", "coco"),
        ("poses", None, "jsonl"),
        ("poses", "openpose", "openpose"),
        ("poses/", None, "openpose"),
        ("-", None, "jsonl"),
        ("-", "csv", "csv"),
        ("poses.txt", "csv", "csv"),
        ("poses.CSV", "jsonl", None),
        ("poses.csv", "coco", None),
        ("poses.jsonl", "coco", None),
        ("poses.json", "csv", None),
        ("poses.json", "openpose", None),
        ("poses/", "jsonl", None),
    ],
)
def test_the_ending_tells_the_format_and_a_contradiction_is_told(name, wanted, chosen) -> None:
    if chosen:
        assert chosen_format(name, wanted) == chosen
    else:
        with pytest.raises(BadInput, match="contradict each other"):
            chosen_format(name, wanted)


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ("run me.jpg --min-score 5", "--min-score"),
        ("run me.jpg --min-score nan", "--min-score"),
        ("run me.jpg --fps inf", "--fps"),
        ("run me.jpg --patience nan", "--patience"),
        ("run me.jpg --save o.png --format coco", "name a place with --json"),
        ("run me.jpg --json o.csv --format jsonl", "contradict"),
        ("run me.jpg --what", "No such option"),
        ("run", "Missing argument"),
        ("eval labels.json folder --scales 1,inf", "--scales"),
    ],
)
def test_what_cannot_be_meant_is_told_at_once_in_one_line(line, told, here, capsys) -> None:
    assert exit_code(line.split()) == 2
    (said,) = capsys.readouterr().err.strip().splitlines()
    assert told in said


@pytest.mark.parametrize("option", ["--save", "--json"])
def test_an_empty_name_is_told(option: str, here: Path, capsys) -> None:
    assert exit_code(["run", "me.jpg", option, ""]) == 2
    assert "the name is empty" in capsys.readouterr().err
    assert exit_code(["run", ""]) == 2
    assert "the name of a source is empty" in capsys.readouterr().err
