from pathlib import Path

import pytest

from raytalk.doctor.tracker import reachable
from raytalk.errors import TrackingError
from raytalk.tracking import TrackingSettings


def test_a_store_that_answers(tmp_path: Path) -> None:
    (found,) = reachable(TrackingSettings(uri=f"sqlite:///{tmp_path / 'mlflow.db'}", experiment="new"))
    assert found.kind == "ok"
    assert "the experiment 'new' will be made" in found.text
    assert reachable(TrackingSettings(uri="none"))[0].kind == "note"


def test_a_server_that_does_not_answer_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(TrackingError, match=r"http://127\.0\.0\.1:9 cannot be used"):
        reachable(TrackingSettings(uri="http://127.0.0.1:9"))
