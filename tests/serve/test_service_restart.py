"""The whole service is killed at once, as when a machine loses its power, and started again on the same storage."""

import os
import signal
import time
from pathlib import Path
from typing import Any

import psutil
import pytest
from people import man, woman, woman_again
from real_service import real_service
from running_service import RunningService, settings
from toy_run import write_toy_run

pytestmark = [pytest.mark.ray, pytest.mark.slow]


def killed(service: RunningService) -> None:
    """Nothing of it is left."""
    family = [service.root, *service.root.children(recursive=True)]
    for process in family:
        # What nobody can catch, first of all whoever would start the others anew.
        os.kill(process.pid, signal.SIGKILL)
    psutil.wait_procs(family, timeout=20)


def test_a_service_that_lost_its_power_goes_on_where_it_was(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    storage = tmp_path / "kept"
    args = settings(storage, write_toy_run(tmp_path / "run"), steps=60)
    with real_service(tmp_path, args) as real:
        service = RunningService(real.url, storage, psutil.Process(real.process.pid))
        done = service.until(service.make(woman(), mode="FF"), lambda document: document["state"] == "ready")
        learning = service.make(woman(), woman_again())
        before = service.until(learning, lambda document: document["step"] >= 5)
        # Accepted an instant before the end.
        waiting = [service.make(man(3 * number)) for number in range(3)]
        killed(service)
        at = time.monotonic()
    accepted = [done, learning, *waiting]
    for each in accepted:
        assert service.record(each)["owner"] == "local", "each is stored whole"

    with real_service(tmp_path, args) as real:
        service = RunningService(real.url, storage, psutil.Process(real.process.pid))
        with capsys.disabled():
            print(f"\neverything: answers {time.monotonic() - at:.1f} s after it was killed")
        listed = service.ask("GET", "/v1/avatars").json()["avatars"]
        assert [each["id"] for each in listed] == [each["id"] for each in reversed(accepted)]
        now: dict[str, dict[str, Any]] = {each["id"]: each for each in listed}
        assert now[done["id"]]["state"] == "ready"
        assert now[learning["id"]]["revision"] > before["revision"], "who saw a revision never sees it again"
        assert (now[learning["id"]]["version"], now[learning["id"]]["preview_ready"]) == ("FF", True)
        service.ask("POST", learning["links"]["frames"], json={"pose": {"yaw": 10}})
        service.until(learning, lambda document: document["step"] >= 5)
        with capsys.disabled():
            print(f"\neverything: learns again {time.monotonic() - at:.1f} s after it was killed")
        ends = []
        for each in [learning, *waiting]:
            service.until(each, lambda document: document["state"] == "ready")
            ends.append(service.record(each)["changed_at"])
        assert ends == sorted(ends), "in order of acceptance"
        record = service.record(learning)
        assert (record["attempts"]["learn"], record["interrupted"]) == (2, 1)
        assert record["version"]["folder"] == "ft-2"
        folders = {path.name for path in (storage / "avatars" / learning["id"]).iterdir() if path.is_dir()}
        assert folders == {"material", "crops", "ff-1", "ft-2"}
