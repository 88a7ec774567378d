"""What somebody sent does not outlive the process that had it, unless nobody starts there any more."""

import fcntl
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

import serve
from serve import scratch as module
from serve.scratch import new_folder, scratch, sweep

_HOLDS = """
import sys
from serve.scratch import new_folder
folder = new_folder("upload")
(folder / "000").write_bytes(b"a face")
print(folder, flush=True)
sys.stdin.read()
"""


@pytest.fixture
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.setattr(module, "_own", {})
    return tmp_path


@contextmanager
def another(temporary: Path) -> Iterator[tuple["subprocess.Popen[str]", Path]]:
    """A process that has received something, and the folder that it lies in."""
    root = str(Path(serve.__path__[0]).parent)
    environment = {"TMPDIR": str(temporary), "PYTHONPATH": root}
    command = [sys.executable, "-c", _HOLDS]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment, cwd=root
    ) as process:
        try:
            assert process.stdout is not None
            yield process, Path(process.stdout.readline().strip())
        finally:
            process.kill()


def test_what_a_killed_process_left_is_swept_and_what_others_have_is_not(temporary: Path) -> None:
    with another(temporary) as (alive, theirs), another(temporary) as (killed, left):
        mine = new_folder("film")
        killed.kill()
        killed.wait(20)
        assert (left / "000").exists(), "nobody could tidy up"
        sweep()
        assert not left.parent.exists()
        assert (theirs / "000").read_bytes() == b"a face"
        assert mine.is_dir()
        assert alive.poll() is None
        assert {path.parent for path in (left, theirs, mine)} - {left.parent} == set(temporary.iterdir())


def test_a_process_that_ends_by_itself_leaves_nothing(temporary: Path) -> None:
    with another(temporary) as (process, _):
        process.communicate("", 20)
        assert process.returncode == 0
        assert list(temporary.iterdir()) == []


def test_what_only_has_such_a_name_is_left_alone(temporary: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    elsewhere = temporary / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "precious").touch()
    (temporary / "raytalk-scratch-link").symlink_to(elsewhere)
    (temporary / "raytalk-scratch-file").touch()
    sweep()
    assert (elsewhere / "precious").exists()
    assert (temporary / "raytalk-scratch-file").exists()
    (temporary / "raytalk-scratch-another").mkdir()
    monkeypatch.setattr(os, "geteuid", lambda: os.getuid() + 1)
    sweep()
    assert (temporary / "raytalk-scratch-another").exists(), "another user's"


def test_a_sweep_between_making_and_locking_costs_nothing(temporary: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The worst moment: the folder is there, and nobody holds it yet."""
    lock, swept = fcntl.flock, list[int]()

    def late(descriptor: int, how: int) -> None:
        if how == fcntl.LOCK_EX and not swept:
            swept.append(descriptor)
            sweep()
        lock(descriptor, how)

    monkeypatch.setattr(fcntl, "flock", late)
    folder = new_folder("upload")
    assert swept
    assert folder.is_dir()
    sweep()
    assert folder.is_dir()


def test_a_folder_lasts_as_long_as_its_block(temporary: Path) -> None:
    with scratch("film") as folder:
        (folder / "film.mp4").touch()
        assert folder.parent.parent == temporary
    assert not folder.exists()
