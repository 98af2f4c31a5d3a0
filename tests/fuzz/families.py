"""The families of bad and odd input: each makes a case, with its files in an empty folder."""

import json
import os
import shutil
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from random import Random

import ingredients as of

from limbwise.models.catalogue import CATALOGUE, SAMPLE

POSE = CATALOGUE["fast"].second.plain  # a second stage

SMALL = ["--size", "64", "--no-refine"]


@dataclass
class Case:
    """A command line, what it is given, and what it may write where it ends with 0."""

    args: list[str]
    stdin: bytes = b""
    environment: dict[str, str | None] = field(default_factory=dict)
    outputs: list[str] = field(default_factory=list)
    reads: list[str] = field(default_factory=list)  # what stays as it is, whatever the outputs are
    limits: str = ""  # of the shell
    apart: bool = False  # in a process of its own


def small_picture(folder: Path, name: str = "me.jpg") -> str:
    import PIL.Image

    PIL.Image.open(SAMPLE).resize((96, 64)).save(folder / name)
    return name


def pictures(random: Random, folder: Path) -> Case:
    data, ending = of.picture(random)
    data = of.damaged(random, data) if random.random() < 0.8 else data
    ending = random.choice([ending, ending, ".jpg", ".txt", "", ".mp4", ".PNG"])
    name = random.choice([*of.NAMES, *["x"] * 12]).replace("/", "") + ending
    (folder / name).write_bytes(data)
    source = random.choice([f"./{name}", ".", f"./*{ending or 'x'}"])
    outputs = random.choice(
        [
            [],
            ["--save", "o.png"],
            ["--save", "o"],
            ["--json", "o.csv"],
            ["--recursive", "--json", "coco:o.json"],
        ]
    )
    verb = ["info", source] if random.random() < 0.15 else ["run", source, *SMALL, *outputs]
    return Case(verb, outputs=["o.png", "o", "o.csv", "o.json"])


def films(random: Random, folder: Path) -> Case:
    form = random.choice(list(of.FILMS))
    data = of.film(form)
    data = of.damaged(random, data) if random.random() < 0.9 else data
    name = "film" + random.choice([of.ENDINGS[form], ".mp4", ""])
    (folder / "neighbour.mp4").write_bytes(of.film("mp4"))
    (folder / name).write_bytes(data)
    outputs = random.choice(
        [[], ["--save", "o.mp4"], ["--save", "o.webm"], ["--save", "o.gif", "--json", "o.json"]]
    )
    verb = ["info", name] if random.random() < 0.15 else ["run", name, *SMALL, *outputs]
    return Case(verb, outputs=["o.mp4", "o.webm", "o.gif", "o.json"])


def stdin(random: Random, folder: Path) -> Case:
    parts = [
        of.film(random.choice(list(of.FILMS))) if random.random() < 0.3 else of.picture(random)[0]
        for _ in range(random.choice([1, 1, 3]))
    ]
    data = b"".join(parts)
    data = of.damaged(random, data) if random.random() < 0.7 else data
    if random.random() < 0.1:
        data = SAMPLE.read_bytes()[:3000] * 40
    return Case(["run", "-", *SMALL, *random.choice([[], ["--save", "o"]])], data, outputs=["o"])


def models(random: Random, folder: Path) -> Case:
    ending = random.choice([".onnx", ".xml", ".pth", ".safetensors", ".txt", ""])
    data = of.models().get(ending, random.choice(of.TEXTS))
    if ending in of.models() and random.random() < 0.6:
        data = of.misdescribed(random, ending)
        (folder / "m.bin").write_bytes(of.models()[".bin"])
    elif data and random.random() < 0.6:
        data = data[: random.randrange(len(data))]
    (folder / f"m{ending}").write_bytes(data)
    option = random.choice(["--model", "--person-model"])
    return Case(
        random.choice([
            ["run", small_picture(folder), "--size", "64", option, f"m{ending}"],
            ["export", f"m{ending}", random.choice(["o.onnx", "o.xml", "o.txt", "m.onnx"])],
            ["eval", "none.json", ".", option, f"m{ending}"],
            ["info", f"m{ending}"],
        ]),
        outputs=["o.onnx", "o.xml", "o.bin"],
    )  # fmt: skip


def labels(random: Random, folder: Path) -> Case:
    name = small_picture(folder)
    text = of.wrong_values(random, of.labels(random, name))
    (folder / "labels.json").write_text(text)
    return Case(
        random.choice([
            ["eval", "labels.json", ".", *SMALL, "--metrics", "o.json"],
            ["check-data", "labels.json", ".", "--page", "o.html"],
            ["info", "labels.json"],
        ]),
        outputs=["o.json", "o.html"],
    )  # fmt: skip


# Options and what values they take that are no trouble; others are drawn from of.NUMBERS.
OPTIONS = {
    "run": ("--size", "--threads", "--max-people", "--min-score", "--fps", "--patience", "--format",
            "--precision", "--runtime", "--model", "--save", "--json", "--what"),
    "eval": ("--size", "--threads", "--limit", "--scales", "--precision", "--metrics", "--model",
             "--category"),
    "bench": ("--size", "--threads", "--batch", "--processes", "--image", "--json", "--plot"),
    "export": ("--size", "--limit", "--max-drop", "--calibration"),
    "serve": ("--port", "--max-mb", "--queue", "--min-score", "--what"),
    "info": ("--what",),
    "doctor": ("--camera", "--what"),
    "train": ("--epochs", "--what", "--size", "--decay", "--batch-size", "--augment"),
}  # fmt: skip
# What starts something long or listens for ever, when it happens to be valid.
VALID = {"--threads": {"+5", "1_0", "1,2"}, "--fps": {"+5", "1_0"}}


