"""What is taken where nobody says otherwise. The figures of README.md, docs/model-card.md and
benchmarks/RESULTS.md were measured with these: whoever changes one measures anew and changes it
here.
"""

import inspect
import math
import runpy
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import typer

from limbwise import estimator
from limbwise.backends.base import Backend
from limbwise.boxes import find_boxes
from limbwise.cli.app import app, exit_code
from limbwise.crops import box_view
from limbwise.decode import DecodeOptions
from limbwise.description import Description
from limbwise.estimator import Estimator, load
from limbwise.evaluation import evaluate as evaluation
from limbwise.evaluation.boxes import evaluate_boxes
from limbwise.evaluation.evaluate import evaluate
from limbwise.export.int8 import quantise
from limbwise.export.onnx import export
from limbwise.geometry import letterbox
from limbwise.models.catalogue import CATALOGUE, DEFAULT, SAMPLE
from limbwise.networks.checkpoint import NETWORKS
from limbwise.outputs.draw import draw
from limbwise.proportions import impossible
from limbwise.refine import poses_in_boxes, refine
from limbwise.server.guard import LOOPBACK, Guard, Limits
from limbwise.skeleton import BODY
from limbwise.track import Tracker
from limbwise.train.batches import targets
from limbwise.train.config import FINISHED_RATE, NEW_RATE, Augment, TrainConfig
from limbwise.train.loss import map_loss
from limbwise.train.optimizers import PointwiseMuon

IMAGENET = {"mean": (103.53, 116.28, 123.675), "scale": (1 / 57.375, 1 / 57.12, 1 / 58.395)}

PYTHON: dict[Callable[..., Any], dict[str, Any]] = {
    # From a picture to people.
    Estimator: {"min_score": 0.15, "min_box": 0.3, "scales": (1.0,)},
    load: {"runtime": "openvino", "precision": "fast", "device": "cpu", "min_score": 0.15,
           "min_box": 0.3, "scales": (1.0,)},
    letterbox: {"multiple": 8, "widest": 4.0, "to": "height"},
    DecodeOptions: {
        "threshold": 0.1, "weak": 0.02, "samples": 9, "min_fraction": 0.8, "min_alignment": 0.02,
        "length_cost": 0.4, "size_weight": 0.2,
    },
    find_boxes: {"min_score": 0.3, "max_iou": 0.6, "max_boxes": 16},
    refine: {"max_people": 30, "nms_oks": 0.7, "use_prior": True},
    poses_in_boxes: {"min_confidence": 0.1, "nms_oks": 0.75},
    box_view: {"margin": 1.25},
    impossible: {"max_ratio": 3.0},
    Description: {"stride": 8, "multiple": 8, "height": 368, "fit": "height"},
    # From people to what is shown of them.
    Tracker: {
        "smooth": True, "memory": 1.5, "confident": 0.2, "similar": 0.15, "hold": 0.2,
        "cutoff": 0.3, "response": 50.0,
    },
    draw: {"min_confidence": 0.2},
    # Who may come into the server, and with how much.
    Limits: {
        "bytes": 20_000_000, "pixels": 40_000_000, "seconds": 15.0, "requests": 32, "streams": 8,
        "waiting": 8,
    },
    Guard: {"origins": (), "hosts": LOOPBACK},
    # Training.
    TrainConfig: {
        "network": "limbwise", "epochs": 30.0, "long_side": 640, "augment": Augment(),
        "batch_size": 64, "optimizer": "adamw", "backbone_lr": 0.5, "decay": 1.0, "warmup": 500,
        "weight_decay": 0.02, "clip": 5.0, "ema": 0.9995, "accumulate": 1,
        "save_every": 500, "log_every": 20,
    },
    Augment: {
        "person": (0.1, 1.2), "on_person": 0.9, "shift": 0.3, "enlarge": 2.0, "cover": 0.8,
        "stretch": 0.15, "squares": 1.0, "turn": 20.0, "turn_most": 45.0, "turn_any": 0.05,
        "flip": 0.5, "mosaic": 0.25, "brightness": 0.1, "contrast": 0.25, "saturation": 0.4,
        "tint": 0.1, "gamma": 0.3, "grey": 0.05, "soften": 0.15, "noise": 0.2, "noise_most": 12.0,
        "cut_out": 0.1, "cut_out_most": 0.4,
    },
    PointwiseMuon: {"momentum": 0.95},
    map_loss: {"emphasis": 4.0, "keypoints": 5.0},
    targets.heatmaps: {"stride": 8, "sigma": 7.0, "reach": math.sqrt(32)},
    targets.limb_heatmaps: {"stride": 8, "sigma": 7.0, "reach": math.sqrt(32)},
    targets.part_affinity_fields: {"stride": 8, "width": 8.0},
    # Measuring and writing models.
    evaluate: {"scales": (1.0,), "progress": iter, "min_box": 0.05},
    evaluate_boxes: {"progress": iter, "max_iou": 0.6},
    quantise: {"max_drop": 0.5, "limit": 300},
    export: {},
}  # fmt: skip

