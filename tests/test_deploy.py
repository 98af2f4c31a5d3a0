"""What deploy/ promises: two servers behind nginx, a health check, files their readers take."""

import importlib.util
import json
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from serving import Site, encoded, gauge, scene, seeing, serving, stream, until

DEPLOY = Path(__file__).parents[1] / "deploy"
NGINX = shutil.which("nginx") or shutil.which("/usr/sbin/nginx")
POSES = 'limbwise_requests_total{path="/v1/poses",status="200"}'
ANSWERED = 'limbwise_frames_total{what="answered"}'


@contextmanager
def balanced(folder: Path, first: Site, second: Site) -> Iterator[Site]:
    """nginx with deploy/nginx.conf, but for addresses and where its own files lie."""
    if NGINX is None:
        pytest.skip("nginx is not here: apt-get install nginx-light")
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    text = (DEPLOY / "nginx.conf").read_text().replace("/tmp/nginx", f"{folder}/nginx")
    for old, new in (
        ("server-1:8000", f"127.0.0.1:{first.port}"),
        ("server-2:8000", f"127.0.0.1:{second.port}"),
        ("listen 8080", f"listen 127.0.0.1:{port}"),
    ):
        assert text.count(old) == 1
        text = text.replace(old, new)
    (folder / "nginx.conf").write_text(text)
    proxy = subprocess.Popen(
        [NGINX, "-c", str(folder / "nginx.conf"), "-g", "daemon off;"],
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    try:
        until(lambda: _answers(port))
        yield Site(port)
    finally:
        proxy.terminate()
        proxy.wait(timeout=20)


def _answers(port: int) -> bool:
    with socket.socket() as sock:
        return sock.connect_ex(("127.0.0.1", port)) == 0


@pytest.fixture
def pair(tmp_path: Path) -> Iterator[tuple[Site, Site, Site]]:
    """The proxy and the two servers behind it."""
    open_to = {"hosts": None}
    with (
        serving([seeing()], **open_to) as first,
        serving([seeing()], **open_to) as second,
        balanced(tmp_path, first, second) as proxy,
    ):
        yield proxy, first, second


def test_requests_are_shared_between_two_servers(pair) -> None:
    proxy, *servers = pair
    assert [proxy.ask("/v1/poses", encoded(scene())).status for _ in range(12)] == [200] * 12
    counts = [gauge(server, POSES) for server in servers]
    assert sum(counts) == 12
    assert min(counts) >= 3


def test_a_stream_stays_on_its_server(pair) -> None:
    proxy, *servers = pair
    with stream(proxy) as one, stream(proxy) as other:
        for _ in range(6):
            for socket_ in (one, other):
                socket_.send(encoded(scene()))
                assert json.loads(socket_.recv(timeout=20))["people"][0]["id"] == 1
        counts = [gauge(server, ANSWERED) for server in servers]
    assert counts == [6, 6]


def test_a_server_that_is_gone_is_not_missed(tmp_path) -> None:
    with (
        serving([seeing()], hosts=None) as first,
        serving([seeing()], hosts=None) as second,
        balanced(tmp_path, first, second) as proxy,
    ):
        assert proxy.ask("/healthz").status == 200
        assert second.running is not None
        second.running.should_exit = True
        until(lambda: not _answers(second.port))
        answers = [proxy.ask("/v1/poses", encoded(scene())).status for _ in range(8)]
    assert answers == [200] * 8


def test_a_picture_that_is_too_large_is_refused_by_the_proxy_as_well(pair) -> None:
    proxy, *_ = pair
    assert proxy.ask("/v1/poses", bytes(21_000_000)).status == 413


def test_the_health_check_of_the_image_tells_a_server_from_none() -> None:
    text = (DEPLOY / "Dockerfile").read_text()
    command = json.loads(text.partition("CMD [")[2].partition("]")[0].join("[]"))
    assert "USER 10001" in text
    with serving([seeing()]) as site:
        here = [sys.executable, *(part.replace("8000", str(site.port)) for part in command[1:])]
        assert subprocess.run(here, capture_output=True, timeout=60).returncode == 0
    assert subprocess.run(here, capture_output=True, timeout=60).returncode == 1


def test_shells_can_read_the_scripts() -> None:
    for script in DEPLOY.glob("*.slurm"):
        assert subprocess.run(["bash", "-n", script], capture_output=True).returncode == 0


def fields(required: str = "", **kinds: object) -> dict[str, object]:
    """The JSON schema of an object with these fields and no others."""
    return {
        "type": "object", "additionalProperties": False, "required": required.split(),
        "properties": {
            name: {"type": kind} if isinstance(kind, str) else kind for name, kind in kinds.items()
        },
    }  # fmt: skip


# KubeRay's own fields (ray.io/v1), by the types its operator is built from,
# which its CRD is generated from. What pods hold is Kubernetes' own, and checked by its schemas.
TEXTS = {"type": "object", "additionalProperties": {"type": "string"}}
GROUP = {"rayStartParams": TEXTS, "template": "object"}
CLUSTER = fields(
    "headGroupSpec", rayVersion="string", enableInTreeAutoscaling="boolean",
    autoscalerOptions="object", headServiceAnnotations=TEXTS, suspend="boolean",
    headGroupSpec=fields(
        "template", serviceType="string", headService="object", enableIngress="boolean", **GROUP
    ),
    workerGroupSpecs={
        "type": "array",
        "items": fields(
            "groupName maxReplicas minReplicas template", groupName="string", replicas="integer",
            minReplicas="integer", maxReplicas="integer", numOfHosts="integer",
            scaleStrategy="object", **GROUP,
        ),
    },
)  # fmt: skip
RAY_JOB = fields(
    "apiVersion kind metadata spec", apiVersion={"const": "ray.io/v1"}, kind={"const": "RayJob"},
    metadata="object", spec=fields(
        "entrypoint rayClusterSpec", entrypoint="string", rayClusterSpec=CLUSTER,
        activeDeadlineSeconds="integer", backoffLimit="integer", submitterPodTemplate="object",
        metadata=TEXTS, clusterSelector=TEXTS, managedBy="string", deletionStrategy="object",
        submitterConfig=fields(backoffLimit="integer"), runtimeEnvYAML="string", jobId="string",
        submissionMode={"enum": ["K8sJobMode", "HTTPMode", "InteractiveMode"]},
        entrypointResources="string", entrypointNumCpus="number", entrypointNumGpus="number",
        ttlSecondsAfterFinished="integer", shutdownAfterJobFinishes="boolean", suspend="boolean",
    ),
)  # fmt: skip


@pytest.fixture
def ray_job() -> dict[str, Any]:
    if not all(map(importlib.util.find_spec, ("kubernetes_validate", "yaml"))):
        pytest.skip("no schemas of Kubernetes here: pip install kubernetes-validate")
    import yaml

    job: dict[str, Any] = yaml.safe_load((DEPLOY / "ray-job.yaml").read_text())
    return job


def groups(job: dict[str, Any]) -> list[dict[str, Any]]:
    cluster = job["spec"]["rayClusterSpec"]
    return [cluster["headGroupSpec"], *cluster["workerGroupSpecs"]]


def test_kubernetes_takes_the_pods_of_the_job(ray_job) -> None:
    import kubernetes_validate

    for group in groups(ray_job):
        pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "a"}, **group["template"]}
        kubernetes_validate.validate(pod, kubernetes_validate.latest_version(), strict=True)
    assert ray_job["spec"]["entrypoint"].startswith("limbwise batch ")


def test_kuberay_takes_the_fields_of_the_job(ray_job) -> None:
    import jsonschema

    jsonschema.validate(ray_job, RAY_JOB)
    head, worker = groups(ray_job)
    head["rayStartParams"]["num-cpus"] = 0  # these are texts
    worker["maxReplica"] = worker.pop("maxReplicas")
    errors = jsonschema.Draft202012Validator(RAY_JOB).iter_errors(ray_job)
    assert {list(error.path)[2] for error in errors} == {"headGroupSpec", "workerGroupSpecs"}
