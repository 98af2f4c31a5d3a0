"""The verbs that need PyTorch, which is imported when one of them runs: train, check, export."""

import ctypes
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ..atomic import check_writable
from ..backends.base import need_torch
from ..checks import LARGEST_INPUT, shown
from ..errors import BadInput, nearest
from ..estimator import load_pair
from ..places import check_places
from ..train.config import Augment, TrainConfig, kinds
from .options import (
    MANY,
    PLACE,
    CategoryOption,
    check_order,
    finite,
    model_files,
    with_fields_of,
)
from .terminal import counting, failing_in_one_line, note, progress

# Into --out
WRITTEN = ("best.safetensors", "last.safetensors", "last.pth", "log.jsonl", "config.json")

if TYPE_CHECKING:
    from ..train.loop import Report, Run, Show


@failing_in_one_line()
@with_fields_of(TrainConfig, kinds)
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
    augment: Annotated[
        list[str] | None,
        typer.Option("--augment", help="NAME=VALUE of train/config.py, such as mosaic=0; repeat."),
    ] = None,
    sigmas: Annotated[
        Path | None, typer.Option("--sigmas", help="JSON: names of own keypoints to OKS sigmas.")
    ] = None,
    out: Annotated[Path, typer.Option(help="Folder for checkpoints and the log.")] = Path(
        "runs/new"
    ),
    **settings: Any,
) -> None:
    """Train a network on COCO keypoint labels; checkpoints, log.jsonl and TensorBoard in --out."""
    need_torch()
    check_order(annotations, images)
    from ..train.run import Data, prepare

    config = TrainConfig(**settings, augment=_augment(augment or []))
    keep_freed_memory()
    pairs = [(str(annotations), str(images)), *map(_pair, also or [])]
    labels, places = zip(*pairs, strict=True)
    init = (config.init or "").removeprefix("mobilenet:")
    check_places(
        [*labels, *places, val_annotations, val_images, sigmas, config.found,
         *model_files(Path(config.teacher) if config.teacher else None),
         init if init and Path(init).is_file() else None],
        {f"--out, its {name}": out / name for name in WRITTEN},
    )  # fmt: skip
    out.parent.mkdir(parents=True, exist_ok=True)
    check_writable(out.parent / "log.jsonl")
    data = Data(labels, places, val_annotations, val_images, sigmas, category)
    prepared = prepare(data, out, replace(config, resume=_goes_on(config.resume, out)))
    with _reports(out, prepared.run) as (report, show):
        made = prepared.train(report, show)
    typer.echo(f"{out / 'last.safetensors'}: {made.training}")


def _goes_on(resume: bool, out: Path) -> bool:
    """torchrun begins lost processes anew by the same command: what was saved is taken up, and at
    the very first there is nothing."""
    elastic = "TORCHELASTIC_RUN_ID" in os.environ
    return resume and (not elastic or (out / "last.pth").is_file())


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


def _augment(changes: Sequence[str]) -> Augment:
    """The settings with some changed: "mosaic=0", "person=0.1,1.2"."""
    defaults = vars(Augment())
    changed: dict[str, Any] = {}
    for text in changes:
        name, _, value = text.partition("=")
        if name not in defaults:
            raise BadInput(f"--augment {text}: {nearest(name, defaults)}")
        count = len(defaults[name]) if isinstance(defaults[name], tuple) else 1
        try:
            numbers = tuple(float(part) for part in value.split(","))
        except ValueError:
            numbers = ()
        if len(numbers) != count or not all(0 <= number <= 1e4 for number in numbers):
            expected = "a number" if count == 1 else f"{count} numbers with a comma between"
            expected += ", from 0 to 10000"
            raise BadInput(f"--augment {text}: {name} is {expected}")
        changed[name] = numbers if count > 1 else numbers[0]
    return Augment(**changed)


