"""`limbwise eval`: how good a model is on labelled pictures."""

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from ..atomic import check_writable, is_stdout, write_json
from ..checks import LARGEST_INPUT, LARGEST_SCALE, MANY_SCALES, SMALLEST_SCALE, shown
from ..errors import BadInput
from ..estimator import load_pair
from ..places import check_places
from .options import (
    MANY,
    PLACE,
    CategoryOption,
    ModelOption,
    PersonOption,
    Precision,
    PrecisionOption,
    RefineOption,
    RuntimeName,
    RuntimeOption,
    SizeOption,
    ThreadsOption,
    check_order,
    model_files,
    person_choice,
)
from .terminal import failing_in_one_line, progress


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
    limit: Annotated[
        int | None, typer.Option("--limit", min=1, max=MANY, help="First N pictures.")
    ] = None,
    boxes: Annotated[
        bool, typer.Option("--boxes", help="AP of people's boxes, and recall, instead.")
    ] = False,
    category: CategoryOption = None,
) -> None:
    """COCO keypoint AP and AR of a model on labelled pictures."""
    from ..evaluation.boxes import evaluate_boxes
    from ..evaluation.evaluate import evaluate as measure

    check_order(annotations, images)
    outputs = {"--detections": detections, "--metrics": metrics}
    check_places([annotations, images, *model_files(model, person_model)], outputs)
    for path in outputs.values():  # known before the work, not after it
        if path:
            check_writable(path, stream=True)
    factors = _numbers(scales)
    first, second = load_pair(
        model, person=person_choice(person_model, refine), runtime=runtime.value,
        precision=precision.value, threads=threads,
    )  # fmt: skip

    def bar(entries: Sequence[dict[str, Any]]) -> Iterator[dict[str, Any]]:
        return progress(entries, len(entries), "pictures")

    height = size or (None if first.description.boxes else 368)
    largest = max(factors) * (height or first.description.height)
    if largest > LARGEST_INPUT:
        raise BadInput(
            f"--scales {shown(scales)} gives {largest:.0f} rows, more than {LARGEST_INPUT}"
        )
    how: dict[str, Any] = {
        "person": second, "height": height, "limit": limit, "progress": bar, "category": category
    }  # fmt: skip
    if boxes and (flip or scales != "1"):
        raise BadInput("--boxes are found in one pass: leave out --flip and --scales")
    if boxes:
        found, people = evaluate_boxes(first, annotations, images, **how)
    else:
        found, people = measure(first, annotations, images, flip=flip, scales=factors, **how)
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
    fine = all(SMALLEST_SCALE <= number <= LARGEST_SCALE for number in numbers)
    if not fine or not 1 <= len(numbers) <= MANY_SCALES:
        raise BadInput(
            f"--scales {text[:80]} is not a list of numbers such as 0.5,1,1.5: {MANY_SCALES} at "
            f"most, each between {SMALLEST_SCALE:g} and {LARGEST_SCALE:g}"
        )
    return numbers
