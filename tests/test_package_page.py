"""The package page links to what exists, all of it by the one address in pyproject.toml."""

import importlib.util
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
SCRIPT = ROOT / "scripts" / "package_page.py"
AT = "https://code.test/someone/limbwise"


@pytest.fixture(scope="module")
def made():
    spec = importlib.util.spec_from_file_location("package_page", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def _targets(text: str) -> list[str]:
    return re.findall(r"\]\(([^)]+)\)", text)


def test_without_an_address_the_page_links_only_to_other_sites(made) -> None:
    page = made.page((ROOT / "README.md").read_text(), "", "1.2.3")
    assert all(target.startswith("https://") for target in _targets(page))
    assert "![" not in page
    assert made.urls("", "1.2.3") == {}


def test_with_an_address_every_link_names_a_file_of_the_tag(made) -> None:
    readme = (ROOT / "README.md").read_text()
    targets = _targets(made.page(readme, AT, "1.2.3"))
    here = [target.removeprefix(AT) for target in targets if target.startswith(AT)]
    assert len(here) == sum(not target.startswith("https://") for target in _targets(readme)) > 10
    for target in here:
        _, way, tag, path = target.split("/", 3)
        assert (way, tag) == ("raw" if path.endswith(".jpg") else "blob", "v1.2.3")
        assert (ROOT / path).is_file(), path
    assert len(targets) == len(_targets(readme))


def test_the_urls_lie_below_the_address(made) -> None:
    urls = made.urls(AT, "1.2.3")
    assert set(urls) == {"Source", "Issues", "Documentation", "Changelog"}
    for url in urls.values():
        assert url.startswith(AT)
        if "/blob/v1.2.3/" in url:
            assert (ROOT / url.split("/blob/v1.2.3/")[1]).is_file()


@pytest.mark.parametrize(
    ("address", "word"),
    [
        ("", "no public address is set"),
        ("https://limbwise.example/source", "not a repository's"),
        ("https://code.test", "not a repository's"),
        ("http://code.test/someone/limbwise", "not a repository's"),
        (AT, None),
        (AT + "/", None),
    ],
)
def test_a_release_needs_an_address(made, address: str, word: str | None) -> None:
    reason = made.fault({"tool": {"limbwise": {"address": address}}})
    assert reason is None if word is None else word in reason and "\n" not in reason


def test_the_page_is_made_when_the_package_is_built() -> None:
    text = (ROOT / "pyproject.toml").read_text()
    assert 'dynamic = ["readme", "urls"]' in text
    assert "[tool.hatch.metadata.hooks.custom]" in text


def test_make_release_says_in_one_line_what_is_missing(made) -> None:
    done = subprocess.run([sys.executable, SCRIPT], capture_output=True, text=True)
    reason = made.fault(made.project())
    assert done.returncode == (0 if reason is None else 1)
    assert done.stderr == ("" if reason is None else f"make release: {reason}\n")
