"""The commands of the documents about clusters: run, with stand-ins for what they would reach."""

import json
import os
import re
import shutil
import subprocess
import zipfile
from pathlib import Path

import botocore.session
import pytest
import yaml
from botocore.validate import ParamValidator
from cluster_files import CLUSTER, MONITORING, ROOT, documents
from documentation import marked_blocks
from ray._private.runtime_env.packaging import create_package
from ray.serve.schema import ServeDeploySchema

from serve.keys import VARIABLE, Keyring
from serve.settings import ServiceSettings

DOCS = ("laptop", "gpu-host", "aws", "kubernetes")


def _run(script: str, folder: Path, stand_ins: dict[str, str], **variables: str) -> str:
    """What a script prints in a folder. stand_ins: commands that are replaced, and the shell that replaces them."""
    tools = folder / "stand-ins"
    tools.mkdir()
    for name, text in stand_ins.items():
        (tools / name).write_text(f"#!/bin/sh\n{text}\n")
        (tools / name).chmod(0o755)
    environment = {**os.environ, **variables, "PATH": f"{tools}:{os.environ['PATH']}"}
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", script],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """A folder with a copy of cluster/ and the service's settings."""
    shutil.copytree(CLUSTER, tmp_path / "cluster")
    (tmp_path / "serve").mkdir()
    shutil.copy(ROOT / "serve/service.yaml", tmp_path / "serve")
    return tmp_path


def test_the_secrets_of_the_stack_are_those_that_it_asks_for(copy: Path) -> None:
    said = _run(marked_blocks(ROOT / "docs/laptop.md", "bash"), copy, {})
    file = copy / "cluster/.env"
    assert file.stat().st_mode & 0o077 == 0
    values = dict(line.split("=", 1) for line in file.read_text().splitlines())
    asked = (CLUSTER / "compose.yaml").read_text()
    assert all(f"${{{name}:?" in asked for name in values)
    assert asked.count(":?") >= len(values)
    key = said.strip().rpartition(" ")[2]
    keyring = Keyring.of("", {VARIABLE: values["RAYTALK_API_KEYS"].strip('"')})
    assert keyring.owner(key) == "ada"
    assert len({values[name] for name in ("RAY_AUTH_TOKEN", "STORAGE_SECRET", "DATABASE_PASSWORD")}) == 3


def test_roles_firewall_and_service_of_aws(copy: Path) -> None:
    block = marked_blocks(ROOT / "docs/aws.md", "bash")
    calls = copy / "calls"
    aws = f'echo "$@" >>{calls}\ncase "$*" in *create-security-group*) echo sg-0123;; esac'
    said = _run(
        block,
        copy,
        {"aws": aws, "curl": "echo 198.51.100.9", "serve": f'echo serve "$@" >>{calls}'},
        region="eu-west-1",
        account="123456789012",
        bucket="faces",
    )
    for name in ("trust", "worker", "head"):
        policy = json.loads((copy / f"{name}.json").read_text())
        assert policy["Version"] == "2012-10-17"
        assert "YOUR" not in json.dumps(policy)
    worker = (copy / "worker.json").read_text()
    assert "arn:aws:s3:::faces/*" in worker
    # Nobody may hand out another role than the worker's.
    [passing] = [
        each for each in json.loads((copy / "head.json").read_text())["Statement"] if "iam:PassRole" in each["Action"]
    ]
    assert passing["Resource"] == "arn:aws:iam::123456789012:role/raytalk-worker"
    config = documents(copy / "cluster/aws.yaml")[0]
    assert config["provider"]["region"] == "eu-west-1"
    for each in config["available_node_types"].values():
        assert each["node_config"]["SecurityGroupIds"] == ["sg-0123"]
        role = each["node_config"]["IamInstanceProfile"]["Name"]
        assert f"create-instance-profile --instance-profile-name {role}" in calls.read_text()
    assert config["docker"]["head_image"].startswith("123456789012.dkr.ecr.eu-west-1.")
    assert "ACCOUNT" not in yaml.safe_dump(config)
    assert "sg-RAYTALK" not in yaml.safe_dump(config)
    assert "198.51.100.9/32" in calls.read_text()
    assert "serve deploy service.yaml" in calls.read_text()
    [service] = documents(copy / "service.yaml")
    ServeDeploySchema.model_validate(service)
    [application] = service["applications"]
    settings = ServiceSettings.resolve(None, application["args"])
    # No file is on the nodes, and no GPU is there yet.
    assert (settings.keys, settings.device) == ("", "cuda")
    assert settings.storage.startswith("s3://faces/")
    assert settings.checkpoint.startswith("s3://faces/")
    environment = application["runtime_env"]["env_vars"]
    assert environment["AWS_DEFAULT_REGION"] == "eu-west-1"
    assert Keyring.of(settings.keys, environment).owner(said.strip().rpartition(" ")[2]) == "ada"


