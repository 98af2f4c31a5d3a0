"""Batch work on Ray: how fast, how flat, how sure; and what a hundred machines would take.

    python benchmarks/batch.py speed PICTURES [--limit 2000]   run, run --processes, batch, by turns
    python benchmarks/batch.py start PICTURES [--rounds 3]     what it waits for before it works
    python benchmarks/batch.py memory [--pictures 20000]       the driver's memory while it runs
    python benchmarks/batch.py nodes PICTURES [--times 10]     two Ray nodes, one of them killed
    python benchmarks/batch.py films FILM                      ids of a film that was cut
    python benchmarks/batch.py listing [--files 1000000]       what planning takes
    python benchmarks/batch.py costs PICTURES                  what a picture costs, by its parts
    python benchmarks/batch.py cluster PICTURES                10^8 pictures, simulated

PICTURES is a folder. Everything is written below a temporary folder. Ray must be installed
(limbwise[batch]). Whatever is compared runs by turns; on a machine that does other things too only
the ratios mean something, and not much. Ray's workers give way to all else (niceness 15); here they
do not, so that what is compared has the same right to the cores.
"""

import argparse
import json
import os
import random
import secrets
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from io import BytesIO
from pathlib import Path

import numpy as np
import PIL.Image
import simulated_cluster

from limbwise.bench import machine
from limbwise.distributed.store import Store
from limbwise.estimator import SAMPLE
from limbwise.sources.image import read_picture


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    what = parser.add_subparsers(dest="what", required=True)
    for name in (
        "speed",
        "start",
        "phases",
        "nodes",
        "costs",
        "cluster",
        "films",
        "memory",
        "listing",
    ):
        one = what.add_parser(name)
        if name not in ("memory", "listing"):
            one.add_argument("source", type=Path)
        one.add_argument("--limit", type=int, default=2000)
        one.add_argument("--times", type=int, default=10)
        one.add_argument("--pictures", type=int, default=20_000)
        one.add_argument("--files", type=int, default=1_000_000)
        one.add_argument("--rounds", type=int, default=1)
        one.add_argument("--seed", type=int, default=0)
        one.add_argument("--precision", default="f32")
        one.add_argument("--out", type=Path, help=argparse.SUPPRESS)
    flags = parser.parse_args()
    if flags.what == "nodes" and "RAY_AUTH_TOKEN" not in os.environ:
        own = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": secrets.token_hex(32)}
        os.execve(sys.executable, [sys.executable, *sys.argv], {**os.environ, **own})
    os.environ.setdefault("RAY_worker_niceness", "0")
    if flags.what == "phases":  # a process of `start`
        phases(flags)
        return
    print(machine())
    with tempfile.TemporaryDirectory(prefix="limbwise-batch-") as folder:
        globals()[flags.what](flags, Path(folder))


def limbwise(*args: object) -> list[str]:
    return [sys.executable, "-m", "limbwise", *map(str, args)]


def links(source: Path, folder: Path, limit: int) -> Path:
    """The first pictures of a folder tree, as links in a folder of their own."""
    folder.mkdir()
    found = sorted(path for path in source.rglob("*") if path.suffix in (".jpg", ".webp", ".png"))
    for n, path in enumerate(found[:limit]):
        (folder / f"{n:06}{path.suffix}").symlink_to(path.resolve())
    return folder


# How fast.


def speed(flags: argparse.Namespace, folder: Path) -> None:
    photos = links(flags.source, folder / "photos", flags.limit)
    count = len(list(photos.iterdir()))
    same = ("--precision", flags.precision)
    ways = {
        "run, 2 threads": lambda out: limbwise("run", photos, "--json", out / "a.jsonl",
                                               "--threads", 2, *same),
        "run --processes 2": lambda out: limbwise("run", photos, "--json", out / "a.jsonl",
                                                  "--processes", 2, *same),
        "run --processes 1": lambda out: limbwise("run", photos, "--json", out / "a.jsonl",
                                                  "--processes", 1, *same),
        "batch, 2 workers": lambda out: limbwise("batch", photos, "--out", out / "o",
                                                 "--workers", 2, *same),
        "batch, 1 worker": lambda out: limbwise("batch", photos, "--out", out / "o",
                                                "--workers", 1, *same),
    }  # fmt: skip
    taken: dict[str, list[tuple[float, float]]] = {name: [] for name in ways}
    for turn in range(flags.rounds):
        for name, way in ways.items():
            out = folder / f"{name}-{turn}".replace(" ", "-")
            out.mkdir()
            taken[name].append(timed(way(out), out))
            print(f"{name}: {taken[name][-1][0]:.1f} s", file=sys.stderr)
    print(f"| {count} pictures, {flags.rounds} rounds | s in all | to the first result | "
          "pictures/s in all | after the first |")  # fmt: skip
    print("|---|---|---|---|---|")
    for name, pairs in taken.items():
        whole, first = min(pairs)
        print(f"| {name} | {whole:.1f} | {first:.1f} | {count / whole:.2f} | "
              f"{count / (whole - first):.2f} |")  # fmt: skip
    print("\n| times as many pictures/s | in all | after the first |")
    print("|---|---|---|")
    for one, other in (
        ("batch, 2 workers", "run, 2 threads"),
        ("batch, 2 workers", "run --processes 2"),
        ("batch, 2 workers", "batch, 1 worker"),
        ("run --processes 2", "run --processes 1"),
    ):
        (whole, first), (its, early) = min(taken[one]), min(taken[other])
        print(f"| {one} : {other} | {its / whole:.2f} | {(its - early) / (whole - first):.2f} |")


def timed(command: list[str], out: Path) -> tuple[float, float]:
    """Seconds that a command took, and until its first result was there."""
    began, first = time.perf_counter(), 0.0
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    while process.poll() is None:
        time.sleep(0.05)
        if not first and any(path.stat().st_size for path in results(out)):
            first = time.perf_counter() - began
    whole = time.perf_counter() - began
    assert process.stderr is not None
    if process.returncode:
        sys.stderr.write(process.stderr.read().decode())
    return whole, first


def results(out: Path) -> list[Path]:
    return [*out.glob("o/manifest/*.json"), *out.glob(".a*"), *out.glob("a.jsonl")]


# What it waits for.

PHASES = ("imports", "sources listed", "Ray is up", "first shard", "last shard", "all ended")


def start(flags: argparse.Namespace, folder: Path) -> None:
    """By turns: `batch` on all pictures and on eight, `run` on eight; seconds from the start."""
    photos = links(flags.source, folder / "photos", min(flags.limit, 200))
    few = links(flags.source, folder / "few", 8)
    rows: dict[str, list[list[float]]] = {f"{len(list(photos.iterdir()))} pictures": [], "8": []}
    plain = []
    for turn in range(flags.rounds):
        for (name, found), source in zip(rows.items(), (photos, few), strict=True):
            out = folder / f"{name}-{turn}"
            script = [sys.executable, __file__, "phases", str(source), "--out", str(out)]
            began = time.time()
            done = subprocess.run(script, capture_output=True, text=True, check=True)
            stamps = json.loads(done.stdout.splitlines()[-1])
            found.append([stamp - began for stamp in [*stamps, time.time()]])
        began = time.time()
        command = limbwise("run", few, "--json", folder / f"{turn}.jsonl", "--precision", "f32")
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
        plain.append(time.time() - began)
    print(f"| s from the start, {flags.rounds} rounds | " + " | ".join(PHASES) + " |")
    print("|---" * (1 + len(PHASES)) + "|")
    for name, found in rows.items():
        for what, chosen in (("least", min), ("most", max)):
            cells = (f"{chosen(column):.1f}" for column in zip(*found, strict=True))
            print(f"| batch, {name}, 2 workers, {what} | " + " | ".join(cells) + " |")
    print(f"limbwise run on the 8: {min(plain):.1f} to {max(plain):.1f} s in all")


def phases(flags: argparse.Namespace) -> None:
    """A run of `batch` in this process; the times of `PHASES` but the last."""
    from limbwise.distributed.batch import Options, plain_job, run

    at = [0.0] * 5
    at[0] = time.time()

    def reached(place: int) -> None:
        at[place] = time.time()

    options = Options(str(flags.out), {"precision": "f32"}, workers=(2, 2), cores=2)
    told = (lambda todo: reached(1)), plain_job, (lambda: reached(2))
    for step in run([str(flags.source)], options, *told):
        if not isinstance(step, Store):
            at[4] = time.time()
    at[3] = min(path.stat().st_mtime for path in entries(flags.out))
    print(json.dumps(at))


# How flat.


def memory(flags: argparse.Namespace, folder: Path) -> None:
    photos = folder / "photos"
    photos.mkdir()
    small = PIL.Image.fromarray(read_picture(SAMPLE)[::4, ::4, ::-1])
    small.save(folder / "one.jpg")
    data = (folder / "one.jpg").read_bytes()
    for n in range(flags.pictures):
        (photos / f"{n:06}.jpg").write_bytes(data)
    out = folder / "out"
    process = subprocess.Popen(
        limbwise("batch", photos, "--out", out, "--model", "one-stage", "--size", 64,
                 "--precision", "f32"), stdout=subprocess.DEVNULL,
    )  # fmt: skip
    print("| pictures done | driver, MB |")
    print("|---|---|")
    told = -1
    while process.poll() is None:
        time.sleep(1)
        done = sum(json.loads(path.read_bytes())["frames"] for path in entries(out))
        tenth = 10 * done // flags.pictures
        if tenth > told and done:
            told = tenth
            print(f"| {done} | {resident(process.pid):.0f} |", flush=True)


def entries(out: Path) -> Iterator[Path]:
    return (path for path in out.glob("manifest/*.json"))


def resident(pid: int) -> float:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) / 1024 for line in lines if line.startswith("VmRSS"))


# How sure.


def nodes(flags: argparse.Namespace, folder: Path) -> None:
    """The moments of the kills are drawn from equal parts of the run, one from each: from its first
    shard until nine in ten are written."""
    photos = links(flags.source, folder / "photos", min(flags.limit, 60))
    draw = random.Random(flags.seed)
    whole = folder / "whole"
    with two_nodes() as (address, _, _):
        began = time.monotonic()
        batch(photos, whole, address).wait()
        seconds = time.monotonic() - began
    wanted, shards, equal = content(whole), len(list(entries(whole))), 0
    print(f"{len(wanted)} lines in {shards} shards in {seconds:.0f} s when nobody is disturbed")
    print("| killed when so many were written | workers on it | written after | exit | result |")
    print("|---|---|---|---|---|")
    for turn in range(flags.times):
        out = folder / f"out-{turn}"
        part = (turn + draw.random()) / flags.times
        with two_nodes() as (address, kill, workers):
            process = batch(photos, out, address)
            await_shards(process, out, 1 + int(part * (0.9 * shards - 1)))
            time.sleep(draw.uniform(0, 0.5))  # in the midst of a shard
            alive, had = process.poll() is None, workers()
            done = len(list(entries(out)))
            kill()
            process.wait()
        same = alive and content(out) == wanted
        equal += same
        told = "equal" if same else "NOT EQUAL" if alive else "it had ended before"
        left = len(list(entries(out))) - done
        print(f"| {done} | {had} | {left} | {process.returncode} | {told} |", flush=True)
    print(f"{equal} of {flags.times} results equal that of the undisturbed run")
    if equal < flags.times:
        raise SystemExit(1)


def await_shards(process: "subprocess.Popen[bytes]", out: Path, count: int) -> None:
    while process.poll() is None and len(list(entries(out))) < count:
        time.sleep(0.02)


Nodes = tuple[str, Callable[[], None], Callable[[], int]]


@contextmanager
def two_nodes() -> Iterator[Nodes]:
    """A cluster of two nodes with a core each: its address, what kills the second, and what counts
    the workers on that."""
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    from ray.cluster_utils import Cluster

    of_each = {"num_cpus": 1, "object_store_memory": 100_000_000}
    cluster = Cluster(
        initialize_head=True, head_node_args={**of_each, "include_dashboard": False}
    )  # fmt: skip
    second = cluster.add_node(**of_each)
    raylet = second.all_processes["raylet"][0].process.pid
    try:
        yield (
            cluster.address,
            lambda: cluster.remove_node(second, allow_graceful=False),
            lambda: sum("ShardActor" in name for name in children(raylet)),
        )
    finally:
        cluster.shutdown()


def children(pid: int) -> Iterator[str]:
    """How the processes that a process started call themselves."""
    for task in Path(f"/proc/{pid}/task").iterdir():
        for child in (task / "children").read_text().split():
            with suppress(OSError):
                yield Path(f"/proc/{child}/cmdline").read_text()


def batch(photos: Path, out: Path, address: str) -> "subprocess.Popen[bytes]":
    command = limbwise("batch", photos, "--out", out, "--format", "jsonl", "--per-shard", 3,
                       "--precision", "f32", "--address", address, "--workers", "2")  # fmt: skip
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    return subprocess.Popen(command, **quiet)


def content(out: Path) -> list[bytes]:
    return sorted(
        line for path in out.glob("shards/*.jsonl") for line in path.read_bytes().splitlines()
    )


def films(flags: argparse.Namespace, folder: Path) -> None:
    """A film in pieces of ten seconds, against one that is not cut, with the fast model."""
    from limbwise.distributed import films as joining
    from limbwise.distributed import sources
    from limbwise.distributed.job import settled, skeleton_of
    from limbwise.distributed.store import ROOMS, Store
    from limbwise.distributed.todo import todo
    from limbwise.distributed.work import Worker

    film = folder / "film.mp4"
    code = ["limbwise", "run", flags.source, "--save", film, "--model", "one-stage", "--size", 96]
    if flags.source.suffix not in (".mp4", ".mkv", ".mov"):  # drawn upon, but a film that is cut
        subprocess.run([sys.executable, "-m", *map(str, code)], check=True)
    else:
        film.symlink_to(flags.source.resolve())
    sources.PIECE = 10.0
    job = settled("fast", precision="f32")
    worker = Worker(job)
    found = {}
    for name, cut in (("whole", False), ("cut", True)):
        store = Store(str(folder / name), "jsonl", skeleton_of(worker.estimate))
        store.folder.make("", *ROOMS)
        began, joined = time.perf_counter(), 0.0
        left = todo(store, sources.items([str(film)], cut=cut))
        for shard in left.shards:
            worker(shard, store)
        for pieces in left.films:
            start = time.perf_counter()
            joining.join(job, store, pieces)
            joined = time.perf_counter() - start
        found[name] = content(Path(store.address))
        people = {p["id"] for line in found[name] for p in json.loads(line)["people"]}
        print(f"{name}: {len(left.shards)} tasks, {len(found[name])} frames, {len(people)} ids, "
              f"{time.perf_counter() - began:.1f} s, of which joining {joined:.1f}")  # fmt: skip
    print("equal, byte for byte" if found["whole"] == found["cut"] else "NOT EQUAL")


# What planning takes.


def listing(flags: argparse.Namespace, folder: Path) -> None:
    from limbwise.distributed import plan
    from limbwise.distributed.sources import items

    for n in range(flags.files):
        if n % 1000 == 0:
            (folder / f"{n // 1000:04}").mkdir()
        (folder / f"{n // 1000:04}" / f"{n:07}.jpg").touch()
    before, began = resident(os.getpid()), time.perf_counter()
    found = items([str(folder)])
    shards = plan.shards(found)
    seconds, grown = time.perf_counter() - began, resident(os.getpid()) - before
    print(f"{len(found)} files in {len(shards)} shards: {seconds:.1f} s, {grown:.0f} MB, "
          f"{1e6 * grown / len(found):.0f} bytes a file")  # fmt: skip


# What a picture costs, and what a hundred machines take.


def costs(flags: argparse.Namespace, folder: Path) -> dict[str, np.ndarray]:
    from limbwise.distributed.job import settled, skeleton_of
    from limbwise.distributed.schema import Record, ShardWriter, as_record
    from limbwise.outputs.records import Result
    from limbwise.pose import Pose

    paths = sorted(links(flags.source, folder / "photos", min(flags.limit, 200)).iterdir())
    job = settled(precision=flags.precision)
    estimate = job.estimator()

    def recorded(path: Path, image: np.ndarray, poses: list[Pose]) -> Record:
        height, width = image.shape[:2]
        result = Result(str(path), 0, 0.0, width, height, poses, picture=True)
        return as_record(result, job.model, job.version)

    warm = ShardWriter(BytesIO(), "parquet", skeleton_of(estimate))
    for path in paths[:8]:  # networks are compiled, and Arrow loads half a second's worth
        image = read_picture(path)
        warm.add(recorded(path, image, list(estimate(image))))
    warm.close()
    parts: dict[str, list[float]] = {k: [] for k in ("read", "decode", "first", "second", "write")}
    size = 0
    with (folder / "shard").open("wb") as file:
        writer = ShardWriter(file, "parquet", skeleton_of(estimate))
        for path in paths:
            clock = [time.perf_counter()]
            data = path.read_bytes()
            clock.append(time.perf_counter())
            image = read_picture(data, str(path))
            clock.append(time.perf_counter())
            seen = estimate.infer(image)
            clock.append(time.perf_counter())
            poses = estimate.decode(*seen, image)
            clock.append(time.perf_counter())
            writer.add(recorded(path, image, poses))
            clock.append(time.perf_counter())
            size += len(data)
            for name, seconds in zip(parts, np.diff(clock), strict=True):
                parts[name].append(float(seconds))
        began = time.perf_counter()
        writer.close()
        parts["write"] = [t + (time.perf_counter() - began) / len(paths) for t in parts["write"]]
    print(f"{len(paths)} pictures, one thread, {flags.precision}; {size / len(paths) / 1e3:.0f} kB "
          f"read, {(folder / 'shard').stat().st_size / len(paths):.0f} bytes written, "
          f"{writer.people / len(paths):.1f} people a picture")  # fmt: skip
    print("| ms a picture | mean | median | p99 |")
    print("|---|---|---|---|")
    found = {name: 1000 * np.array(values) for name, values in parts.items()}
    found["whole"] = np.sum(list(found.values()), axis=0)
    for name, values in found.items():
        print(f"| {name} | {values.mean():.2f} | {np.median(values):.2f} | "
              f"{np.percentile(values, 99):.2f} |")  # fmt: skip
    return found


def cluster(flags: argparse.Namespace, folder: Path) -> None:
    simulated_cluster.table(costs(flags, folder)["whole"] / 1000, flags.seed)


if __name__ == "__main__":
    main()
