"""The command line: one function per verb. `limbwise --help` lists them.

What a user can mend ends in one line on stderr and exit code 2; Ctrl-C finishes the files and ends
with 130.
"""

import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Annotated, Any

import typer

from .. import __version__
from ..atomic import check_writable, is_stdout, write_json
from ..errors import BadInput
from ..estimator import MIN_SCORE, Estimator, load, load_pair
from ..interrupts import listen
from ..models.catalogue import CATALOGUE
from ..outputs.outputs import Outputs, chosen_format
from ..pace import Paced, described
from ..pipeline import Stats, flow
from ..places import check_places
from ..pose import Pose
from ..sources.frames import Frame, count, files, frames, is_live, is_pipe
from ..track import Tracker
from .bench import bench, models
from .environment import prepare
from .options import (
    PLACE,
    CategoryOption,
    FormatOption,
    MinScoreOption,
    ModelOption,
    PersonOption,
    Precision,
    PrecisionOption,
    RefineOption,
    RuntimeName,
    RuntimeOption,
    SizeOption,
    ThreadsOption,
    finite,
    model_files,
    not_empty,
    person_wanted,
)
from .page import page
from .serve import serve
from .terminal import (
    Reports,
    failing_in_one_line,
    progress,
    stderr,
    stdout_is_terminal,
)
from .train import check_data, export, train

app = typer.Typer(
    name="limbwise", no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False
)


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
        typer.Option(
            "--save", help="Drawn pictures: .mp4 .gif .webp .png .jpg or a folder.", **PLACE
        ),
    ] = None,
    json_path: Annotated[
        str | None,
        typer.Option(
            "--json", help="Keypoints to this file or folder; - is stdout.", callback=not_empty
        ),
    ] = None,
    format: FormatOption = None,  # noqa: A002 - the option's name
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
    min_score: MinScoreOption = MIN_SCORE,
    fps: Annotated[
        float | None,
        typer.Option(
            "--fps",
            min=0.1,
            callback=finite,
            help="The best model and --size that keep this rate here; measured, and held.",
        ),
    ] = None,
    stats: Annotated[
        bool, typer.Option("--stats", help="At the end: rate, latency, frames dropped.")
    ] = False,
    patience: Annotated[
        float,
        typer.Option(
            "--patience",
            min=0.0,
            callback=finite,
            help="Seconds that a silent pipe is waited for and a broken stream is tried again.",
        ),
    ] = 60.0,
) -> None:
    """Find the people in SOURCE; JSON lines to stdout unless --save, --json or --show."""
    sources: list[str] = source
    to_stdout = json_path is None and save is None and not show
    if format and json_path is None and not to_stdout:
        raise BadInput("--format says how --json is written: name a place with --json, too")
    json_path = "-" if to_stdout else json_path
    form = chosen_format(json_path or "-", format and format.value)
    inputs = files(sources)
    check_places([*inputs, *model_files(model, person_model)], _writes(save, json_path, form))
    with ExitStack() as stack:
        outputs = stack.enter_context(
            Outputs(save, json_path, form, show=show, boxes=boxes, inputs=inputs)
        )
        estimate = load(
            model, person=person_wanted(person_model, refine), runtime=runtime.value,
            precision=precision.value, threads=threads, height=size, max_people=max_people,
            min_score=min_score,
        )  # fmt: skip
        way: Estimator | Paced = estimate
        if fps:
            default = model is None and size is None and refine is None and not person_model
            way = _paced(estimate, fps, list(CATALOGUE) if default else [])
        bad = stack.enter_context(Reports())
        frames_ = frames(sources if len(sources) > 1 else sources[0], on_bad=bad, patience=patience)
        quiet = is_stdout(json_path or "") and stdout_is_terminal()
        live = is_live(sources) and not is_pipe(sources)  # whoever sends into a pipe can wait
        total = None if quiet or is_live(sources) else count(sources)
        follow = _follower(smooth) if track else lambda frame, poses: poses
        taken = Stats()
        if stats:
            stack.callback(lambda: stderr.print(str(taken), highlight=False, soft_wrap=True))
        seen = stack.enter_context(closing(flow(frames_, way, live=live, stats=taken)))
        for frame, poses in progress(seen, total, "frames", quiet):
            if not outputs(frame, follow(frame, poses)):
                break
    if bad.count:
        raise typer.Exit(2)


def _writes(save: Path | None, json_path: str | None, form: str) -> dict[str, str | Path | None]:
    """The outputs by their options. Drawings and OpenPose's files may share a folder."""
    shared = form == "openpose" and save is not None and not save.suffix
    return {"--save": save, "--json": None if shared else json_path}


