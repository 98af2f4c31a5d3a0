"""Old or new, never half; what is no file stays what it is."""

import os
import stat
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from limbwise import atomic
from limbwise.atomic import check_writable, replacing, write_json, writing
from limbwise.errors import BadInput

pytestmark = pytest.mark.skipif(os.name != "posix", reason="needs pipes and devices of POSIX")


@pytest.fixture
def device(tmp_path: Path) -> Path:
    """A node like /dev/full, that could be lost."""
    path = tmp_path / "full.json"
    try:
        os.mknod(path, 0o600 | stat.S_IFCHR, os.makedev(1, 7))
    except PermissionError:
        pytest.skip("only root makes devices")
    return path


def test_a_device_is_refused_and_stays_one(device: Path) -> None:
    link = device.with_name("link.json")
    link.symlink_to(device)
    for path in (device, link):
        with pytest.raises(BadInput, match="is no regular file"), replacing(path):
            raise AssertionError("opened")
        for write in (write_json, lambda path, _: writing(path).__enter__()):
            with pytest.raises(BadInput, match="is no regular file"):
                write(path, {})
        with pytest.raises(BadInput, match="is no regular file"):
            check_writable(path, stream=True)
    assert stat.S_ISCHR(device.stat().st_mode)
    assert link.is_symlink()


def test_a_pipe_is_a_stream_for_text_and_no_place_for_what_is_renamed(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    read: list[str] = []
    reader = threading.Thread(target=lambda: read.append((tmp_path / "pipe").read_text()))
    reader.start()
    write_json(tmp_path / "pipe", [1, 2])
    reader.join(10)
    assert read == ["[1, 2]"]
    with pytest.raises(BadInput, match="is no regular file"), replacing(tmp_path / "pipe"):
        pass
    assert (tmp_path / "pipe").is_fifo()


@pytest.mark.parametrize("name", ["-", "/dev/stdout"])
def test_standard_output_is_a_stream(name: str, capsysbinary, tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    write_json(name, [1])
    assert capsysbinary.readouterr().out == b"[1]\n"
    assert list(tmp_path.iterdir()) == []
    write_json(os.devnull, [1])
    assert stat.S_ISCHR(os.stat(os.devnull).st_mode)  # noqa: PTH116


def test_closed_standard_output_is_told(monkeypatch) -> None:
    monkeypatch.setattr(sys, "stdout", None)
    with pytest.raises(BadInput, match="standard output is closed"):
        write_json("-", [])


@pytest.mark.parametrize("there", [True, False])
def test_a_link_stays_a_link_wherever_it_leads(there: bool, tmp_path: Path) -> None:
    (tmp_path / "far").mkdir()
    if there:
        (tmp_path / "far" / "real.json").write_text("old")
    (tmp_path / "link.json").symlink_to("far/real.json")
    write_json(tmp_path / "link.json", [])
    assert (tmp_path / "link.json").is_symlink()
    assert (tmp_path / "far" / "real.json").read_text() == "[]"
    assert list((tmp_path / "far").iterdir()) == [tmp_path / "far" / "real.json"]


@pytest.mark.parametrize("stem", ["a" * 250, "ü" * 124, "新" * 83])
def test_the_longest_names_can_be_written(stem: str, tmp_path: Path) -> None:
    path = tmp_path / f"{stem}.json"
    write_json(path, [])
    assert path.read_text() == "[]"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("name", ["a" * 300 + ".json", "a" * 300 + "/a.json", "loop.json"])
def test_names_that_cannot_be_are_one_line(name: str, tmp_path: Path) -> None:
    (tmp_path / "loop.json").symlink_to(tmp_path / "loop.json")
    with pytest.raises(BadInput, match="cannot be written") as error:
        write_json(tmp_path / name, [])
    assert len(str(error.value)) < 200


KILLED = """
import os, sys
from pathlib import Path
from limbwise.atomic import replacing
with replacing(sys.argv[1]) as path:
    path.write_text("half")
    path.with_name(path.stem + ".bin").write_text("half") # as OpenVINO's weights stand beside
    os.kill(os.getpid(), 9)
"""


def test_what_a_killed_run_left_goes_with_the_next_run(tmp_path: Path) -> None:
    atomic._of_killed_runs.cache_clear()
    path = tmp_path / "o.xml"
    for _ in range(2):
        subprocess.run([sys.executable, "-c", KILLED, str(path)], check=False)
    left = sorted(file.name for file in tmp_path.iterdir())
    assert len(left) >= 2
    alive = tmp_path / f".o.{os.getppid()}.partial.xml"
    other = tmp_path / ".other.999999999.partial.xml"  # no process has such a number
    for file in (alive, other):
        file.touch()
    write_json(path, [])
    assert sorted(tmp_path.iterdir()) == sorted([alive, other, path])


def test_a_folder_is_looked_through_for_leftovers_once(tmp_path: Path, monkeypatch) -> None:
    atomic._of_killed_runs.cache_clear()
    looked = []
    listdir = os.listdir
    monkeypatch.setattr(os, "listdir", lambda path: looked.append(path) or listdir(path))
    for number in range(5):
        write_json(tmp_path / f"{number}.json", [])
    assert looked == [tmp_path]
