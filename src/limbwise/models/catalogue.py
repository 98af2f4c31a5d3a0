"""What is in the box: the bundled models by name, and their files.

A name stands for one network that finds and places everybody, or for a pair: a detector that finds
people as boxes, and a second stage that places the keypoints of each. `models/models.json`, written
by scripts/bundled_model.py, has what was measured of them.
"""

import json
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

MODELS = Path(__file__).parent
SAMPLE = MODELS / "sample.jpg"  # two people side by side
DEFAULT, ONE_STAGE = "accurate", "one-stage"


@dataclass(frozen=True)
class Network:
    """A bundled network; `stem` begins the names of its files."""

    stem: str

    @property
    def plain(self) -> Path:
        """ONNX with weights in fp16."""
        return MODELS / f"{self.stem}.onnx"

    @property
    def quantised(self) -> Path:
        """int8 for OpenVINO; it need not be there."""
        return MODELS / f"{self.stem}-int8.xml"

    @property
    def checkpoint(self) -> Path:
        """What PyTorch loads and training begins from: where there is no file of its own, the ONNX
        file, since it holds every weight of a network without batch norm."""
        own = MODELS / f"{self.stem}.safetensors"
        return own if own.is_file() else self.plain


@dataclass(frozen=True)
class Bundled:
    """A bundled model: its network, or of a pair the first and the second stage's; `height` is the
    input size of the first if the pair wants another than that network says."""

    name: str
    first: Network
    second: Network | None
    about: str
    height: int | None = None

    @property
    def in_int8(self) -> bool:
        """Whether a network of it is there in int8."""
        return any(stage.quantised.is_file() for stage in (self.first, self.second) if stage)

    @property
    def figures(self) -> dict[str, Any]:
        """What was measured: AP on the validation pictures, GMACs, millions of parameters."""
        found: dict[str, Any] = _figures().get(self.name, {})
        return found


_DETECTOR = Network("limbwise-detector")
CATALOGUE = {
    each.name: each
    for each in (
        Bundled(DEFAULT, _DETECTOR, Network("limbwise-pose"), "finds boxes, then 256 x 192 crops"),
        Bundled(
            "fast", _DETECTOR, Network("limbwise-pose-fast"), "boxes, then 160 x 120 crops", 256
        ),
        Bundled(ONE_STAGE, Network("limbwise"), None, "everybody at once, by part affinity fields"),
    )
}


def own_height(model: str | Path | None) -> int | None:
    """The input size that a bundled model asks for of its first stage, if it does."""
    bundled = named(model)
    return bundled.height if bundled else None


@cache
def _figures() -> dict[str, Any]:
    path = MODELS / "models.json"
    return dict(json.loads(path.read_text())) if path.is_file() else {}


def named(model: str | Path | None) -> Bundled | None:
    """The bundled model of that name, if it is one's name and no file's; None is the default's."""
    if model is None:
        return CATALOGUE[DEFAULT]
    return None if Path(model).is_file() else CATALOGUE.get(str(model))
