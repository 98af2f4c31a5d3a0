"""The verbs that need PyTorch, which is imported when one of them runs: train, check, export."""

import ctypes
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from ..backends.base import need_torch
from ..errors import BadInput
from ..estimator import load_pair
from ..places import check_places
from .options import PLACE, CategoryOption, SizeOption, check_order, finite, model_files
from .terminal import failing_in_one_line, progress, stderr

WRITTEN = ("best.safetensors", "last.safetensors", "last.pth", "log.jsonl")  # into --out

if TYPE_CHECKING:
    from ..train.batches.augmentation import Augment
    from ..train.loop import Look, Report


@failing_in_one_line()
def train(
    annotations: Annotated[Path, typer.Argument(help="A COCO keypoint file.")],
    images: Annotated[Path, typer.Argument(help="The folder (or .tar) of its pictures.")],
    also: Annotated[
        list[str] | None,
        typer.Option("--also", help="ANNOTATIONS:IMAGES of more pictures; can be repeated."),
    ] = None,
    val_annotations: Annotated[
        Path | None, typer.Option("--val-annotations", help="Labels to measure AP on.")
    ] = None,
    val_images: Annotated[Path | None, typer.Option("--val-images")] = None,
    category: CategoryOption = None,
    network: Annotated[
        str,
        typer.Option(
            help="limbwise, limbwise-detector (boxes of people), lite-hrnet (a second stage), "
            "limbwise-person (one told prior keypoints) or lightweight-openpose."
        ),
    ] = "limbwise",
    stages: Annotated[
        int | None, typer.Option(min=0, help="Refinement stages of lightweight-openpose.")
    ] = None,
    boxes: Annotated[
        bool, typer.Option("--boxes", help="limbwise finds people as boxes too.")
    ] = False,
    init: Annotated[
        str | None,
        typer.Option(help="imagenet, bundled, mobilenet:FILE, or a checkpoint to go on from."),
    ] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Take up the run in --out.")] = False,
    epochs: Annotated[float, typer.Option(min=0.001)] = 30.0,
    steps: Annotated[int | None, typer.Option(min=1, help="Instead of --epochs.")] = None,
    batch_size: Annotated[int, typer.Option("--batch-size", min=1)] = 64,
    accumulate: Annotated[int, typer.Option(min=1, help="Batches to a step.")] = 1,
    optimizer: Annotated[str, typer.Option(help="adamw or muon.")] = "adamw",
    lr: Annotated[float, typer.Option(min=0.0)] = 2e-3,
    trunk_lr: Annotated[
        float,
        typer.Option("--trunk-lr", min=0.0, help="What pretrained layers learn at, times --lr."),
    ] = 0.5,
    decay: Annotated[
        float, typer.Option(min=0.0, max=1.0, help="Share of the steps in which the rate falls.")
    ] = 1.0,
    warmup: Annotated[int, typer.Option(min=0, help="Steps to the full learning rate.")] = 500,
    ema: Annotated[float, typer.Option(min=0.0, max=1.0, help="Decay of the average.")] = 0.9995,
    size: Annotated[
        int | None, typer.Option(min=32, help="Height of the crops; 368, of one person 160.")
    ] = None,
    augment: Annotated[
        list[str] | None,
        typer.Option("--augment", help="NAME=VALUE of train/dice.py, such as mosaic=0; repeat."),
    ] = None,
    sigmas: Annotated[
        Path | None, typer.Option("--sigmas", help="JSON: names of own keypoints to OKS sigmas.")
    ] = None,
    device: Annotated[str | None, typer.Option(help="cpu or cuda; the best if absent.")] = None,
    amp: Annotated[
        bool, typer.Option("--amp", help="Compute in bf16, where the device can.")
    ] = False,
    compile_: Annotated[bool, typer.Option("--compile", help="torch.compile.")] = False,
    native: Annotated[
        bool,
        typer.Option(
            "--native", help="On CPUs: compile a faster backward pass (needs a C++ compiler)."
        ),
    ] = False,
    freeze: Annotated[
        int,
        typer.Option(min=0, max=6, help="Stages of the pretrained trunk that stay as they are."),
    ] = 0,
    teacher: Annotated[
        Path | None, typer.Option("--teacher", help="A model file whose heatmaps are learnt too.")
    ] = None,
    found: Annotated[
        Path | None,
        typer.Option(
            "--found", help="For limbwise-person: what `limbwise eval --detections` found."
        ),
    ] = None,
    workers: Annotated[int | None, typer.Option(min=1, help="Threads that decode.")] = None,
    room: Annotated[
        float | None,
        typer.Option(
            min=0, help="GB for decoded pictures, if they fit; half of the memory if absent."
        ),
    ] = None,
    seed: Annotated[int, typer.Option()] = 0,
    log_every: Annotated[int, typer.Option("--log-every", min=1, help="Steps.")] = 20,
    save_every: Annotated[int, typer.Option("--save-every", min=1, help="Steps.")] = 500,
    validate_every: Annotated[
        int, typer.Option("--validate-every", help="Steps; 0: at the end.")
    ] = 0,
    out: Annotated[Path, typer.Option(help="Folder for checkpoints and the log.")] = Path(
        "runs/new"
    ),
) -> None:
    """Train a network on COCO keypoint labels; checkpoints, log.jsonl and TensorBoard in --out."""
    need_torch()
    check_order(annotations, images)
    from ..train.run import Data, train

    keep_freed_memory()
    pairs = [(str(annotations), str(images)), *map(_pair, also or [])]
    labels, places = zip(*pairs, strict=True)
    started = init if init and Path(init.removeprefix("mobilenet:")).is_file() else None
    check_places(
        [*labels, *places, val_annotations, val_images, sigmas, found, *model_files(teacher),
         started and started.removeprefix("mobilenet:")],
        {f"--out, its {name}": out / name for name in WRITTEN},
    )  # fmt: skip
    data = Data(labels, places, val_annotations, val_images, sigmas, category)
    options: dict[str, Any] = {} if stages is None else {"refinement_stages": stages}
    if boxes and network != "limbwise":
        raise BadInput(f"--boxes goes with --network limbwise, not with {network}")
    options |= {"boxes": True} if boxes else {}
    with _reports(out) as (report, look):
        made = train(
            data, out, report, look=look, teacher=teacher, found=found, network=network,
            options=options, init=init, resume=resume, epochs=epochs, steps=steps,
            batch_size=batch_size, accumulate=accumulate, optimizer=optimizer, lr=lr,
            trunk_lr=trunk_lr, decay=decay, warmup=warmup, ema=ema, size=size,
            settings=_augment(augment or []), device=device, amp=amp, compile=compile_,
            native=native, freeze=freeze, workers=workers, seed=seed, log_every=log_every,
            room=None if room is None else round(room * 1e9),
            save_every=save_every, validate_every=validate_every,
        )  # fmt: skip
    typer.echo(f"{out / 'last.safetensors'}: {made.training}")


def keep_freed_memory() -> None:
    """glibc would give every step's tensors back and be given them again, cleared page by page: a
    tenth of a step on a CPU (docs/log.md). Other C libraries are left alone."""
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None) if os.name == "posix" else None
    if mallopt:
        mallopt(ctypes.c_int(-4), ctypes.c_int(0))  # M_MMAP_MAX
        mallopt(ctypes.c_int(-1), ctypes.c_int(2**31 - 1))  # M_TRIM_THRESHOLD


def _pair(text: str) -> tuple[str, str]:
    annotations, colon, images = text.partition(":")
    if not colon:
        raise BadInput(f"--also {text} is not ANNOTATIONS:IMAGES")
    return annotations, images


def _augment(changes: Sequence[str]) -> "Augment":
    """The settings with some changed: "mosaic=0", "person=0.1,1.2"."""
    from ..train.batches.augmentation import Augment

    defaults = vars(Augment())
    changed: dict[str, Any] = {}
    for text in changes:
        name, _, value = text.partition("=")
        try:
            numbers = tuple(float(part) for part in value.split(","))
            several = isinstance(defaults[name], tuple)
            if len(numbers) != (len(defaults[name]) if several else 1):
                raise ValueError
        except (KeyError, ValueError) as error:
            raise BadInput(f"--augment {text}: known are {', '.join(defaults)}") from error
        changed[name] = numbers if several else numbers[0]
    return Augment(**changed)


