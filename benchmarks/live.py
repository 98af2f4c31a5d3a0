"""How live: the whole run beside the bare network, latency from frame to poses, memory over time.

    python benchmarks/live.py FILM [--model M] [--size 256] [--frames 300] [--long 20000]

The bare network gets the film's frames one after another, already fitted; the runs read the film
and write JSON lines, or a drawn film. Both are timed in turns. For memory the film is read again
and again until `--long` frames are through.
"""

import argparse
import os
import time
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from tempfile import TemporaryDirectory

from limbwise.bench import machine
from limbwise.estimator import Estimator, load
from limbwise.geometry import letterbox
from limbwise.outputs.draw import draw
from limbwise.outputs.recorder import Recorder
from limbwise.outputs.records import Result
from limbwise.outputs.results import open_writer
from limbwise.pipeline import Stats, flow
from limbwise.sources.frames import Frame, frames
from limbwise.track import Tracker


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("film", type=Path)
    parser.add_argument("--model", type=Path)
    parser.add_argument("--size", type=int, default=256)
    parser.add_argument("--frames", type=int, default=300)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--long", type=int, default=20000)
    flags = parser.parse_args()
    print(machine())
    estimate = load(flags.model, height=flags.size)
    throughput(flags.film, estimate, flags.frames, flags.rounds)
    latency(flags.film, estimate, flags.frames)
    if flags.long:
        memory(flags.film, estimate, flags.long)


def throughput(film: Path, estimate: Estimator, count: int, rounds: int) -> None:
    """Frames a second: the best of each, and its share of the bare network's."""
    images = [frame.image for frame in islice(frames(film), min(count, 100))]
    fitted = [
        letterbox(image, estimate.height, estimate.runtime.description.multiple)[0]
        for image in images
    ]
    jobs = {"network alone": lambda: bare(estimate, fitted, count),
            "one after another, JSON lines": lambda: plain(film, estimate, count),
            "run, JSON lines": lambda: run(film, estimate, count),
            "run, tracked, drawn, H.264": lambda: run(film, estimate, count, True)}  # fmt: skip
    best = dict.fromkeys(jobs, 0.0)
    for _ in range(rounds):
        for name, job in jobs.items():
            began = time.perf_counter()
            done = job()
            best[name] = max(best[name], done / (time.perf_counter() - began))
    print(f"\n{film.name}, height {estimate.height}, {estimate.runtime.label}, best of {rounds}:")
    for name, rate in best.items():
        share = rate / best["network alone"]
        print(f"  {name:32} {rate:6.1f} frames a second, {share:.2f} of the network's")


def bare(estimate: Estimator, fitted: list, count: int) -> int:
    for number in range(count):
        estimate.runtime(fitted[number % len(fitted)][None])
    return count


def plain(film: Path, estimate: Estimator, count: int) -> int:
    done = 0
    with TemporaryDirectory() as folder, open_writer(f"{folder}/a.jsonl", "jsonl") as writer:
        for frame in islice(frames(film), count):
            writer.add(result(frame, estimate(frame.image)))
            done += 1
    return done


def run(film: Path, estimate: Estimator, count: int, drawn: bool = False) -> int:
    done = 0
    tracker = Tracker()
    with (
        TemporaryDirectory() as folder,
        open_writer(f"{folder}/a.jsonl", "jsonl") as writer,
        Recorder(f"{folder}/a.mp4") as recorder,
    ):
        for frame, poses in flow(islice(frames(film), count), estimate):
            if drawn:
                poses = tracker.update(poses, frame.time)
                recorder.add(draw(frame.image, poses, ids=True), frame.time)
            writer.add(result(frame, poses))
            done += 1
    return done


def result(frame: Frame, poses: list) -> Result:
    height, width = frame.image.shape[:2]
    return Result(frame.source, frame.index, frame.time, width, height, poses)


def camera(film: Path, rate: float) -> Iterator[Frame]:
    """The film's frames at the pace of a camera, for ever."""
    began, number = time.monotonic(), 0
    while True:
        for frame in frames(film):
            time.sleep(max(0.0, began + number / rate - time.monotonic()))
            yield frame
            number += 1


def latency(film: Path, estimate: Estimator, count: int) -> None:
    print("\nA camera played from the film, newest frame wins:")
    for rate in (15, 30, 60):
        stats = Stats()
        for _ in islice(flow(camera(film, rate), estimate, live=True, stats=stats), count):
            pass
        print(f"  {rate} a second: {stats}")


def memory(film: Path, estimate: Estimator, count: int) -> None:
    """The process's resident memory while frames go through."""
    tracker, done = Tracker(), 0
    marks = {count // 20, count // 4, count // 2, count}
    print(f"\nMemory over {count} frames:")
    with TemporaryDirectory() as folder, open_writer(f"{folder}/a.jsonl", "jsonl") as writer:
        while done < count:
            for frame, poses in flow(frames(film), estimate):
                writer.add(result(frame, tracker.update(poses, float(done))))
                done += 1
                if done in marks:
                    print(f"  after {done:6} frames {resident():.0f} MB")
                if done == count:
                    break


def resident() -> float:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20


if __name__ == "__main__":
    main()
