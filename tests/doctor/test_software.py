import collections
import shutil

import pytest

from raytalk.doctor import software
from raytalk.doctor.finding import Finding

HERE = {"python": "3.11.7", "raytalk": "1.0", "torch": "2.13.0"}


def test_this_machine_has_what_is_installed() -> None:
    import ray
    import torch

    found = software.versions()
    assert found["ray"] == ray.__version__
    assert found["torch"] == torch.__version__
    assert software.compare({"here": found})[0].kind == "ok"


def test_a_node_with_another_version_is_named() -> None:
    found = software.compare({"head": HERE, "a": HERE, "b": HERE | {"torch": "2.12.1"}})
    assert [(each.kind, each.node) for each in found] == [("mend", "b")]
    assert found[0].text.startswith("torch 2.12.1, not 2.13.0: install the same as on head")
    alike = software.compare({"head": HERE, "a": HERE})
    assert alike == [Finding("versions", "ok", "alike on 2 nodes: python 3.11.7, raytalk 1.0, torch 2.13.0")]


def test_a_head_without_a_gpu_has_another_build_of_torch() -> None:
    (found,) = software.compare({"head": {"torch": "2.13.0+cpu"}, "worker": {"torch": "2.13.0"}})
    assert found.kind == "ok"


def test_what_is_not_installed_is_said() -> None:
    found = software.compare({"here": HERE | {"mlflow": "not installed"}})
    assert found[-1] == Finding("versions", "mend", "mlflow not installed: pip install mlflow", "here")


def test_a_full_disk_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    assert "GiB of memory" in software.machine()[0].text
    usage = collections.namedtuple("usage", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage(10, 9, 1 << 20))
    (found,) = software.machine()
    assert found.kind == "mend"
    assert "set TMPDIR" in found.text


def test_a_clock_that_is_wrong_is_said() -> None:
    assert software.clocks({"a": 0.4, "b": -1.0}) == [Finding("clock", "ok", "alike to 5 s")]
    (found,) = software.clocks({"a": 0.0, "b": -90.0})
    assert (found.kind, found.node) == ("mend", "b")
    assert found.text.startswith("90 s behind")