def _paced(estimate: Estimator, fps: float, models: list[str]) -> Paced:
    """The estimator at smaller and smaller sizes, or the bundled `models` one after another."""
    from ..bench import HEIGHTS
    from ..estimator import SAMPLE
    from ..sources.image import read_picture

    def tell(text: str) -> None:
        stderr.print(f"limbwise: {text}", highlight=False, soft_wrap=True)

    loaded = estimate.made_by or {}
    rungs = [estimate, *(load(**{**loaded, "model": name}) for name in models[1:])]
    last = rungs[-1]
    rungs += [last.at(height) for height in reversed(HEIGHTS) if height < last.height]
    paced = Paced(rungs, fps, tell)
    taken = paced.start(read_picture(SAMPLE))
    tell(f"--fps {fps:g}: {described(paced.estimate)}, {taken:.1f} ms a frame")
    return paced


def _follower(smooth: bool) -> Callable[[Frame, list[Pose]], list[Pose]]:
    """Gives people ids, with a tracker of its own for each source; pictures are not tracked."""
    trackers: dict[str, Tracker] = {}

    def follow(frame: Frame, poses: list[Pose]) -> list[Pose]:
        if frame.path is not None:
            return poses
        tracker = trackers.setdefault(frame.source, Tracker(smooth=smooth))
        return tracker.update(poses, frame.time)

    return follow


@app.command("eval")
@failing_in_one_line()
def evaluate(
    annotations: Annotated[Path, typer.Argument(help="A COCO keypoint file.")],
    images: Annotated[Path, typer.Argument(help="The folder of its pictures.")],
    model: ModelOption = None,
    person_model: PersonOption = None,
    refine: RefineOption = None,
    runtime: RuntimeOption = RuntimeName.openvino,
    size: SizeOption = None,
    precision: PrecisionOption = Precision.f32,
    threads: ThreadsOption = None,
    flip: Annotated[
        bool, typer.Option("--flip", help="Average with the mirrored picture.")
    ] = False,
    scales: Annotated[str, typer.Option("--scales", help="Average over sizes: 0.5,1,1.5,2.")] = "1",
    detections: Annotated[
        Path | None,
        typer.Option("--detections", help="Write the poses as COCO results.", **PLACE),
    ] = None,
    metrics: Annotated[
        Path | None, typer.Option("--metrics", help="Write AP, AR, ... as JSON.", **PLACE)
    ] = None,
    limit: Annotated[int | None, typer.Option("--limit", min=1, help="First N pictures.")] = None,
    boxes: Annotated[
        bool, typer.Option("--boxes", help="AP of people's boxes, and recall, instead.")
    ] = False,
    category: CategoryOption = None,
) -> None:
    """COCO keypoint AP and AR of a model on labelled pictures."""
    from ..evaluation.boxes import evaluate_boxes
    from ..evaluation.evaluate import evaluate as measure

    outputs = {"--detections": detections, "--metrics": metrics}
    check_places([annotations, images, *model_files(model, person_model)], outputs)
    for path in outputs.values():  # known before the work, not after it
        if path:
            check_writable(path, stream=True)
    factors = _numbers(scales)
    looks = load_pair(
        model, person=person_wanted(person_model, refine), runtime=runtime.value,
        precision=precision.value, threads=threads,
    )  # fmt: skip

    def bar(entries: Sequence[dict[str, Any]]) -> Iterator[dict[str, Any]]:
        return progress(entries, len(entries), "pictures")

    height = size or (None if looks[0].description.boxes else 368)
    how: dict[str, Any] = {
        "person": looks[1], "height": height, "limit": limit, "progress": bar, "category": category
    }  # fmt: skip
    if boxes and (flip or scales != "1"):
        raise BadInput("--boxes are found in one pass: leave out --flip and --scales")
    if boxes:
        found, people = evaluate_boxes(looks[0], annotations, images, **how)
    else:
        found, people = measure(looks[0], annotations, images, flip=flip, scales=factors, **how)
    for place, content in ((detections, people), (metrics, found)):
        if place:
            write_json(place, content)
    if not any(place and is_stdout(place) for place in outputs.values()):
        typer.echo(json.dumps(found, indent=2))


def _numbers(text: str) -> list[float]:
    try:
        numbers = [float(part) for part in text.split(",")]
    except ValueError:
        numbers = []
    if not numbers or not all(0.01 <= number <= 100 for number in numbers):
        raise BadInput(f"--scales {text} is not a list of numbers such as 0.5,1,1.5")
    return numbers


app.command()(export)
app.command()(bench)
app.command()(models)
app.command()(serve)
app.command()(page)
app.command()(train)
app.command()(check_data)


def main() -> None:
    """The console command."""
    listen()
    prepare()
    raise SystemExit(exit_code())


def exit_code(args: list[str] | None = None) -> int:
    """Runs `limbwise ARGS`; wrong options, too, are one line."""
    try:
        with failing_in_one_line():
            ended = app(args=args, prog_name="limbwise", standalone_mode=False)
    except SystemExit as end:
        ended = end.code
    return ended if isinstance(ended, int) else 0
