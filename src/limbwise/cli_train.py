"""The training verbs of the command line; PyTorch is imported when one of them runs."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from .runtime import need_torch
from .terminal import failing_in_one_line, progress, stderr


@failing_in_one_line()
def train(
    annotations: Annotated[Path, typer.Argument(help="A COCO keypoint file.")],
    images: Annotated[Path, typer.Argument(help="The folder (or .tar) of its pictures.")],
    val_annotations: Annotated[
        Path | None, typer.Option("--val-annotations", help="Labels to measure AP on.")
    ] = None,
    val_images: Annotated[Path | None, typer.Option("--val-images")] = None,
    network: Annotated[str, typer.Option(help="limbwise or lightweight-openpose.")] = "limbwise",
    init: Annotated[
        str | None, typer.Option(help="imagenet, or a checkpoint to go on from.")
    ] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Take up the run in --out.")] = False,
    epochs: Annotated[float, typer.Option(min=0.001)] = 30.0,
    batch_size: Annotated[int, typer.Option("--batch-size", min=1)] = 64,
    accumulate: Annotated[int, typer.Option(min=1, help="Batches to a step.")] = 1,
    lr: Annotated[float, typer.Option(min=0.0)] = 2e-3,
    size: Annotated[int, typer.Option(min=32, help="Side of the crops in pixels.")] = 368,
    device: Annotated[str | None, typer.Option(help="cpu or cuda; the best if absent.")] = None,
    amp: Annotated[bool, typer.Option("--amp", help="Compute in bf16.")] = False,
    compile_: Annotated[bool, typer.Option("--compile", help="torch.compile.")] = False,
    seed: Annotated[int, typer.Option()] = 0,
    validate_every: Annotated[
        int, typer.Option("--validate-every", help="Steps; 0: at the end.")
    ] = 0,
    out: Annotated[Path, typer.Option(help="Folder for checkpoints and the log.")] = Path(
        "runs/new"
    ),
) -> None:
    """Train a network on COCO keypoint labels; checkpoints and log.jsonl come to lie in --out."""
    need_torch()
    from .atomic import check_writable
    from .train.loop import log_to
    from .train.run import Data, train

    out.parent.mkdir(parents=True, exist_ok=True)
    check_writable(out.parent / "log.jsonl")
    out.mkdir(exist_ok=True)
    log = log_to(out / "log.jsonl")
    columns = TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn()
    with Progress(*columns, TimeRemainingColumn(), console=stderr) as bar:
        task = bar.add_task("steps", total=None)

        def report(step: int, figures: dict[str, float]) -> None:
            log(step, figures)
            told = ", ".join(f"{key} {value:.4g}" for key, value in figures.items())
            bar.update(task, completed=step, description=told)

        made = train(
            Data([annotations], [images], val_annotations, val_images), out, report,
            network=network, init=init, resume=resume, epochs=epochs, batch_size=batch_size,
            accumulate=accumulate, lr=lr, size=size, device=device, amp=amp, compile=compile_,
            seed=seed, validate_every=validate_every,
        )  # fmt: skip
    typer.echo(f"{out / 'last.safetensors'}: {made.training}")


@failing_in_one_line()
def check_data(
    annotations: Annotated[Path, typer.Argument(help="A COCO keypoint file.")],
    images: Annotated[Path, typer.Argument(help="The folder (or .tar) of its pictures.")],
    page: Annotated[Path, typer.Option(help="Pictures with drawn labels.")] = Path(
        "check-data.html"
    ),
    shown: Annotated[int, typer.Option(min=0, help="Pictures on the page.")] = 24,
) -> None:
    """Count what is labelled, name what is wrong, and draw labels and targets on a page."""
    need_torch()
    from .train.check_data import check_data

    def bar(items: Sequence[Any]) -> Iterator[Any]:
        return progress(items, len(items), "pictures")

    report = check_data(annotations, images, page, shown=shown, progress=bar)
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
