"""Shards, manifest and resuming, without Ray: what a task does, and what is left to do after it."""

import json
import os
from pathlib import Path

import av
import numpy as np
import PIL.Image
import pytest

pytest.importorskip("pyarrow", reason="pyarrow is not installed: pip install 'limbwise[batch]'")
import pyarrow as pa
import pyarrow.parquet as pq

from conftest import standing
from limbwise.distributed import films, places, plan, read_shards, sources
from limbwise.distributed.job import Job
from limbwise.distributed.places import Folder
from limbwise.distributed.plan import Shard
from limbwise.distributed.sources import Item, items
from limbwise.distributed.store import ROOMS, Store, locked, settings
from limbwise.distributed.todo import settle, todo
from limbwise.distributed.work import Worker
from limbwise.errors import BadInput
from limbwise.outputs.records import record
from limbwise.pose import Pose
from limbwise.skeleton import BODY
from limbwise.sources.frames import count


class Fake(Job):
    """People without a network: one stands where the picture is red, one where it is green."""

    def estimator(self, threads: int = 1):  # type: ignore[override]
        return lookers


def lookers(image: np.ndarray) -> list[Pose]:
    people = []
    for channel in (2, 1):
        down, across = np.nonzero(image[:, :, channel] > 150)
        if len(across) > 20:
            people.append(standing(40, float(across.mean()), float(down.mean())))
    return people


FAKE = Fake((), "fake", "1")


def painted(red: int, green: int | None = None) -> np.ndarray:
    image = np.zeros((64, 96, 3), np.uint8)
    image[20:40, red : red + 10, 2] = 255
    if green is not None:
        image[20:40, green : green + 10, 1] = 255
    return image


def save(path: Path, image: np.ndarray) -> Path:
    PIL.Image.fromarray(image[:, :, ::-1]).save(path)
    return path


def film(path: Path, seconds: int, codec: str = "libx264", rate: int = 10) -> Path:
    """Two people who come and go, and pass each other."""
    with av.open(path, "w") as container:
        stream = container.add_stream(codec, rate=rate)
        stream.width, stream.height, stream.pix_fmt = 96, 64, "yuv420p"
        stream.gop_size = 13  # key frames and pieces do not begin together
        for n in range(seconds * rate):
            green = 80 - n * 5 % 80 if n // 25 % 2 else None
            image = painted(n * 3 % 80, green)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(image, format="bgr24")))
        container.mux(stream.encode())
    return path


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    folder = tmp_path / "photos"
    (folder / "more").mkdir(parents=True)
    for n in range(7):
        save(folder / ("more" if n > 4 else ".") / f"{n}.png", painted(n * 10))
    save(folder / "nobody.png", np.zeros((64, 96, 3), np.uint8))
    (folder / "broken.jpg").write_bytes(b"\xff\xd8 is no picture")
    (folder / "notes.md").write_text("no source")
    return folder


def store_at(path: Path, form: str = "parquet") -> Store:
    store = Store(str(path), form, BODY)
    store.folder.make("", *ROOMS)
    content = {"format": form, "skeleton": BODY.to_dict(), "given": {}, "job": {}}
    store.folder.write("settings.json", json.dumps(content).encode())
    return store


def work(store: Store, found: list[Item], size: int = 3, most: int | None = None) -> int:
    """As a run does it; after `most` shards it is killed. How many shards there were to do."""
    store.tidy()
    left = todo(store, found, size)
    worker = Worker(FAKE)
    for shard in left.shards[:most]:
        assert not worker(shard, store).fatal
    if most is None:
        waiting = set(store.folder.names("films"))
        for pieces in left.films:
            if all(f"{piece.name}.npz" in waiting for piece in pieces):
                films.join(FAKE, store, pieces)
        settle(store, left)
    return len(left.shards)


def frames(store: Store) -> list[str]:
    """All there is, in an order of its own."""
    return sorted(json.dumps(record(result)) for result in read_shards(store.address))


# Sources.


def test_a_folder_gives_its_pictures_and_films_and_those_below_once_in_order(photos) -> None:
    film(photos / "walk.mp4", 1)
    found = items([str(photos), str(photos / "0.png")])
    names = [Path(item.source).name for item in found]
    assert names[:6] == ["0.png", "1.png", "2.png", "3.png", "4.png", "broken.jpg"]
    assert names[6:] == ["5.png", "6.png", "nobody.png", "walk.mp4"]
    assert [item.kind for item in found][-2:] == ["picture", "film"]


