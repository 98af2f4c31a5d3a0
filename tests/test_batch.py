"""`limbwise batch` on a real Ray cluster on this machine: nothing lost, nothing twice.

Each test starts processes of its own and ends those alone. Where Ray is missing all of it is
skipped, but for the line that says so: `make test-batch` installs it.
"""

import http.server
import importlib.util
import json
import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import PIL.Image
import pytest

from limbwise.estimator import SAMPLE
from limbwise.sources.image import read_picture

ROOT = Path(__file__).parents[1]
HAS_RAY = importlib.util.find_spec("ray") is not None
needs_ray = pytest.mark.skipif(not HAS_RAY, reason="Ray is not installed: make test-batch")
pytestmark = pytest.mark.timeout(300)

PICTURES_MADE = 40


def command(*args: object) -> list[str]:
    return [sys.executable, "-m", "limbwise", *map(str, args)]


def limbwise(*args: object, **env: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command(*args), capture_output=True, text=True, timeout=200, env={**os.environ, **env}
    )


def complaint(done: subprocess.CompletedProcess[str]) -> str:
    """The one line of a run that a user can mend; lines of progress aside."""
    assert done.returncode == 2, done
    assert "Traceback" not in done.stderr
    *others, line = done.stderr.strip().splitlines()
    assert all(" sources" in other for other in others), done.stderr
    return line


def lines(out: Path) -> list[bytes]:
    """All of a folder's JSON lines, sorted, as bytes."""
    return sorted(
        line for shard in out.glob("shards/*.jsonl") for line in shard.read_bytes().splitlines()
    )


@pytest.fixture(scope="module")
def photos(tmp_path_factory) -> Path:
    """Pictures with two people each, at other places in each, and one that is broken."""
    folder = tmp_path_factory.mktemp("photos")
    sample = read_picture(SAMPLE)
    for n in range(PICTURES_MADE):
        rolled = np.roll(sample, 20 * n, axis=1)[::2, ::2, ::-1]
        PIL.Image.fromarray(rolled).save(folder / f"{n:02}.jpg", quality=80)
    (folder / "broken.jpg").write_bytes((folder / "03.jpg").read_bytes()[:900])
    return folder


OPTIONS = ("--format", "jsonl", "--per-shard", 2, "--precision", "f32", "--workers", 2)


@pytest.fixture(scope="module")
def whole(photos, tmp_path_factory) -> Path:
    """What one run gives that nobody disturbs."""
    out = tmp_path_factory.mktemp("whole") / "out"
    done = limbwise("batch", photos, "--out", out, *OPTIONS)
    assert "broken.jpg" in complaint_of_broken(done)
    assert len(lines(out)) == PICTURES_MADE
    return out


def complaint_of_broken(done: subprocess.CompletedProcess[str]) -> str:
    assert done.returncode == 2, done
    assert "Traceback" not in done.stderr
    return done.stderr


def started(photos: Path, out: Path) -> subprocess.Popen[str]:
    return subprocess.Popen(
        command("batch", photos, "--out", out, *OPTIONS), stdout=subprocess.PIPE,
        stderr=subprocess.PIPE, text=True, start_new_session=True,
    )  # fmt: skip


def until_some_shards(process: subprocess.Popen[str], out: Path, count: int = 3) -> None:
    end = time.monotonic() + 120
    while len(list(out.glob("manifest/*.json"))) < count:
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < end
        time.sleep(0.02)


