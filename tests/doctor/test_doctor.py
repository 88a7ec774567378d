"""python -m raytalk.doctor as a person runs it."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from faults.jobs import kill_node, several_nodes

from raytalk.doctor.examine import examine
from raytalk.doctor.settings import DoctorSettings

ROOT = Path(__file__).resolve().parents[2]


def doctor(*words: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "raytalk.doctor", *words],
        cwd=ROOT,
        env=os.environ | environment,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )


def test_a_machine_alone(tmp_path: Path) -> None:
    done = doctor("address=none", f"storage={tmp_path}", "detector=dlib", "checkpoint=", "tracking.uri=none")
    assert done.returncode == 0, done.stdout + done.stderr
    lines = done.stdout.splitlines()
    seen = [line.split()[1] for line in lines[:-1]]
    assert seen == ["versions", "machine", "gpu", "storage", "mlflow", "detector"]
    assert lines[-1] == "all is well"
    assert not list(tmp_path.iterdir())


def test_what_is_to_be_mended_is_said_and_makes_status_1(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    done = doctor("address=none", f"storage={tmp_path}/file", "detector=auto", "checkpoint=", "--json")
    assert done.returncode == 1, done.stderr
    told = json.loads(done.stdout)
    assert told["ok"] is False
    wrong = [finding for finding in told["findings"] if finding["kind"] == "mend"]
    assert [finding["check"] for finding in wrong] == ["storage"]
    assert "cannot write" in wrong[0]["text"]


@pytest.mark.parametrize(
    ("words", "message"), [(["storag=/x"], "did you mean 'storage'"), (["-v"], "cannot read '-v'")]
)
def test_a_wrong_question_makes_status_2(words: list[str], message: str) -> None:
    done = doctor(*words)
    assert (done.returncode, done.stdout) == (2, "")
    assert message in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_a_cluster_that_is_not_there_is_told_and_this_machine_is_looked_at() -> None:
    done = doctor("address=127.0.0.1:9", "detector=none", "checkpoint=")
    assert done.returncode == 1, done.stderr
    assert "MEND  ray         no Ray cluster answers at 127.0.0.1:9" in done.stdout
    assert "versions" in done.stdout


@pytest.mark.ray
def test_a_cluster(ray_session: None, tmp_path: Path) -> None:
    settings = DoctorSettings.resolve(
        None, {"storage": str(tmp_path), "checkpoint": "", "detector": "dlib", "exchange_mib": 8}
    )
    found = list(examine(settings))
    assert [finding.text for finding in found if finding.kind == "mend"] == []
    checks = {finding.check: finding for finding in found}
    assert checks["ray"].text.startswith("1 node, 2 CPUs, 0 GPUs")
    assert checks["storage"].node
    assert "2 processes on 1 node: all-reduce of 1 MiB by gloo" in checks["exchange"].text
    assert not list(tmp_path.iterdir())


@pytest.mark.ray
@pytest.mark.slow
def test_several_nodes(tmp_path: Path) -> None:
    with several_nodes(3) as cluster:
        words = [f"address={cluster.address}", f"storage={tmp_path}", "checkpoint=", "detector=none", "exchange_mib=16"]
        done = doctor(*words, RAY_AUTH_MODE="disabled")
        kill_node(next(iter(cluster.worker_nodes)))
        after = doctor(*words, RAY_AUTH_MODE="disabled")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "ok    ray         3 nodes, 3 CPUs, 0 GPUs" in done.stdout
    assert "versions    alike on 3 nodes" in done.stdout
    assert len([line for line in done.stdout.splitlines() if line.startswith(("ok    storage", "note  storage"))]) == 3
    assert "3 processes on 3 nodes: all-reduce of 2 MiB by gloo" in done.stdout
    assert after.returncode in (0, 1), "a node that is dying is told, or gone; nothing hangs"
    assert "storage" in after.stdout
    assert not list(tmp_path.iterdir())
