"""What only replicas can find out is told by `serve status`, by name."""

from pathlib import Path

import pytest
from running_service import free_port, settings

pytestmark = [pytest.mark.ray, pytest.mark.slow]


def test_a_checkpoint_that_only_replicas_can_look_at(
    ray_session: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from ray import serve

    from serve.app import app

    monkeypatch.setattr("serve.app.check_places", lambda settings: None)
    serve.start(http_options={"host": "127.0.0.1", "port": free_port()})
    try:
        with pytest.raises(RuntimeError, match="raytalk"):
            serve.run(app(settings(tmp_path / "kept", tmp_path / "nowhere", 5)), name="raytalk")
        found = serve.status().applications["raytalk"]
    finally:
        serve.shutdown()
    assert found.status == "DEPLOY_FAILED"
    parts = {name: part.message for name, part in found.deployments.items() if part.status == "DEPLOY_FAILED"}
    assert parts
    assert parts.keys() <= {"faces", "learner", "renderer"}
    for message in parts.values():
        assert "CheckpointError" in message
        assert str(tmp_path / "nowhere") in message
