"""How the parts are placed: what an update starts first, and who has a share of a GPU."""

from pathlib import Path
from typing import Any

import pytest
from toy_run import write_toy_run


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_toy_run(tmp_path_factory.mktemp("run"))


def parts(args: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> dict[str, tuple[Any, float]]:
    """Of each deployment: GPUs of a replica, and the share of replicas that an update starts beforehand."""
    from serve import app as module

    made: dict[str, tuple[Any, float]] = {}
    placed = module.placed

    def watched(*given: Any, **named: Any) -> Any:
        deployment = placed(*given, **named)
        options = deployment.ray_actor_options
        made[deployment.name] = (options["num_gpus"], deployment._deployment_config.max_surge_percent)
        return deployment

    monkeypatch.setattr(module, "placed", watched)
    monkeypatch.setattr(module, "check_port", lambda: None)
    module.app(args)
    return made


def test_on_a_cpu_who_is_waited_for_is_there_twice_for_a_moment(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = parts({"checkpoint": str(run), "storage": str(tmp_path)}, monkeypatch)
    assert {name for name, (_, surge) in made.items() if surge} == {"front", "faces", "renderer"}
    assert {gpus for gpus, _ in made.values()} == {0}


def test_before_ray_is_started_a_gpu_of_this_machine_counts(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`serve run serve.app:app` builds the application first."""
    monkeypatch.setattr("ray.is_initialized", lambda: False)
    monkeypatch.setattr("torch.cuda.is_available", lambda: True)
    made = parts({"checkpoint": str(run), "storage": str(tmp_path)}, monkeypatch)
    assert {name: gpus for name, (gpus, _) in made.items() if gpus} == {
        "faces": 0.1,
        "renderer": 0.4,
        "learner": 0.4,
        "films": 0.1,
    }
    assert sum(gpus for gpus, _ in made.values()) == pytest.approx(1), "everything fits on one"
    assert {name for name, (_, surge) in made.items() if surge} == {"front"}, "a second renderer would not fit"
    made = parts({"checkpoint": str(run), "storage": str(tmp_path), "device": "cpu"}, monkeypatch)
    assert {gpus for gpus, _ in made.values()} == {0}
