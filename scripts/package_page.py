"""What the page of the package links to, all of it made from the one address in pyproject.toml.

The repository shows files below `blob/` and gives them as they are below `raw/`, by tag. While the
address is not set nothing may link nowhere: the built README names files without linking to them,
and the package has no URLs. `python scripts/package_page.py` fails until it is set.
"""

import re
import sys
import tomllib
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
_LINK = re.compile(r"(!?)\[([^\]]*)\]\((?![a-z]+:|#)([^)]+)\)")


def project(root: Path = ROOT) -> dict[str, Any]:
    """pyproject.toml."""
    return tomllib.loads((root / "pyproject.toml").read_text(encoding="utf-8"))


def address(its: dict[str, Any]) -> str:
    """The address of the public repository; "" while there is none."""
    return str(its["tool"]["limbwise"]["address"]).rstrip("/")


def urls(at: str, version: str) -> dict[str, str]:
    """The project's URLs; none without an address."""
    if not at:
        return {}
    files = f"{at}/blob/v{version}"
    return {
        "Source": at,
        "Issues": f"{at}/issues",
        "Documentation": f"{files}/docs/index.md",
        "Changelog": f"{files}/CHANGELOG.md",
    }


def page(readme: str, at: str, version: str) -> str:
    """The README with links that work anywhere; without an address it has links to other sites
    only, and no pictures."""

    def linked(link: re.Match[str]) -> str:
        picture, text, target = link.groups()
        if not at:
            return "" if picture else text
        return f"{picture}[{text}]({at}/{'raw' if picture else 'blob'}/v{version}/{target})"

    return _LINK.sub(linked, readme)


def fault(its: dict[str, Any]) -> str | None:
    """Why this cannot be released, in one line; None if it can."""
    at = address(its)
    if not at:
        return (
            "no public address is set: write the repository's into pyproject.toml, [tool.limbwise] "
            "address, before a release; make dist builds and checks the packages without it"
        )
    if not re.fullmatch(r"https://[\w.-]+\.\w+(/[\w.~-]+)+", at) or "example" in at.split("/")[2]:
        return f"pyproject.toml, [tool.limbwise]: {at} is not a repository's https:// address"
    return None


if __name__ == "__main__":
    if reason := fault(project()):
        sys.exit(f"make release: {reason}")
