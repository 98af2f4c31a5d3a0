"""`limbwise run --processes`: the same results as one process, in order, and no orphans."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import PIL.Image
import pytest

from limbwise.estimator import SAMPLE
from limbwise.sources.image import read_picture

SMALL = ("--model", "one-stage", "--size", 96, "--precision", "f32", "--threads", 1)


def command(*args: object) -> list[str]:
    return [sys.executable, "-m", "limbwise", "run", *map(str, [*args, *SMALL])]


def limbwise(*args: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command(*args), capture_output=True, text=True, timeout=120)


@pytest.fixture(scope="module")
def photos(tmp_path_factory) -> Path:
    """Pictures of several sizes, an animation among them, and one that is broken."""
    folder = tmp_path_factory.mktemp("photos")
    sample = PIL.Image.fromarray(read_picture(SAMPLE)[:, :, ::-1])
    for n in range(1, 13):
        sample.resize((160 + 20 * n, 120)).save(folder / f"{n}.jpg")
    shots = [PIL.Image.fromarray(np.roll(np.asarray(sample), 30 * n, 1)) for n in range(3)]
    shots[0].save(folder / "6.gif", save_all=True, append_images=shots[1:], duration=100)
    (folder / "4.jpg").write_bytes((folder / "3.jpg").read_bytes()[:700])
    return folder


def test_several_processes_write_what_one_does_in_the_same_order(photos, tmp_path) -> None:
    one = limbwise(photos, "--json", tmp_path / "one.jsonl", "--no-track")
    two = limbwise(photos, "--json", tmp_path / "two.jsonl", "--no-track", "--processes", 2)
    assert two.returncode == one.returncode == 2  # of the broken picture
    assert two.stderr == one.stderr
    assert "4.jpg" in two.stderr
    written = (tmp_path / "two.jsonl").read_bytes()
    assert written == (tmp_path / "one.jsonl").read_bytes()
    assert written.count(b"\n") == 14


def test_drawings_are_made_of_the_pictures_themselves(photos, tmp_path) -> None:
    for name, options in (("one", ()), ("two", ("--processes", 2))):
        limbwise(photos / "1.jpg", photos / "9.jpg", "--save", f"{tmp_path}/{name}/", *options)
    names = sorted(path.name for path in (tmp_path / "one").iterdir())
    assert len(names) == 2
    for name in names:
        assert (tmp_path / "two" / name).read_bytes() == (tmp_path / "one" / name).read_bytes()


def test_what_is_no_picture_in_a_file_is_refused(tmp_path) -> None:
    film = tmp_path / "walk.mp4"
    film.write_bytes(b"any")
    told = {
        (film,): "walk.mp4 is a film",
        ("-",): "not for cameras, streams and pipes",
        (SAMPLE, "--fps", 5): "leave out --processes",
    }
    for args, line in told.items():
        done = limbwise(*args, "--json", tmp_path / "out.jsonl", "--processes", 2)
        assert done.returncode == 2
        assert line in done.stderr
        assert done.stderr.count("\n") == 1


def children(pid: int) -> list[int]:
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            if int(stat.read_text().rpartition(")")[2].split()[1]) == pid:
                found.append(int(stat.parent.name))
        except OSError:
            continue
    return found


@pytest.mark.skipif(not Path("/proc/self/stat").is_file(), reason="processes are found in /proc")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
def test_nobody_is_left_behind(number, photos, tmp_path) -> None:
    many = [photos / "12.jpg"] * 3000
    process = subprocess.Popen(
        command(*many, "--json", tmp_path / "out.jsonl", "--processes", 2),
        stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    end = time.monotonic() + 60
    # With results there are processes that work; while one starts, Python itself prints a traceback
    # if its parent is gone.
    while not any(path.stat().st_size for path in tmp_path.glob(".out*")):
        assert process.poll() is None
        assert time.monotonic() < end
        time.sleep(0.05)
    theirs = children(process.pid)
    assert len(theirs) >= 2
    process.send_signal(number)
    _, told = process.communicate(timeout=60)
    assert process.returncode == (130 if number == signal.SIGINT else -number)
    assert "Traceback" not in told
    for pid in theirs:
        while Path(f"/proc/{pid}").exists():
            assert time.monotonic() < end, f"{pid} is still there"
            time.sleep(0.05)
    assert os.getpid() not in theirs
