"""Who stops a training finds it written up to the step that was done."""

import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import pytest
import torch

from limbwise.cli import terminal
from limbwise.cli.app import exit_code
from limbwise.cli.terminal import counting, failing_in_one_line
from limbwise.interrupts import Stopped
from limbwise.networks.checkpoint import load
from limbwise.train.board import board
from limbwise.train.logs import log_to
from limbwise.train.loop import Run
from test_loop import KilledError, started, sticks
from test_train_run import kites

pytestmark = pytest.mark.skipif(os.name != "posix", reason="needs signals of POSIX")


def command(labels: Path, out: Path, *more: str) -> list[str]:
    args = ["train", str(labels), str(labels.parent), "--size", "32", "--batch-size", "2"]
    return [*args, "--log-every", "1", "--out", str(out), *more]


def steps_of(log: Path) -> list[int]:
    lines = log.read_text().splitlines(True) if log.is_file() else []
    return [json.loads(line)["step"] for line in lines if line.endswith("\n")]


def running(labels: Path, out: Path, *more: str) -> "subprocess.Popen[bytes]":
    """The real command, three steps far."""
    args = [sys.executable, "-m", "limbwise", *command(labels, out, *more)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    process = subprocess.Popen(args, stderr=subprocess.PIPE, env=environment)
    deadline = time.monotonic() + 120
    while len(steps_of(out / "log.jsonl")) < 3:
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.02)
    return process


