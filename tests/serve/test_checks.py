"""What is wrong with a setting is said where the application is built, before anything starts."""

import logging
import os
import socket
from pathlib import Path
from typing import Any

import pytest
from toy_run import write_toy_run

from raytalk.errors import SettingsError
from serve import ports
from serve.app import app
from serve.checks import check_places
from serve.settings import ServiceSettings


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_toy_run(tmp_path_factory.mktemp("run"))


@pytest.mark.parametrize("name", ["/nowhere", "s", "half"])
def test_a_checkpoint_that_is_not_there(run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "half").mkdir()
    (tmp_path / "half" / "state.json").write_text('{"format": 0}')
    monkeypatch.setattr("serve.app.check_port", lambda: None)
    with pytest.raises(SettingsError, match=rf"checkpoint=.*{name} cannot be used: "):
        app({"checkpoint": name, "storage": str(tmp_path / "kept")})


def test_a_checkpoint_on_s3(run: Path, s3_server: str, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    there = f"{s3_server}/nothing"
    with pytest.raises(SettingsError, match=r"checkpoint=s3://.*/nothing cannot be used"):
        check_places(ServiceSettings(checkpoint=there, storage=str(tmp_path)))


def test_what_cannot_be_looked_at_from_here_is_left_to_the_replicas(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as place:
        monkeypatch.setenv("AWS_ENDPOINT_URL_S3", f"http://127.0.0.1:{place.getsockname()[1]}")
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "x")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    with caplog.at_level(logging.WARNING):
        check_places(ServiceSettings(checkpoint="s3://bucket/run", storage="s3://bucket/kept"))
    told = [record.getMessage() for record in caplog.records if record.name == "raytalk.serve"]
    assert [line.partition(" ")[0] for line in told] == ["checkpoint=s3://bucket/run", "storage=s3://bucket/kept"]
    assert all("cannot be looked at from here" in line for line in told)


def test_storage_that_cannot_be_written(run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(SettingsError, match=r"storage=.*file/kept cannot be used: .*file is a file"):
        check_places(ServiceSettings(checkpoint=str(run), storage=str(tmp_path / "file" / "kept")))
    check_places(ServiceSettings(checkpoint=str(run), storage=str(tmp_path / "not" / "there" / "yet")))
    assert not (tmp_path / "not").exists(), "looking makes nothing"
    monkeypatch.setattr(os, "access", lambda path, how: False)
    with pytest.raises(SettingsError, match="nothing may be written into"):
        check_places(ServiceSettings(checkpoint=str(run), storage=str(tmp_path / "kept")))


@pytest.mark.parametrize(
    ("setting", "what"),
    [
        ({"keys": "/nowhere/keys"}, "keys=/nowhere/keys cannot be read"),
        ({"certificate": "/nowhere/chain.pem,/nowhere/key.pem"}, "certificate=.* cannot be read"),
        ({"certificate": "FILE,FILE"}, "the certificate cannot sign"),
    ],
)
def test_files_that_cannot_be_read(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, setting: dict[str, Any], what: str
) -> None:
    (tmp_path / "file").write_text("no certificate")
    monkeypatch.setattr("serve.app.check_port", lambda: None)
    given = {name: value.replace("FILE", str(tmp_path / "file")) for name, value in setting.items()}
    with pytest.raises(SettingsError, match=what):
        app({"checkpoint": str(run), "storage": str(tmp_path / "kept"), **given})


@pytest.fixture
def taken(monkeypatch: pytest.MonkeyPatch) -> int:
    """A port at which this process listens as Ray's proxies do."""
    with socket.socket() as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        listener.bind(("0.0.0.0", 0))
        listener.listen()
        port = int(listener.getsockname()[1])
        monkeypatch.setattr(ports, "_port", lambda: port)
        # Other tests have a cluster in this process.
        monkeypatch.setattr("ray.is_initialized", lambda: False)
        yield port  # type: ignore[misc]


def test_a_port_at_which_another_listens(taken: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAY_ADDRESS", "local")
    with pytest.raises(SettingsError, match=rf"port {taken} is taken: process {os.getpid()} "):
        ports.check_port()


def test_a_proxy_of_another_cluster_and_one_of_this(taken: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Processes below a raylet are of its cluster."""
    theirs = ["/x/raylet", "--gcs-address=10.0.0.1:7001"]
    monkeypatch.setattr("psutil.Process.cmdline", lambda process: ["python"] if process.pid == os.getpid() else theirs)
    monkeypatch.setenv("RAY_ADDRESS", "head.example:7002")
    with pytest.raises(SettingsError, match=f"port {taken} is taken"):
        ports.check_port()
    monkeypatch.setenv("RAY_ADDRESS", "head.example:7001")
    ports.check_port()


def test_which_cluster_is_not_known_raises_no_alarm(taken: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.argv", ["serve", "run", "--address", "x", "serve.app:app"])
    ports.check_port()


def test_a_free_port(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_server(("127.0.0.1", 0)) as place:
        port = place.getsockname()[1]
    monkeypatch.setattr(ports, "_port", lambda: port)
    monkeypatch.setenv("RAY_ADDRESS", "local")
    ports.check_port()
