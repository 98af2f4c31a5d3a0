"""What the site says is what the code does; `make docs` builds it, which takes minutes."""

import inspect
import pkgutil
import re
from collections.abc import Iterator
from pathlib import Path
from types import FunctionType, ModuleType

import pytest
import typer

from limbwise.cli.app import app
from limbwise.data.formats.label_studio import labelling_interface
from limbwise.data.formats.table import FORMATS
from limbwise.outputs.outputs import chosen_format, named_format
from limbwise.outputs.results import FORMATS as OUTPUT_FORMATS
from limbwise.skeleton import COCO

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
COMMANDS = typer.main.get_command(app).commands  # type: ignore[attr-defined]
PAGES = [p for p in DOCS.rglob("*.md") if p.name != "log.md"]


def test_the_page_has_the_labelling_interface_that_fits_the_predictions() -> None:
    text = (DOCS / "guide" / "labels.md").read_text()
    (shown,) = re.findall(r"```xml\n(.*?)```", text, re.DOTALL)
    lines = [line.removeprefix("    ") for line in shown.splitlines()]
    assert "\n".join(lines).strip() == labelling_interface(COCO.keypoints).strip()


def test_the_page_of_labels_has_a_row_for_each_format() -> None:
    text = (DOCS / "guide" / "labels.md").read_text()
    assert re.findall(r"^\| `([a-z-]+)` \|", text, re.MULTILINE) == list(FORMATS)


def test_the_page_of_pictures_has_each_format_and_how_it_is_asked_for() -> None:
    text = (DOCS / "guide" / "picture.md").read_text()
    rows = re.findall(r"^\| (`[a-z]+[^|]*) \| `([a-z-]+)` \|", text, re.MULTILINE)
    assert {form for _, form in rows} >= set(OUTPUT_FORMATS)
    for ways, form in rows:
        for way in re.findall(r"`([^`-]+)`", ways):
            given = re.search(r"--format ([a-z-]+)", ways)
            place, chosen = named_format(way, given and given[1])
            assert chosen_format(place, chosen) == form


@pytest.mark.parametrize("page", PAGES, ids=lambda p: p.relative_to(DOCS).as_posix())
def test_commands_and_options_that_pages_name_exist(page: Path) -> None:
    text = re.sub(r"\\\n\s*", "", page.read_text())
    for verb, rest in re.findall(r"(?:^|`)limbwise ([a-z][a-z-]+)([^#`\n|>]*)", text, re.MULTILINE):
        assert verb in COMMANDS
        assert set(re.findall(r"\s(--[a-z][a-z0-9-]+)", rest)) <= _options(verb), (verb, rest)


def _options(verb: str) -> set[str]:
    params = COMMANDS[verb].params
    return {name for param in params for name in (*param.opts, *param.secondary_opts)}


def _referenced() -> Iterator[tuple[str, FunctionType]]:
    """The public functions and methods that the reference shows."""
    for page in (DOCS / "reference").glob("*.md"):
        shown = r"^::: (\S+)(?:\n    options:\n      members: \[([^\]]*)\])?"
        for name, members in re.findall(shown, page.read_text(), re.MULTILINE):
            its = pkgutil.resolve_name(name)
            yield from _functions(name, its, members.split(", ") if members else None)


def _functions(
    name: str, its: object, members: list[str] | None = None
) -> Iterator[tuple[str, FunctionType]]:
    if isinstance(its, FunctionType):
        yield name, its
    elif isinstance(its, type | ModuleType):
        for key, value in vars(its).items():
            own = getattr(value, "__module__", None) == getattr(its, "__module__", its.__name__)
            if own and (key in members if members else key[0] != "_"):
                yield from _functions(f"{name}.{key}", value)


@pytest.mark.parametrize(("name", "function"), list(_referenced()))
def test_the_reference_has_every_argument_of_what_takes_several(name, function) -> None:
    text = inspect.getdoc(function) or ""
    arguments = set(inspect.signature(function).parameters) - {"self", "cls"}
    assert text, name
    if len(arguments) > 1:
        described = text.partition("Args:")[2].partition("Returns:")[0].partition("Raises:")[0]
        assert set(re.findall(r"^    (\w+): ", described, re.MULTILINE)) == arguments


def test_every_page_of_the_navigation_is_there() -> None:
    yaml = pytest.importorskip("yaml")

    class Loader(yaml.SafeLoader):  # type: ignore[name-defined, misc]
        """Reads what only MkDocs understands as nothing."""

    made = {"CHANGELOG.md", "RESULTS.md"}  # of files outside docs/, by docs/hooks.py
    about = yaml.load((ROOT / "mkdocs.yml").read_text(), Loader)

    def pages(entry: object) -> set[str]:
        if isinstance(entry, str):
            return {entry}
        parts = entry.values() if isinstance(entry, dict) else entry
        return {page for part in parts for page in pages(part)}  # type: ignore[attr-defined]

    assert {page for page in pages(about["nav"]) - made if not (DOCS / page).is_file()} == set()
