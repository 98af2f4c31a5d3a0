"""Parameters of an address: written once, for the check, for the routes and for openapi.json.

An unknown one is refused at once, with the names that are known: an option that is mistyped must
not look as if it had no effect.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qsl

from ..errors import BadInput
from ..outputs.draw import MIN_CONFIDENCE


@dataclass(frozen=True)
class Flag:
    """0 or 1."""

    default: bool = False

    @property
    def schema(self) -> dict[str, Any]:
        return {"type": "integer", "enum": [0, 1], "default": int(self.default)}

    def read(self, text: str) -> bool:
        if text not in ("0", "1"):
            raise ValueError("0 or 1")
        return text == "1"


@dataclass(frozen=True)
class Fraction:
    """A number from 0 to 1."""

    default: float = 0.0

    @property
    def schema(self) -> dict[str, Any]:
        return {"type": "number", "minimum": 0, "maximum": 1, "default": self.default}

    def read(self, text: str) -> float:
        # Python alone would also take nan, 1_0 and the digits of other scripts.
        if not re.fullmatch(r"-?[0-9.]+(e[-+]?[0-9]+)?", text, re.I | re.A):
            raise ValueError("a number from 0 to 1")
        try:
            value = float(text)
        except ValueError:
            value = -1.0
        if not 0 <= value <= 1:
            raise ValueError("a number from 0 to 1")
        return value


Parameters = Mapping[str, Flag | Fraction]

PICTURE: Parameters = {"boxes": Flag(), "min_confidence": Fraction(MIN_CONFIDENCE)}
STREAM: Parameters = {"smooth": Flag(default=True)}


def read(known: Parameters, query: bytes) -> dict[str, Any]:
    """Every known parameter's value; BadInput, one line, for what is unknown, wrong or repeated."""
    values = {name: parameter.default for name, parameter in known.items()}
    seen = set()
    for name, text in parse_qsl(query.decode("latin-1"), keep_blank_values=True):
        if name not in known:
            here = f"this path knows {' and '.join(known)}" if known else "this path has none"
            raise BadInput(f"the parameter {_short(name)} is unknown: {here}")
        if name in seen:
            raise BadInput(f"the parameter {name} is given more than once: give it once")
        seen.add(name)
        try:
            values[name] = known[name].read(text)
        except ValueError as error:
            raise BadInput(f"{name} is {error}, not {_short(text)}") from None
    return values


def _short(text: str) -> str:
    """As it can stand in one line."""
    return ascii(text if len(text) <= 40 else text[:40] + "...")
