"""What is announced to a spot machine comes to Ray."""

import importlib.util
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType

import pytest
from spot_metadata import SpotMetadata

SCRIPT = Path(__file__).resolve().parents[2] / "cluster" / "spot_notice.py"


@pytest.fixture
def spot() -> ModuleType:
    found = importlib.util.spec_from_file_location("spot_notice", SCRIPT)
    assert found is not None
    assert found.loader is not None
    module = importlib.util.module_from_spec(found)
    found.loader.exec_module(module)
    return module


@pytest.fixture
def machine() -> Iterator[SpotMetadata]:
    with SpotMetadata().running() as metadata:
        yield metadata


@pytest.fixture
def ray(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[], list[str]]:
    """Notes how it is called, and fails the first time."""
    lines = ["#!/bin/sh", f'echo "$@" >> {tmp_path}/calls', f"test $(wc -l < {tmp_path}/calls) -gt 1 && exit"]
    (tmp_path / "ray").write_text("\n".join([*lines, "echo busy >&2", "exit 1"]))
    (tmp_path / "ray").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    calls = tmp_path / "calls"
    return lambda: calls.read_text().splitlines() if calls.exists() else []


def test_nothing_is_announced_until_it_is(
    spot: ModuleType, machine: SpotMetadata, ray: Callable[[], list[str]], capsys: pytest.CaptureFixture[str]
) -> None:
    ended: list[int] = []
    options = ["--metadata", machine.url, "--every", "0.02", "--address", "10.0.0.1:6379", "--node", "ab"]
    watching = threading.Thread(target=lambda: ended.append(spot.main(options)))
    watching.start()
    end = time.monotonic() + 20
    while machine.asked < 3:
        assert time.monotonic() < end
        time.sleep(0.01)
    assert ray() == []
    machine.forget_tokens()
    machine.announce(119)
    watching.join(20)
    assert ended == [0]
    first, second = ray()
    assert first.startswith("drain-node --reason DRAIN_NODE_REASON_PREEMPTION --reason-message ")
    assert "--address 10.0.0.1:6379 --node-id ab" in second
    assert 100 < int(second.split("--deadline-remaining-seconds ")[1].split()[0]) <= 119
    said = capsys.readouterr().out
    assert "Ray did not take note: busy" in said


def test_metadata_that_do_not_answer_are_told_once(
    spot: ModuleType, ray: Callable[[], list[str]], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    looks = 0

    def enough(seconds: float) -> None:
        nonlocal looks
        looks += 1
        if looks == 5:
            raise KeyboardInterrupt

    monkeypatch.setattr(spot.time, "sleep", enough)
    with pytest.raises(KeyboardInterrupt):
        spot.main(["--metadata", "http://127.0.0.1:1"])
    assert capsys.readouterr().out.count("do not answer") == 1
    assert ray() == []


def test_it_needs_no_package() -> None:
    imported = [
        line.split()[1].split(".")[0]
        for line in SCRIPT.read_text().splitlines()
        if line.startswith(("import ", "from "))
    ]
    assert set(imported) <= sys.stdlib_module_names
