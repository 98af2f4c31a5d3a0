"""What the site says is what the code does; `make docs` builds it, which takes minutes."""

import re
from pathlib import Path

import pytest
import typer

from limbwise.cli.app import app
from limbwise.data.formats.label_studio import labelling_interface
from limbwise.data.formats.table import FORMATS
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


@pytest.mark.parametrize("page", PAGES, ids=lambda p: p.relative_to(DOCS).as_posix())
def test_commands_and_options_that_pages_name_exist(page: Path) -> None:
    text = re.sub(r"\\\n\s*", "", page.read_text())
    for verb, rest in re.findall(r"(?:^|`)limbwise ([a-z][a-z-]+)([^#`\n|>]*)", text, re.MULTILINE):
        assert verb in COMMANDS
        assert set(re.findall(r"\s(--[a-z][a-z0-9-]+)", rest)) <= _options(verb), (verb, rest)


def _options(verb: str) -> set[str]:
    params = COMMANDS[verb].params
    return {name for param in params for name in (*param.opts, *param.secondary_opts)}


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
