"""One driver of a sweep at a time."""

import json
import os
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import psutil
import pytest

from raytalk.errors import SettingsError
from raytalk.storage import Storage
from raytalk.sweep import driver as module
from raytalk.sweep.driver import Driver


def told(folder: Path, **changes: Any) -> None:
    """Another command was here."""
    document = {"host": "elsewhere", "pid": 1, "began": 0.0, "beat": 1, **changes}
    (folder / "driver.json").write_text(json.dumps(document))


def test_it_holds_the_sweep_and_leaves_nothing(tmp_path: Path) -> None:
    with Driver(Storage(str(tmp_path))):
        kept = json.loads((tmp_path / "driver.json").read_text())
        assert kept["pid"] == os.getpid()
    assert list(tmp_path.iterdir()) == []


def test_another_process_of_this_machine_that_lives(tmp_path: Path) -> None:
    code = (
        "import sys; from raytalk.storage import Storage; from raytalk.sweep.driver import Driver\n"
        "with Driver(Storage(sys.argv[1])): print('held', flush=True); sys.stdin.read()"
    )
    command = [sys.executable, "-c", code, str(tmp_path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == "held\n"
        with (
            pytest.raises(SettingsError, match=f"another command .process {other.pid} on"),
            Driver(Storage(str(tmp_path))),
        ):
            pass
        other.kill()
        other.wait()
        assert (tmp_path / "driver.json").exists()
        with Driver(Storage(str(tmp_path))):
            assert json.loads((tmp_path / "driver.json").read_text())["pid"] == os.getpid()


def test_a_process_with_the_number_of_one_that_was_killed(tmp_path: Path) -> None:
    host = Driver(Storage(str(tmp_path)))._told["host"]
    parent = psutil.Process().parent()
    assert parent is not None
    told(tmp_path, host=host, pid=parent.pid, began=parent.create_time() - 3600)
    with Driver(Storage(str(tmp_path))):
        pass


def test_another_machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_BEAT_S", 0.05)
    told(tmp_path)
    with Driver(Storage(str(tmp_path))):
        pass  # it has been silent for a while
    told(tmp_path)
    beat = threading.Timer(0.02, lambda: told(tmp_path, beat=2))
    beat.start()
    with pytest.raises(SettingsError, match="on elsewhere"), Driver(Storage(str(tmp_path))):
        pass
    beat.join()
    told(tmp_path)
    end = threading.Timer(0.02, (tmp_path / "driver.json").unlink)
    end.start()
    with Driver(Storage(str(tmp_path))):
        end.join()


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"host": "a"}'])
def test_what_cannot_be_read_is_nobody(tmp_path: Path, text: str) -> None:
    (tmp_path / "driver.json").write_text(text)
    with Driver(Storage(str(tmp_path))):
        pass
