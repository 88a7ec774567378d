"""Runs in sqlite and on a real tracking server that is killed in the middle."""

import contextlib
import logging
import pickle
import shutil
import socket
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from mlflow import MlflowClient
from mlflow.entities import Run
from mlflow_server import MlflowServer
from PIL import Image

from raytalk.config import JobSettings
from raytalk.errors import SettingsError, StorageError, TrackingError
from raytalk.tracking import RunHandle, Tracker, TrackingSettings, fetch_registered, register_checkpoint, start_run
from raytalk.tracking import tracker as writer

pytestmark = pytest.mark.filterwarnings("ignore::sqlalchemy.exc.SADeprecationWarning")  # mlflow's own use of it


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """No store of the machine's user, and tries in quick succession."""
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    monkeypatch.setattr(writer, "_FIRST_RETRY", 0.1)
    monkeypatch.setattr(writer, "_LONGEST_RETRY", 0.3)
    monkeypatch.setattr(writer, "_GATHER", 0.05)


@pytest.fixture(scope="module")
def module_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("tracking")


@pytest.fixture(scope="module")
def tables(module_folder: Path) -> Path:
    """An empty sqlite store, to be copied: making one takes seconds."""
    MlflowClient(tracking_uri=f"sqlite:///{module_folder / 'empty.db'}")
    return module_folder / "empty.db"


@pytest.fixture
def empty_store(tables: Path, tmp_path: Path) -> str:
    """An empty sqlite store of its own, where a run in tmp_path keeps it by default."""
    shutil.copy(tables, tmp_path / "mlflow.db")
    return f"sqlite:///{tmp_path / 'mlflow.db'}"


@pytest.fixture(scope="module", autouse=True)
def launched(module_folder: Path, tables: Path) -> Iterator[MlflowServer]:
    """Started with the first test, so that it is up when the first one needs it."""
    running = MlflowServer(module_folder / "server")
    shutil.copy(tables, running.folder / "m.db")
    running.launch()
    yield running
    running.kill()


@pytest.fixture
def server(launched: MlflowServer) -> MlflowServer:
    launched.wait()
    return launched


@pytest.fixture(params=["sqlite", "server"])
def store(request: pytest.FixtureRequest) -> str:
    if request.param == "sqlite":
        return str(request.getfixturevalue("empty_store"))
    return str(request.getfixturevalue("server").uri)


def stored(handle: RunHandle) -> Run:
    return MlflowClient(tracking_uri=handle.uri).get_run(handle.run_id)


def history(handle: RunHandle, key: str) -> list[tuple[int, float, int]]:
    found = MlflowClient(tracking_uri=handle.uri).get_metric_history(handle.run_id, key)
    return sorted((metric.step, metric.value, metric.timestamp) for metric in found)


def picture() -> np.ndarray[tuple[int, ...], np.dtype[np.uint8]]:
    return np.random.default_rng(0).integers(0, 256, (24, 32, 3), dtype=np.uint8)


def until(true: Callable[[], object], seconds: float = 20) -> None:
    deadline = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.02)


class Said(list[str]):
    def __call__(self, message: str, *values: object) -> None:
        self.append(message % values)


def test_the_runs_folder_holds_everything_by_default(tmp_path: Path, tables: Path) -> None:
    (tmp_path / "run 1").mkdir()
    shutil.copy(tables, tmp_path / "run 1" / "mlflow.db")
    handle = start_run(TrackingSettings(), str(tmp_path / "run 1"), "first", {"preset": "debug", "seed": 3})
    array = picture()
    with Tracker.open(pickle.loads(pickle.dumps(handle))) as tracker:
        tracker.metrics({"loss/content": 2.0, "speed": float("nan")}, step=10)
        tracker.metrics({"loss/content": 1.5}, step=20)
        tracker.image("val/faces", array, step=20)
        array[:] = 0
        tracker.finish("FINISHED")
    run = stored(handle)
    assert run.info.status == "FINISHED"
    assert run.info.run_name == "first"
    assert run.data.params == {"preset": "debug", "seed": "3"}
    assert [entry[:2] for entry in history(handle, "loss/content")] == [(10, 2.0), (20, 1.5)]
    assert np.isnan(run.data.metrics["speed"])
    (png,) = (tmp_path / "run 1").rglob("*.png")
    assert png.as_posix().endswith("/artifacts/grids/val/faces-00000020.png")
    assert np.array_equal(np.asarray(Image.open(png)), picture())
    assert {entry.name for entry in (tmp_path / "run 1").iterdir()} == {"mlflow.db", "mlflow-artifacts"}