NETWORK_TRAITS = {
    "limbwise": {"height": 368, "stride": 8, "sigma": 7.0, "mean": 127.0, "scale": 1 / 128},
    "limbwise-person": {"height": 160, "stride": 4, "sigma": 4.0, "mean": 127.0, "scale": 1 / 128},
    "lite-hrnet": {"height": 256, "stride": 4, "sigma": 8.0} | IMAGENET,
    "limbwise-detector": {"height": 320, "stride": 8} | IMAGENET,
    "lightweight-openpose": {"height": 368, "stride": 8, "sigma": 7.0, "mean": 128.0,
                             "scale": 1 / 256},
}  # fmt: skip

COMMANDS: dict[str, dict[str, Any]] = {
    "run": {
        "runtime": "openvino", "precision": "fast", "track": True, "smooth": True,
        "min_score": 0.15, "patience": 60.0,
    },
    "eval": {"runtime": "openvino", "precision": "f32", "scales": "1"},
    "export": {"max_drop": 0.5, "limit": 300},
    "bench": {"size": "", "threads": "", "batch": "1", "processes": 1, "rounds": 20},
    "models": {},
    "info": {},
    "doctor": {},
    "convert": {},
    "page": {"model": Path("fast")},
    "batch": {
        "precision": "fast", "format": "parquet", "min_score": 0.15, "smooth": True,
        "address": "local",
    },
    "serve": {
        "host": "127.0.0.1", "port": 8000, "runtime": "openvino", "precision": "fast",
        "workers": 1, "min_score": 0.15, "max_mb": 20, "max_megapixels": 40, "max_streams": 8,
        "queue": 8,
    },
    "train": {
        "network": "limbwise", "epochs": 30.0, "batch_size": 64, "accumulate": 1,
        "optimizer": "adamw", "backbone_lr": 0.5, "decay": 1.0, "warmup": 500, "weight_decay": 0.02,
        "clip": 5.0, "ema": 0.9995, "long_side": 640, "log_every": 20, "save_every": 500,
        "out": Path("runs/new"),
    },
    "check-data": {"page": Path("check-data.html"), "shown": 24},
}  # fmt: skip


def of(function: Callable[..., Any]) -> dict[str, Any]:
    """What a function takes where nothing is said; None, False and what is made anew each time are
    nothing."""
    parameters = inspect.signature(function).parameters.values()
    found = {each.name: each.default for each in parameters if each.default is not each.empty}
    return {
        name: value
        for name, value in found.items()
        if value not in (None, False) and repr(value) != "<factory>"
    }


def of_command(name: str) -> dict[str, Any]:
    parameters = typer.main.get_command(app).commands[name].params  # type: ignore[attr-defined]
    return {each.name: each.default for each in parameters if each.default not in (None, False)}


@pytest.mark.parametrize("function", PYTHON, ids=lambda each: each.__qualname__)
def test_a_default_of_python_is_the_one_that_figures_were_measured_with(function) -> None:
    assert of(function) == PYTHON[function]


@pytest.mark.parametrize("name", NETWORK_TRAITS)
def test_a_network_is_the_one_that_its_weights_were_learnt_with(name: str) -> None:
    for trait, value in NETWORK_TRAITS[name].items():
        assert getattr(NETWORKS[name], trait) == pytest.approx(value), trait


