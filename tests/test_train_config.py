"""What a training is told stands once, is the same for everybody, and is refused at once if it
cannot be."""

import gc
import inspect
import json
import math
import os
import resource
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import fields
from pathlib import Path

import pytest
import torch

from limbwise.cli.app import OLD_NAMES, exit_code
from limbwise.cli.train import train as command
from limbwise.errors import BadInput
from limbwise.networks.checkpoint import build, load, save
from limbwise.skeleton import BODY
from limbwise.train.batch_memory import bytes_per_pixel, check_batch
from limbwise.train.board import board
from limbwise.train.config import FINISHED_RATE, FINISHED_RATES, NEW_RATE, Augment, TrainConfig
from limbwise.train.run import Data, prepare, train
from limbwise.train.start import TRAINED, begin
from test_train_run import KITES, kites

SMALL = {"width": 0.25, "channels": 16, "blocks": 1}


def quick(**more: object) -> TrainConfig:
    return TrainConfig(**{"size": 64, "steps": 2, "batch_size": 2, "options": SMALL, **more})


def test_every_setting_is_an_option_with_the_same_default() -> None:
    options = inspect.signature(command).parameters
    for each in fields(TrainConfig):
        if each.name not in ("augment", "options"):
            assert options[each.name].default == each.default, each.name
            assert each.metadata["about"] in TrainConfig.__doc__


def test_the_defaults_that_figures_depend_on() -> None:
    its = TrainConfig()
    assert (its.epochs, its.batch_size, its.optimizer) == (30.0, 64, "adamw")
    assert (its.backbone_lr, its.decay, its.warmup) == (0.5, 1.0, 500)
    assert (its.weight_decay, its.clip, its.ema) == (0.02, 5.0, 0.9995)
    assert (its.long_side, its.seed, its.save_every, its.validate_every) == (640, 0, 500, 0)
    assert (NEW_RATE, FINISHED_RATE) == (2e-3, 1e-4)
    assert FINISHED_RATES == {"lite-hrnet": 1e-5, "limbwise-detector": 2e-5}


@pytest.mark.parametrize(
    ("make", "told"),
    [
        (lambda: TrainConfig(epoch=3), "TrainConfig has no epoch: did you mean epochs?"),
        (lambda: TrainConfig(learning=3), "TrainConfig has no learning: known are network, "),
        (lambda: Augment(mosaik=0), "did you mean mosaic?"),
        (lambda: TrainConfig(batch_size=0), "batch_size is between 1 and 65536, not 0"),
        (lambda: TrainConfig(batch_size=10**8), "batch_size is between 1 and 65536"),
        (lambda: TrainConfig(batch_size=2.5), "batch_size is a whole number, not 2.5"),
        (lambda: TrainConfig(steps=True), "steps is a whole number, not True"),
        (lambda: TrainConfig(lr=math.nan), "lr is a number, not nan"),
        (lambda: TrainConfig(lr="big"), "lr is a number, not 'big'"),
        (lambda: TrainConfig(workers=10**6), "workers is between 1 and 256"),
    ],
)
def test_what_cannot_be_is_told_where_it_is_given(make, told: str) -> None:
    with pytest.raises(BadInput) as error:
        make()
    assert told in str(error.value)


def test_a_keyword_that_no_network_knows_is_told(tmp_path: Path) -> None:
    labels = kites(tmp_path / "a", 2, 0)
    with pytest.raises(BadInput, match="the network limbwise has no widht: did you mean width?"):
        prepare(Data([labels], [labels.parent]), tmp_path, TrainConfig(options={"widht": 1}))


