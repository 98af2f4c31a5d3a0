"""`limbwise serve`: from options to a running server; what it needs is imported when it runs.

options -> checked -> socket -> models -> uvicorn, until Ctrl-C
"""

import importlib.util
import ipaddress
import os
import re
import socket
from contextlib import suppress
from typing import Annotated

import typer

from ..errors import BadInput
from ..estimator import MIN_SCORE, load
from ..sources.image import MAX_PIXELS
from .options import (
    MinScoreOption,
    ModelOption,
    PersonOption,
    Precision,
    PrecisionOption,
    RefineOption,
    RuntimeName,
    RuntimeOption,
    SizeOption,
    ThreadsOption,
    finite,
    person_choice,
)
from .terminal import failing_in_one_line, note


@failing_in_one_line()
def serve(
    host: Annotated[str, typer.Option(help="Where to listen; only this machine if absent.")] = (
        "127.0.0.1"
    ),
    port: Annotated[int, typer.Option(min=0, max=65535, help="0 takes a free one.")] = 8000,
    model: ModelOption = None,
    person_model: PersonOption = None,
    refine: RefineOption = None,
    runtime: RuntimeOption = RuntimeName.openvino,
    precision: PrecisionOption = Precision.fast,
    size: SizeOption = None,
    workers: Annotated[
        int, typer.Option(min=1, max=256, help="Networks side by side; they share the cores.")
    ] = 1,
    threads: ThreadsOption = None,
    min_score: MinScoreOption = MIN_SCORE,
    token: Annotated[
        str | None,
        typer.Option(envvar="LIMBWISE_TOKEN", help="Only for those who know it.", show_envvar=True),
    ] = None,
    allow_origin: Annotated[
        list[str] | None,
        typer.Option(help="Another site whose pages may use it: https://example.org. Repeatable."),
    ] = None,
    public: Annotated[
        bool, typer.Option("--public", help="Listen to other machines without a token.")
    ] = False,
    max_mb: Annotated[
        float, typer.Option(min=0.01, max=1000, callback=finite, help="Size of a picture in MB.")
    ] = 20,
    max_megapixels: Annotated[
        float, typer.Option(min=0.01, max=MAX_PIXELS / 1e6, callback=finite)
    ] = 40,
    max_streams: Annotated[int, typer.Option(min=0, max=10_000, help="Live streams at once.")] = 8,
    queue: Annotated[
        int, typer.Option(min=0, max=10_000, help="Pictures that may wait; then 503.")
    ] = 8,
) -> None:
    """A page in the browser and an HTTP interface, on this machine unless --host says otherwise."""
    _need_serve()
    from .. import __version__
    from ..server.app import application, run
    from ..server.guard import LOOPBACK, Limits

    origins = [_origin(text) for text in allow_origin or ()]
    local = _is_loopback(host)
    _check_token(host, token, local or public)
    limits = Limits(
        bytes=int(max_mb * 1e6), pixels=int(max_megapixels * 1e6), streams=max_streams,
        waiting=queue,
    )  # fmt: skip
    person = person_choice(person_model, refine)
    each = max((threads or os.cpu_count() or 1) // workers, 1)
    with _listen(host, port) as listening:
        estimators = [
            load(
                model, person=person, runtime=runtime.value, precision=precision.value,
                threads=each, height=size, min_score=min_score,
            )
            for _ in range(workers)
        ]  # fmt: skip
        app = application(
            estimators, version=__version__, limits=limits, token=token, origins=origins,
            hosts=[host, *LOOPBACK] if local and "*" not in origins else None,
        )  # fmt: skip
        where = f"http://{_in_url(host)}:{listening.getsockname()[1]}"
        label = estimators[0].runtime.label
        note(f"{where} ({label}, {workers} x {each} threads); Ctrl-C ends it")
        with suppress(KeyboardInterrupt):
            run(app, listening, limits)


def _need_serve() -> None:
    needed = ("starlette", "uvicorn", "websockets", "python_multipart", "prometheus_client")
    if not all(importlib.util.find_spec(name) for name in needed):
        raise BadInput("the server's libraries are missing: pip install 'limbwise[serve]'")


def _check_token(host: str, token: str | None, closed: bool) -> None:
    if token is not None and not re.fullmatch("[!-~]+", token):
        raise BadInput("the token (--token or LIMBWISE_TOKEN) must be ASCII, without spaces")
    if not token and not closed:
        raise BadInput(
            f"{host} is open to other machines: give a --token (or LIMBWISE_TOKEN), or say --public"
        )


def _is_loopback(host: str) -> bool:
    with suppress(ValueError):
        return ipaddress.ip_address(host).is_loopback
    return host == "localhost"


def _origin(text: str) -> str:
    """As browsers send it; BadInput if it is none."""
    from ..server.guard import hostname

    origin = text.rstrip("/").lower()
    scheme, _, site = origin.partition("://")
    if text != "*" and not (scheme in ("http", "https") and hostname(site)):
        raise BadInput(f"--allow-origin {text} is not an origin such as https://example.org, nor *")
    return origin


def _listen(host: str, port: int) -> socket.socket:
    try:
        family, *_, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        listening = socket.create_server(address, family=family, backlog=128)
        # Else the second part of an answer waits 40 ms until the client has acknowledged the first.
        listening.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return listening
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        raise BadInput(
            f"cannot listen on {host}, port {port} ({reason}): choose another --host or --port"
        ) from error


def _in_url(host: str) -> str:
    return f"[{host}]" if ":" in host else host
