"""The command line: one function per verb. `limbwise --help` lists them.

What a user can mend ends in one line on stderr and exit code 2; Ctrl-C finishes the files and ends
with 130.
"""

import json
import signal
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, closing
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

from . import __version__
from .atomic import check_writable, write_json
from .cli_bench import bench
from .cli_options import (
    ModelOption,
    PersonOption,
    Precision,
    PrecisionOption,
    RefineOption,
    RuntimeName,
    RuntimeOption,
    SizeOption,
    ThreadsOption,
    person_wanted,
)
from .cli_serve import serve
from .cli_train import check_data, export, train
from .draw import draw
from .errors import BadInput
from .estimator import MIN_SCORE, Estimator, load, load_pair
from .pipeline import Stats, flow
from .pose import Pose
from .terminal import complain, failing_in_one_line, progress, stderr
from .track import Tracker
from .video import Frame, count, frames, is_live
from .writers import Result, open_writer

app = typer.Typer(
    name="limbwise", no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False
)


class Format(StrEnum):
    jsonl = "jsonl"
    openpose = "openpose"
    coco = "coco"
    csv = "csv"


@app.callback(invoke_without_command=True)
def options(version: Annotated[bool, typer.Option("--version", help="Show it.")] = False) -> None:
    """The skeleton of every person in a picture, in real time, on a plain CPU."""
    if version:
        typer.echo(f"limbwise {__version__}")
        raise typer.Exit


@app.command()
@failing_in_one_line()
def run(
    source: Annotated[
        list[str],
        typer.Argument(help="Pictures, folders, patterns, videos, URLs, a camera number, or -."),
    ],
    model: ModelOption = None,
    person_model: PersonOption = None,
    refine: RefineOption = None,
    runtime: RuntimeOption = RuntimeName.openvino,
    size: SizeOption = None,
    precision: PrecisionOption = Precision.fast,
    threads: ThreadsOption = None,
    save: Annotated[
        Path | None,
        typer.Option("--save", help="Drawn pictures: .mp4 .gif .webp .png .jpg or a folder."),
    ] = None,
    json_path: Annotated[
        str | None, typer.Option("--json", help="Keypoints to this file or folder; - is stdout.")
    ] = None,
    format: Annotated[  # noqa: A002 - the option's name
        Format, typer.Option("--format", help="How --json is written.")
    ] = Format.jsonl,
    show: Annotated[
        bool, typer.Option("--show", help="A window: Esc quits, p pauses, space steps, s saves.")
    ] = False,
    boxes: Annotated[bool, typer.Option("--boxes", help="Draw a box round each person.")] = False,
    track: Annotated[
        bool, typer.Option("--track/--no-track", help="In videos: give people ids that stay.")
    ] = True,
    smooth: Annotated[
        bool, typer.Option("--smooth/--no-smooth", help="Calm the keypoints of the tracked.")
    ] = True,
    max_people: Annotated[int | None, typer.Option("--max-people", min=1)] = None,
    min_score: Annotated[
        float, typer.Option("--min-score", help="Leave out people below it (0 to 1).")
    ] = MIN_SCORE,
    fps: Annotated[
        float | None,
        typer.Option("--fps", min=0.1, help="Largest --size that keeps this rate here; measured."),
    ] = None,
    stats: Annotated[
        bool, typer.Option("--stats", help="At the end: rate, latency, frames dropped.")
    ] = False,
    patience: Annotated[
        float,
        typer.Option("--patience", min=0.0, help="Seconds that a broken stream is tried again."),
    ] = 60.0,
) -> None:
    """Find the people in SOURCE; JSON lines to stdout unless --save, --json or --show."""
    estimate = load(
        model, person=person_wanted(person_model, refine), runtime=runtime.value,
        precision=precision.value, threads=threads, height=size, max_people=max_people,
        min_score=min_score,
    )  # fmt: skip
    if fps:
        _choose_height(estimate, fps)
    if json_path is None and save is None and not show:
        json_path = "-"
    sources: list[str] = source
    with ExitStack() as stack:
        outputs = _outputs(stack, save, json_path, format.value, show, boxes)
        bad: list[BadInput] = []
        frames_ = frames(
            sources if len(sources) > 1 else sources[0], on_bad=_reporter(bad), patience=patience
        )
        quiet = json_path == "-" and sys.stdout.isatty()
        live = is_live(sources) and "-" not in sources  # whoever sends to stdin can wait
        total = None if quiet or is_live(sources) else count(sources)
        follow = _follower(smooth) if track else lambda frame, poses: poses
        taken = Stats()
        if stats:
            stack.callback(lambda: stderr.print(str(taken), highlight=False, soft_wrap=True))
        seen = stack.enter_context(closing(flow(frames_, estimate, live=live, stats=taken)))
        for frame, poses in progress(seen, total, "frames", quiet):
            if not outputs(frame, follow(frame, poses)):
                break
    if bad:
        raise typer.Exit(2)


