"""What is measured is what is said."""

import json
import time

import cv2
import numpy as np
import pytest

from conftest import drawn, standing
from limbwise.backends.base import Backend
from limbwise.bench import Row, Timing, chart, interleaved, side_by_side
from limbwise.cli.app import exit_code
from limbwise.description import ORIGINAL
from limbwise.models.catalogue import CATALOGUE

IMAGE = np.zeros((90, 160, 3), np.uint8)


def slow(ms_per_row: float) -> Backend:
    """Takes so long for each row of its input, and finds one person."""

    def run(images: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        ready = time.perf_counter() + images.shape[1] * ms_per_row / 1000
        fields = drawn([standing(80, 60, 30)], (images.shape[1] // 8, images.shape[2] // 8))
        time.sleep(max(ready - time.perf_counter(), 0))
        return fields.heatmaps[None], fields.limbs.reshape(1, 38, *fields.limbs.shape[2:])

    return Backend(ORIGINAL, "slow", run)


def test_each_job_is_timed_as_often_and_the_minimum_is_the_minimum() -> None:
    calls: list[str] = []
    timings = interleaved({name: lambda name=name: calls.append(name) for name in "ab"}, 3)
    assert calls == ["a", "b"] + ["a", "b"] * 3
    assert all(0 < each.minimum <= each.median <= each.p99 for each in timings.values())


def test_of_several_in_a_row_the_first_does_not_count() -> None:
    calls: list[str] = []

    def job(name: str) -> None:
        cold = calls[-1:] != [name]
        calls.append(name)
        time.sleep(0.05 * cold)

    timings = interleaved({name: lambda name=name: job(name) for name in "ab"}, 3, in_a_row=2)
    assert calls == ["a", "b"] + (["a"] * 3 + ["b"] * 3) * 3
    assert all(each.median < 40 for each in timings.values())


def test_a_table_has_a_row_for_every_setting(tmp_path, capsys) -> None:
    out, plot = tmp_path / "a.json", tmp_path / "a.png"
    args = ["bench", "--size", "160", "--threads", "1", "--batch", "1,2", "--rounds", "2"]
    assert exit_code([*args, "--json", str(out), "--plot", str(plot)]) == 0
    printed = capsys.readouterr().out
    for word in ("openvino f32", "onnxruntime f32", "torch f32", "fit", "network", "decode"):
        assert word in printed
    said = json.loads(out.read_text())
    settings = {(row["runtime"], row["height"], row["batch"]) for row in said["rows"]}
    assert len(settings) == len(said["rows"]) == 2 * len({row[0] for row in settings})
    for row in said["rows"]:
        assert set(row["stages"]) == {"fit", "network", "decode", "refine", "draw", "whole"}
        for its in row["stages"].values():  # with the keys of before
            assert its["least"] == its["minimum"] <= its["median"] <= its["p99"] == its["late"]
    assert cv2.imread(str(plot)) is not None


def test_bars_are_as_long_as_their_times_and_the_whole_is_marked(monkeypatch) -> None:
    def row(ms: float) -> Row:
        names = ("fit", "network", "decode", "draw")
        stages = {name: Timing(ms, ms, ms) for name in names}
        return Row("a", 256, 1, 1, {**stages, "whole": Timing(3 * ms, 6 * ms, 7 * ms)})

    written = []
    monkeypatch.setattr("limbwise.bench.cv2.putText", lambda _, text, *more: written.append(text))

    picture = chart([row(1.0), row(3.0)])
    inks = [((picture[y, 300:] != 255) & (picture[y, 300:] != 0)).any(axis=1) for y in (20, 54)]
    assert inks[1].sum() / inks[0].sum() == pytest.approx(3, rel=0.1)
    marks = [np.flatnonzero((picture[y, 320:] == 0).all(axis=1)).max() for y in (20, 54)]
    assert marks[1] / marks[0] == pytest.approx(3, rel=0.05)
    assert marks[1] / inks[1].sum() == pytest.approx(6 / 4, rel=0.1)
    assert [text for text in written if "ms" in text] == ["whole 6.0 ms", "whole 18.0 ms"]


@pytest.mark.parametrize("option", ["--size", "--threads", "--batch"])
def test_lists_that_are_none_are_refused(option, checkpoint, capsys) -> None:
    assert exit_code(["bench", "--model", str(checkpoint), option, "big"]) == 2
    assert f"{option} big is not a list" in capsys.readouterr().err


def test_processes_side_by_side_are_counted_together() -> None:
    model = CATALOGUE["one-stage"].first.plain
    rates = side_by_side(model, np.zeros((64, 64, 3), np.uint8), 64, 2, seconds=0.3)
    assert len(rates) == 3
    assert all(rate > 0 for rate in rates.values())
