"""The command line: a file per verb, put together here. `limbwise --help` lists them by theme.

What a user can mend ends in one line on stderr and exit code 2; Ctrl-C finishes the files and ends
with 130.
"""

from collections.abc import Mapping
from typing import Annotated

import typer

from .. import __version__
from ..interrupts import let_end, listen
from .batch import batch
from .bench import bench, models
from .convert import convert
from .doctor import doctor
from .environment import prepare
from .eval import evaluate
from .info import info
from .page import page
from .run import run
from .serve import serve
from .terminal import calling, failing_in_one_line
from .train import check_data, export, train

OLD_NAMES = {"trunk-lr": "backbone-lr"}  # of options, which still work

app = typer.Typer(
    name="limbwise", no_args_is_help=True, pretty_exceptions_enable=False,
    context_settings={
        "help_option_names": ["-h", "--help"],
        "token_normalize_func": lambda name: OLD_NAMES.get(name, name),
    },
)  # fmt: skip


@app.callback(invoke_without_command=True)
def options(version: Annotated[bool, typer.Option("--version", help="Show it.")] = False) -> None:
    """The skeleton of every person in a picture, in real time, on a plain CPU."""
    if version:
        typer.echo(f"limbwise {__version__}")
        raise typer.Exit


# Theme, name, function, examples.
VERBS = (
    ("People in pictures", "run", run, (
        "limbwise run photo.jpg --save drawn.png",
        "limbwise run street.mp4 --save drawn.mp4 --json people.csv",
        "limbwise run photos/ --recursive --json coco:people.json",
        "limbwise run 0 --show",
    )),
    ("People in pictures", "batch", batch, (
        "limbwise batch s3://bucket/photos/ --out shards/",
    )),
    ("People in pictures", "serve", serve, ("limbwise serve --port 8000",)),
    ("People in pictures", "page", page, ("limbwise page --static site/",)),
    ("Models", "models", models, ("limbwise models",)),
    ("Models", "info", info, ("limbwise info street.mp4", "limbwise info labels.json")),
    ("Models", "export", export, ("limbwise export best.safetensors model.onnx",)),
    ("Models", "bench", bench, ("limbwise bench --model fast --threads 1,2",)),
    ("Own labels", "check-data", check_data, ("limbwise check-data labels.json photos/",)),
    ("Own labels", "convert", convert, ("limbwise convert yolo/data.yaml labels.json",)),
    ("Own labels", "train", train, ("limbwise train labels.json photos/ --out my-run",)),
    ("Own labels", "eval", evaluate, ("limbwise eval labels.json photos/ --model fast",)),
    ("When something is wrong", "doctor", doctor, ("limbwise doctor",)),
)  # fmt: skip

for theme, name, verb, examples in VERBS:
    epilog = "\n\n".join(("Examples:", *examples))
    app.command(name, rich_help_panel=theme, epilog=epilog)(verb)


def main() -> None:
    """The console command."""
    raise SystemExit(door())


def door(args: list[str] | None = None, names: Mapping[str, str] | None = None) -> int:
    """A process's way in: `limbwise ARGS`, whose errors call its options by other `names` if a
    script has some of its own; the exit code."""
    listen()
    prepare()
    with calling(names or {}):
        code = exit_code(args)
    if code > 128:
        let_end()
    return code


def exit_code(args: list[str] | None = None) -> int:
    """Runs `limbwise ARGS`; wrong options, too, are one line."""
    try:
        with failing_in_one_line():
            ended = app(args=args, prog_name="limbwise", standalone_mode=False)
    except SystemExit as end:
        ended = end.code
    return ended if isinstance(ended, int) else 0