def test_taking_a_run_up_again_gives_one_run(store: str, tmp_path: Path) -> None:
    settings = TrackingSettings(uri=store, experiment="restarts")
    first = start_run(settings, "", "job", {"workers": 2, "long": "x" * 9000})
    with Tracker.open(first) as tracker:
        tracker.metrics({"loss": 3.0}, step=1)
        tracker.finish("FAILED")
    again = start_run(settings, "", "job", {"workers": 4, "long": "x" * 9000, "new": True}, first.run_id)
    assert again == first
    assert stored(first).info.status == "RUNNING"
    with Tracker.open(again) as tracker:
        tracker.metrics({"loss": 3.0}, step=1)
        tracker.metrics({"loss": 2.0}, step=2)
        tracker.params({"new": True, "late": 1})
    run = stored(again)
    assert run.data.params == {"workers": "2", "long": "x" * 6000, "new": "True", "late": "1"}
    assert {key: value for key, value in run.data.tags.items() if key.startswith("resumed")} == {"resumed.workers": "4"}
    assert {entry[:2] for entry in history(again, "loss")} == {(1, 3.0), (2, 2.0)}
    client = MlflowClient(tracking_uri=store)
    experiment = client.get_experiment_by_name("restarts")
    assert experiment is not None
    assert len(client.search_runs([experiment.experiment_id])) == 1


def test_a_killed_server_loses_nothing(server: MlflowServer) -> None:
    settings = TrackingSettings(uri=server.uri, experiment="outage")
    handle, said = start_run(settings, "", "outage", {}), Said()
    tracker = Tracker.open(handle, said)
    tracker.metrics({"loss": 0.0}, step=0)
    until(lambda: history(handle, "loss"))
    server.kill()
    began = time.time() * 1000
    slowest = 0.0
    for step in range(1, 1501):
        called = time.monotonic()
        tracker.metrics({"loss": float(step), "speed": 1.0}, step)
        slowest = max(slowest, time.monotonic() - called)
    tracker.image("grid", picture(), 1500)
    until(lambda: said)
    time.sleep(1)
    ended = time.time() * 1000
    tracker.finish("FINISHED")
    assert slowest < 0.5
    assert len(said) == 1
    assert "does not answer: training goes on;" in said[0]
    assert server.uri in said[0]
    resumed = start_run(settings, "", "outage", {}, handle.run_id)
    assert resumed.unconfirmed
    assert resumed.run_id == handle.run_id
    with pytest.raises(TrackingError, match=r"cannot be used.*tracking.uri=none"):
        start_run(settings, "", "another", {})
    server.launch()
    assert tracker.close(60) == 0
    assert len(said) == 2
    assert "answers again" in said[1]
    entries = history(handle, "loss")
    assert [entry[:2] for entry in entries] == [(step, float(step)) for step in range(1501)]
    assert all(began - 1 <= entry[2] <= ended + 1 for entry in entries[1:])
    assert len(history(handle, "speed")) == 1500
    client = MlflowClient(tracking_uri=server.uri)
    assert [file.path for file in client.list_artifacts(handle.run_id, "grids")] == ["grids/grid-00001500.png"]
    assert stored(handle).info.status == "FINISHED"
    Tracker.open(resumed).close()
    assert stored(handle).info.status == "RUNNING"


def test_what_cannot_be_written_is_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(writer, "_KEPT_RECORDS", 5)
    monkeypatch.setattr(writer, "_KEPT_IMAGES", 2)
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        said = Said()
        uri = f"http://user:secret@127.0.0.1:{taken.getsockname()[1]}"
        tracker = Tracker.open(RunHandle(uri, "0" * 32), said)
        tracker.params({"first": 1})
        until(lambda: said)
        for step in range(4):
            tracker.image("grid", picture(), step)
        for step in range(20):
            tracker.metrics({"loss": 1.0}, step)
        began = time.monotonic()
        assert tracker.close(0.5) == 25
        assert time.monotonic() - began < 1.5
    assert len(said) == 2
    assert "25 records" in said[1]
    assert "secret" not in "".join(said)
    tracker.metrics({"loss": 1.0}, 21)
    assert tracker.close(0.1) == 26