@contextmanager
def _reports(out: Path) -> "Iterator[tuple[Report, Look | None]]":
    """What is told of a run: a bar on the terminal, log.jsonl, TensorBoard where it is there; of
    several processes that torchrun started, the first tells."""
    if os.environ.get("RANK", "0") != "0":
        yield lambda step, figures: None, None
        return
    from ..atomic import check_writable
    from ..backends.base import has
    from ..train.board import board
    from ..train.loop import log_to

    out.parent.mkdir(parents=True, exist_ok=True)
    check_writable(out.parent / "log.jsonl")
    out.mkdir(exist_ok=True)
    log = log_to(out / "log.jsonl")
    chart, look = board(out) if has("tensorboard") else (None, None)
    columns = TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn()
    with Progress(*columns, TimeRemainingColumn(), console=stderr) as bar:
        task = bar.add_task("steps", total=None)

        def report(step: int, figures: dict[str, float]) -> None:
            log(step, figures)
            if chart:
                chart(step, figures)
            told = ", ".join(f"{key} {value:.4g}" for key, value in figures.items())
            bar.update(task, completed=step, description=told)

        yield report, look


@failing_in_one_line()
def check_data(
    annotations: Annotated[Path, typer.Argument(help="A COCO keypoint file.")],
    images: Annotated[Path, typer.Argument(help="The folder (or .tar) of its pictures.")],
    page: Annotated[Path, typer.Option(help="Pictures with drawn labels.", **PLACE)] = Path(
        "check-data.html"
    ),
    shown: Annotated[int, typer.Option(min=0, help="Pictures on the page.")] = 24,
    category: CategoryOption = None,
) -> None:
    """Count what is labelled, name what is wrong, and draw labels and targets on a page."""
    need_torch()
    check_order(annotations, images)
    from ..train.check_data import check_data

    check_places([annotations, images], {"--page": page})

    def bar(items: Sequence[Any]) -> Iterator[Any]:
        return progress(items, len(items), "pictures")

    report = check_data(annotations, images, page, shown=shown, progress=bar, category=category)
    typer.echo(
        f"{report.pictures} pictures ({report.empty_pictures} without people), "
        f"{report.people} people with keypoints, {report.regions} regions of people without"
    )
    for name, states in report.keypoints.items():
        typer.echo(
            f"  {name:16} " + ", ".join(f"{count} {state}" for state, count in states.items())
        )
    typer.echo("long sides in pixels: " + ", ".join(f"{k}: {n}" for k, n in report.sizes.items()))
    for fault in report.faults:
        typer.echo(f"image {fault.image_id}, annotation {fault.annotation_id}: {fault.text}")
    typer.echo(f"{len(report.faults)} faults; the page is {page}")


@failing_in_one_line()
def export(
    checkpoint: Annotated[Path, typer.Argument(help="A .safetensors or .pth file.")],
    out: Annotated[Path, typer.Argument(help="OUT.onnx, or OUT.xml for OpenVINO.")],
    size: SizeOption = None,
    fp16: Annotated[bool, typer.Option("--fp16", help="Weights in half the space.")] = False,
    int8: Annotated[
        bool, typer.Option("--int8", help="Quantise; written only if it finds people as before.")
    ] = False,
    calibration: Annotated[
        Path | None, typer.Option("--calibration", help="For --int8: a folder of pictures.")
    ] = None,
    annotations: Annotated[
        Path | None, typer.Option("--annotations", help="Their COCO labels, to measure AP.")
    ] = None,
    model: Annotated[
        Path | None,
        typer.Option(
            "--model", help="For --int8 of a second stage: what finds the people in them."
        ),
    ] = None,
    max_drop: Annotated[
        float,
        typer.Option(
            "--max-drop", callback=finite, help="What int8 may cost, in per cent of AP or OKS."
        ),
    ] = 0.5,
    limit: Annotated[int, typer.Option("--limit", min=1, help="Pictures for --int8.")] = 300,
    category: CategoryOption = None,
) -> None:
    """Write CHECKPOINT as a model file that runs without PyTorch."""
    need_torch()
    reads = [checkpoint, calibration, annotations, *model_files(model)]
    check_places(reads, {"OUT": out})
    if int8:
        if calibration is None:
            raise BadInput("--int8 needs --calibration FOLDER, pictures to learn the ranges from")
        from ..export.int8 import quantise

        first = load_pair(model, person=False, precision="f32")[0] if model else None
        done = quantise(
            checkpoint, out, calibration, annotations, first=first, max_drop=max_drop,
            height=size, limit=limit, category=category,
        )  # fmt: skip
        typer.echo(f"{out}: {done.measure} {done.before:.2f} in float, {done.after:.2f} in int8")
        return
    from ..export.onnx import export as write

    difference = write(checkpoint, out, size, fp16)
    typer.echo(f"{out}: differs from PyTorch by {difference:.1g} at most")
