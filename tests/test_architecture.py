"""Who may import whom: by rooms (the folders of src/limbwise), and in no circle."""

import ast
import subprocess
import sys
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

SOURCE = Path(__file__).parents[1] / "src" / "limbwise"

NOUNS = {"checks", "errors", "skeleton", "pose", "geometry", "network_output"}
FILES = {"atomic", "places", "cache", "interrupts"}
MAY = {
    "errors": set(),
    "checks": {"errors"},
    "skeleton": {"checks", "errors"},
    "pose": {"skeleton"},
    "geometry": set(),
    "network_output": set(),
    "cache": set(),
    "interrupts": set(),
    "atomic": {"errors"},
    "places": {"atomic", "errors", "sources"},
    "description": {"decode"} | NOUNS,
    # Inference: a picture to poses.
    "peaks": set(),
    "decode": {"peaks"} | NOUNS,
    "boxes": {"geometry"},
    "proportions": NOUNS,
    "models": set(),
    "backends": {"description", "models", "networks"} | NOUNS | FILES,
    "crops": NOUNS,
    "refine": {"backends", "crops", "decode", "description", "peaks", "proportions"} | NOUNS,
    "tta": {"backends"} | NOUNS,
    "poses": {"outputs", "places", "sources"} | NOUNS,
    "loading": {"backends", "models"} | NOUNS,
    "estimator": {"backends", "boxes", "decode", "description", "loading", "models", "poses",
                  "refine", "sources", "tta"} | NOUNS,
    "motion": set(),
    "track": {"motion"} | NOUNS,
    "measure": NOUNS,
    "pace": {"estimator", "models"} | NOUNS,
    "sources": NOUNS,
    "outputs": {"data", "sources"} | NOUNS | FILES,
    "pipeline": {"estimator", "pace", "sources"} | NOUNS,
    "follow": {"estimator", "pipeline", "poses", "sources", "track"} | NOUNS,
    "bench": {"backends", "decode", "estimator", "outputs", "refine"} | NOUNS,
    # What learns, measures and writes models.
    "networks": {"description"} | NOUNS | FILES,
    "data": {"sources"} | NOUNS | FILES,
    "evaluation": {"backends", "boxes", "data", "decode", "estimator", "outputs", "refine",
                   "sources"} | NOUNS,
    "export": {"backends", "boxes", "crops", "data", "description", "estimator", "evaluation",
               "models", "networks", "refine", "sources"} | NOUNS | FILES,
    "train": {"backends", "crops", "data", "description", "evaluation", "loading", "models",
              "networks", "refine", "sources"} | NOUNS | FILES,
    # Who uses it all; nothing imports these.
    "processes": {"estimator", "sources"} | NOUNS,
    "distributed": {"__init__", "backends", "estimator", "loading", "models", "outputs", "sources",
                    "track"} | NOUNS | FILES,
    "server": {"description", "estimator", "outputs", "sources", "track"} | NOUNS,
    "cli": {"__init__", "backends", "bench", "data", "description", "distributed", "estimator",
            "evaluation", "export", "follow", "models", "networks", "outputs", "pace", "pipeline",
            "processes", "server", "sources", "track", "train"} | NOUNS | FILES,
    "__init__": {"estimator", "follow", "outputs", "poses", "sources", "track"} | NOUNS,
    "__main__": {"cli"},
}  # fmt: skip
# Rooms that may know PyTorch; everything else runs without.
TORCH = {"networks", "train", "export", "backends.pytorch"}
HEAVY = {"torch", "openvino", "onnxruntime", "onnx", "pycocotools", "pygame", "safetensors",
         "starlette", "uvicorn", "prometheus_client", "ncnn", "ai_edge_litert", "pandas", "polars",
         "pyarrow", "supervision"}  # fmt: skip


def name_of(path: Path) -> str:
    """A module's name below limbwise, such as train.batches.crop; __init__ for the package."""
    parts = path.relative_to(SOURCE).with_suffix("").parts
    return ".".join(parts if len(parts) == 1 or parts[-1] != "__init__" else parts[:-1])


PATHS = {name_of(path): path for path in sorted(SOURCE.rglob("*.py"))}


def room_of(module: str) -> str:
    return module.split(".")[0]


def imported(module: str) -> set[str]:
    """The modules of limbwise that a file imports anywhere in it, also inside functions."""
    path = PATHS[module]
    package = path.relative_to(SOURCE).parent.parts
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.level:
            base = [*package[: len(package) - node.level + 1], *(node.module or "").split(".")]
            start = ".".join(part for part in base if part)
            for alias in node.names:
                inner = f"{start}.{alias.name}".lstrip(".")
                found.add(inner if inner in PATHS else start or "__init__")
    return found - {module}


@pytest.mark.parametrize("module", PATHS)
def test_a_room_imports_only_what_the_design_allows(module: str) -> None:
    room = room_of(module)
    assert {room_of(other) for other in imported(module)} - {room} <= MAY[room]


def test_no_module_comes_back_to_itself() -> None:
    graph = {module: imported(module) for module in PATHS}
    try:
        order = list(TopologicalSorter(graph).static_order())
    except CycleError as error:
        pytest.fail(" -> ".join(error.args[1]))
    assert len(order) == len(PATHS)


def test_no_room_comes_back_to_itself() -> None:
    TopologicalSorter({room: may - {room} for room, may in MAY.items()}).prepare()
    assert set(MAY) == {room_of(module) for module in PATHS}


@pytest.mark.parametrize("module", PATHS)
def test_only_some_rooms_know_pytorch(module: str) -> None:
    names = set()
    for node in ast.walk(ast.parse(PATHS[module].read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and not node.level:
            names.add((node.module or "").split(".")[0])
    assert "torch" not in names or {room_of(module), module} & TORCH


@pytest.mark.parametrize("module", PATHS)
def test_a_file_can_be_read_at_one_sitting(module: str) -> None:
    assert len(PATHS[module].read_text().splitlines()) <= 320


def test_nothing_heavy_is_imported_by_importing_limbwise() -> None:
    code = f"import sys, limbwise; print(*({HEAVY!r} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == []
