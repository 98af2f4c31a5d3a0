"""A server under load, on loopback: pictures a second, how long one takes, what is refused.

    python benchmarks/serve.py [--model M] [--seconds 60] [--clients 1 4 16] [--workers 1]
        [--idle 300]

The server is `limbwise serve` in a process of its own. Every client sends the sample picture, waits
for the answer and sends it again: over HTTP to /v1/poses (who is told 503 tries again after a tenth
of a second), and over the WebSocket /v1/stream. Clients and server share the machine.
--idle: how /healthz is answered while so many connections are held that ask for nothing, every
other with half a head of a request.
"""

import argparse
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from http.client import HTTPConnection
from pathlib import Path

import numpy as np
from websockets.sync.client import connect

from limbwise.bench import machine
from limbwise.estimator import SAMPLE

PICTURE = SAMPLE.read_bytes()


@dataclass
class Tally:
    """Milliseconds of answers, and how often there was none, by reason."""

    taken: list[float] = field(default_factory=list)
    failed: Counter[str] = field(default_factory=Counter)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", type=Path, help="the bundled one if absent")
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--clients", type=int, nargs="+", default=[1, 4, 16])
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--idle", type=int, default=0)
    flags = parser.parse_args()
    name = flags.model.name if flags.model else "bundled model"
    print(f"{machine()}; {name}, {flags.workers} workers, {flags.seconds:g} s each")
    with server(flags.model, flags.workers, max(flags.clients)) as (port, process):
        if flags.idle:
            print(idle(port, flags.idle), flush=True)
        for way in (post, stream):
            way(port, time.monotonic() + 2, Tally())  # warm
            for clients in flags.clients:
                before = resident(process)
                tally = load(way, port, clients, flags.seconds)
                print(line(way.__name__, clients, tally, flags.seconds), end="")
                print(f", RSS {before:.0f} -> {resident(process):.0f} MB", flush=True)


@contextmanager
def server(
    model: Path | None, workers: int, streams: int
) -> Iterator[tuple[int, subprocess.Popen[str]]]:
    """The port of a running server and its process."""
    options = ["--port", "0", "--workers", str(workers), "--max-streams", str(streams)]
    command = [sys.executable, "-m", "limbwise", "serve", *options]
    command += ["--model", str(model)] if model else []
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    said = process.stderr.readline() if process.stderr else ""
    try:
        where = re.search(r"http://[^ ]*:(\d+)", said)
        if where is None:
            raise SystemExit(said)
        yield int(where[1]), process
    finally:
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=30)


def load(
    way: Callable[[int, float, Tally], None], port: int, clients: int, seconds: float
) -> Tally:
    """All clients at once, each in a thread; what they met, together."""
    end = time.monotonic() + seconds
    tallies = [Tally() for _ in range(clients)]
    threads = [threading.Thread(target=way, args=(port, end, tally)) for tally in tallies]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    together = Tally()
    for tally in tallies:
        together.taken += tally.taken
        together.failed += tally.failed
    return together


def post(port: int, end: float, tally: Tally) -> None:
    connection = HTTPConnection("127.0.0.1", port, timeout=60)
    while (begin := time.monotonic()) < end:
        try:
            connection.request("POST", "/v1/poses", PICTURE, {"Content-Type": "image/jpeg"})
            answer = connection.getresponse()
            answer.read()
        except OSError as error:
            tally.failed[type(error).__name__] += 1
            connection.close()
            continue
        if answer.status == 200:
            tally.taken.append(1000 * (time.monotonic() - begin))
        else:
            tally.failed[str(answer.status)] += 1
            time.sleep(0.1)


def stream(port: int, end: float, tally: Tally) -> None:
    with connect(f"ws://127.0.0.1:{port}/v1/stream", proxy=None) as socket:
        while (begin := time.monotonic()) < end:
            socket.send(PICTURE)
            socket.recv(timeout=60)
            tally.taken.append(1000 * (time.monotonic() - begin))


def idle(port: int, count: int, seconds: float = 12) -> str:
    """What asking /healthz twice a second met, from the moment that all connections were opened."""
    tally = Tally()
    with ExitStack() as stack:
        for number in range(count):
            one = stack.enter_context(socket.create_connection(("127.0.0.1", port), timeout=5))
            with suppress(OSError):  # the server may have let it go
                one.sendall(b"GET /healthz HTTP/1.1\r\nHost: local" if number % 2 else b"")
        end = time.monotonic() + seconds
        while (begin := time.monotonic()) < end:
            connection = HTTPConnection("127.0.0.1", port, timeout=5)
            try:
                connection.request("GET", "/healthz", headers={"Host": "localhost"})
                answer = connection.getresponse()
                answer.read()
                if answer.status == 200:
                    tally.taken.append(1000 * (time.monotonic() - begin))
                else:
                    tally.failed[str(answer.status)] += 1
            except OSError as error:
                tally.failed[type(error).__name__] += 1
            connection.close()
            time.sleep(0.5)
    slowest = f"slowest {max(tally.taken):.0f} ms" if tally.taken else "none"
    failed = ", ".join(f"{n} x {what}" for what, n in tally.failed.items()) or "none"
    return (
        f"{count} idle connections: /healthz {len(tally.taken)} x 200, {slowest}, refused: {failed}"
    )


def line(way: str, clients: int, tally: Tally, seconds: float) -> str:
    middle, late = np.percentile(tally.taken or [np.nan], [50, 99])
    failed = ", ".join(f"{count} x {what}" for what, count in tally.failed.items()) or "none"
    return (
        f"{way:6} {clients:3} clients: {len(tally.taken) / seconds:6.1f} a second, "
        f"p50 {middle:6.0f} ms, p99 {late:6.0f} ms, refused or failed: {failed}"
    )


def resident(process: subprocess.Popen[str]) -> float:
    """Megabytes of memory, from Linux's /proc."""
    status = Path(f"/proc/{process.pid}/status").read_text()
    return int(status.partition("VmRSS:")[2].split()[0]) / 1024


if __name__ == "__main__":
    main()