def below(pid: int) -> dict[int, str]:
    """All processes that a process started, and theirs, with how they call themselves."""
    parents, names = {}, {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            parents[int(stat.parent.name)] = int(stat.read_text().rpartition(")")[2].split()[1])
            names[int(stat.parent.name)] = (stat.parent / "cmdline").read_text().strip("\0")
        except OSError:
            continue
    found: dict[int, str] = {}
    ring = {pid}
    while ring:
        ring = {each for each, parent in parents.items() if parent in ring}
        found |= {each: names[each] for each in ring}
    return found


def assert_equal_after_a_second_run(photos: Path, out: Path, whole: Path) -> None:
    again = limbwise("batch", photos, "--out", out, *OPTIONS)
    assert "broken.jpg" in complaint_of_broken(again)
    assert_equal(out, whole)


def assert_equal(out: Path, whole: Path) -> None:
    assert lines(out) == lines(whole)
    errors = [[json.loads(path.read_bytes()) for path in (each / "errors").iterdir()]
              for each in (out, whole)]  # fmt: skip
    assert errors[0] == errors[1]
    left = [path.name for path in out.rglob("*") if path.name.endswith(".partial")]
    assert left == []


@needs_ray
def test_shards_say_what_run_says(photos, whole, tmp_path) -> None:
    path = tmp_path / "run.jsonl"
    limbwise("run", photos, "--json", path, "--precision", "f32", "--threads", 1)
    wanted = {
        json.loads(line)["source"]: json.loads(line) for line in path.read_text().splitlines()
    }
    found = {json.loads(line)["source"]: json.loads(line) for line in lines(whole)}
    assert found.keys() == wanted.keys()
    assert all(found[name]["people"] == wanted[name]["people"] for name in wanted)
    assert {frame["model"] for frame in found.values()} == {"accurate"}


@needs_ray
def test_after_ctrl_c_a_second_run_ends_with_the_same(photos, whole, tmp_path) -> None:
    out = tmp_path / "out"
    process = started(photos, out)
    until_some_shards(process, out)
    process.send_signal(signal.SIGINT)
    _, stderr = process.communicate(timeout=60)
    assert process.returncode == 130, stderr
    assert "Traceback" not in stderr
    assert 0 < len(lines(out)) < PICTURES_MADE
    assert_equal_after_a_second_run(photos, out, whole)


@needs_ray
def test_after_the_whole_run_was_killed_a_second_ends_with_the_same(
    photos, whole, tmp_path
) -> None:
    out = tmp_path / "out"
    process = started(photos, out)
    until_some_shards(process, out, 5)
    theirs = below(process.pid)
    process.kill()
    process.communicate(timeout=60)
    for pid in theirs:
        try:
            os.kill(pid, signal.SIGKILL)
        except ProcessLookupError:
            continue
    assert_equal_after_a_second_run(photos, out, whole)


@needs_ray
def test_a_worker_that_is_killed_is_replaced_and_nothing_is_lost(photos, whole, tmp_path) -> None:
    out = tmp_path / "out"
    process = started(photos, out)
    until_some_shards(process, out)
    workers = [pid for pid, name in below(process.pid).items() if "MapBatches" in name]
    assert workers
    os.kill(workers[0], signal.SIGKILL)
    _, stderr = process.communicate(timeout=120)
    assert process.returncode == 2, stderr
    assert "Traceback" not in stderr
    assert_equal(out, whole)


@needs_ray
def test_a_full_disk_is_told_and_what_is_written_counts(photos, whole, tmp_path) -> None:
    out = tmp_path / "out"
    out.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=80k", "none", str(out)]
    if os.geteuid() != 0 or subprocess.run(mount, capture_output=True).returncode:
        pytest.skip("a small disk can only be mounted by root")
    try:
        line = complaint(limbwise("batch", photos, "--out", out, *OPTIONS))
        assert "No space left" in line
        assert len(lines(out)) < PICTURES_MADE
        subprocess.run(["mount", "-o", "remount,size=8m", str(out)], check=True)
        assert_equal_after_a_second_run(photos, out, whole)
    finally:
        subprocess.run(["umount", str(out)], check=True)


@needs_ray
def test_nothing_is_done_where_all_is_done(photos, whole, tmp_path) -> None:
    out = tmp_path / "out"
    shutil.copytree(whole, out)
    before = {path: path.stat().st_mtime_ns for path in out.glob("shards/*") if path.stat().st_size}
    done = limbwise("batch", photos, "--out", out, *OPTIONS)
    assert f"{PICTURES_MADE} of {PICTURES_MADE + 1} sources are done" in done.stderr
    assert {path: path.stat().st_mtime_ns for path in before} == before
    assert_equal(out, whole)


@needs_ray
@pytest.mark.parametrize(
    ("options", "told"),
    [
        (("--size", 256), "height None, now it is 256"),
        (("--model", "fast"), "model None, now it is fast"),
        (("--format", "parquet"), "format jsonl, now it is parquet"),
    ],
)
def test_another_model_or_option_is_refused_for_a_folder_that_was_begun(
    options, told, photos, whole
) -> None:
    before = lines(whole)
    line = complaint(limbwise("batch", photos, "--out", whole, *OPTIONS, *options))
    assert told in line
    assert "--again" in line
    assert lines(whole) == before


@needs_ray
def test_again_makes_all_of_it_anew(photos, whole, tmp_path) -> None:
    out = tmp_path / "out"
    shutil.copytree(whole, out)
    few = [str(photos / f"{n:02}.jpg") for n in range(4)]
    done = limbwise("batch", *few, "--out", out, "--model", "one-stage", "--size", 128, "--again")
    assert done.returncode == 0, done
    assert "out: 4 pictures" in done.stdout
    assert list(out.glob("shards/*.jsonl")) == []
    assert list(out.glob("errors/*")) == []


@needs_ray
def test_a_second_run_into_a_folder_is_refused(photos, tmp_path) -> None:
    from limbwise.distributed.places import Folder
    from limbwise.distributed.store import ROOMS, locked

    folder = Folder(str(tmp_path / "out"))
    folder.make("", *ROOMS)
    with locked(folder):
        line = complaint(limbwise("batch", photos, "--out", folder.address))
    assert f"another run writes into {folder.address} (process {os.getpid()}" in line


@needs_ray
@pytest.mark.parametrize(
    ("args", "told"),
    [
        (["nowhere", "--out", "out"], "nowhere does not exist"),
        (["one.jpg", "--out", "one.jpg/out"], "one.jpg/out"),
        (["one.jpg", "--out", "."], "holds other files"),
        (["one.jpg", "--out", ""], "the name is empty"),
        (["one.jpg", "--out", "out", "--workers", "3,1"], "--workers 3,1"),
        (["one.jpg", "--out", "out", "--model", "no.onnx"], "no.onnx does not exist"),
        (["one.jpg", "--out", "out", "--address", "nowhere"], "--address nowhere"),
        (["one.jpg", "--out", "out", "--address", "ray://127.0.0.1:1"], "no Ray cluster answers"),
    ],
)
def test_what_a_user_can_mend_is_one_line(args, told, photos, tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    shutil.copy(photos / "01.jpg", "one.jpg")
    assert told in complaint(limbwise("batch", *args))


@needs_ray
def test_an_address_that_is_silent_is_given_up_after_ten_seconds(photos, tmp_path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        address = f"ray://127.0.0.1:{silent.getsockname()[1]}"
        began = time.monotonic()
        line = complaint(limbwise("batch", photos, "--out", tmp_path / "o", "--address", address))
    assert "no Ray cluster answers" in line
    assert time.monotonic() - began < 60  # of which ten are the wait


def test_without_ray_a_line_names_the_extra(tmp_path) -> None:
    (tmp_path / "ray.py").write_text("raise ImportError('no ray here')")
    path = os.pathsep.join([str(tmp_path), os.environ.get("PYTHONPATH", "")])
    line = complaint(limbwise("batch", SAMPLE, "--out", tmp_path / "out", PYTHONPATH=path))
    assert line == "limbwise: Ray Data is missing: pip install 'limbwise[batch]'"


@needs_ray
def test_a_dry_run_counts_and_estimates_and_writes_nothing(photos, tmp_path) -> None:
    out = tmp_path / "out"
    done = limbwise("batch", photos, "--out", out, "--dry-run", "--price", 0.05, "--workers", 2)
    assert done.returncode == 0, done
    assert done.stdout.startswith(f"{PICTURES_MADE + 1} pictures and 0 films")
    assert "hours of a core" in done.stdout
    assert "at 0.05 an hour of a core" in done.stdout
    assert not out.exists()


@needs_ray
def test_a_node_that_is_lost_loses_nothing(photos) -> None:
    script = [sys.executable, str(ROOT / "benchmarks/batch.py"), "nodes", str(photos)]
    done = subprocess.run(
        [*script, "--limit", "24", "--times", "1", "--seed", "3"],
        capture_output=True, text=True, timeout=280,
    )  # fmt: skip
    assert "1 of 1 results equal" in done.stdout, done
    assert done.returncode == 0


# A cluster that is there already, and stores.


@pytest.fixture(scope="module")
def cluster(tmp_path_factory) -> Iterator[tuple[str, dict[str, str]]]:
    """A Ray head on this machine with a token of its own; how it is reached, and by whom."""
    ports = []
    for _ in range(2):
        with socket.create_server(("127.0.0.1", 0)) as free:
            ports.append(free.getsockname()[1])
    mine = {
        "RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": secrets.token_hex(32),
        "RAY_USAGE_STATS_ENABLED": "0",
    }  # fmt: skip
    folder = Path("/tmp") / f"lw-{secrets.token_hex(4)}"  # a socket's name is short
    ray = [sys.executable, "-m", "ray.scripts.scripts", "start", "--head", "--block"]
    head = subprocess.Popen(
        [*ray, "--port", str(ports[0]), "--ray-client-server-port", str(ports[1]), "--num-cpus",
         "2", "--object-store-memory", "100000000", "--include-dashboard", "false",
         "--temp-dir", str(folder)],
        env={**os.environ, **mine}, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    try:
        wait_for(lambda: _answers(ports[1]), 60)
        yield f"127.0.0.1:{ports[0]} ray://127.0.0.1:{ports[1]}", mine
    finally:
        head.terminate()
        head.wait(timeout=60)
        shutil.rmtree(folder, ignore_errors=True)


def _answers(port: int) -> bool:
    with socket.socket() as sock:
        return sock.connect_ex(("127.0.0.1", port)) == 0


def wait_for(condition: Callable[[], bool], seconds: float) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.1)


@needs_ray
@pytest.mark.parametrize("way", [0, 1])
def test_a_cluster_that_is_up_does_the_same(way, cluster, photos, whole, tmp_path) -> None:
    addresses, mine = cluster
    out = tmp_path / "out"
    address = addresses.split()[way]
    done = limbwise("batch", photos, "--out", out, *OPTIONS, "--address", address, **mine)
    assert "broken.jpg" in complaint_of_broken(done)
    assert_equal(out, whole)


POSES = """
import sys
import ray
from limbwise.distributed import poses
ray.init(address="local", num_cpus=2, object_store_memory=100_000_000, include_dashboard=False)
ds = poses(sys.argv[1], precision="f32", skip_broken=True, per_shard=8, workers=(2, 2))
rows = ds.filter(lambda row: row["score"] > 0).take_all()
print(len(rows), len({row["source"] for row in rows}), len(rows[0]["x"]), rows[0]["model"])
"""


@needs_ray
def test_poses_is_a_dataset_of_people(photos, whole) -> None:
    done = subprocess.run(
        [sys.executable, "-c", POSES, str(photos)], capture_output=True, text=True, timeout=200
    )
    people = [len(json.loads(line)["people"]) for line in lines(whole)]
    wanted = f"{sum(people)} {sum(map(bool, people))} 18 accurate"
    assert done.stdout.strip().splitlines()[-1:] == [wanted], done.stderr[-2000:]


@pytest.fixture(scope="module")
def s3() -> Iterator[dict[str, str]]:
    """A server of S3 on loopback and credentials that only it knows."""
    if importlib.util.find_spec("moto") is None or importlib.util.find_spec("flask") is None:
        pytest.skip("no S3 server here: pip install 'moto[server]'")
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    code = f"from moto.server import main; main(['-H', '127.0.0.1', '-p', '{port}'])"
    server = subprocess.Popen(
        [sys.executable, "-c", code], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        wait_for(lambda: _answers(port), 60)
        yield {
            "AWS_ENDPOINT_URL": f"http://127.0.0.1:{port}", "AWS_DEFAULT_REGION": "us-east-1",
            "AWS_ACCESS_KEY_ID": "of-this-test", "AWS_SECRET_ACCESS_KEY": secrets.token_hex(16),
            "AWS_EC2_METADATA_DISABLED": "true",
        }  # fmt: skip
    finally:
        server.terminate()
        server.wait(timeout=30)


def bucket(env: dict[str, str], name: str) -> object:
    import boto3

    client = boto3.client(
        "s3", endpoint_url=env["AWS_ENDPOINT_URL"], region_name="us-east-1",
        aws_access_key_id=env["AWS_ACCESS_KEY_ID"],
        aws_secret_access_key=env["AWS_SECRET_ACCESS_KEY"],
    )  # fmt: skip
    client.create_bucket(Bucket=name)
    return client


@needs_ray
def test_a_bucket_is_read_and_written_like_a_folder(s3, photos, whole, tmp_path) -> None:
    client = bucket(s3, "trip")
    for path in photos.iterdir():
        client.upload_file(str(path), "trip", f"photos/day/{path.name}")
    out = "s3://trip/poses"
    done = limbwise("batch", "s3://trip/photos", "--out", out, *OPTIONS, **s3)
    assert "s3://trip/photos/day/broken.jpg" in complaint_of_broken(done)
    page = client.list_objects_v2(Bucket="trip", Prefix="poses/shards/")
    data = [client.get_object(Bucket="trip", Key=each["Key"])["Body"].read()
            for each in page["Contents"]]  # fmt: skip
    found = sorted(json.dumps(json.loads(line)["people"]) for d in data for line in d.splitlines())
    assert found == sorted(json.dumps(json.loads(line)["people"]) for line in lines(whole))
    again = limbwise("batch", "s3://trip/photos/*/*.jpg", "--out", out, *OPTIONS, **s3)
    assert f"{PICTURES_MADE} of {PICTURES_MADE + 1} sources are done" in again.stderr


class Refusing(http.server.BaseHTTPRequestHandler):
    """A store that lets nobody in."""

    def do_GET(self) -> None:
        body = b"<Error><Code>AccessDenied</Code><Message>Access Denied</Message></Error>"
        self.send_response(403)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body if self.command == "GET" else b"")

    do_HEAD = do_PUT = do_POST = do_GET  # noqa: N815 - as http.server calls them

    def log_message(self, *args: object) -> None:
        pass


@needs_ray
def test_a_store_that_asks_for_credentials_is_told_in_one_line(tmp_path) -> None:
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Refusing) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        env = {
            "AWS_ENDPOINT_URL": f"http://127.0.0.1:{server.server_port}",
            "AWS_DEFAULT_REGION": "us-east-1", "AWS_EC2_METADATA_DISABLED": "true",
            "AWS_ACCESS_KEY_ID": "nobody", "AWS_SECRET_ACCESS_KEY": "known",
        }  # fmt: skip
        line = complaint(limbwise("batch", "s3://closed/photos", "--out", tmp_path / "o", **env))
        server.shutdown()
    assert "the store refuses: are there credentials" in line


@needs_ray
@pytest.mark.parametrize(
    ("source", "out", "told"),
    [
        ("s3://nobody/photos", "s3://trip2/out", "s3://nobody/photos does not exist"),
        ("s3://trip2/none.txt", "s3://trip2/out", "does not exist"),
        ("s3://", "out", "names no bucket"),
        ("local", "s3://nobody/out", "s3://nobody/out"),
    ],
)
def test_what_is_wrong_with_a_bucket_is_one_line(s3, source, out, told, photos, tmp_path) -> None:
    bucket(s3, "trip2")
    source = str(photos) if source == "local" else source
    out = str(tmp_path / "out") if out == "out" else out
    assert told in complaint(limbwise("batch", source, "--out", out, **s3))
