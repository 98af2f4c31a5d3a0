"""The example in C++ against Python on a film: time of each, in turns, and what is the same.

    make test-cpp
    python benchmarks/cpp.py .venv/cpp/limbwise_film ../shared/data/vtest.avi [--precision f32]

Both stages of the accurate pair, two threads, JSON lines, no tracking and no drawing. A keypoint is
the same within 0.5 pixels, of people whose keypoints lie 3 pixels apart at most (median).
"""

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

from limbwise.bench import machine
from limbwise.models.catalogue import CATALOGUE, DEFAULT


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("program", type=Path)
    parser.add_argument("film")
    parser.add_argument("--precision", choices=["f32", "bf16"], default="f32")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=3)
    flags = parser.parse_args()
    pair = CATALOGUE[DEFAULT]
    assert pair.second
    how, threads = flags.precision, str(flags.threads)
    ours = [sys.executable, "-m", "limbwise", "run", flags.film, "--no-track", "--json", "-"]
    ours += ["--precision", how, "--threads", threads]
    theirs = [flags.program, pair.first.plain, pair.second.plain, flags.film, threads, how]
    print(machine())
    with tempfile.TemporaryDirectory() as cache:
        os.environ["LIMBWISE_CACHE"] = cache  # both keep compiled models
        for command in ours, theirs:
            run(command)
        rounds = [(run(ours), run(theirs)) for _ in range(flags.rounds)]
    for name, part in (("wall", 0), ("processor", 1)):
        python, cpp = (min(both[n][part] for both in rounds) for n in (0, 1))
        print(f"{name:10} Python {python:7.2f} s, C++ {cpp:7.2f} s, {cpp / python:.2f} of it")
    compare(*(list(map(json.loads, said[2].splitlines())) for said in rounds[-1]))


def run(command: list[Any]) -> tuple[float, float, bytes]:
    """Seconds on the wall and of the processors, and what is said."""
    begin, before = time.monotonic(), resource.getrusage(resource.RUSAGE_CHILDREN)
    said = subprocess.run(command, stdout=subprocess.PIPE, check=True).stdout
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    spent = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return time.monotonic() - begin, spent, said


def compare(ours: list[dict[str, Any]], theirs: list[dict[str, Any]]) -> None:
    away: list[float] = []
    for one, other in zip(ours, theirs, strict=True):
        assert one | {"people": []} == other | {"people": []}
        free = [keypoints(person) for person in other["people"]]
        for person in map(keypoints, one["people"]):
            far = [np.linalg.norm((person - each)[:, :2], axis=1) for each in free]
            best = min(range(len(far)), key=lambda n: np.nanmedian(far[n]), default=None)
            if best is not None and np.nanmedian(far[best]) < 3:
                away += np.nan_to_num(far[best], nan=0).tolist()
                if (np.isnan(person) != np.isnan(free[best])).any():
                    print(f"frame {one['frame']}: a keypoint that only one finds")
                free.pop(best)
    people = [sum(len(line["people"]) for line in lines) for lines in (ours, theirs)]
    same = len(away) // len(keypoints(ours[0]["people"][0]))
    print(f"{people[0]} people by Python, {people[1]} by C++, {same} the same")
    print(f"keypoints within 0.5 pixels: {np.mean(np.array(away) < 0.5):.2%}, "
          f"median {np.median(away):.3f}, 99 % {np.quantile(away, 0.99):.2f}")  # fmt: skip


def keypoints(person: dict[str, Any]) -> np.ndarray[Any, Any]:
    """(K, 3), nan where not found."""
    return np.array([each or [np.nan] * 3 for each in person["keypoints"].values()])


if __name__ == "__main__":
    main()
