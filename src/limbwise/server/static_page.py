"""The page without a server: a folder of plain files, for any web server.

The page is the server's own; two of its scripts are others that ask networks in the browser where
the server's ask the server (static/server.js, static/live.js). What is a fact of Python's, such as
the skeleton, the drawing and what the networks are, is written into about.json.
"""

import gzip
import hashlib
import json
from collections.abc import Mapping
from importlib import resources
from pathlib import Path
from typing import Any

from ..description import Description
from ..errors import BadInput
from ..estimator import MIN_SCORE, SAMPLE
from ..outputs.draw import MIN_CONFIDENCE, style
from ..skeleton import BODY, COCO, Skeleton

PAGE = resources.files(__package__) / "page"
STATIC = resources.files(__package__) / "static"

SHARED = (
    "page.css", "page.js", "stage.js", "clipboard.js", "draw.js", "film.js", "frames.js",
    "icon.svg",
)  # fmt: skip
OWN = (
    "boxes.js", "estimator.js", "geometry.js", "live.js", "peaks.js", "proportions.js", "refine.js",
    "server.js", "worker.js",
)  # fmt: skip
# Of the package onnxruntime-web, and what they are called here: every site knows .js for a script.
RUNTIME = {
    "ort.wasm.min.mjs": "ort.js",
    "ort-wasm-simd-threaded.mjs": "ort-wasm.js",
    "ort-wasm-simd-threaded.wasm": "ort-wasm.wasm.gz",
}
_LARGEST = 200_000_000  # bytes of a picture

_POLICY = (
    "default-src 'none'; script-src 'self' 'wasm-unsafe-eval'; worker-src 'self'; "
    "style-src 'self'; img-src 'self' blob: data:; media-src blob:; connect-src 'self' blob:; "
    "base-uri 'none'; form-action 'none'"
)


def static_page(
    first: Path,
    second: Path,
    about_first: Description,
    about_second: Description,
    runtime: Mapping[str, bytes],
    version: str,
) -> dict[str, bytes]:
    """All files of the page by their names, `/` between folders.

    Args:
        first, second: ONNX files of a detector and of a second stage, and what they are.
        runtime: the files of onnxruntime-web that `RUNTIME` names.
        version: of onnxruntime-web.

    Raises:
        BadInput: if the page cannot run these networks.
    """
    _check(about_first, about_second)
    files = {name: (PAGE / name).read_bytes() for name in SHARED}
    files |= {name: (STATIC / name).read_bytes() for name in OWN}
    files["sample.jpg"] = SAMPLE.read_bytes()
    files["index.html"] = _index((PAGE / "index.html").read_text("utf-8"))
    files["models/first.onnx"] = first.read_bytes()
    files["models/second.onnx"] = second.read_bytes()
    for source, name in RUNTIME.items():
        packed = name.endswith(".gz")  # 14 MB are 4 so; the page unpacks them
        files[f"runtime/{name}"] = (
            gzip.compress(runtime[source], 9, mtime=0) if packed else runtime[source]
        )
    about = _about(about_first, about_second, f"onnxruntime-web {version}")
    files["about.json"] = json.dumps(about, indent=1).encode()
    files["offline.js"] = _offline((STATIC / "offline.js").read_text("utf-8"), files)
    return files


def _check(first: Description, second: Description) -> None:
    if not first.boxes or first.fit != "side" or first.crop:
        raise BadInput(f"{first.name} is no detector of people, with which the page begins")
    if not second.crop or second.prior:
        raise BadInput(f"{second.name} reads no crops of boxes, as the page's second stage does")


def _about(first: Description, second: Description, runtime: str) -> dict[str, Any]:
    known = second.skeleton
    skeleton: Skeleton = BODY if known.keypoints == COCO.keypoints else known
    offset = (second.stride - 1) / 2 if second.offset is None else second.offset
    assert second.crop is not None
    return {
        "model": first.name,
        "second_stage": second.name,
        "runtime": runtime,
        "skeleton": skeleton.to_dict(),
        "style": style(skeleton),
        "height": first.height,
        "min_score": MIN_SCORE,
        "min_confidence": MIN_CONFIDENCE,
        "limits": {"bytes": _LARGEST},
        "stages": {
            "first": {
                "file": "models/first.onnx",
                "output": "boxes",
                "height": first.height,
                "multiple": first.multiple,
            },
            "second": {
                "file": "models/second.onnx",
                "output": "heatmaps",
                "crop": list(second.crop),
                "stride": second.stride,
                "offset": offset,
                "keypoints": list(known.keypoints),
                "sigmas": list(known.sigmas),
            },
        },
    }


def _index(text: str) -> bytes:
    """The server's page, marked as one without a server."""
    policy = f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">'
    text = text.replace('data-kind="server"', 'data-kind="browser"')
    return text.replace('<meta charset="utf-8">', f'<meta charset="utf-8">\n  {policy}').encode()


def _offline(text: str, files: Mapping[str, bytes]) -> bytes:
    """The script that keeps the page: which files, and a name that changes with any of them."""
    digest = hashlib.sha256()
    for name in sorted(files):
        digest.update(name.encode() + files[name])
    names = json.dumps(["./", *sorted(files)])
    text = text.replace("limbwise-VERSION", f"limbwise-{digest.hexdigest()[:16]}")
    return text.replace('["FILES"]', names).encode()