def scalars(folder: Path) -> list[int]:
    """The steps of which TensorBoard shows a loss."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    return [event.step for event in EventAccumulator(str(folder)).Reload().Scalars("total")]


def another_second() -> None:
    """Waits for one: of files of the same second TensorBoard reads number 10 before number 9."""
    time.sleep(1 - time.time() % 1)


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_training_that_is_stopped_is_whole_and_goes_on(
    number: int, code: int, tmp_path: Path
) -> None:
    labels, out = kites(tmp_path / "a", 2, 0), tmp_path / "run"
    process = running(labels, out, "--steps", "100000")
    process.send_signal(number)
    process.send_signal(signal.SIGHUP)  # terminals send more than one
    _, told = process.communicate(timeout=120)
    assert process.returncode in (code, 129)
    *_, last = told.decode().strip().splitlines()
    steps = steps_of(out / "log.jsonl")
    state = torch.load(out / "last.pth", weights_only=True)
    assert steps == list(range(1, state["step"] + 1))
    assert f"has step {state['step']} of 100000, --resume goes on" in last
    assert "Traceback" not in told.decode()
    for name in ("last", "best"):
        assert load(out / f"{name}.safetensors").training["steps"] == state["step"]
    assert not list(out.glob("*.partial*"))
    if number == signal.SIGINT:
        end = str(state["step"] + 2)
        assert exit_code(command(labels, out, "--steps", end, "--resume")) == 0
        assert steps_of(out / "log.jsonl") == list(range(1, int(end) + 1)) == scalars(out)


def test_a_second_ctrl_c_ends_at_once_and_harms_nothing(tmp_path: Path) -> None:
    labels, out = kites(tmp_path / "a", 2, 0), tmp_path / "run"
    process = running(labels, out, "--steps", "100000", "--save-every", "1")
    for _ in range(2):
        process.send_signal(signal.SIGINT)
        time.sleep(0.005)
    _, told = process.communicate(timeout=30)
    assert process.returncode in (130, -signal.SIGINT)
    assert "Traceback" not in told.decode()
    assert torch.load(out / "last.pth", weights_only=True)["step"] >= 2
    assert load(out / "last.safetensors").training["steps"] >= 2
    assert not list(out.glob(".*"))


@pytest.mark.parametrize("every", [0.0, 0.01, 0.1])
def test_more_sigterms_change_nothing_while_a_training_is_saved(
    every: float, tmp_path: Path
) -> None:
    labels, out = kites(tmp_path / "a", 2, 0), tmp_path / "run"
    process = running(labels, out, "--steps", "100000")
    while process.poll() is None:
        process.send_signal(signal.SIGTERM)
        time.sleep(every)
    told = process.communicate(timeout=30)[1].decode()
    assert process.returncode in (143, -signal.SIGTERM)  # by itself when all was written
    step = torch.load(out / "last.pth", weights_only=True)["step"]
    assert steps_of(out / "log.jsonl") == list(range(1, step + 1))
    assert f"has step {step} of 100000, --resume goes on" in told
    assert "Traceback" not in told
    for name in ("last", "best"):
        assert load(out / f"{name}.safetensors").training["steps"] == step
    assert not list(out.glob(".*"))


class StoppedRun(Run):
    """Is interrupted in the middle of the fifth step."""

    def _average(self) -> None:
        if self.step == 5:
            raise Stopped(signal.SIGINT)
        super()._average()


def test_a_torn_step_is_not_saved(tmp_path: Path) -> None:
    run = started(tmp_path)
    run.__class__ = StoppedRun
    with pytest.raises(Stopped) as stop:
        run.train(sticks, None, lambda step, figures: None)
    assert torch.load(tmp_path / "last.pth", weights_only=True)["step"] == 3
    assert "torn" in stop.value.__notes__[0]


def test_what_a_stop_is_told_of_is_said(capsys) -> None:
    stop = Stopped(signal.SIGTERM)
    stop.add_note("step 7 is written")
    with pytest.raises(SystemExit) as end, failing_in_one_line():
        raise stop
    assert end.value.code == 143
    assert capsys.readouterr().err == "limbwise: interrupted; step 7 is written\n"


def test_each_step_is_logged_once_though_the_log_is_longer_than_the_checkpoint(
    tmp_path: Path,
) -> None:
    def logged(run: Run, killed: int = 0) -> None:
        log, (chart, _) = log_to(tmp_path / "log.jsonl", run.step), board(tmp_path, run.step)

        def report(step: int, figures: dict[str, float]) -> None:
            log(step, figures)
            chart(step, figures)
            if step == killed:
                with (tmp_path / "log.jsonl").open("a") as file:
                    file.write('{"step": 6, "to')  # so far a full disk let it come
                raise KilledError

        run.train(sticks, None, report)

    with pytest.raises(KilledError):
        logged(started(tmp_path), killed=5)
    another_second()
    resumed = started(tmp_path)
    resumed.resume()
    assert resumed.step == 3
    logged(resumed)
    assert steps_of(tmp_path / "log.jsonl") == [1, 2, 3, 4, 5, 6] == scalars(tmp_path)
    another_second()
    logged(started(tmp_path, steps=2))  # a new run in the old folder
    assert steps_of(tmp_path / "log.jsonl") == [1, 2] == scalars(tmp_path)


@pytest.mark.parametrize("validated", [False, True])
def test_there_is_always_a_best(validated: bool, tmp_path: Path) -> None:
    run = started(tmp_path)
    validate = (lambda made: {"AP": float("nan")}) if validated else None
    run.train(sticks, validate, lambda step, figures: None)
    assert load(tmp_path / "best.safetensors").training["steps"] == 6


def test_without_a_terminal_there_are_lines(capsys, monkeypatch: pytest.MonkeyPatch) -> None:
    moments = iter([0.0, 1.0, 6.0, 7.0, 12.0, 13.0])
    monkeypatch.setattr(terminal.time, "monotonic", lambda: next(moments))
    with counting(10, 15, "steps") as show:
        for step, text in ((11, "loss 3"), (12, ""), (13, "loss 2"), (14, ""), (15, "loss 1")):
            show(step, text)
    told = capsys.readouterr().err.splitlines()
    assert told == [
        "limbwise: steps 12/15, loss 3, 9 s left",
        "limbwise: steps 14/15, loss 2, 3 s left",
        "limbwise: steps 15/15, loss 1, 0 s left",
    ]


def test_pictures_that_are_not_begun_are_left_when_somebody_interrupts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from limbwise.data.coco import read
    from limbwise.train.batches import pictures

    labels = kites(tmp_path / "a", 30, 0)
    begun: Counter[str] = Counter()

    def slow(piece: object, size: object) -> None:
        begun["pictures"] += 1
        time.sleep(0.05)
        raise OSError

    monkeypatch.setattr(pictures, "_decoded", slow)

    def stop(jobs):
        raise Stopped

    with pytest.raises(Stopped):
        pictures.load_pictures(read(labels, labels.parent), workers=1, progress=stop)
    assert begun["pictures"] < 10
