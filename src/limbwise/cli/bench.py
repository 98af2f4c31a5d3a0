"""`limbwise bench`: what a picture takes here, by runtime, precision, size, threads and batch."""

from functools import partial
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from ..atomic import check_writable, failing_to_write, replacing, write_json
from ..errors import BadInput
from ..places import check_places
from .options import PLACE, ModelOption, ThreadsOption, model_files
from .terminal import complain, failing_in_one_line


@failing_in_one_line()
def bench(
    model: ModelOption = None,
    size: Annotated[str, typer.Option(help="Input heights: 256,368.")] = "",
    threads: Annotated[str, typer.Option(help="1,2; all cores if absent.")] = "",
    batch: Annotated[str, typer.Option(help="Pictures that go through the network at once.")] = "1",
    processes: Annotated[
        int, typer.Option(min=1, max=64, help="Several side by side as well, pinned and not.")
    ] = 1,
    image: Annotated[
        Path | None, typer.Option("--image", help="A picture with people; the sample if absent.")
    ] = None,
    rounds: Annotated[int, typer.Option("--rounds", min=1, max=100_000)] = 20,
    json_path: Annotated[
        Path | None, typer.Option("--json", help="All of it as JSON.", **PLACE)
    ] = None,
    plot: Annotated[
        Path | None, typer.Option(help="The medians as bars: OUT.png.", **PLACE)
    ] = None,
) -> None:
    """Milliseconds for fit, network, decode, refine, draw and the whole, per runtime, here."""
    from .. import bench as timing
    from ..estimator import SAMPLE, load
    from ..sources.image import read_picture

    check_places([image or SAMPLE, *model_files(model)], {"--json": json_path, "--plot": plot})
    if json_path:
        check_writable(json_path, stream=True)
    if plot:
        check_writable(plot)
        if plot.suffix.lower() != ".png":
            raise BadInput(f"{plot} should end in .png")
    picture = read_picture(image or SAMPLE)
    complained: set[str] = set()

    def report(error: BadInput) -> None:
        if str(error) not in complained:
            complain(error)
        complained.add(str(error))

    rows = timing.table(
        model, picture, heights=_numbers("--size", size, 32, 4096) or [None], rounds=rounds,
        threads=_numbers("--threads", threads, 1, 1024) or [None],
        batches=_numbers("--batch", batch, 1, 256) or [1], report=report,
    )  # fmt: skip
    stdout = Console(highlight=False, width=max(Console().width, 160))
    stdout.print(_table(f"{timing.machine()}: ms, minimum/median/p99 of {rounds}", rows))
    one = load(model, height=rows[0].height)
    crowds = timing.crowds(one, picture, (1, 2, 4, 8, 16), rounds)
    for people, taken in crowds.items():
        stdout.print(f"decode, {people:3} people: {taken.minimum:.2f} / {taken.median:.2f} ms")
    rates: dict[str, float] = {}
    if processes > 1:
        rates = timing.side_by_side(model, picture, rows[0].height, processes)
        for name, rate in rates.items():
            stdout.print(f"{name}: {rate:.1f} pictures a second together")
    if json_path:
        write_json(json_path, {
            "machine": timing.machine(), "rounds": rounds, "rows": [row.to_dict() for row in rows],
            "decode": {people: taken.to_dict() for people, taken in crowds.items()},
            "processes": rates,
        })  # fmt: skip
    if plot:
        _save(plot, timing.chart(rows))


@failing_in_one_line()
def models(
    threads: ThreadsOption = None,
    json_path: Annotated[Path | None, typer.Option("--json", help="All of it as JSON.")] = None,
) -> None:
    """The bundled models: what they do, how well, at what price, and how fast here."""
    from .. import bench as timing
    from ..estimator import load
    from ..models.catalogue import CATALOGUE, SAMPLE
    from ..sources.image import read_picture

    if json_path:
        check_writable(json_path)
    picture = read_picture(SAMPLE)
    rows = []
    for bundled in CATALOGUE.values():
        estimate = load(bundled.name, threads=threads)
        taken = timing.interleaved({"": partial(estimate, picture)}, 10)[""]
        rows.append({
            "model": bundled.name, "about": bundled.about, **bundled.figures,
            "ms": round(taken.minimum, 1), "computed": estimate.label, "licence": "Apache-2.0",
        })  # fmt: skip
    table = Table(title=f"{timing.machine()}: ms for the sample picture of two people")
    for column in rows[0]:
        table.add_column(column, no_wrap=column != "about")
    for row in rows:
        table.add_row(*(str(row.get(column, "")) for column in rows[0]))
    Console(highlight=False, width=max(Console().width, 140)).print(table)
    if json_path:
        write_json(json_path, {"machine": timing.machine(), "models": rows})


def _numbers(option: str, text: str, minimum: int, maximum: int) -> list[int]:
    try:
        numbers = [int(part) for part in text.split(",") if part]
    except ValueError:
        numbers = [0]
    if any(not minimum <= number <= maximum for number in numbers) or len(numbers) > 100:
        raise BadInput(
            f"{option} {text[:80]} is not a list of whole numbers such as {minimum},{2 * minimum}, "
            f"each between {minimum} and {maximum}"
        )
    return numbers


def _table(title: str, rows: list[Any]) -> Table:
    from ..bench import short

    table = Table(title=title)
    for column in ("runtime", "height", "threads", "batch", *rows[0].stages):
        table.add_column(column, justify="left" if column == "runtime" else "right", no_wrap=True)
    for row in rows:
        cells = ["/".join(map(short, (t.minimum, t.median, t.p99))) for t in row.stages.values()]
        table.add_row(row.runtime, str(row.height), str(row.threads), str(row.batch), *cells)
    return table


def _save(path: Path, picture: Any) -> None:
    import cv2

    with failing_to_write(path), replacing(path) as temporary:
        temporary.write_bytes(cv2.imencode(".png", picture)[1].tobytes())