@pytest.mark.parametrize(
    ("args", "told"),
    [
        ("--batch-size 100000000", "--batch-size"), ("--batch-size 60000", "choose --batch-size"),
        ("--size 100000", "--size"), ("--steps 10000000000", "--steps"), ("--lr inf", "--lr"),
        ("--epochs 1e9", "--epochs"), ("--workers 100000", "--workers"), ("--lr nan", "--lr"),
        ("--augment mosaik=1", "did you mean mosaic?"), ("--augment mosaic=nan", "is a number"),
        ("--epoch 3", "--epochs"), ("--batch-size 1 --size 32", "--batch-size 2"),
    ],
)  # fmt: skip
def test_limits_of_training_are_told_at_once(args: str, told: str, tmp_path, capsys) -> None:
    labels = kites(tmp_path / "a", 2, 0)
    out = tmp_path / "run"
    args = ["train", str(labels), str(labels.parent), "--out", str(out), *args.split()]
    assert exit_code(args) == 2
    (line,) = capsys.readouterr().err.strip().splitlines()
    assert told in line
    assert not list(out.glob("*"))


def test_an_option_is_known_by_its_old_name_too(capsys) -> None:
    for name in OLD_NAMES:
        assert exit_code(["train", f"--{name}", "1000", "a.json", "b"]) == 2
        assert "--backbone-lr" in capsys.readouterr().err
    assert exit_code(["train", "--help"]) == 0
    assert not any(name in capsys.readouterr().out for name in OLD_NAMES)


@pytest.mark.parametrize(
    "args",
    ["run a.jpg --max-people 1000000000", "run a.jpg --size 100000", "run a.jpg --threads 100000",
     "eval a.json b --scales 1,1000", "eval a.json b --scales 0.001",
     "bench --size 100000", "bench --batch 1000000", "bench --threads 1000000",
     "bench --rounds 1000000000", "bench --processes 100000"],
)  # fmt: skip
def test_limits_of_the_other_commands_are_told(args: str, capsys) -> None:
    assert exit_code(args.split()) == 2
    (line,) = capsys.readouterr().err.strip().splitlines()
    assert args.split()[-2] in line


def test_what_a_batch_needs_grows_with_the_network_and_shrinks_with_what_is_frozen() -> None:
    small, large = (build("limbwise", KITES, **more) for more in (SMALL, {}))
    assert 2 * bytes_per_pixel(small) < bytes_per_pixel(large)
    for layer in large.network.trunk.parameters():
        layer.requires_grad_(False)
    assert bytes_per_pixel(large) < 0.7 * bytes_per_pixel(build("limbwise", KITES))


def test_a_batch_that_fits_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    made = build("limbwise", KITES, 64, **SMALL)
    cpu = torch.device("cpu")
    there = int(64 * 64 * bytes_per_pixel(made) * 7.5)
    monkeypatch.setattr("limbwise.train.batch_memory.total_memory", lambda device: there)
    check_batch(made, TrainConfig(batch_size=7), cpu)
    check_batch(made, TrainConfig(batch_size=15, amp=True), cpu)
    with pytest.raises(BadInput, match="choose --batch-size 7 or less"):
        check_batch(made, TrainConfig(batch_size=8), cpu)


def test_the_rate_goes_by_where_training_begins_and_is_told(tmp_path: Path, capsys) -> None:
    labels = kites(tmp_path / "a", 3, 0)
    data = Data([labels], [labels.parent])
    finished, others = tmp_path / "finished.safetensors", tmp_path / "others.safetensors"
    save(build("limbwise", KITES, **SMALL), finished)
    save(build("limbwise", BODY, **SMALL), others)
    for init, rate in ((None, NEW_RATE), (others, NEW_RATE), (finished, FINISHED_RATE)):
        config = quick(init=init and str(init))
        assert prepare(data, tmp_path, config).run.schedule.lr == rate
    out = tmp_path / "run"
    args = ["train", str(labels), str(labels.parent), "--out", str(out), "--size", "64"]
    args += ["--batch-size", "2", "--log-every", "1"]
    assert exit_code([*args, "--steps", "3", "--init", str(finished)]) == 0
    assert f"learning rate {FINISHED_RATE:g}" in capsys.readouterr().err
    config = json.loads((out / "config.json").read_text())
    assert (config["lr"], config["steps"], config["init"]) == (FINISHED_RATE, 3, str(finished))
    first = json.loads((out / "log.jsonl").read_text().splitlines()[0])
    assert 0 < first["lr"] < FINISHED_RATE
    assert load(out / "last.safetensors").training["lr"] == FINISHED_RATE
    assert exit_code(["train", "--help"]) == 0
    told = " ".join(capsys.readouterr().out.replace("│", " ").split())
    assert f"{FINISHED_RATE:g}" in told
    assert "lite-hrnet 1e-05" in told


