"""The README and the URLs of the package, as scripts/package_page.py makes them of one address."""

import sys
from pathlib import Path
from typing import Any

from hatchling.metadata.plugin.interface import MetadataHookInterface

ROOT = Path(__file__).parent
sys.path.insert(0, str(ROOT / "scripts"))

from package_page import address, page, project, urls  # noqa: E402


class PackagePage(MetadataHookInterface):
    """Fills in what pyproject.toml declares as dynamic."""

    def update(self, metadata: dict[str, Any]) -> None:
        """Sets `readme` and `urls`."""
        at, version = address(project(ROOT)), metadata["version"]
        text = page((ROOT / "README.md").read_text(encoding="utf-8"), at, version)
        metadata["readme"] = {"content-type": "text/markdown", "text": text}
        metadata["urls"] = urls(at, version)
