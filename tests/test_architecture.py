"""Who may import whom."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

SOURCE = Path(__file__).parents[1] / "src" / "limbwise"

BASE = {"errors", "atomic"}
TYPES = {"skeleton", "pose"}
READING = {"video", "film", "piped", "picture", "view"}
MAY = {
    "errors": set(),
    "atomic": BASE,
    "skeleton": set(),
    "pose": TYPES,
    "view": set(),
    "fields": set(),
    "decode": {"fields"} | TYPES,
    "cache": set(),
    "places": {"picture"} | BASE,
    "interrupts": set(),
    "environment": {"cache"},
    "outputs": {"draw", "interrupts", "recorder", "video", "window", "writers"} | TYPES | BASE,
    "graphs": set(),
    "boxes": {"view"},
    "description": {"decode", "skeleton", "view"} | BASE,
    "runtime": {"cache", "graphs", "description", "fields", "train"} | BASE,
    "track": TYPES,
    "pace": {"catalogue", "estimator", "view"} | TYPES,
    "pipeline": {"estimator", "pace", "video", "pose"},
    "proportions": TYPES,
    "refine": {"proportions", "decode", "description", "runtime", "view"} | TYPES | BASE,
    "catalogue": set(),
    "precision": {"cache", "runtime"} | BASE,
    "estimator": {"boxes", "catalogue", "precision", "decode", "refine", "runtime", "view",
                  "fields"} | TYPES | BASE,
    "picture": {"view"} | BASE,
    "film": {"picture", "view"} | BASE,
    "piped": {"film", "picture"} | BASE,
    "video": READING | BASE,
    "recorder": {"places", "view"} | BASE,
    "draw": {"view"} | TYPES,
    "writers": {"places"} | TYPES | BASE,
    "terminal": {"environment", "interrupts"} | BASE,
    "window": {"view"} | BASE,
    "bench": {"estimator", "decode", "draw", "fields", "graphs", "refine", "view", "runtime"}
    | BASE,
    "workers": {"estimator"},
    "query": BASE,
    "guard": {"query"} | BASE,
    "connections": {"guard"},
    "metrics": set(),
    "openapi": {"guard", "query", "skeleton"},
    "stream": {"connections", "query", "workers", "guard", "estimator", "track", "picture",
               "writers"} | BASE,
    "serve": {"connections", "query", "workers", "guard", "metrics", "openapi", "stream",
              "estimator", "description", "draw", "picture", "view", "writers"} | BASE,
    "train": {"train", "boxes", "cache", "catalogue", "decode", "refine", "fields", "description",
              "runtime", "estimator", "writers"} | TYPES | READING | BASE,
}  # fmt: skip
HEAVY = {"torch", "openvino", "onnxruntime", "onnx", "pycocotools", "pygame", "safetensors",
         "starlette", "uvicorn", "prometheus_client"}  # fmt: skip


def imports(path: Path) -> set[str]:
    """Modules of limbwise that a file imports anywhere in it."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.level:
            inside = path.parent != SOURCE and node.level == 1
            names = [node.module.split(".")[0]] if node.module else [a.name for a in node.names]
            found |= {"train"} if inside else {name.rstrip("s") if name == "runtimes" else name
                                               for name in names}  # fmt: skip
    return found


@pytest.mark.parametrize("path", sorted(SOURCE.rglob("*.py")), ids=lambda path: path.stem)
def test_a_module_imports_only_what_the_design_allows(path: Path) -> None:
    module = "train" if path.parent != SOURCE else path.stem
    if module in (
        "cli",
        "cli_options",
        "cli_serve",
        "cli_bench",
        "cli_train",
        "__init__",
        "__main__",
    ):
        return
    assert imports(path) <= MAY[module]


def test_nothing_heavy_is_imported_by_importing_limbwise() -> None:
    code = f"import sys, limbwise; print(*({HEAVY!r} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == []
