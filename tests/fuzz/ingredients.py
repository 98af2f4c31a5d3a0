"""What fuzz cases are made of: pictures, films, models and labels, whole and damaged.

Everything is a function of a random generator, so that a case is known by its number.
"""

import html
import io
import json
import math
import re
from functools import cache
from pathlib import Path
from random import Random
from tempfile import TemporaryDirectory

import av
import numpy as np
import onnx
import PIL.Image
import torch

from limbwise.estimator import SAMPLE
from limbwise.export.onnx import export
from limbwise.networks.checkpoint import build, save
from limbwise.skeleton import COCO, Skeleton

FORMS = {"JPEG": ".jpg", "PNG": ".png", "GIF": ".gif", "WEBP": ".webp", "BMP": ".bmp",
         "TIFF": ".tif", "PPM": ".ppm"}  # fmt: skip
FILMS = {"mp4": "libx264", "matroska": "libx264", "avi": "mjpeg", "mpegts": "mpeg2video"}
ENDINGS = {"mp4": ".mp4", "matroska": ".mkv", "avi": ".avi", "mpegts": ".ts"}
TEXTS = (
    b"<svg/>", b"<svg xmlns='http://www.w3.org/2000/svg' width='9' height='9'/>", b"", b"\0", b"\n",
    b"ffconcat version 1.0\nfile neighbour.mp4\n", b"#EXTM3U\n#EXTINF:1,\nneighbour.mp4\n",
    b"v=0\no=- 0 0 IN IP4 127.0.0.1\n", b"{}", b"[]", b"null", b"\xff\xfe\xfa", b"%PDF-1.4\n",
    b"GIF89a", b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff", b"RIFF\0\0\0\0WEBP", b"RIFF\0\0\0\0AVI ",
    b"\0\0\0\x18ftypmp42", b"\0\0\0\x18ftypavif", b"BM", b"P6\n9 9\n255\n", b"II*\0", b"PK\3\4",
    b"[" * 5000, b"<html></html>", b"YUV4MPEG2 W9 H9 F9:1\n",
)  # fmt: skip
NUMBERS = ("inf", "-inf", "nan", "1e30", "-1", "0", "", " ", "0x20", "1e-30", "9" * 40, "ten",
           "1,2", "٣", "--", "1.5.2", "None", "+5", "1_0")  # fmt: skip
NAMES = (
    "a b",
    "ü",
    "新",
    "a\nb",
    "-x",
    "%03d",
    "a:b",
    "n" * 243,
    "🙂",
    "a'b\"c",
    "*",
    "[x]",
    "a&b",
)


def picture(random: Random) -> tuple[bytes, str]:
    """A picture file and its ending."""
    form = random.choice(list(FORMS))
    size = random.choice([(1, 1), (1, 300), (300, 1), (33, 64), (120, 90), (64, 64), (7, 5)])
    image = PIL.Image.open(SAMPLE).convert("RGB").resize(size)
    modes = {"JPEG": "RGB L CMYK", "PNG": "RGB L 1 P RGBA LA I;16", "GIF": "P L", "BMP": "RGB L 1",
             "WEBP": "RGB RGBA", "TIFF": "RGB L 1 CMYK I;16 F", "PPM": "RGB L 1"}  # fmt: skip
    mode = random.choice(modes[form].split())
    image = image.convert("L").convert(mode) if mode in ("I;16", "F") else image.convert(mode)
    several = form in ("GIF", "PNG", "WEBP") and random.random() < 0.3 and min(size) > 1
    more = {"save_all": True, "append_images": [image, image.rotate(90)]} if several else {}
    file = io.BytesIO()
    image.save(file, form, **more)
    return file.getvalue(), FORMS[form]


@cache
def film(form: str) -> bytes:
    """Eight frames of 64 x 48."""
    with TemporaryDirectory() as folder:
        path = Path(folder) / "film"
        with av.open(str(path), "w", format=form) as container:
            stream = container.add_stream(FILMS[form], rate=25)
            stream.width, stream.height = 64, 48
            stream.pix_fmt = "yuvj420p" if FILMS[form] == "mjpeg" else "yuv420p"
            for shade in range(8):
                image = np.full((48, 64, 3), 30 * shade, np.uint8)
                container.mux(stream.encode(av.VideoFrame.from_ndarray(image, format="bgr24")))
            container.mux(stream.encode())
        return path.read_bytes()


