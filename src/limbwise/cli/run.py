"""`limbwise run`: the people in pictures, films and streams, to files, drawings or a window."""

from collections.abc import Callable
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Annotated, Any

import typer

from ..atomic import is_stdout
from ..checks import MANY_PEOPLE
from ..errors import BadInput
from ..estimator import MIN_SCORE, Estimator, load
from ..follow import PATIENCE, Follower
from ..models.catalogue import CATALOGUE
from ..outputs.outputs import Outputs, chosen_format, named_format
from ..pace import Paced, described
from ..pipeline import Stats, flow, timed
from ..places import check_places
from ..pose import Pose
from ..processes import flow_in_processes
from ..sources.frames import Frame, are_files, count, files, frames, is_live, is_pipe
from .options import (
    FILM_PANEL,
    OUTPUT_PANEL,
    PLACE,
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
    person_choice,
)
from .terminal import Reports, failing_in_one_line, note, progress, stderr, stdout_is_terminal

Follow = Callable[[Frame, list[Pose]], list[Pose]]


@failing_in_one_line()
def run(
    source: Annotated[
        list[str],
        typer.Argument(help="Pictures, films, folders, patterns, URLs, a camera number, or -."),
    ],
    recursive: Annotated[
        bool, typer.Option("--recursive", "-r", help="Folders with the folders in them.")
    ] = False,
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
            "--save",
            help="Drawn: .mp4 .mkv .webm .avi .gif .webp .png .jpg or a folder.",
            **PLACE,
            rich_help_panel=OUTPUT_PANEL,
        ),
    ] = None,
    json_path: Annotated[
        str | None,
        typer.Option(
            "--json",
            help="Keypoints: .jsonl .json .csv .parquet, coco:FILE, openpose:FOLDER/; - is stdout.",
            callback=not_empty,
            rich_help_panel=OUTPUT_PANEL,
        ),
    ] = None,
    format: FormatOption = None,  # noqa: A002 - the option's name
    show: Annotated[
        bool,
        typer.Option(
            "--show",
            help="A window: Esc quits, p pauses, space steps, s saves.",
            rich_help_panel=OUTPUT_PANEL,
        ),
    ] = False,
    boxes: Annotated[
        bool,
        typer.Option("--boxes", help="Draw a box round each person.", rich_help_panel=OUTPUT_PANEL),
    ] = False,
    track: Annotated[
        bool,
        typer.Option(
            "--track/--no-track",
            help="In videos: give people ids that stay.",
            rich_help_panel=FILM_PANEL,
        ),
    ] = True,
    smooth: Annotated[
        bool,
        typer.Option(
            "--smooth/--no-smooth",
            help="Smooth the keypoints of tracked people.",
            rich_help_panel=FILM_PANEL,
        ),
    ] = True,
    max_people: Annotated[int | None, typer.Option("--max-people", min=1, max=MANY_PEOPLE)] = None,
    min_score: MinScoreOption = MIN_SCORE,
    fps: Annotated[
        float | None,
        typer.Option(
            "--fps",
            min=0.1,
            max=1000,
            callback=finite,
            help="The best model and --size that keep this rate here; measured, and held.",
            rich_help_panel=FILM_PANEL,
        ),
    ] = None,
    processes: Annotated[
        int | None,
        typer.Option(
            "--processes", min=1, max=1024, help="Of pictures: so many at once, a core each."
        ),
    ] = None,
    stats: Annotated[
        bool,
        typer.Option(
            "--stats",
            help="At the end: rate; of cameras latency and frames dropped.",
            rich_help_panel=FILM_PANEL,
        ),
    ] = False,
    patience: Annotated[
        float,
        typer.Option(
            "--patience",
            min=0.0,
            max=1e6,
            callback=finite,
            help="Seconds that a silent pipe is waited for and a broken stream is tried again.",
            rich_help_panel=FILM_PANEL,
        ),
    ] = PATIENCE,
) -> None:
    """Find the people in SOURCE; JSON lines to stdout unless --save, --json or --show."""
    sources: list[str] = source
    json_path, form = _keypoints_to(json_path, format and format.value, bool(save or show))
    inputs = files(sources, recursive=recursive)
    check_places([*inputs, *model_files(model, person_model)], _writes(save, json_path, form))
    with ExitStack() as stack:
        outputs = stack.enter_context(
            Outputs(save, json_path, form, show=show, boxes=boxes, inputs=inputs)
        )
        arguments: dict[str, Any] = {
            "model": model, "person": person_choice(person_model, refine), "runtime": runtime.value,
            "precision": precision.value, "threads": threads, "height": size,
            "max_people": max_people, "min_score": min_score,
        }  # fmt: skip
        bad = stack.enter_context(Reports())
        quiet = is_stdout(json_path or "") and stdout_is_terminal()
        live = is_live(sources) and not is_pipe(sources)  # whoever sends into a pipe can wait
        total = None if quiet or is_live(sources) else count(sources, recursive=recursive)
        follow: Follow = Follower(smooth=smooth) if track else lambda frame, poses: poses
        taken = Stats()
        if stats:
            stack.callback(lambda: stderr.print(str(taken), highlight=False, soft_wrap=True))
        if processes:
            its = flow_in_processes(
                _pictures(sources, inputs, fps), {**arguments, "threads": threads or 1}, processes,
                on_bad=bad, images=bool(save or show),
            )  # fmt: skip
            seen = stack.enter_context(closing(timed(its, taken)))
        else:
            estimate = load(**arguments)
            way: Estimator | Paced = estimate
            if fps:
                default = model is None and size is None and refine is None and not person_model
                way = paced(estimate, fps, list(CATALOGUE) if default else [])
            one = sources if len(sources) > 1 else sources[0]
            frames_ = frames(one, on_bad=bad, patience=patience, recursive=recursive)
            seen = stack.enter_context(closing(flow(frames_, way, live=live, stats=taken)))
        for frame, poses in progress(seen, total, "frames", quiet):
            if not outputs(frame, follow(frame, poses)):
                break
    if bad.count:
        raise typer.Exit(2)


