"""`limbwise convert`: label files from one tool's format to another's."""

from pathlib import Path
from typing import Annotated

import typer

from ..atomic import is_stdout
from ..data.formats import yolo
from ..data.formats.dataset import Dataset
from ..data.formats.save import check_folder, save
from ..data.formats.table import FORMATS, format_of, guess_by_content, guess_by_name
from ..errors import BadInput
from .options import PLACE, CategoryOption, not_empty
from .terminal import failing_in_one_line, note

_NAMES = ", ".join(FORMATS)


@failing_in_one_line()
def convert(
    source: Annotated[Path, typer.Argument(help="A label file, or a folder of them.", **PLACE)],
    target: Annotated[
        str, typer.Argument(help="The file, or the new folder, to write.", callback=not_empty)
    ],
    from_: Annotated[
        str | None, typer.Option("--from", help=f"{_NAMES}; recognised from SOURCE if absent.")
    ] = None,
    to: Annotated[
        str | None,
        typer.Option("--to", help="The same; as TARGET's ending says if absent."),
    ] = None,
    images: Annotated[
        Path | None,
        typer.Option(
            "--images", help="The pictures: yolo copies them, openpose needs their sizes."
        ),
    ] = None,
    split: Annotated[
        str | None, typer.Option("--split", help="Only train, val, ... of several.")
    ] = None,
    category: CategoryOption = None,
) -> None:
    """Turn labels from one tool's format into another's.

    Names of keypoints, visibility, splits and regions of crowds are kept where the other format has
    words for them; what it has none for is reported.
    """
    reader = format_of(from_ or guess_by_content(source))
    writer = format_of(to or guess_by_name(target))
    if writer.folder:
        if is_stdout(target):
            raise BadInput(f"{to} is a folder: name a new one, not -")
        check_folder(Path(target))
    if images is not None and not images.is_dir():
        raise BadInput(f"{images} is no folder: --images names the one of the pictures")
    dataset = reader.read(source, images, category)
    if split is not None:
        dataset = dataset.of_split(split)
    files = writer.write(dataset)
    copies = _copies(dataset, images) if writer is FORMATS["yolo"] and images else {}
    save(files, target, _read_files(source), copies)
    _tell(dataset, writer.crowds, target)


def _read_files(source: Path) -> list[Path]:
    """What was read: the files of a folder, and what lies beside a file by the same name."""
    if source.is_dir():
        return [p for p in source.iterdir() if p.is_file()]
    return [source, *(p for p in [source.with_suffix(".xml")] if p.is_file())]


def _copies(dataset: Dataset, images: Path) -> dict[str, Path]:
    found = {yolo.picture_place(p): images / p.name for p in dataset.pictures}
    if missing := next((path for path in found.values() if not path.is_file()), None):
        raise BadInput(f"{missing} is not there: --images names the folder that the names begin in")
    return found


def _tell(dataset: Dataset, keeps_crowds: bool, target: str) -> None:
    """What was written, and what was left out, as a line on stderr."""
    people = [who for picture in dataset.pictures for who in picture.people]
    crowds = sum(who.crowd for who in people)
    text = f"{len(dataset.pictures)} pictures, {len(people) - crowds} people"
    if crowds:
        text += f", {crowds} regions of crowds" + ("" if keeps_crowds else " left out")
    where = "standard output" if is_stdout(target) else target
    note(f"{text}: {where}")
