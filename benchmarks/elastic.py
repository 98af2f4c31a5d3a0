"""Training on several machines: two agents of torchrun on loopback, a killed rank, the same curve.

    python benchmarks/elastic.py [--steps 24] [--save-every 6] [--kill rank|agent|host]

Each agent stands for a machine: it finds the other by a rendezvous on 127.0.0.1 and has one
process. First nobody is disturbed. Then, in a run into another folder, a process (or an agent with
its process, as when a machine is lost) is killed once a checkpoint is there; torchrun begins all
processes anew, they take up last.pth, and the losses that are logged are put side by side. A lost
machine is replaced: a new agent joins. With the first agent, the host, the rendezvous is lost: the
other gives up, and the same command begins the job again. The pictures are drawn here.
"""

import argparse
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import PIL.Image

from limbwise.skeleton import COCO

NOTICED = 20.0  # seconds: a lost agent is missed after three heartbeats of five, and some more
# Where agents share their store with the processes, as is usual, the first tells its address in the
# first round only (PyTorch 2.13): one that joins in a later round waits for it in vain for 60 s.
TOLD_EACH_ROUND = {"TORCH_DISABLE_SHARE_RDZV_TCP_STORE": "1"}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=24)
    parser.add_argument("--save-every", type=int, default=6)
    parser.add_argument("--kill", choices=("rank", "agent", "host"), default="rank")
    flags = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="limbwise-elastic-") as name:
        folder = Path(name)
        labels = drawn(folder / "data", 8)
        whole = curve(run(labels, folder / "whole", flags, None))
        torn = curve(run(labels, folder / "torn", flags, flags.kill))
    apart = max(abs(whole[step] - torn[step]) for step in whole)
    last = f"{whole[flags.steps]:.6f} and {torn[flags.steps]:.6f}"
    print(f"{len(whole)} steps, the last loss {last}; at most {apart:.1e} apart")
    if whole.keys() != torn.keys() or apart > 1e-4:
        raise SystemExit("the curves differ")


def run(labels: Path, out: Path, flags: argparse.Namespace, kill: str | None) -> Path:
    agents, port = pair(labels, out, flags)
    began = time.monotonic()
    if kill:
        until(lambda: (out / "last.pth").is_file(), agents)
        at = time.monotonic() - began
        if kill == "rank":
            os.kill(child(agents[1].pid), signal.SIGKILL)
        elif kill == "agent":
            lose(agents[1])
            time.sleep(NOTICED)
            agents[1] = agent(labels, out, flags, port, host=False)
        else:
            lose(agents[0])
            print(f"the other gives up: exit code {agents[1].wait(timeout=400)}")
            agents, _ = pair(labels, out, flags)
        print(f"{kill} killed after {at:.0f} s")
    codes = [each.wait(timeout=400) for each in agents]
    print(f"exit codes {codes} after {time.monotonic() - began:.0f} s")
    if any(codes):
        print(*log_of(out).read_text().splitlines()[-30:], sep="\n")
        raise SystemExit("an agent failed")
    return out / "log.jsonl"


def pair(
    labels: Path, out: Path, flags: argparse.Namespace
) -> "tuple[list[subprocess.Popen[bytes]], int]":
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    return [agent(labels, out, flags, port, host=number == 0) for number in range(2)], port


def lose(agent: "subprocess.Popen[bytes]") -> None:
    """Kills an agent and its process, as when a machine is lost."""
    trains = child(agent.pid)  # torchrun gives it a session of its own
    for pid in (agent.pid, trains):
        os.kill(pid, signal.SIGKILL)
    agent.wait()


def agent(
    labels: Path, out: Path, flags: argparse.Namespace, port: int, *, host: bool
) -> "subprocess.Popen[bytes]":
    torchrun = [sys.executable, "-W", "ignore", "-m", "torch.distributed.run", "--nnodes", "2"]
    torchrun += ["--nproc-per-node", "1", "--rdzv-backend", "c10d", "--rdzv-id", "limbwise"]
    torchrun += ["--rdzv-endpoint", f"127.0.0.1:{port}", "--local-addr", "127.0.0.1"]
    torchrun += ["--rdzv-conf", f"is_host={str(host).lower()}"]  # both are on 127.0.0.1
    torchrun += ["--max-restarts", "3", "--monitor-interval", "1"]
    train = ["-m", "limbwise", "train", labels, labels.parent, "--out", out, "--resume"]
    train += ["--steps", flags.steps, "--save-every", flags.save_every, "--log-every", 1]
    train += ["--size", 64, "--batch-size", 4, "--warmup", 4, "--device", "cpu", "--workers", 1]
    env = {**os.environ, "OMP_NUM_THREADS": "1", **TOLD_EACH_ROUND}
    with log_of(out).open("ab") as log:
        return subprocess.Popen(
            [*torchrun, *map(str, train)], env=env, stdout=log, stderr=log, start_new_session=True
        )


def log_of(out: Path) -> Path:
    return out.with_suffix(".log")


def until(condition, agents) -> None:
    end = time.monotonic() + 300
    while not condition():
        if time.monotonic() > end or any(each.poll() is not None for each in agents):
            raise SystemExit("there was no checkpoint to go on from")
        time.sleep(0.02)


def child(pid: int) -> int:
    """The process that an agent started and that trains."""
    return int(Path(f"/proc/{pid}/task/{pid}/children").read_text().split()[0])


def curve(log: Path) -> dict[int, float]:
    """The loss by step; of steps that were done twice the later."""
    lines = map(json.loads, log.read_text().splitlines())
    return {line["step"]: line["total"] for line in lines if "total" in line}


def drawn(folder: Path, count: int) -> Path:
    """Pictures with a bright cross for a person, and their labels."""
    folder.mkdir()
    draw = np.random.default_rng(0)
    images, people = [], []
    for n in range(1, count + 1):
        image = draw.integers(0, 60, (96, 96, 3), np.uint8)
        xy = draw.uniform(20, 76, (17, 2))
        for x, y in xy.astype(int):
            image[y - 2 : y + 3, x - 2 : x + 3] = 255
        PIL.Image.fromarray(image).save(folder / f"{n}.png")
        images.append({"id": n, "file_name": f"{n}.png", "width": 96, "height": 96})
        keypoints = np.column_stack([xy, np.full(17, 2)]).round(1).ravel().tolist()
        people.append({
            "id": n, "image_id": n, "category_id": 1, "iscrowd": 0, "num_keypoints": 17,
            "keypoints": keypoints, "bbox": [18, 18, 60, 60], "area": 2000,
        })  # fmt: skip
    category = {"id": 1, "name": "person", "keypoints": list(COCO.keypoints), "skeleton": []}
    labels = folder / "labels.json"
    labels.write_text(
        json.dumps({"images": images, "annotations": people, "categories": [category]})
    )
    return labels


if __name__ == "__main__":
    main()
