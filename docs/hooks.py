"""Pages that live outside docs/ become pages of the site, and links to them lead there.

The site is a copy for reading: the files stay where tools and people look for them. A page of the
navigation that is not there (yet) is left out.
"""

import re
from pathlib import Path
from typing import Any

from mkdocs.structure.files import File, Files

ROOT = Path(__file__).parents[1]
# What is a page, by its path in the repository: its name in the site.
PAGES = {
    "CHANGELOG.md": "CHANGELOG.md",
    "SECURITY.md": "SECURITY.md",
    "THIRD_PARTY_NOTICES": "THIRD_PARTY_NOTICES.md",
    "benchmarks/RESULTS.md": "RESULTS.md",
}
_LINK = re.compile(r"(\]\()([^)#\s]+)((?:#[^)\s]*)?\))")


def on_files(files: Files, config: Any) -> Files:
    """Adds the pages from outside."""
    for path, name in PAGES.items():
        text = (ROOT / path).read_text(encoding="utf-8")
        if not name.endswith(Path(path).name):
            text = f"# {Path(path).name}\n\n```text\n{text}\n```\n"
        files.append(File.generated(config, name, content=text))
    return files


def on_page_markdown(markdown: str, page: Any, **_: Any) -> str:
    """Leads links out of docs/ to the pages made of them; other files of the repository, which are
    not on the site, are named without a link."""
    origin = next((p for p, name in PAGES.items() if name == page.file.src_uri), None)
    here = (ROOT / origin if origin else ROOT / "docs" / page.file.src_uri).parent
    depth = "../" * page.file.src_uri.count("/")

    def led(link: re.Match[str]) -> str:
        before, target, after = link.groups()
        if ":" in target or target.startswith("/"):
            return link[0]
        place = (here / target).resolve()
        if not place.is_relative_to(ROOT):
            return link[0]
        path = place.relative_to(ROOT).as_posix()
        if path in PAGES:
            return f"{before}{depth}{PAGES[path]}{after}"
        if path.startswith("docs/"):
            return f"{before}{depth}{path.removeprefix('docs/')}{after}"
        return f"] (`{path}`)" if place.exists() else link[0]

    text = _LINK.sub(led, markdown)
    return re.sub(r"\[([^\]]*)\] \(`([^`]*)`\)", r"\1 (`\2`)", text)