def _choose_height(estimate: Estimator, fps: float) -> None:
    from .bench import height_for
    from .estimator import SAMPLE
    from .picture import read_picture

    estimate.height, taken = height_for(estimate, read_picture(SAMPLE), fps)
    stderr.print(
        f"limbwise: --fps {fps:g}: input height {estimate.height}, {taken:.1f} ms a frame",
        highlight=False,
    )


def _reporter(bad: list[BadInput]) -> Callable[[BadInput], None]:
    def report(error: BadInput) -> None:
        bad.append(error)
        complain(error)

    return report


def _follower(smooth: bool) -> Callable[[Frame, list[Pose]], list[Pose]]:
    """Gives people ids, with a tracker of its own for each source; pictures are not tracked."""
    trackers: dict[str, Tracker] = {}

    def follow(frame: Frame, poses: list[Pose]) -> list[Pose]:
        if frame.path is not None:
            return poses
        tracker = trackers.setdefault(frame.source, Tracker(smooth=smooth))
        return tracker.update(poses, frame.time)

    return follow


def _outputs(
    stack: ExitStack, save: Path | None, json_path: str | None, form: str, show: bool, boxes: bool
) -> Callable[[Frame, list[Pose]], bool]:
    """A function that gives a frame and its poses to all outputs; False once a window closed."""
    from .recorder import Recorder
    from .window import Window

    writer = stack.enter_context(open_writer(json_path, form)) if json_path else None
    recorder = stack.enter_context(Recorder(save)) if save else None
    window = stack.enter_context(Window()) if show else None

    def output(frame: Frame, poses: list[Pose]) -> bool:
        if writer:
            writer.add(_result(frame, poses))
        picture = (
            draw(frame.image, poses, ids=True, boxes=boxes) if recorder or window else frame.image
        )
        if recorder:
            film = frame.source if save and save.suffix else None  # folders number a film's frames
            recorder.add(picture, frame.time, frame.path or film)
        return window.show(picture) if window else True

    return output


def _result(frame: Frame, poses: list[Pose]) -> Result:
    height, width = frame.image.shape[:2]
    still = frame.path is not None
    return Result(frame.source, frame.index, frame.time, width, height, poses, picture=still)


@app.command("eval")
@failing_in_one_line()
def evaluate(
    annotations: Annotated[Path, typer.Argument(help="A COCO keypoint file.")],
    images: Annotated[Path, typer.Argument(help="The folder of its pictures.")],
    model: ModelOption = None,
    person_model: PersonOption = None,
    refine: RefineOption = None,
    runtime: RuntimeOption = RuntimeName.openvino,
    size: SizeOption = 368,
    precision: PrecisionOption = Precision.f32,
    threads: ThreadsOption = None,
    flip: Annotated[
        bool, typer.Option("--flip", help="Average with the mirrored picture.")
    ] = False,
    scales: Annotated[str, typer.Option("--scales", help="Average over sizes: 0.5,1,1.5,2.")] = "1",
    detections: Annotated[
        Path | None, typer.Option("--detections", help="Write the poses as COCO results.")
    ] = None,
    metrics: Annotated[
        Path | None, typer.Option("--metrics", help="Write AP, AR, ... as JSON.")
    ] = None,
    limit: Annotated[int | None, typer.Option("--limit", min=1, help="First N pictures.")] = None,
) -> None:
    """COCO keypoint AP and AR of a model on labelled pictures."""
    from .train.evaluate import evaluate as measure

    looks = load_pair(
        model, person=person_wanted(person_model, refine), runtime=runtime.value,
        precision=precision.value, threads=threads,
    )  # fmt: skip
    outputs = [path for path in (detections, metrics) if path]
    for path in outputs:  # known before the work, not after it
        check_writable(path)

    def bar(entries: Sequence[dict[str, Any]]) -> Iterator[dict[str, Any]]:
        return progress(entries, len(entries), "pictures")

    found, people = measure(
        looks[0], annotations, images, person=looks[1], height=size, flip=flip,
        scales=_numbers(scales), limit=limit, progress=bar,
    )  # fmt: skip
    for place, content in ((detections, people), (metrics, found)):
        if place:
            write_json(place, content)
    typer.echo(json.dumps(found, indent=2))


def _numbers(text: str) -> list[float]:
    try:
        numbers = [float(part) for part in text.split(",")]
    except ValueError:
        numbers = []
    if not numbers or min(numbers) <= 0:
        raise BadInput(f"--scales {text} is not a list of positive numbers such as 0.5,1,1.5")
    return numbers


app.command()(export)
app.command()(bench)
app.command()(serve)
app.command()(train)
app.command()(check_data)


def _interrupt(*_: object) -> None:
    raise KeyboardInterrupt


def main() -> None:
    """The console command."""
    signal.signal(signal.SIGTERM, _interrupt)
    app()


def exit_code(args: list[str]) -> int:
    """Runs `limbwise ARGS`."""
    try:
        app(args=args)
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else 0
    return 0
