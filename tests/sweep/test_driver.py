"""One driver of a sweep at a time."""

import copy
import json
import os
import pickle
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from raytalk.errors import SettingsError
from raytalk.sweep import driver as module
from raytalk.sweep.driver import Driver

OTHER = """
import sys
from raytalk.sweep.driver import Driver
with Driver(sys.argv[1]):
    print("held", flush=True)
    sys.stdin.read()
"""


@pytest.fixture(autouse=True)
def fast(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_BEAT_S", 0.1)
    monkeypatch.setattr(module, "_SETTLE_S", 0.05)


def kept(folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((folder / "driver.json").read_text())
    return found


def told(folder: Path, **changes: Any) -> None:
    """Another command wrote this, whole or not at all."""
    document = {"token": "t", "host": "elsewhere", "machine": "m", "pid": 1, "began": "1", "beat": 1, **changes}
    (folder / "aside").write_text(json.dumps(document))
    (folder / "aside").replace(folder / "driver.json")


def until(true: Callable[[], bool]) -> None:
    end = time.monotonic() + 10
    while not true():
        assert time.monotonic() < end
        time.sleep(0.01)


@contextmanager
def another(folder: Path) -> Iterator["subprocess.Popen[str]"]:
    """A command that holds the sweep."""
    command = [sys.executable, "-c", OTHER, str(folder)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == "held\n"
        yield other
        other.kill()


def test_it_holds_the_sweep_and_leaves_nothing(tmp_path: Path) -> None:
    with Driver(str(tmp_path)) as driver:
        assert kept(tmp_path)["pid"] == os.getpid()
        until(lambda: kept(tmp_path)["beat"] > 2)
        driver.check()
        assert not driver.stopper().stop_all()
    assert list(tmp_path.iterdir()) == []


def test_a_process_of_this_machine_that_works_and_one_that_was_killed(tmp_path: Path) -> None:
    with another(tmp_path) as other:
        with pytest.raises(SettingsError, match=f"another command .process {other.pid} on"), Driver(str(tmp_path)):
            pass
        assert kept(tmp_path)["pid"] == other.pid
        other.kill()
        # Not waited for: a zombie works on nothing.
        until(lambda: module._began(other.pid) is None)
        assert (tmp_path / "driver.json").exists()
        with Driver(str(tmp_path)):
            assert kept(tmp_path)["pid"] == os.getpid()


def test_a_process_with_the_number_of_one_that_was_killed(tmp_path: Path) -> None:
    told(tmp_path, machine=module._machine(), pid=os.getpid(), began="1")
    with Driver(str(tmp_path)):
        pass


def test_another_machine_that_is_silent(tmp_path: Path) -> None:
    told(tmp_path)
    with Driver(str(tmp_path)):
        assert kept(tmp_path)["pid"] == os.getpid()


def test_another_machine_that_works(tmp_path: Path) -> None:
    told(tmp_path)
    beat = threading.Timer(0.15, lambda: told(tmp_path, beat=2))
    beat.start()
    with pytest.raises(SettingsError, match="on elsewhere"), Driver(str(tmp_path)):
        pass
    beat.join()


def test_another_machine_that_ends_meanwhile(tmp_path: Path) -> None:
    told(tmp_path)
    end = threading.Timer(0.15, (tmp_path / "driver.json").unlink)
    end.start()
    with Driver(str(tmp_path)):
        assert kept(tmp_path)["pid"] == os.getpid()


def test_of_two_that_begin_at_the_same_moment_one_works(tmp_path: Path) -> None:
    came: list[str] = []
    refused: list[str] = []
    over = threading.Barrier(2)

    def drive() -> None:
        try:
            with Driver(str(tmp_path)):
                came.append("")
                over.wait(10)
        except SettingsError as error:
            refused.append(str(error))
            over.wait(10)

    # As if they were on two machines.
    threads = [threading.Thread(target=drive) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (len(came), len(refused)) == (1, 1)


def test_one_that_lost_the_sweep_stops_and_leaves_it_to_the_other(tmp_path: Path) -> None:
    with Driver(str(tmp_path)) as driver:
        stopper = pickle.loads(pickle.dumps(copy.deepcopy(driver.stopper())))
        told(tmp_path, beat=7)
        until(lambda: driver.replaced)
        assert stopper.stop_all()
        with pytest.raises(SettingsError, match="this one stops"):
            driver.check()
    assert kept(tmp_path)["beat"] == 7


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"host": "a", "pid": "x"}'])
def test_what_names_nobody(tmp_path: Path, text: str) -> None:
    (tmp_path / "driver.json").write_text(text)
    with Driver(str(tmp_path)):
        assert kept(tmp_path)["pid"] == os.getpid()