@pytest.mark.parametrize(
    ("name", "skeleton", "rate"),
    [("limbwise", TRAINED, 1e-4), ("lite-hrnet", TRAINED, 1e-5), ("lite-hrnet", KITES, 2e-3),
     ("limbwise-detector", TRAINED, 2e-5), ("limbwise-person", TRAINED, 2e-3)],
)  # fmt: skip
def test_a_bundled_network_goes_on_at_its_own_rate(name: str, skeleton, rate: float) -> None:
    made = begin(name, "bundled", skeleton, None, {})
    finished = made.training["finished"] and made.description.name
    assert TrainConfig(init="bundled").settled(9, finished).lr == rate


def test_a_run_that_is_taken_up_keeps_the_rate_that_it_began_with(tmp_path: Path) -> None:
    labels = kites(tmp_path / "a", 3, 0)
    data, finished = Data([labels], [labels.parent]), tmp_path / "finished.safetensors"
    save(build("limbwise", KITES, **SMALL), finished)
    train(data, tmp_path / "run", lambda step, figures: None, quick(init=str(finished)))
    again = prepare(data, tmp_path / "run", quick(resume=True, steps=4))
    assert (again.run.step, again.run.schedule.lr) == (2, FINISHED_RATE)
    changed = prepare(data, tmp_path / "run", quick(resume=True, steps=4, lr=1e-3))
    assert changed.run.schedule.lr == 1e-3


@contextmanager
def no_file_over(size: int) -> Iterator[None]:
    """A disk on which little is left, as far as a process can see."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


@pytest.mark.skipif(os.name != "posix", reason="needs limits of POSIX")
def test_a_full_disk_is_one_line_and_leaves_the_older_checkpoint(tmp_path: Path, capsys) -> None:
    labels, out = kites(tmp_path / "a", 2, 0), tmp_path / "run"
    args = ["train", str(labels), str(labels.parent), "--out", str(out), "--size", "64"]
    args += ["--batch-size", "2", "--log-every", "1"]
    assert exit_code([*args, "--steps", "1"]) == 0
    before = {path.name: path.read_bytes() for path in out.glob("*.safetensors")}
    before["last.pth"] = (out / "last.pth").read_bytes()
    capsys.readouterr()
    with no_file_over(2**20):
        assert exit_code([*args, "--steps", "2", "--resume"]) == 2
    lines = [line for line in capsys.readouterr().err.splitlines() if "steps" not in line]
    assert lines == [f"limbwise: {out}/last.pth could not be written: File too large"]
    assert all((out / name).read_bytes() == data for name, data in before.items())
    assert not list(out.glob(".*"))
    gc.collect()  # a buffer that the traceback kept would tell now, and end Python 3.12.1


@pytest.mark.skipif(os.name != "posix", reason="needs limits of POSIX")
def test_tensorboard_that_cannot_write_says_so_once(tmp_path: Path, capsys) -> None:
    report, _ = board(tmp_path)
    report(1, {"total": 1.0})

    def fill() -> None:
        for step in range(100):
            report(step, {"total": 1.0})

    with no_file_over(600), pytest.raises(BadInput, match="could not be written: File too large"):
        fill()
    assert capsys.readouterr().err == ""
