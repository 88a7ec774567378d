import dataclasses
import os
import pickle
import subprocess
import sys
from pathlib import Path

import pytest

from raytalk.connect import StorageEnvironment, cluster_named, connect, storage_environment, without_core_noise
from raytalk.storage_patience import Outages

ROOT = Path(__file__).resolve().parents[1]


def run(code: str, home: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith("RAY_")}
    return subprocess.run(
        [sys.executable, "-c", code],
        cwd=ROOT,
        env=kept | {"HOME": str(home)} | environment,
        capture_output=True,
        text=True,
        timeout=90,
        check=False,
    )


@pytest.mark.ray
def test_an_embedded_cluster_is_locked_and_leaves_no_token_behind(tmp_path: Path) -> None:
    code = (
        "import os, ray; from raytalk.connect import connect\n"
        "assert connect() and not connect()\n"
        "print(os.environ['RAY_AUTH_MODE'], len(os.environ['RAY_AUTH_TOKEN']))\n"
        "print(ray.get(ray.remote(lambda: __import__('raytalk').__name__).remote()))\n"
    )
    done = run(code, tmp_path, RAY_ADDRESS="local")
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == ["token", "64", "raytalk"]
    assert done.stderr == ""
    assert not list(tmp_path.rglob("auth_token"))


def test_a_cluster_that_does_not_answer_is_named(tmp_path: Path) -> None:
    code = (
        "from raytalk.connect import connect; from raytalk.errors import StorageError\n"
        "try: connect()\n"
        "except StorageError as error: print(error)\n"
    )
    done = run(code, tmp_path, RAY_ADDRESS="127.0.0.1:9")
    assert "127.0.0.1:9" in done.stdout, done.stderr
    assert "RAY_ADDRESS" in done.stdout


def test_only_the_known_noise_is_kept_off_stderr(capfd: pytest.CaptureFixture[str]) -> None:
    with without_core_noise():
        os.write(2, b"E core: x has constructor arguments in the object store and more\nE core: real trouble\n")
    os.write(2, b"after\n")
    assert capfd.readouterr().err == "E core: real trouble\nafter\n"


def test_what_s3_needs_is_taken_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", "http://there:1")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "s")
    monkeypatch.delenv("AWS_SESSION_TOKEN", raising=False)
    found = storage_environment()
    assert found.values["AWS_ENDPOINT_URL_S3"] == "http://there:1"
    assert "AWS_SESSION_TOKEN" not in found.values
    assert "PATH" not in found.values
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "other")
    pickle.loads(pickle.dumps(found)).apply()
    assert os.environ["AWS_SECRET_ACCESS_KEY"] == "s"


def test_secrets_stay_out_of_what_ray_data_says_of_its_operators() -> None:
    from ray.data._internal.metadata_exporter import sanitize_for_struct

    @dataclasses.dataclass
    class Job:
        environment: StorageEnvironment

    environment = StorageEnvironment({"AWS_SECRET_ACCESS_KEY": "hush"})
    for holder in (environment, {"environment": environment}, Job(environment)):
        for said in (repr(holder), str(sanitize_for_struct(holder))):
            assert "AWS_SECRET_ACCESS_KEY" in said
            assert "hush" not in said


@pytest.mark.parametrize("named", ["10.0.0.1", "ray://there:10001", ""])
def test_a_cluster_is_joined_by_its_address(monkeypatch: pytest.MonkeyPatch, named: str) -> None:
    import ray

    asked: list[dict[str, object]] = []
    monkeypatch.setattr(ray, "is_initialized", lambda: False)
    monkeypatch.setattr(ray, "init", lambda **given: asked.append(given))
    monkeypatch.setattr("raytalk.connect._cluster_here", lambda: "10.0.0.2")
    monkeypatch.setenv("RAY_ADDRESS", named)
    assert connect()
    assert [given["address"] for given in asked] == [named or "auto"]


def test_a_worker_lets_the_driver_say_what_its_storage_does(monkeypatch: pytest.MonkeyPatch) -> None:
    outages = Outages()
    monkeypatch.setattr("raytalk.connect.OUTAGES", outages)
    lines: list[str] = []
    storage_environment().apply()
    assert not lines
    assert outages.knows("s3://bucket"), "the driver has seen to it"
    storage_environment(lines.append).apply()
    outages.failed("s3://bucket", OSError("SLOW_DOWN"), until=0)
    outages.answered("s3://bucket")
    assert ["s3://bucket" in line for line in lines] == [True, True]


def test_which_cluster_would_be_joined(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("raytalk.connect._cluster_here", lambda: "10.0.0.2:6379")
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    assert cluster_named() == "10.0.0.2:6379"
    monkeypatch.setenv("RAY_ADDRESS", "10.0.0.9:6379")
    assert cluster_named() == "10.0.0.9:6379"
    monkeypatch.setenv("RAY_ADDRESS", "local")
    assert cluster_named() is None