def test_one_bad_record_does_not_hold_up_the_others(store: str) -> None:
    handle, said = start_run(TrackingSettings(uri=store), "", "bad", {}), Said()
    tracker = Tracker.open(handle, said)
    tracker.metrics({"loss": 1.0, "loss@home": 1.0, "speed": 2.0}, 1)
    tracker.metrics({"loss": 0.5, "loss@home": 1.0}, 2)
    with pytest.raises(ValueError, match=r"\[24, 32\] float64"):
        tracker.image("grid", np.zeros((24, 32)), 2)  # type: ignore[arg-type]
    assert tracker.close() == 2
    assert [entry[:2] for entry in history(handle, "loss")] == [(1, 1.0), (2, 0.5)]
    assert len(history(handle, "speed")) == 1
    assert len(said) == 2
    assert "does not take the metric loss@home" in said[0]
    assert "2 records" in said[1]


def test_a_full_artifact_store_does_not_hold_up_numbers(tmp_path: Path, empty_store: str) -> None:
    handle, said = start_run(TrackingSettings(), str(tmp_path), "full", {}), Said()
    assert handle.uri == empty_store
    (tmp_path / "mlflow-artifacts").write_text("a file where the folder should be")
    tracker = Tracker.open(handle, said)
    tracker.image("grid", picture(), 1)
    tracker.image("grid", picture(), 2)
    tracker.metrics({"loss": 1.0}, 2)
    assert tracker.close() == 2
    assert len(history(handle, "loss")) == 1
    assert len(said) == 2
    assert "does not take pictures in" in said[0]


def test_a_locked_database_is_waited_for(tmp_path: Path, empty_store: str) -> None:
    handle, said = start_run(TrackingSettings(), str(tmp_path), "locked", {}), Said()
    assert handle.uri == empty_store
    with contextlib.closing(sqlite3.connect(tmp_path / "mlflow.db", isolation_level=None)) as other:
        other.execute("BEGIN EXCLUSIVE")
        tracker = Tracker.open(handle, said)
        tracker.metrics({"loss": 1.0}, 1)
        time.sleep(1)
        other.execute("ROLLBACK")
    assert tracker.close() == 0
    assert len(history(handle, "loss")) == 1


def test_register_and_fetch(store: str, tmp_path: Path) -> None:
    settings = TrackingSettings(uri=store, register_as="avatars", alias="best")
    handle = start_run(settings, "", "registered", {})
    folder = tmp_path / "checkpoint"
    (folder / "deep").mkdir(parents=True)
    (folder / "deep" / "weights").write_bytes(b"one")
    first = register_checkpoint(handle, folder)
    (folder / "deep" / "weights").write_bytes(b"two")
    second = register_checkpoint(handle, folder)
    (folder / "deep" / "weights").write_bytes(b"three")
    third = register_checkpoint(start_run(settings.model_copy(update={"alias": "latest"}), "", "other", {}), folder)
    assert [first, second, third] == ["1", "2", "3"]
    into = tmp_path / "fetched"
    for which, content in (("@best", b"two"), ("/1", b"one"), ("@latest", b"three"), ("/latest", b"three")):
        fetched = fetch_registered(f"models:/avatars{which}", store, into)
        assert (fetched / "deep" / "weights").read_bytes() == content
    (fetched / "seen").touch()
    assert (fetch_registered("models:/avatars/3", store, into) / "seen").exists()
    assert len(list(into.iterdir())) == 3
    with pytest.raises(TrackingError, match=r"no models:/avatars@worst in .* it has @latest, @best"):
        fetch_registered("models:/avatars@worst", store, into)
    with pytest.raises(TrackingError, match="no models:/avatars/9 "):
        fetch_registered("models:/avatars/9", store, into)
    with pytest.raises(TrackingError, match="no registered model 'nobody'"):
        fetch_registered("models:/nobody@latest", store, into)
    with pytest.raises(TrackingError, match="models:/NAME@ALIAS"):
        fetch_registered("models:/avatars", store, into)
    with pytest.raises(TrackingError, match="no such folder"):
        register_checkpoint(handle, tmp_path / "missing")


def test_a_run_that_the_store_lost_is_made_anew(empty_store: str, caplog: pytest.LogCaptureFixture) -> None:
    settings = TrackingSettings(uri=empty_store, experiment="lost")
    unknown = start_run(settings, "", "lost", {"seed": 1}, "f" * 32)
    assert unknown.run_id != "f" * 32
    assert stored(unknown).data.params == {"seed": "1"}
    with pytest.raises(TrackingError, match="seed@home"):
        start_run(settings, "", "lost", {"seed@home": 1}, unknown.run_id)
    MlflowClient(tracking_uri=empty_store).delete_run(unknown.run_id)
    assert start_run(settings, "", "lost", {}, unknown.run_id).run_id != unknown.run_id
    assert caplog.text.count("a new one is made") == 2
    client = MlflowClient(tracking_uri=empty_store)
    experiment = client.get_experiment_by_name("lost")
    assert experiment is not None
    client.delete_experiment(experiment.experiment_id)
    with pytest.raises(TrackingError, match=r"'lost' was deleted: restore it or give tracking.experiment"):
        start_run(settings, "", "lost", {})