def test_int8_and_the_pairs_sizes_are_those_that_figures_were_measured_with() -> None:
    parts = {name: its.float_parts for name, its in NETWORKS.items() if its.float_parts}
    assert parts == {"lite-hrnet": ("stem_short", "stem_long", "branches", "head")}
    assert {name: its.height for name, its in CATALOGUE.items() if its.height} == {"fast": 256}


@pytest.mark.parametrize("name", COMMANDS)
def test_a_default_of_a_command_is_the_one_that_figures_were_measured_with(name: str) -> None:
    assert of_command(name) == COMMANDS[name]
    assert set(typer.main.get_command(app).commands) == set(COMMANDS)  # type: ignore[attr-defined]


def test_the_command_line_and_python_take_the_same() -> None:
    pairs = {
        "run": of(load) | of(Estimator) | {"track": True, "smooth": of(Tracker)["smooth"]},
        "serve": of(load) | of(Estimator),
        "export": of(quantise),
        "train": of(TrainConfig),
    }
    for name, python in pairs.items():
        command = of_command(name)
        both = command.keys() & python.keys()
        assert {key: command[key] for key in both} == {key: python[key] for key in both}
        assert len(both) > 1
    limits = Limits()
    told = of_command("serve")
    assert (told["max_mb"] * 1_000_000, told["max_megapixels"] * 1_000_000) == (
        limits.bytes, limits.pixels,
    )  # fmt: skip
    assert (told["max_streams"], told["queue"]) == (limits.streams, limits.waiting)
    assert DEFAULT == "accurate"
    assert (NEW_RATE, FINISHED_RATE) == (2e-3, 1e-4)


def test_what_run_shows_of_people_is_what_python_and_the_server_show(monkeypatch) -> None:
    given: list[dict[str, Any]] = []

    def listen(*_: Any, **options: Any) -> None:
        given.append(options)
        raise KeyboardInterrupt

    monkeypatch.setattr("limbwise.cli.run.load", listen)
    exit_code(["run", str(SAMPLE)])
    monkeypatch.setattr("limbwise.cli.serve.load", listen)
    exit_code(["serve", "--port", "0"])
    assert [each["min_score"] for each in given] == [estimator.MIN_SCORE] * 2
    assert [each["precision"] for each in given] == ["fast", "fast"]
    assert of(Estimator)["min_score"] == estimator.MIN_SCORE


@pytest.mark.parametrize(("boxes", "height"), [(False, 368), (True, None)])
def test_eval_measures_in_f32_at_the_height_of_the_tables(monkeypatch, boxes, height) -> None:
    """368 pixels, but for models that find boxes, which have heights of their own."""
    given: dict[str, Any] = {}

    def looks(model: Any, **options: Any) -> tuple[Backend, None]:
        given.update(options)
        return Backend(Description("eyes", BODY, boxes=boxes), "eyes", lambda images: ()), None

    def measure(runtime: Backend, *_: Any, **options: Any) -> tuple[dict[str, float], list[Any]]:
        given.update(options)
        return {}, []

    monkeypatch.setattr("limbwise.cli.eval.load_pair", looks)
    monkeypatch.setattr(evaluation, "evaluate", measure)
    assert exit_code(["eval", str(SAMPLE), str(SAMPLE.parent)]) == 0
    assert given["precision"] == "f32"
    assert given["height"] == height
    assert (given["flip"], given["scales"], given["limit"]) == (False, [1], None)


def test_the_originals_scripts_take_what_the_original_took(monkeypatch) -> None:
    """As its README.md and its train.py have it."""
    root = Path(__file__).parents[1]
    monkeypatch.setattr(sys, "argv", [
        "train.py", "--train-images-folder", "a", "--prepared-train-labels", "b",
        "--checkpoint-path", "c",
    ])  # fmt: skip
    given = vars(runpy.run_path(str(root / "train.py"))["flags"]())
    expected = {
        "num_refinement_stages": 1, "batch_size": 80, "batches_per_iter": 1, "base_lr": 4e-5,
        "num_workers": 8, "log_after": 100, "checkpoint_after": 5000, "val_after": 5000,
        "epochs": 280, "size": 368, "experiment_name": "default",
    }  # fmt: skip
    assert {name: given[name] for name in expected} == expected
