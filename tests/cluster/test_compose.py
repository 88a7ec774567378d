"""The stack on one machine: valid, only on the loopback interface, and made of parts that know each other."""

import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml
from cluster_files import CLUSTER, ROOT, documents, strings
from ray.serve.schema import ServeDeploySchema

from serve.settings import ServiceSettings

FILE = CLUSTER / "compose.yaml"
TEXT = FILE.read_text()
SERVICES: dict[str, dict[str, Any]] = documents(FILE)[0]["services"]
SECRETS = (
    "RAY_AUTH_TOKEN",
    "STORAGE_KEY",
    "STORAGE_SECRET",
    "DATABASE_PASSWORD",
    "RAYTALK_API_KEYS",
    "GRAFANA_PASSWORD",
)
_VARIABLE = re.compile(r"(?<!\$)\$\{(\w+)(:[?-][^}]*)?\}")


def _compose() -> list[str] | None:
    """The client that is here, if one is."""
    command = ["docker", "compose"]
    there = (
        shutil.which("docker")
        and not subprocess.run([*command, "version"], capture_output=True, check=False).returncode
    )
    return command if there else None


COMPOSE = _compose()


@pytest.mark.skipif(COMPOSE is None, reason="the client of Compose is not here")
@pytest.mark.parametrize("files", [["compose.yaml"], ["compose.yaml", "compose.gpu.yaml"]], ids=["cpu", "gpu"])
def test_compose_takes_it(files: list[str], tmp_path: Path) -> None:
    environment = tmp_path / "env"
    environment.write_text("".join(f"{name}=x\n" for name in SECRETS))
    named = [word for file in files for word in ("--file", str(CLUSTER / file))]
    command = [*(COMPOSE or []), "--env-file", str(environment), *named, "config", "--quiet"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_nothing_is_open_to_others() -> None:
    for name, service in SERVICES.items():
        for port in service.get("ports", []):
            host, outside, inside = port.split(":")
            assert host == "127.0.0.1", name
            assert outside == inside
        assert not {"network_mode", "privileged", "cap_add", "pid"} & set(service)
    # Ray's own ports: whoever reaches them and knows the token runs any code.
    published = {int(port.split(":")[2]) for service in SERVICES.values() for port in service.get("ports", [])}
    assert published == {8333, 5000, 8000, 8265, 9090, 3000}


def test_secrets_are_asked_for_and_are_in_no_file() -> None:
    variables = dict(_VARIABLE.findall(TEXT))
    for secret in SECRETS:
        assert variables[secret].startswith(":?"), secret
    others = set(variables) - set(SECRETS)
    assert all(variables[name].startswith(":-") for name in others)
    assert (CLUSTER / ".gitignore").read_text().split() == [".env"]


def test_parts_that_others_wait_for_say_when_they_are_ready() -> None:
    for name, service in SERVICES.items():
        needs = service.get("depends_on", {})
        if isinstance(needs, dict):
            for other, how in needs.items():
                assert how == {"condition": "service_healthy"}
                assert "healthcheck" in SERVICES[other], f"{name} waits for {other}"
        else:
            assert set(needs) <= set(SERVICES)


def test_whoever_is_named_is_there() -> None:
    hosts = re.findall(r"https?://([a-z]+):\d+|@([a-z]+):\d+|--address=([a-z]+):", TEXT)
    named = {name for found in hosts for name in found if name}
    assert named <= set(SERVICES) | {"localhost"}
    assert {"head", "storage", "mlflow", "prometheus", "database"} <= named


def test_the_stores_keep_what_they_hold() -> None:
    volumes = set(documents(FILE)[0]["volumes"])
    kept = {
        volume.split(":")[0]
        for service in SERVICES.values()
        for volume in service.get("volumes", [])
        if volume[0] != "."
    }
    assert kept == volumes
    for service in SERVICES.values():
        for volume in service.get("volumes", []):
            source, _, *mode = volume.split(":")
            if source.startswith("."):
                assert (CLUSTER / source).exists()
                assert mode == ["ro"]


def test_nodes_are_alike_and_ask_for_the_token() -> None:
    for name in ("head", "worker", "service"):
        assert SERVICES[name]["environment"]["RAY_AUTH_MODE"] == "token"
        assert SERVICES[name]["environment"] == SERVICES["head"]["environment"]
        assert SERVICES[name]["image"] == SERVICES["head"]["image"]
    assert (
        SERVICES["mlflow"]["environment"]["AWS_SECRET_ACCESS_KEY"]
        == SERVICES["storage"]["environment"]["AWS_SECRET_ACCESS_KEY"]
    )


def test_the_service_is_configured_as_serve_takes_it() -> None:
    [mount] = SERVICES["service"]["volumes"]
    source, target, _ = mount.split(":")
    assert target in SERVICES["service"]["command"][-1]
    config = yaml.safe_load((CLUSTER / source).read_text())
    ServeDeploySchema.model_validate(config)
    [application] = config["applications"]
    settings = ServiceSettings.resolve(None, application["args"])
    bucket = SERVICES["storage"]["environment"]["S3_BUCKET"]
    assert settings.storage.startswith(f"s3://{bucket}/")
    # Without a file of keys those of the environment count, and there must be some: requests come from other machines.
    assert settings.keys == ""
    assert "RAYTALK_API_KEYS" in SERVICES["head"]["environment"]
    example = yaml.safe_load((ROOT / "serve/service.yaml").read_text())
    assert config["http_options"] == example["http_options"]
    assert application["import_path"] == example["applications"][0]["import_path"]


def test_a_gpu_is_the_worker_s() -> None:
    services = documents(CLUSTER / "compose.gpu.yaml")[0]["services"]
    assert set(services) == {"worker"}
    assert services["worker"]["build"]["target"] == "cuda"
    [device] = services["worker"]["deploy"]["resources"]["reservations"]["devices"]
    assert device["capabilities"] == ["gpu"]
    assert "--num-gpus=0" in SERVICES["head"]["command"]


def test_what_a_shell_runs_is_a_script() -> None:
    for service in SERVICES.values():
        command = service.get("command", [])
        if command[:2] == ["bash", "-c"]:
            assert subprocess.run(["bash", "-n", "-c", command[2].replace("$$", "$")], check=False).returncode == 0


def test_no_image_is_whatever_is_newest() -> None:
    assert not any(text.endswith(":latest") for text in strings(documents(FILE)))
