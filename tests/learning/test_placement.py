"""Where workers find room, and waiting for nodes that are still to come."""

import threading
import time

import pytest
import ray

from raytalk.learning import placement
from raytalk.learning.placement import wait_for_nodes

SMALL = {"Alive": True, "Resources": {"CPU": 2.0}}
WITH_GPUS = {"Alive": True, "Resources": {"CPU": 8.0, "GPU": 2.0}}


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[list[dict[str, float]]]:
    """What the autoscaler was asked for."""
    found: list[list[dict[str, float]]] = []
    monkeypatch.setattr(placement, "request_resources", lambda bundles: found.append(bundles))
    return found


def nodes(monkeypatch: pytest.MonkeyPatch, *present: dict[str, object]) -> list[dict[str, object]]:
    found = list(present)
    monkeypatch.setattr(ray, "nodes", lambda: found)
    return found


def test_where_there_is_room_nothing_is_asked_for(
    monkeypatch: pytest.MonkeyPatch, asked: list[list[dict[str, float]]]
) -> None:
    nodes(monkeypatch, WITH_GPUS, {"Alive": False, "Resources": {"CPU": 64.0, "GPU": 8.0}})
    wait_for_nodes(60, workers=2, gpus=1, cpus=1)
    wait_for_nodes(60, workers=8, gpus=0.25, cpus=0.5)
    wait_for_nodes(0, workers=100, gpus=1, cpus=1)
    assert asked == []


def test_the_autoscaler_is_asked_and_waited_for(
    monkeypatch: pytest.MonkeyPatch, asked: list[list[dict[str, float]]], capsys: pytest.CaptureFixture[str]
) -> None:
    present = nodes(monkeypatch, SMALL)
    threading.Timer(0.5, present.append, [WITH_GPUS]).start()
    start = time.monotonic()
    wait_for_nodes(60, workers=2, gpus=1, cpus=1)
    assert 0.5 <= time.monotonic() - start < 30
    assert asked == [[{"CPU": 1, "GPU": 1}] * 2 + [{"CPU": 1}], []]
    assert "waiting up to 60 s for nodes with 2 GPUs" in capsys.readouterr().out


def test_waiting_ends(monkeypatch: pytest.MonkeyPatch, asked: list[list[dict[str, float]]]) -> None:
    nodes(monkeypatch, SMALL)
    start = time.monotonic()
    wait_for_nodes(1, workers=2, gpus=0, cpus=1)  # nothing would be left for drawing episodes
    assert 1 <= time.monotonic() - start < 30
    assert asked == [[{"CPU": 1}] * 3, []]