def options(random: Random, folder: Path) -> Case:
    verb = random.choice(list(OPTIONS))
    option = random.choice(OPTIONS[verb])
    value = random.choice([v for v in of.NUMBERS if v not in VALID.get(option, ())])
    # Only what cannot be meant: else it would run on.
    if verb in ("serve", "train", "bench", "doctor"):
        value = random.choice(["ten", "0x20", "1.5.2", "None", "inf", "nan", "1e30", "9" * 40])
        value = "nothing/there/a.json" if option in ("--json", "--plot", "--image") else value
    small_picture(folder)
    (folder / "labels.json").write_text(json.dumps(of.labels(random, "me.jpg")))
    first = {"run": ["me.jpg", *SMALL], "eval": ["labels.json", ".", *SMALL],
             "export": ["none.pth", "o.onnx"], "info": ["me.jpg"],
             "train": ["labels.json", "."]}  # fmt: skip
    args = [verb, *first.get(verb, []), option, value]
    return Case(args, outputs=[value, f"{value}.jpg"] if value else [])


def outputs(random: Random, folder: Path) -> Case:
    name = small_picture(folder)
    (folder / "labels.json").write_text(json.dumps(of.labels(random, name)))
    shutil.copy(POSE, folder / "person.onnx")
    (folder / "old.json").write_text("old")
    (folder / "folder").mkdir()
    labelled = ["labels.json", name]
    verb, first, places, reads = random.choice([
        ("run", [name, *SMALL[:2], "--person-model", "person.onnx"], ("--save", "--json"),
         [name, "person.onnx"]),
        ("eval", ["labels.json", ".", *SMALL], ("--metrics", "--detections"), labelled),
        ("check-data", ["labels.json", "."], ("--page",), labelled),
        ("bench", ["--rounds", "1", "--image", name, "--size", "0"], ("--json", "--plot"), [name]),
    ])  # fmt: skip
    args: list[str] = []
    for option in random.sample(places, random.randint(1, len(places))):
        args += [option, _place(random, folder, option)]
    written = ["old.json", "new.json", "real.json", "labels.json", "person.onnx", *args]
    return Case([verb, *first, *args], outputs=written, reads=reads)


PLACES = (
    "input", "hard", "soft", "dangling", "device", "folder", "old", "new", "-", "gone", "name",
    "long", "", "null", "loop", "spelt", "bundled",
)  # fmt: skip


def _place(random: Random, folder: Path, option: str) -> str:
    """A place to write that is good, odd or forbidden."""
    ending = {"--save": ".png", "--plot": ".png"}.get(option, ".json")
    kind = random.choice(PLACES)
    source = random.choice(["me.jpg", "labels.json", "person.onnx"])
    link = folder / f"{kind}{ending}"
    link.unlink(missing_ok=True)
    match kind:
        case "hard":
            os.link(folder / source, link)
        case "soft":
            link.symlink_to(source)
        case "loop":
            link.symlink_to(link)
        case "dangling":
            link.symlink_to("real.json")
        case "device" if hasattr(os, "geteuid") and os.geteuid() == 0:
            os.mknod(link, 0o20600, os.makedev(1, 7))
    names = {"input": source, "spelt": f"folder/../{source}", "bundled": str(POSE),
             "gone": f"gone/a{ending}", "old": "old.json", "new": f"new{ending}", "-": "-", "": "",
             "null": "/dev/null", "folder": "folder", "long": "l" * 245 + ending,
             "device": link.name if link.exists() else "/dev/full",
             "name": random.choice(of.NAMES) + ending}  # fmt: skip
    return names.get(kind, link.name)


def environment(random: Random, folder: Path) -> Case:
    (folder / "file").touch()
    variables = {
        "LIMBWISE_CACHE": ["", "file", "/dev/null/x", "\udcff", "n" * 300, "~", "/proc", "new"],
        "HOME": [None, "", "file", "/nowhere"],
        "TMPDIR": ["/nowhere", "file", ""],
        "COLUMNS": ["0", "1", "x", "9999"],
        "LANG": ["C", "xx_YY", ""],
        "PYTHONIOENCODING": ["ascii", "latin-1"],
        "TERM": ["", "dumb", "xterm"],
        "DISPLAY": [":99"],
        "OMP_NUM_THREADS": ["0", "x"],
    }
    chosen = {name: random.choice(values) for name, values in variables.items()
              if random.random() < 0.4}  # fmt: skip
    limits = random.choice(
        ["", "ulimit -n 20;", "ulimit -n 8;", "ulimit -v 900000;", "ulimit -v 600000;",
         "ulimit -f 0;", "exec <&-;", "exec >&-;", "exec <&- >&-;", "ulimit -s 512;"]
    )  # fmt: skip
    source = random.choice(["none.jpg", small_picture(folder), "-"])
    args = ["run", source, *SMALL, *random.choice([[], ["--json", "o.json"], ["--save", "o.mp4"]])]
    return Case(args, b"", chosen, ["o.json", "o.mp4", "new"], limits, apart=True)


Family = Callable[[Random, Path], Case]
# How many cases of each are drawn by `make test`, and by `make fuzz`.
FAMILIES: dict[Family, tuple[int, int]] = {
    pictures: (40, 300),
    films: (25, 200),
    stdin: (20, 150),
    models: (12, 200),
    labels: (12, 250),
    options: (22, 200),
    outputs: (22, 200),
    environment: (5, 80),
}
