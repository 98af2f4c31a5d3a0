"""The precision that is chosen is the one that was quickest here, and it is measured once."""

import time
from pathlib import Path

import numpy as np
import pytest

from limbwise.backends import precision
from limbwise.backends.base import Backend
from limbwise.backends.precision import fastest, ways
from limbwise.description import Description
from limbwise.skeleton import COCO, Skeleton


@pytest.fixture
def files(tmp_path: Path, monkeypatch) -> list[Path]:
    monkeypatch.setenv("LIMBWISE_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(precision, "capabilities", lambda: ["FP32", "BF16", "INT8"])
    made = [tmp_path / "a.onnx", tmp_path / "a-int8.xml", tmp_path / "a-int8.bin"]
    for path in made:
        path.write_bytes(b"model")
    return made


def measuring(monkeypatch, **taken: float) -> list[int]:
    """Ways take so many milliseconds; returns a list that grows with every measurement."""
    calls: list[int] = []

    def measured(several, threads):
        calls.append(len(several))
        return {way: taken[way[1]] for way in several}

    monkeypatch.setattr(precision, "measured", measured)
    return calls


@pytest.mark.parametrize(
    ("taken", "best"),
    [
        ({"f32": 5.0, "bf16": 9.0, "int8": 7.0}, "f32"),
        ({"f32": 5.0, "bf16": 3.0, "int8": 4.0}, "bf16"),
        ({"f32": 5.0, "bf16": 7.0, "int8": 3.0}, "int8"),
        ({"f32": 5.0, "bf16": 4.9, "int8": 4.9}, "f32"),  # too little to give up exactness for
    ],
)
def test_the_quickest_wins_and_is_remembered(taken, best, files, monkeypatch) -> None:
    calls = measuring(monkeypatch, **taken)
    several = ways(files[0], files[1])
    assert [way[1] for way in several] == ["f32", "bf16", "int8"]
    assert fastest(several, 2)[1] == best
    assert fastest(several, 2)[1] == best
    assert calls == [3]
    assert fastest(several, 1)[1] == best
    assert calls == [3, 3]  # other threads, another measurement
    files[0].write_bytes(b"another model")
    fastest(several, 2)
    assert len(calls) == 3
    monkeypatch.setattr(precision, "cpu", lambda: "another processor")
    fastest(several, 2)
    assert len(calls) == 4


def test_what_the_processor_cannot_do_is_not_tried(files, monkeypatch) -> None:
    monkeypatch.setattr(precision, "capabilities", lambda: ["FP32"])
    assert ways(files[0], files[1]) == [(files[0], "f32")]
    assert fastest(ways(files[0]), None) == (files[0], "f32")


def test_a_damaged_memory_is_measured_anew(files, tmp_path, monkeypatch) -> None:
    calls = measuring(monkeypatch, f32=5.0, bf16=3.0, int8=4.0)
    several = ways(files[0], files[1])
    for content in (b"", b"[]", b'{"x": 1}', b"\xff"):
        (tmp_path / "cache").mkdir(exist_ok=True, mode=0o700)
        (tmp_path / "cache" / "precision.json").write_bytes(content)
        assert fastest(several, 2)[1] == "bf16"
    assert len(calls) == 4


def test_without_a_cache_nothing_is_measured(files, monkeypatch) -> None:
    calls = measuring(monkeypatch, f32=5.0, bf16=3.0, int8=4.0)
    monkeypatch.setenv("LIMBWISE_CACHE", "")
    assert fastest(ways(files[0], files[1]), 2) == (files[0], "f32")
    assert not calls


def test_a_real_network_is_measured_in_a_process_of_its_own() -> None:
    from limbwise.models.catalogue import CATALOGUE

    plain = CATALOGUE["fast"].second.plain
    taken = precision.measured([(plain, "f32")], 1)
    assert 0.1 < taken[plain, "f32"] < 10_000
    assert precision.measured([(plain.with_suffix(".gone"), "f32")], 1) == {}


def test_what_cannot_be_measured_is_computed_exactly(files, monkeypatch) -> None:
    monkeypatch.setattr(precision, "measured", lambda several, threads: {})
    assert fastest(ways(files[0], files[1]), 2) == (files[0], "f32")


@pytest.mark.parametrize(("off", "chosen"), [(0.3, "int8"), (0.7, "f32")])
def test_what_answers_otherwise_than_f32_is_not_chosen_however_quick(
    off, chosen, files, monkeypatch
) -> None:
    """Sums of int8 networks may overflow on CPUs without VNNI."""

    def openvino(path, kind, threads):
        def run(images):
            time.sleep(0.02 * (kind == "f32"))
            return (np.ones((len(images), 17, 8, 6), np.float32) * (1 - off * (kind == "int8")),)

        return Backend(Description("same", COCO, 4, 32, 32, crop=(32, 24), prior=False), kind, run)

    monkeypatch.setattr(precision, "openvino", openvino)
    monkeypatch.setattr(precision, "measured", precision.measured_here)
    assert fastest([(files[0], "f32"), (files[1], "int8")], 1)[1] == chosen


def test_networks_are_measured_with_people_in_the_picture() -> None:
    from limbwise.models.catalogue import CATALOGUE

    pair = CATALOGUE["fast"]
    for stage, shape in ((pair.first, (1, 256, 320, 3)), (pair.second, (2, 160, 120, 3))):
        backend = precision.openvino(stage.plain, "f32", 1)
        inputs = precision._inputs(backend)
        assert [each.shape for each in inputs] == [shape]
        output = backend(*inputs)[-1]
        sure = output.heatmaps if output.boxes is None else output.boxes[:, 4]
        assert sure.max() > 0.5


def test_a_detector_that_scores_otherwise_is_not_chosen_wherever_its_boxes_lie(
    files, monkeypatch
) -> None:
    def openvino(path, kind, threads):
        def run(images):
            time.sleep(0.02 * (kind == "f32"))
            return (np.float32([[[10, 20, 300, 250, 0.9 * (kind == "f32")]]]),)

        its = Description("boxes", Skeleton((), (), ()), 8, 32, 320, fit="side", boxes=True)
        return Backend(its, kind, run)

    monkeypatch.setattr(precision, "openvino", openvino)
    monkeypatch.setattr(precision, "measured", precision.measured_here)
    assert fastest([(files[0], "f32"), (files[0], "bf16")], 1)[1] == "f32"