def test_two_jobs_may_start_at_once_on_an_empty_store_and_print_nothing(tmp_path: Path) -> None:
    code = (
        "import sys, logging; logging.basicConfig(level=logging.WARNING); import raytalk.tracking as t; "
        "h = t.start_run(t.TrackingSettings(uri=sys.argv[1]), '', 'n', {'a': 1}); "
        "k = t.Tracker.open(h); k.metrics({'a': 1}, 1); sys.exit(k.close())"
    )
    uri = f"sqlite:///{tmp_path / 'new' / 'mlflow.db'}"
    jobs = [
        subprocess.Popen([sys.executable, "-c", code, uri], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        for _ in range(2)
    ]
    assert [(*job.communicate(timeout=60), job.returncode) for job in jobs] == [("", "", 0), ("", "", 0)]
    client = MlflowClient(tracking_uri=uri)
    (experiment,) = client.search_experiments(filter_string="name='raytalk'")
    runs = client.search_runs([experiment.experiment_id])
    assert [run.data.metrics for run in runs] == [{"a": 1.0}, {"a": 1.0}]


def test_a_disabled_tracker_does_nothing(tmp_path: Path) -> None:
    handle = start_run(TrackingSettings(uri="none"), str(tmp_path), "none", {"a": 1}, "kept")
    assert handle.run_id == "kept"
    assert not handle.enabled
    with Tracker.open(handle) as tracker:
        tracker.metrics({"loss": 1.0}, 1)
        tracker.image("grid", picture(), 1)
        tracker.params({})
        tracker.finish("FINISHED")
        assert tracker.close() == 0
    assert not list(tmp_path.iterdir())
    with pytest.raises(TrackingError, match="register_as=x needs a store"):
        start_run(TrackingSettings(uri="none", register_as="x"), "", "none", {})
    with pytest.raises(TrackingError, match=r"give tracking.register_as=NAME"):
        register_checkpoint(handle, tmp_path)


def test_stores_that_cannot_be_used_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(TrackingError, match=r"s3://bucket/run cannot hold one: set MLFLOW_TRACKING_URI or give"):
        start_run(TrackingSettings(), "s3://bucket/run?endpoint_override=127.0.0.1:1&scheme=http", "a", {})
    with pytest.raises(TrackingError, match="no runs in a plain folder"):
        start_run(TrackingSettings(uri=str(tmp_path)), "", "a", {})
    with pytest.raises(TrackingError, match=r"there is no /nowhere/m.db"):
        fetch_registered("models:/a@latest", "sqlite:////nowhere/m.db", tmp_path)
    with pytest.raises(TrackingError, match="set MLFLOW_TRACKING_URI"):
        fetch_registered("models:/a@latest", "", tmp_path)
    submitted = tmp_path / "_ray_pkg_1"
    submitted.mkdir()
    monkeypatch.chdir(submitted)
    with pytest.raises(StorageError, match="absolute"):
        start_run(TrackingSettings(uri="sqlite:///m.db"), "", "a", {})
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "none")
    assert not start_run(TrackingSettings(), str(tmp_path), "a", {}).enabled

    class Job(JobSettings):
        tracking: TrackingSettings = TrackingSettings()

    for wrong in ("register_as=a/b", "alias=a@b", "url=x"):
        key, _, value = wrong.partition("=")
        with pytest.raises(SettingsError, match=f"tracking.{key}"):
            Job.resolve(None, {f"tracking.{key}": value})


def test_training_imports_without_mlflow(tmp_path: Path) -> None:
    code = (
        "import sys; sys.modules['mlflow'] = None; import raytalk.tracking as t; "
        "t.start_run(t.TrackingSettings(), sys.argv[1], 'n', {})"
    )
    done = subprocess.run([sys.executable, "-c", code, str(tmp_path)], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "MLflow cannot be imported" in done.stderr.splitlines()[-1]


def test_the_default_word_is_a_warning(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        tracker = Tracker.open(RunHandle("http://127.0.0.1:9", "0" * 32))
        tracker.metrics({"loss": 1.0}, 1)
        until(lambda: "does not answer" in caplog.text)
        assert tracker.close(0.1) == 1
    assert [record.name for record in caplog.records] == ["raytalk.tracking"] * 2
