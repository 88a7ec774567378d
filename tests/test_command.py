"""Exit statuses, one-line errors and folders of jobs."""

import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from raytalk.command import absolute_uri, run_job
from raytalk.config import JobSettings
from raytalk.errors import RaytalkError, SettingsError, StorageError, TrainingCollapsed


class Job(JobSettings):
    """A job."""

    size: int = 1
    """how big"""


def ends_with(monkeypatch: pytest.MonkeyPatch, job: Callable[[Job], None], *words: str) -> object:
    monkeypatch.setattr(sys, "argv", ["job", *words])
    with pytest.raises(SystemExit) as ended:
        run_job(Job, "About.", job)
    return ended.value.code


def raising(error: BaseException) -> Callable[[Job], None]:
    def job(_: Job) -> None:
        raise error

    return job


def test_the_job_gets_its_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["job", "size=3"])
    given: list[Job] = []
    run_job(Job, "About.", given.append)
    assert [settings.size for settings in given] == [3]


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (StorageError("the disk\nis full"), 2),
        (SettingsError("no"), 2),
        (TrainingCollapsed("no"), 1),
        (RaytalkError("no"), 1),
        (KeyboardInterrupt(), 130),
    ],
)
def test_errors_become_statuses_and_one_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], error: BaseException, status: int
) -> None:
    assert ends_with(monkeypatch, raising(error)) == status
    shown = capsys.readouterr()
    assert shown.out == ""
    assert shown.err.startswith("raytalk: ")
    assert shown.err.count("\n") == 1


def test_a_mistake_on_the_command_line_is_status_2(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert ends_with(monkeypatch, raising(AssertionError("must not run")), "siez=3") == 2
    assert "did you mean 'size'?" in capsys.readouterr().err


def test_anything_else_keeps_its_traceback(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["job"])
    with pytest.raises(ZeroDivisionError):
        run_job(Job, "About.", raising(ZeroDivisionError()))


def test_absolute_uri(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", "/home/somebody")
    assert absolute_uri("s3://bucket/a?region=x") == "s3://bucket/a?region=x"
    assert absolute_uri("clips") == str(tmp_path / "clips")
    assert absolute_uri("~/clips") == "/home/somebody/clips"
    assert absolute_uri("/a/../b") == "/b"


def test_a_relative_folder_in_a_submitted_job_is_refused(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    copy = tmp_path / "_ray_pkg_0123456789abcdef"
    copy.mkdir()
    monkeypatch.chdir(copy)
    with pytest.raises(StorageError, match="give an absolute folder or an s3:// URI"):
        absolute_uri("clips")
    assert absolute_uri("/clips") == "/clips"
    assert absolute_uri("s3://bucket/clips") == "s3://bucket/clips"