@contextmanager
def _reports(out: Path, run: "Run") -> "Iterator[tuple[Report, Show | None]]":
    """What is shown of a run: a bar or lines, log.jsonl, TensorBoard where it is there; of several
    processes that torchrun started, the first shows it."""
    if run.rank:
        yield lambda step, figures: None, None
        return
    from ..backends.base import has
    from ..train.board import board
    from ..train.logs import log_to

    log = log_to(out / "log.jsonl", run.step)
    chart, pictures = board(out, run.step) if has("tensorboard") else (None, None)
    its = run.schedule
    note(
        f"{run.made.description.name}, steps {run.step} to {its.steps}, each of "
        f"{run.config.batch_size * run.config.accumulate}; learning rate {its.lr:g}, which rises "
        f"for {its.warmup} steps"
    )
    with counting(run.step, its.steps, "steps") as show:

        def report(step: int, figures: dict[str, float]) -> None:
            log(step, figures)
            if chart and figures:
                chart(step, figures)
            show(step, ", ".join(f"{key} {value:.4g}" for key, value in figures.items()))

        yield report, pictures


@failing_in_one_line()
def check_data(
    annotations: Annotated[Path, typer.Argument(help="A COCO keypoint file.")],
    images: Annotated[Path, typer.Argument(help="The folder (or .tar) of its pictures.")],
    page: Annotated[Path, typer.Option(help="Pictures with drawn labels.", **PLACE)] = Path(
        "check-data.html"
    ),
    shown: Annotated[int, typer.Option(min=0, max=10_000, help="Pictures on the page.")] = 24,
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
    out: Annotated[
        Path,
        typer.Argument(help="OUT.onnx, OUT.xml (OpenVINO), .tflite, .param (NCNN) or .mlpackage."),
    ],
    size: Annotated[
        str | None,
        typer.Option(
            "--size", help="Pixels of the input's height; for phones a side, or HEIGHTxWIDTH."
        ),
    ] = None,
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
            "--max-drop",
            min=-1000,
            max=1000,
            callback=finite,
            help="What int8 may cost, in per cent of AP or OKS.",
        ),
    ] = 0.5,
    limit: Annotated[
        int, typer.Option("--limit", min=1, max=MANY, help="Pictures for --int8.")
    ] = 300,
    category: CategoryOption = None,
) -> None:
    """Write CHECKPOINT as a model file that runs without PyTorch."""
    need_torch()
    reads = [checkpoint, calibration, annotations, *model_files(model)]
    check_places(reads, {"OUT": out})
    asked = _size(size, out)
    height = None if isinstance(asked, tuple) else asked
    if int8:
        if calibration is None:
            raise BadInput("--int8 needs --calibration FOLDER, pictures to learn the ranges from")
        from ..export.int8 import quantise

        first = load_pair(model, person=False, precision="f32")[0] if model else None
        done = quantise(
            checkpoint, out, calibration, annotations, first=first, max_drop=max_drop,
            height=height, limit=limit, category=category,
        )  # fmt: skip
        typer.echo(f"{out}: {done.measure} {done.before:.2f} in float, {done.after:.2f} in int8")
        return
    from ..export.mobile import ENDINGS, export_mobile
    from ..export.onnx import export as write

    if out.suffix in ENDINGS:
        apart = export_mobile(checkpoint, out, asked, fp16)
        check = "read by its own tools" if apart is None else f"differs from PyTorch by {apart:.1g}"
        typer.echo(f"{out}: {check}" + " at most" * (apart is not None))
        return
    difference = write(checkpoint, out, height, fp16)
    typer.echo(f"{out}: differs from PyTorch by {difference:.1g} at most")


def _size(text: str | None, out: Path) -> int | tuple[int, int] | None:
    """Of --size of an export: a number, or height and width, which are for phones."""
    if text is None:
        return None
    sides = text.split("x")
    if len(sides) > 2 or not all(side.isascii() and side.isdigit() for side in sides):
        raise BadInput(f"--size is a number of pixels, or HEIGHTxWIDTH, not {shown(text)}")
    numbers = [int(side) for side in sides if len(side) < 9]
    if len(numbers) < len(sides) or not all(32 <= side <= LARGEST_INPUT for side in numbers):
        raise BadInput(f"--size is from 32 to {LARGEST_INPUT} pixels, not {shown(text)}")
    if len(numbers) == 1:
        return numbers[0]
    from ..export.mobile import ENDINGS

    if out.suffix not in ENDINGS:
        raise BadInput(
            f"--size {text} is for phones: {out.suffix} files take pictures of any width"
        )
    return numbers[0], numbers[1]
