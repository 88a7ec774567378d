from pathlib import Path

import pytest
import torch

from raytalk.doctor import gpus


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_a_machine_without_gpus() -> None:
    (found,) = gpus.seen(0)
    assert found.kind == "note"
    (found,) = gpus.seen(2)
    assert found.kind == "mend"
    assert "2 GPUs are counted and torch sees none" in found.text


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_a_container_without_gpus_on_a_machine_that_has_some(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "version").write_text("NVRM version: NVIDIA UNIX x86_64 Kernel Module  580.95.05")
    monkeypatch.setattr(gpus, "_MODULE", tmp_path / "version")
    monkeypatch.setattr(gpus, "_DEVICES", tmp_path)
    (found,) = gpus.seen(0)
    assert found.kind == "note"
    (tmp_path / "nvidia0").touch()
    (found,) = gpus.seen(0)
    assert found.kind == "mend"
    assert "the driver is 580.95.05" in found.text


@pytest.mark.gpu
def test_gpus_are_seen_and_compute() -> None:
    count = torch.cuda.device_count()
    (found,) = gpus.seen(count)
    assert found.kind == "ok"
    assert torch.cuda.get_device_name() in found.text
    (wrong,) = gpus.seen(count + 1)
    assert wrong.kind == "mend"
    (found,) = gpus.computes()
    assert found.kind in ("ok", "note"), found
    assert "TFLOP/s" in found.text