@cache
def models() -> dict[str, bytes]:
    """A small network with random weights, as files of every kind by their endings."""
    torch.manual_seed(0)
    stick = Skeleton(("left_end", "right_end"), (("left_end", "right_end"),), (0.1, 0.1))
    with TemporaryDirectory() as folder:
        path = Path(folder) / "small.safetensors"
        save(build("limbwise", stick, channels=16, blocks=1, width=0.25), path)
        for ending in (".onnx", ".xml"):
            export(path, path.with_suffix(ending))
        return {each.suffix: each.read_bytes() for each in Path(folder).iterdir()}


def model() -> bytes:
    return models()[".onnx"]


def misdescribed(random: Random, ending: str) -> bytes:
    """The network, with one value of what its file says of it of another kind or gone."""
    data = models()[ending]
    if ending == ".onnx":
        made = onnx.load_from_string(data)
        entry = random.choice(made.metadata_props)
        entry.value = wrong_values(random, json.loads(entry.value))
        return made.SerializeToString()
    if ending == ".safetensors":
        length = int.from_bytes(data[:8], "little")
        header = json.loads(data[8 : 8 + length])
        said = header["__metadata__"]
        said["limbwise"] = wrong_values(random, json.loads(said["limbwise"]))
        text = json.dumps(header).encode()
        return len(text).to_bytes(8, "little") + text + data[8 + length :]
    told = re.search(r'<limbwise value="(.*?)" />', data.decode())
    changed = wrong_values(random, json.loads(html.unescape(told[1])))
    return data.decode().replace(told[1], html.escape(changed)).encode()


def labels(random: Random, file_name: str) -> dict:
    """A COCO keypoint file of one picture with one or two people."""
    people = [
        {"id": n, "image_id": 1, "category_id": 1, "bbox": [5, 5, 40, 50], "area": 900,
         "iscrowd": 0, "num_keypoints": 17,
         "keypoints": [random.choice([random.randint(0, 60), 2]) for _ in range(51)]}
        for n in range(1, random.randint(2, 3))
    ]  # fmt: skip
    return {
        "images": [{"id": 1, "file_name": file_name, "width": 64, "height": 64}],
        "annotations": people,
        "categories": [{"id": 1, "name": "person", "keypoints": list(COCO.keypoints)}],
    }


def damaged(random: Random, data: bytes) -> bytes:
    """Cut, with other bytes in it, doubled, without its beginning, or something else altogether."""
    at = random.randrange(max(len(data), 1))
    match random.randrange(8):
        case 0:
            return data[:at]
        case 1:
            return data[: int(len(data) * random.choice([0.01, 0.1, 0.5, 0.9, 0.999]))]
        case 2 | 3:
            changed = bytearray(data)
            for _ in range(random.choice([1, 4, 30])):
                if changed:
                    changed[random.randrange(len(changed))] = random.randrange(256)
            return bytes(changed)
        case 4:
            return data[at:]
        case 5:
            return data[:at] + random.randbytes(random.choice([1, 8, 100])) + data[at:]
        case 6:
            return random.choice(TEXTS)
    return random.randbytes(random.choice([1, 10, 1000]))


# What Python's own writer refuses to write, by what stands for it meanwhile.
_TOO_MUCH = {"a deep list": "[" * 50_000 + "]" * 50_000, "a long number": "9" * 5000}


def wrong_values(random: Random, content: dict) -> str:
    """The content as JSON with one value, anywhere in it, of another kind or gone."""
    places: list[tuple[object, object]] = []

    def walk(value: object) -> None:
        pairs = value.items() if isinstance(value, dict) else enumerate(value)
        for key, inner in list(pairs):
            places.append((value, key))
            if isinstance(inner, dict | list):
                walk(inner)

    walk(content)
    inside, key = random.choice(places)
    strange = [None, "", "text", [], {}, -1, 0, 1e30, math.inf, math.nan, True, [[1]], 2**70,
               "../x", "a" * 300, {"a": []}, 0.5, 10**30, 10**12, "0x20", *_TOO_MUCH,
               [10**12] * 3, -1e300, "\ud800", "a\nb"]  # fmt: skip
    if random.random() < 0.2:
        del inside[key]
    else:
        inside[key] = random.choice(strange)
    text = json.dumps(content)
    for name, much in _TOO_MUCH.items():
        text = text.replace(f'"{name}"', much)
    return text
