"""The commands as people run them: in a process of their own, judged by files and exit codes."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import av
import cv2
import numpy as np
import pytest

from conftest import REFERENCE, SHARED, needs_reference
from limbwise.cli.app import exit_code
from limbwise.estimator import SAMPLE
from limbwise.export.onnx import export

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def model(checkpoint, tmp_path_factory) -> str:
    """A small file that loads fast; its weights are random."""
    path = tmp_path_factory.mktemp("model") / "random.onnx"
    export(checkpoint, path)
    return str(path)


def limbwise(*args: object, **how) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "limbwise", *map(str, args)]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, **how)


def complaint(done: subprocess.CompletedProcess[str]) -> str:
    """The one line on stderr of a run that a user can mend."""
    assert done.returncode == 2, done
    assert "Traceback" not in done.stderr
    (line,) = done.stderr.strip().splitlines()
    return line


@pytest.fixture
def clip(tmp_path) -> Path:
    """20 frames of 64 x 48 pixels, 10 a second."""
    path = tmp_path / "clip.mp4"
    with av.open(path, "w") as container:
        stream = container.add_stream("libx264", rate=10)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        for n in range(20):
            frame = av.VideoFrame.from_ndarray(np.full((48, 64, 3), n * 10, np.uint8))
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return path


@needs_reference
def test_a_picture_gives_json_lines_on_stdout_and_a_drawing_where_asked(tmp_path) -> None:
    model = REFERENCE / "human-pose-estimation-0001.onnx"
    piped = limbwise("run", SAMPLE, "--model", model, "--precision", "f32")
    (line,) = piped.stdout.splitlines()
    said = json.loads(line)
    assert (said["width"], said["height"], said["frame"]) == (890, 480, 0)
    assert len(said["people"]) == 2
    assert set(said["people"][0]) == {"id", "score", "box", "keypoints"}
    assert piped.stderr == ""
    drawn = tmp_path / "drawn.png"
    done = limbwise("run", SAMPLE, "--model", model, "--save", drawn, "--precision", "f32")
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    before, after = cv2.imread(str(SAMPLE)).astype(int), cv2.imread(str(drawn)).astype(int)
    changed = np.abs(after - before).max(axis=2) > 30
    for person in said["people"]:
        x, y, _ = person["keypoints"]["nose"]
        assert changed[int(y) - 3 : int(y) + 4, int(x) - 3 : int(x) + 4].any()
    assert changed.mean() < 0.2


@pytest.mark.parametrize(
    ("form", "name"),
    [("jsonl", "o.jsonl"), ("coco", "o.json"), ("csv", "o.csv"), ("openpose", "o")],
)  # fmt: skip
def test_every_format_is_written_for_a_video(form, name, model, clip, tmp_path) -> None:
    out = tmp_path / name
    args = ["run", str(clip), "--model", model, "--json", str(out), "--format", form]
    assert exit_code([*args, "--size", "64", "--min-score", "0"]) == 0
    if form == "openpose":
        names = sorted(path.name for path in out.iterdir())
        assert names == [f"clip_{n:012}_keypoints.json" for n in range(20)]
        assert json.loads((out / names[0]).read_text())["version"] == 1.3
    elif form == "jsonl":
        lines = [json.loads(line) for line in out.read_text().splitlines()]
        assert [line["time"] for line in lines] == pytest.approx([n / 10 for n in range(20)])
    elif form == "coco":
        assert isinstance(json.loads(out.read_text()), list)
    else:
        assert out.read_text().startswith("source,frame,time,person,score,")


def test_video_in_video_out_keeps_every_frame(model, clip, tmp_path) -> None:
    out = tmp_path / "out.mp4"
    assert exit_code(["run", str(clip), "--model", model, "--save", str(out), "--size", "64"]) == 0
    with av.open(out) as container:
        stream = container.streams.video[0]
        assert stream.codec_context.name == "h264"
        assert sum(1 for _ in container.decode(stream)) == 20


def test_a_bad_picture_in_a_folder_is_reported_and_skipped(model, tmp_path) -> None:
    folder = tmp_path / "pictures"
    folder.mkdir()
    for name in ("a.jpg", "c.jpg"):
        shutil.copy(SAMPLE, folder / name)
    (folder / "b.jpg").write_bytes(SAMPLE.read_bytes()[:5000])
    done = limbwise("run", folder, "--model", model, "--size", "64")
    assert "b.jpg" in complaint(done)
    sources = [Path(json.loads(line)["source"]).name for line in done.stdout.splitlines()]
    assert sources == ["a.jpg", "c.jpg"]


def test_bad_input_is_one_line_and_exit_code_2(model, tmp_path, capsys) -> None:
    (tmp_path / "cat.txt").write_text("meow")
    (tmp_path / "empty.jpg").touch()
    own = shutil.copy(SAMPLE, tmp_path / "own.jpg")
    with_model = ("--model", model)
    gone = ("run", tmp_path / "gone.jpg", *with_model)
    assert "gone.jpg does not exist" in complaint(limbwise(*gone))
    for args, told in (
        (("run", tmp_path / "cat.txt", *with_model), "cat.txt"),
        (("run", tmp_path / "empty.jpg", *with_model), "empty.jpg"),
        (("run", "77", *with_model), "camera 77"),
        (("run", SAMPLE, *with_model, "--save", tmp_path / "no" / "a.png"), "does not exist"),
        (("run", SAMPLE, *with_model, "--save", tmp_path / "a.xyz"), "a.xyz"),
        (("run", own, *with_model, "--save", own), "would replace"),
        (("run", SAMPLE, "--model", tmp_path / "cat.txt"), "cat.txt is not a model file"),
        (("run", SAMPLE, "--model", tmp_path / "gone.onnx"), "gone.onnx does not exist"),
        (("eval", tmp_path / "cat.txt", tmp_path, *with_model), "cat.txt is not a JSON file"),
        (("eval", tmp_path / "gone.json", tmp_path, *with_model), "gone.json"),
        (("export", tmp_path / "cat.txt", tmp_path / "a.onnx"), "cat.txt is not a checkpoint"),
        (("bench", *with_model, "--image", tmp_path / "cat.txt"), "cat.txt"),
    ):
        assert exit_code([str(each) for each in args]) == 2, args
        (line,) = capsys.readouterr().err.strip().splitlines()
        assert told in line, args


def test_unknown_options_and_values_end_with_2(model) -> None:
    assert limbwise("run", SAMPLE, "--what").returncode == 2
    assert limbwise("run", SAMPLE, "--model", model, "--format", "xml").returncode == 2
    assert limbwise("run", SAMPLE, "--model", model, "--size", "5").returncode == 2
    assert limbwise("run").returncode == 2


def test_ctrl_c_finishes_the_files(model, tmp_path) -> None:
    clip, out, lines = tmp_path / "long.mp4", tmp_path / "out.mp4", tmp_path / "out.jsonl"
    with av.open(clip, "w") as container:
        stream = container.add_stream("libx264", rate=30)
        stream.width, stream.height, stream.pix_fmt = 160, 120, "yuv420p"
        frame = av.VideoFrame.from_ndarray(np.zeros((120, 160, 3), np.uint8))
        for _ in range(3000):
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    args = ["run", clip, "--model", model, "--size", 192, "--save", out, "--json", lines]
    process = subprocess.Popen(
        [sys.executable, "-m", "limbwise", *map(str, args)], stderr=subprocess.PIPE, text=True
    )
    deadline = time.monotonic() + 60
    while not any(path.stat().st_size for path in tmp_path.glob(".out*.jsonl")):
        assert time.monotonic() < deadline
        assert process.poll() is None, process.stderr.read()
        time.sleep(0.05)
    time.sleep(0.5)
    process.send_signal(signal.SIGINT)
    _, told = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "interrupted" in told
    assert "Traceback" not in told
    written = [json.loads(line) for line in lines.read_text().splitlines()]
    with av.open(out) as container:
        shown = sum(1 for _ in container.decode(video=0))
    assert 1 <= shown < 3000
    assert shown == len(written)
    assert not list(tmp_path.glob(".*"))


def test_a_reader_that_leaves_ends_the_run_quietly(model, clip) -> None:
    command = f"'{sys.executable}' -m limbwise run '{clip}' --model '{model}' --size 64 | head -n 1"
    done = subprocess.run(
        ["bash", "-o", "pipefail", "-c", command], capture_output=True, text=True, timeout=60
    )
    assert len(done.stdout.splitlines()) == 1
    assert done.stderr == ""


def test_no_display_is_said_with_what_to_do(model) -> None:
    hidden = ("DISPLAY", "WAYLAND_DISPLAY", "SDL_VIDEODRIVER")
    environment = {name: value for name, value in os.environ.items() if name not in hidden}
    done = limbwise("run", SAMPLE, "--model", model, "--show", env=environment)
    if sys.platform == "linux":
        assert "use --save instead" in complaint(done)


def test_a_window_shows_every_frame_and_closes(model, clip) -> None:
    environment = {**os.environ, "SDL_VIDEODRIVER": "dummy"}
    done = limbwise("run", clip, "--model", model, "--size", 64, "--show", env=environment)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_help_names_every_verb() -> None:
    done = limbwise("--help")
    assert all(verb in done.stdout for verb in ("run", "eval", "export", "bench"))
    assert limbwise("--version").stdout.startswith("limbwise ")


# The original's commands.


def script(name: str, *args: object, cwd: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(ROOT / name), *map(str, args)]
    hidden = ("DISPLAY", "WAYLAND_DISPLAY", "SDL_VIDEODRIVER")
    environment = {name: value for name, value in os.environ.items() if name not in hidden}
    return subprocess.run(
        command, capture_output=True, text=True, timeout=120, cwd=cwd, env=environment
    )


def test_the_seeds_two_conversions_give_files_that_limbwise_loads(checkpoint, tmp_path) -> None:
    done = script("scripts/convert_to_onnx.py", "--checkpoint-path", checkpoint, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    done = script("scripts/convert_to_openvino.py", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    names = sorted(path.name for path in tmp_path.iterdir())
    assert names == [f"human-pose-estimation.{ending}" for ending in ("bin", "onnx", "xml")]
    for ending in ("onnx", "xml"):
        path = tmp_path / f"human-pose-estimation.{ending}"
        assert limbwise("run", SAMPLE, "--model", path, "--size", 64).returncode == 0
    missing = script("scripts/convert_to_openvino.py", "--input-model", "no.onnx", cwd=tmp_path)
    assert "no.onnx does not exist" in complaint(missing)


def test_the_seeds_validation_writes_detections_and_drawings(checkpoint, tmp_path) -> None:
    pictures = tmp_path / "pictures"
    pictures.mkdir()
    shutil.copy(SAMPLE, pictures / "1.jpg")
    keypoints = [100, 100, 2] * 17
    labels = {
        "images": [{"id": 1, "file_name": "1.jpg"}],
        "annotations": [
            {"id": 1, "image_id": 1, "category_id": 1, "bbox": [50, 50, 100, 100], "area": 9000,
             "iscrowd": 0, "num_keypoints": 17, "keypoints": keypoints}
        ],
        "categories": [{"id": 1, "keypoints": json.loads(_coco_names())}],
    }  # fmt: skip
    (tmp_path / "labels.json").write_text(json.dumps(labels))
    done = script(
        "val.py", "--labels", "labels.json", "--images-folder", "pictures",
        "--checkpoint-path", checkpoint, "--visualize", "--output-name", "found.json", cwd=tmp_path,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert '"AP"' in done.stdout
    assert isinstance(json.loads((tmp_path / "found.json").read_text()), list)
    assert len(list((tmp_path / "visualized").iterdir())) == 1


def _coco_names() -> str:
    from limbwise.skeleton import COCO

    return json.dumps(COCO.keypoints)


@pytest.mark.parametrize("what", ["video", "images"])
def test_the_seeds_demo_writes_files_where_there_is_no_display(what, checkpoint, clip, tmp_path):
    given = ["--video", clip] if what == "video" else ["--images", SAMPLE, SAMPLE]
    flags = ["--checkpoint-path", checkpoint, "--height-size", 64, "--cpu", "--track", "--smooth"]
    done = script("demo.py", *flags, *given, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "There is no display" in done.stdout
    made = tmp_path / "out" / ("demo.mp4" if what == "video" else "demo")
    assert made.exists()


def test_the_makefile_and_ci_run_the_same() -> None:
    assert "make test" in (ROOT / ".ci" / "run").read_text()


@pytest.mark.skipif(not (SHARED / "data" / "vtest.avi").is_file(), reason="the video is not here")
@needs_reference
def test_people_are_found_in_a_real_video(tmp_path) -> None:
    short = tmp_path / "short.mp4"
    with av.open(SHARED / "data" / "vtest.avi") as source, av.open(short, "w") as target:
        stream = target.add_stream("libx264", rate=10)
        stream.width, stream.height, stream.pix_fmt = 768, 576, "yuv420p"
        for _, frame in zip(range(5), source.decode(video=0), strict=False):
            target.mux(stream.encode(av.VideoFrame.from_ndarray(frame.to_ndarray(format="rgb24"))))
        target.mux(stream.encode())
    model = REFERENCE / "human-pose-estimation-0001.onnx"
    done = limbwise("run", short, "--model", model, "--size", 576)
    people = [len(json.loads(line)["people"]) for line in done.stdout.splitlines()]
    assert len(people) == 5
    assert min(people) >= 3