def test_lists_and_tables_name_sources_or_bring_them(photos, tmp_path) -> None:
    paths = [str(photos / "0.png"), str(photos / "1.png")]
    (tmp_path / "list.txt").write_text("\n".join(paths) + "\n\n")
    pq.write_table(pa.table({"path": paths, "n": [1, 2]}), tmp_path / "paths.parquet")
    data = [Path(path).read_bytes() for path in paths]
    pictures = pa.array([{"bytes": each, "path": None} for each in data])
    pq.write_table(pa.table({"image": pictures}), tmp_path / "bytes.parquet", row_group_size=1)
    for name in ("list.txt", "paths.parquet"):
        assert [item.source for item in items([str(tmp_path / name)])] == paths
    found = items([str(tmp_path / "bytes.parquet")])
    assert [item.key for item in found] == [f"{tmp_path / 'bytes.parquet'}#{n}" for n in (0, 1)]
    store = store_at(tmp_path / "out")
    work(store, found)
    direct = store_at(tmp_path / "direct")
    work(direct, items(paths))
    people = [[json.loads(line)["people"] for line in frames(each)] for each in (store, direct)]
    assert people[0] == people[1]
    assert len(people[0]) == 2


@pytest.mark.parametrize(
    ("source", "complaint"),
    [
        ("", "empty"),
        ("-", "no end"),
        ("0", "no end"),
        ("rtsp://camera/1", "no end"),
        ("nowhere", "does not exist"),
        ("nowhere/*.png", "is the pattern right"),
        ("bad.parquet", "not a Parquet file"),
        ("two.parquet", "Say it with --column"),
        ("numbers.parquet", "none of text or bytes"),
        ("empty", "holds no pictures"),
        ("empty.txt", "holds no pictures"),
        ("foo://bar/baz", "no scheme"),
    ],
)
def test_what_cannot_be_listed_is_told_in_a_line(source, complaint, tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("empty").mkdir()
    Path("empty.txt").write_text("\n")
    Path("bad.parquet").write_bytes(b"PAR1 and nothing")
    pq.write_table(pa.table({"a": ["x"], "b": ["y"]}), "two.parquet")
    pq.write_table(pa.table({"a": [1]}), "numbers.parquet")
    with pytest.raises(BadInput, match=complaint) as bad:
        items([source])
    assert "\n" not in str(bad.value)


def test_a_name_that_is_no_text_is_a_source_too(tmp_path) -> None:
    try:
        path = save(tmp_path / os.fsdecode(b"caf\xe9.png"), painted(10))
    except OSError:
        pytest.skip("this file system takes names in UTF-8 only")
    store = store_at(tmp_path / "out")
    work(store, items([str(path)]))
    (result,) = read_shards(store.address)
    assert result.source.endswith("caf\\udce9.png")


# Shards.


def test_the_same_sources_make_the_same_shards() -> None:
    several = [Item("picture", f"{n}.png") for n in range(100)]
    first, second = plan.shards(several, 7), plan.shards(several, 7)
    assert first == second
    assert [item for shard in first for item in shard.items] == several
    assert len({shard.name for shard in first}) == 15
    assert all(Shard.from_json(shard.to_json()) == shard for shard in first)


def test_shards_grow_with_what_there_is_to_do() -> None:
    def size(count: int) -> int:
        several = plan.shards([Item("picture", str(n)) for n in range(count)])
        return max(len(shard.items) for shard in several)

    assert [size(3), size(2_000), size(100_000)] == [3, 32, 100]
    assert plan.LARGEST == 1000


def test_the_first_shards_are_small_unless_somebody_says_how_large() -> None:
    several = [Item("picture", str(n)) for n in range(100)]

    def sizes(size: int | None) -> list[int]:
        return [len(shard.items) for shard in plan.shards(several, size)]

    assert sizes(None) == [4, 4, 8, 8, 16, 16, 32, 12]
    assert sizes(40) == [40, 40, 20]


@pytest.mark.parametrize("form", ["parquet", "jsonl"])
def test_shards_hold_what_was_seen(form, photos, tmp_path) -> None:
    store = store_at(tmp_path / "out", form)
    found = items([str(photos)])
    work(store, found)
    seen = {Path(result.source).name: result for result in read_shards(store.address)}
    assert len(seen) == 8
    assert seen["nobody.png"].poses == []
    assert (seen["0.png"].width, seen["0.png"].height, seen["0.png"].picture) == (96, 64, True)
    (pose,) = seen["3.png"].poses
    (wanted,) = lookers(painted(30))
    np.testing.assert_allclose(pose.xy, wanted.xy, atol=0.006)
    (broken,) = store.failures()
    assert broken["source"].endswith("broken.jpg")
    assert "Pillow" in broken["reason"]


def test_both_formats_hold_the_same(photos, tmp_path) -> None:
    film(photos / "walk.mp4", 2)
    stores = [store_at(tmp_path / form, form) for form in ("parquet", "jsonl")]
    for store in stores:
        work(store, items([str(photos)]))
    assert frames(stores[0]) == frames(stores[1])
    assert len(frames(stores[0])) == 28


def test_pandas_duckdb_and_polars_read_the_shards(photos, tmp_path) -> None:
    pandas, duckdb = pytest.importorskip("pandas"), pytest.importorskip("duckdb")
    polars = pytest.importorskip("polars")
    store = store_at(tmp_path / "out")
    film(photos / "walk.mp4", 1)
    work(store, items([str(photos)]))
    where = f"{tmp_path}/out/shards/*.parquet"
    table = pandas.read_parquet(tmp_path / "out/shards")
    ((count, nose),) = duckdb.sql(f"select count(*), min(x[1]) from '{where}'").fetchall()
    frame = polars.read_parquet(where)
    assert len(table) == count == len(frame) == 17
    assert len(table["x"].iloc[0]) == 18
    assert nose == pytest.approx(frame["x"].arr.get(0).min())
    assert nose == pytest.approx(min(row[0] for row in table["x"]))
    assert set(frame.filter(polars.col("time").is_null())["id"]) == {None}


# Resuming.


@pytest.mark.parametrize("most", [0, 1, 2])
def test_a_second_run_does_what_is_missing_and_the_result_is_that_of_one(
    most, photos, tmp_path
) -> None:
    film(photos / "walk.mp4", 2)
    found = items([str(photos)])
    whole, torn = store_at(tmp_path / "whole"), store_at(tmp_path / "torn")
    work(whole, found)
    work(torn, found, most=most)
    work(torn, found)
    assert frames(torn) == frames(whole)
    assert torn.failures() == whole.failures()


def test_what_a_killed_task_left_is_removed(photos, tmp_path) -> None:
    store, whole = store_at(tmp_path / "out"), store_at(tmp_path / "whole")
    work(whole, items([str(photos)]))
    work(store, items([str(photos)]), most=1)
    (done,) = store.folder.names("shards")
    torn = tmp_path / "out/shards"
    (torn / ".part-1.parquet.77.partial").write_bytes(b"PAR1")
    (torn / "part-unlisted.parquet").write_bytes((torn / done).read_bytes())
    work(store, items([str(photos)]))
    assert frames(store) == frames(whole)
    assert sorted(path.name for path in torn.iterdir()) == whole.folder.names("shards")


def test_sources_that_came_later_are_done_and_those_that_went_are_kept(photos, tmp_path) -> None:
    store = store_at(tmp_path / "out")
    work(store, items([str(photos)]))
    before = frames(store)
    save(photos / "00.png", painted(15))
    (photos / "0.png").unlink()
    assert work(store, items([str(photos)])) == 1
    after = frames(store)
    assert set(before) < set(after)
    assert len(after) == len(before) + 1


def test_a_mended_picture_is_taken_in_and_is_broken_no_more(photos, tmp_path) -> None:
    store = store_at(tmp_path / "out")
    work(store, items([str(photos)]))
    assert work(store, items([str(photos)])) == 1
    assert len(store.failures()) == 1
    save(photos / "broken.jpg", painted(70))
    work(store, items([str(photos)]))
    assert store.failures() == []
    assert len(frames(store)) == 9
    assert work(store, items([str(photos)])) == 0


def test_a_picture_that_vanished_is_told_and_does_not_stop_the_others(photos, tmp_path) -> None:
    store = store_at(tmp_path / "out")
    found = items([str(photos)])
    (photos / "2.png").unlink()
    work(store, found)
    assert [Path(its["source"]).name for its in store.failures()] == ["2.png", "broken.jpg"]
    assert len(frames(store)) == 7


def test_a_film_that_breaks_off_keeps_what_it_has_and_says_so(photos, tmp_path) -> None:
    path = film(tmp_path / "walk.mkv", 4)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    store = store_at(tmp_path / "out")
    found = items([str(path)])
    work(store, found)
    (broken,) = store.failures()
    assert broken["partial"]
    assert 0 < len(frames(store)) < 40
    assert work(store, found) == 0
    assert store.failures() == [broken]


def test_a_disk_that_is_full_leaves_no_half_shard(photos, tmp_path, monkeypatch) -> None:
    store = store_at(tmp_path / "out")
    (shard, *_) = plan.shards(items([str(photos)]), 3)

    def full(number: int) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(places.os, "fsync", full)
        report = Worker(FAKE)(shard, store)
    assert "No space left" in report.fatal
    assert list((tmp_path / "out/shards").iterdir()) == []
    assert store.done() == set()


def test_a_picture_of_a_hundred_megapixels_is_one_like_others(tmp_path) -> None:
    image = PIL.Image.new("L", (10_000, 10_000))
    image.paste(255, (300, 200, 400, 400))
    image.save(tmp_path / "huge.png", compress_level=1)
    store = store_at(tmp_path / "out")
    work(store, items([str(tmp_path / "huge.png")]))
    (result,) = read_shards(store.address)
    assert (result.width, result.height, len(result.poses)) == (10_000, 10_000, 2)
    assert store.failures() == []


# Films.


@pytest.mark.parametrize("name", ["walk.mp4", "walk.mkv", "walk.mov"])
def test_a_film_in_pieces_has_the_frames_and_the_ids_of_one_that_was_not_cut(
    name, tmp_path, monkeypatch
) -> None:
    path = film(tmp_path / name, 9)
    monkeypatch.setattr(sources, "PIECE", 2.0)
    whole, cut = store_at(tmp_path / "whole"), store_at(tmp_path / "cut")
    work(whole, items([str(path)], cut=False))
    pieces = items([str(path)])
    assert [item.start for item in pieces] == [0, 2, 4, 6, 8]
    work(cut, pieces)
    assert frames(cut) == frames(whole)
    assert len(frames(cut)) == count(str(path)) == 90
    ids = {person["id"] for line in frames(cut) for person in json.loads(line)["people"]}
    assert len(ids - {None}) > 1
    assert cut.folder.names("films") == []


@pytest.mark.parametrize("most", [1, 3])
def test_a_film_whose_pieces_were_torn_apart_is_whole_after_a_second_run(
    most, tmp_path, monkeypatch
) -> None:
    path = film(tmp_path / "walk.mp4", 9)
    monkeypatch.setattr(sources, "PIECE", 2.0)
    whole, torn = store_at(tmp_path / "whole"), store_at(tmp_path / "torn")
    work(whole, items([str(path)]))
    work(torn, items([str(path)]), most=most)
    assert frames(torn) == []
    assert work(torn, items([str(path)])) == 5 - most
    assert frames(torn) == frames(whole)


def test_a_film_is_not_cut_where_frames_cannot_be_found_by_their_time(tmp_path, monkeypatch):
    path = film(tmp_path / "walk.avi", 9, "mpeg4")
    monkeypatch.setattr(sources, "PIECE", 2.0)
    assert [item.start for item in items([str(path)])] == [None]


# The folder.


def test_two_runs_do_not_write_into_one_folder(tmp_path) -> None:
    folder = Folder(str(tmp_path))
    with (
        locked(folder),
        pytest.raises(BadInput, match=f"another run .*process {os.getpid()}"),
        locked(folder),
    ):
        pass
    with locked(folder):
        pass


def test_a_folder_of_something_else_is_refused(photos) -> None:
    with pytest.raises(BadInput, match="holds other files"):
        settings(Folder(str(photos)))
    (photos / "settings.json").write_text("{}")
    with pytest.raises(BadInput, match="damaged"):
        settings(Folder(str(photos)))
    with pytest.raises(BadInput, match="no folder that limbwise batch wrote"):
        list(read_shards(str(photos / "more/new")))


def test_an_address_shows_no_password() -> None:
    assert places.without_secrets("s3://me:secret@bucket/a.png") == "s3://bucket/a.png"
    assert Item("picture", "s3://me:secret@bucket/a.png").key == "s3://bucket/a.png"