def test_policies_are_within_what_iam_takes(copy: Path) -> None:
    """A managed policy has at most 6144 characters."""
    block = marked_blocks(ROOT / "docs/aws.md", "bash")
    _run(
        block,
        copy,
        {"aws": "echo sg-0123", "curl": "echo 1.2.3.4", "serve": "true"},
        region="us-east-1",
        account="1" * 12,
        bucket="b" * 63,
    )
    shape = botocore.session.get_session().get_service_model("iam").operation_model("CreatePolicy").input_shape
    for name in ("worker", "head"):
        text = (copy / f"{name}.json").read_text()
        request = {"PolicyName": f"raytalk-{name}", "PolicyDocument": text}
        assert not ParamValidator().validate(request, shape).has_errors()
        assert len("".join(text.split())) < 6144


def test_manifests_with_somebody_s_own_places(copy: Path) -> None:
    said = copy / "applied"
    kubectl = f'case "$*" in *"-f -"*) cat >>{said};; *) printf "%s\\n" "$*" >>{copy}/calls;; esac'
    places = {
        "registry": "registry.example/team",
        "bucket": "faces",
        "mlflow": "http://mlflow.example",
        "region": "eu-west-1",
    }
    _run(marked_blocks(ROOT / "docs/kubernetes.md", "bash"), copy, {"kubectl": kubectl}, **places)
    text = "".join(file.read_text() for file in (copy / "cluster/kuberay").rglob("*.yaml"))
    for theirs in ("s3://bucket", "image: raytalk:", "mlflow.mlflow"):
        assert theirs not in text
    assert "s3://faces/clips" in text
    assert "image: registry.example/team/raytalk:" in text
    [rules] = documents(said)
    assert rules["kind"] == "PrometheusRule"
    assert rules["spec"] == documents(MONITORING / "alerts.yaml")[0]
    for call in (copy / "calls").read_text().splitlines():
        for word in call.split():
            path = word.removeprefix("--from-file=")
            assert not path.startswith("cluster/") or (ROOT / path).exists()


@pytest.mark.parametrize("name", DOCS)
def test_files_that_a_document_names_are_there(name: str) -> None:
    text = (ROOT / f"docs/{name}.md").read_text()
    links = [
        link.partition("#")[0] for link in _between(text, "](", ")") if "://" not in link and not link.startswith("#")
    ]
    assert all((ROOT / "docs" / link).exists() for link in links)
    files = {
        word.strip("`\\,;:.()'\"")
        for word in text.split()
        if word.strip("`'\"(").startswith(("cluster/", "jobs/", "serve/"))
    }
    named = {file for file in files if "*" not in file and "$" not in file and not file.endswith((".env", ".env`"))}
    assert named
    missing = {file for file in named if not (ROOT / file).exists()}
    assert not missing


@pytest.mark.parametrize("name", ["laptop", "gpu-host"])
def test_compose_s_services_that_a_document_names_are_there(name: str) -> None:
    text = (ROOT / f"docs/{name}.md").read_text()
    services = documents(CLUSTER / "compose.yaml")[0]["services"]
    named = re.findall(r"compose\.yaml (?:exec|stop) (\w+)", text)
    assert set(named) <= set(services)
    assert named or name == "laptop"


def test_what_a_job_brings_along_is_small_and_secrets_stay_here(tmp_path: Path) -> None:
    """`ray job submit --working-dir .`: far below the 100 MB that a cluster takes."""
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        check=True,
    )
    folder = tmp_path / "project"
    for name in filter(None, listed.stdout.decode().split("\0")):
        if (ROOT / name).is_file():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, folder / name)
    left = [
        ".venv/bin/python",
        ".git/HEAD",
        "runs/first/run.json",
        "mlruns/0",
        "cluster/.env",
        "jobs/__pycache__/x.pyc",
    ]
    for name in left:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text("left behind")
    package = tmp_path / "package.zip"
    create_package(str(folder), package, include_gitignore=True)
    assert package.stat().st_size < 40e6
    names = set(zipfile.ZipFile(package).namelist())
    assert {"jobs/metatrain.py", "raytalk/models/base/ema.safetensors"} <= names
    assert not names & set(left)
    assert not [name for name in names if name.startswith(("tests/", "docs/"))]


def _between(text: str, left: str, right: str) -> list[str]:
    return [part.partition(right)[0] for part in text.split(left)[1:]]