def _keypoints_to(place: str | None, chosen: str | None, others: bool) -> tuple[str | None, str]:
    """Where the keypoints go, and in which format; to stdout where there are no `others`."""
    if chosen and place is None and others:
        raise BadInput("--format says how --json is written: name a place with --json, too")
    if place is None and others:
        return None, "jsonl"
    place, chosen = named_format(place or "-", chosen)
    return place, chosen_format(place, chosen)


def _writes(save: Path | None, json_path: str | None, form: str) -> dict[str, str | Path | None]:
    """The outputs by their options. Drawings and OpenPose's files may share a folder."""
    shared = form == "openpose" and save is not None and not save.suffix
    return {"--save": save, "--json": None if shared else json_path}


def _pictures(sources: list[str], inputs: list[Path], fps: float | None) -> list[Path]:
    """The files that several processes share; BadInput if there is more than pictures to do."""
    if fps:
        raise BadInput("--fps paces one process: leave out --processes, or --fps")
    if not are_files(sources):
        raise BadInput("--processes is for pictures in files, not for cameras, streams and pipes")
    return inputs


def paced(estimate: Estimator, fps: float, models: list[str]) -> Paced:
    """The estimator at smaller and smaller sizes, or the bundled `models` one after another."""
    from ..bench import HEIGHTS
    from ..estimator import SAMPLE
    from ..sources.image import read_picture

    loaded = estimate.made_by or {}
    rungs = [estimate, *(load(**{**loaded, "model": name}) for name in models[1:])]
    last = rungs[-1]
    rungs += [last.at(height) for height in reversed(HEIGHTS) if height < last.height]
    paced = Paced(rungs, fps, note)
    taken = paced.start(read_picture(SAMPLE))
    note(f"--fps {fps:g}: {described(paced.estimate)}, {taken:.1f} ms a frame")
    return paced
