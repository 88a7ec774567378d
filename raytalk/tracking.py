"""An MLflow run that survives restarts of the job and of the tracking server.

The job's driver calls `start_run` and hands the `RunHandle` to the worker of rank 0, which opens a `Tracker` on it.
"""

import contextlib
import fcntl
import hashlib
import logging
import os
import re
import shutil
import tempfile
import threading
import time
import uuid
import warnings
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

import numpy as np
import numpy.typing as npt
import pydantic

from raytalk.command import absolute_uri
from raytalk.config import Settings
from raytalk.errors import RaytalkError, TrackingError
from raytalk.storage import Storage, join

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Metric

_BATCH = 1000
"""metrics that MLflow takes in one request"""
_KEPT_RECORDS = 20_000
"""records kept while the store does not answer (a call of `metrics` is one); the oldest go first"""
_KEPT_IMAGES = 32
_IMAGE_TRIES = 3
"""tries before a picture is given up that the artifact store refuses while the tracking store answers"""
_GATHER = 0.5
"""seconds in which metrics gather into one request"""
_UNAVAILABLE = ("", "INTERNAL_ERROR", "TEMPORARILY_UNAVAILABLE")
_FIRST_RETRY, _LONGEST_RETRY = 1.0, 30.0
"""seconds between tries"""
_SHORT = {"MLFLOW_HTTP_REQUEST_TIMEOUT": "10", "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "0"}
_PATIENT = {"MLFLOW_HTTP_REQUEST_TIMEOUT": "300", "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "3"}
_QUIET = {
    "MLFLOW_LOGGING_LEVEL": "WARNING",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
    "MLFLOW_DISABLE_TELEMETRY": "true",
}
_CHANGE = "give tracking.uri=URI (http://host:port, sqlite:////folder/mlflow.db) or tracking.uri=none"

_say = logging.getLogger(__name__).warning


with warnings.catch_warnings():
    # Every class has a `register` from ABCMeta, which pydantic takes for a field of the parent.
    warnings.filterwarnings("ignore", message='Field name "register"')

    class TrackingSettings(Settings):
        """Where a run is written down."""

        uri: str = ""
        """MLflow's tracking store: http://host:port, sqlite:////folder/mlflow.db or none; empty: MLFLOW_TRACKING_URI,
        otherwise sqlite in the run's folder"""
        experiment: str = "raytalk"
        """MLflow experiment; made if there is none"""
        register: str = pydantic.Field(default="", pattern=r"^[^/:@]*$")
        """name under which the finished run's checkpoint goes into MLflow's registry; empty: not registered"""
        alias: str = pydantic.Field(default="latest", pattern=r"^[A-Za-z][A-Za-z0-9_-]*$")
        """alias of the registered version; 'latest' is always the newest one"""


@dataclass(frozen=True)
class RunHandle:
    """One run in one store. Can be pickled; `uri` is "none" where nothing is tracked."""

    uri: str
    run_id: str
    register: str = ""
    alias: str = "latest"
    unconfirmed: bool = False
    """the store did not answer when the run was taken up again; a tracker sets it running when it does"""

    @property
    def enabled(self) -> bool:
        """Whether anything is written."""
        return self.uri != "none"


def start_run(
    settings: TrackingSettings,
    output_folder_uri: str,
    name: str,
    params: Mapping[str, object],
    run_id: str | None = None,
) -> RunHandle:
    """Create the run `name`, or take up `run_id` again, and log `params` (flat; changed ones become tags `resumed.*`).

    `output_folder_uri` is the run's folder. A run_id that the store does not know gives a new run, with a word about
    it; a server that is away when a run is taken up again stops nothing. Raises TrackingError.
    """
    uri = store_uri(settings, output_folder_uri)
    if uri == "none":
        if settings.register:
            raise TrackingError(f"tracking.register={settings.register} needs a store: {_CHANGE}")
        return RunHandle(uri, run_id or "")
    with _explained(uri):
        client = _client(uri)
        taken_up = _take_up(client, uri, run_id) if run_id else None
        if run_id and taken_up is not None:
            if taken_up:
                _log_params(client, run_id, params)
            return RunHandle(uri, run_id, settings.register, settings.alias, unconfirmed=not taken_up)
        experiment = _experiment(client, settings.experiment, _artifacts(uri, output_folder_uri))
        created = str(client.create_run(experiment, run_name=name).info.run_id)
        _log_params(client, created, params)
    return RunHandle(uri, created, settings.register, settings.alias)


def _take_up(client: "MlflowClient", uri: str, run_id: str) -> bool | None:
    """Set the run running: whether the store confirmed it, None if the store has no such run."""
    try:
        client.update_run(run_id, "RUNNING")
        if client.get_run(run_id).info.lifecycle_stage == "active":
            return True
    except Exception as error:
        if uri.startswith("http") and _code(error) in _UNAVAILABLE:
            _say("tracking server %s does not answer: the run goes on (%s)", _shown(uri), _brief(error))
            return False
        if _code(error) not in ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE"):
            raise
    _say("tracking %s does not have the run %s (deleted?): a new one is made", _shown(uri), run_id)
    return None


def store_uri(settings: TrackingSettings, output_folder_uri: str = "") -> str:
    """The tracking store that the settings mean, made absolute. Raises TrackingError for one that cannot be used."""
    uri = settings.uri or os.environ.get("MLFLOW_TRACKING_URI", "")
    if uri == "none":
        return uri
    if not uri:
        folder = Storage(output_folder_uri).local_root if output_folder_uri else None
        if folder is None:
            place = f"{output_folder_uri.partition('?')[0]} cannot hold one" if output_folder_uri else "none is given"
            raise TrackingError(f"a tracking store is needed, and {place}: set MLFLOW_TRACKING_URI or {_CHANGE}")
        uri = f"sqlite:///{folder / 'mlflow.db'}"
    if uri.startswith("sqlite:///"):
        return f"sqlite:///{absolute_uri(uri.removeprefix('sqlite:///'))}"
    if "://" not in uri or uri.startswith("file:"):
        raise TrackingError(f"MLflow keeps no runs in a plain folder ({uri}): give sqlite:///{uri}/mlflow.db")
    return uri.rstrip("/")


class Tracker:
    """Writes to a run; this class itself is the null object, whose calls do nothing. `open` gives the right one.

    No call waits for the store but `close`.
    """

    @staticmethod
    def open(handle: RunHandle, say: Callable[..., None] | None = None) -> "Tracker":
        """A tracker of the run. `say` takes a message and its %-arguments (default: a warning in the log)."""
        return _MlflowTracker(handle, _say if say is None else say) if handle.enabled else Tracker()

    def metrics(self, values: Mapping[str, float], step: int) -> None:
        """Numbers at `step` (episodes shown)."""

    def image(self, key: str, array: npt.NDArray[np.uint8], step: int) -> None:
        """A picture [H, W, 3] uint8 RGB as the artifact grids/KEY-STEP.png. Raises ValueError for another array."""

    def params(self, values: Mapping[str, object]) -> None:
        """Settings; one that was logged with another value before becomes the tag resumed.KEY."""

    def finish(self, status: str) -> None:
        """Set the run's status, FINISHED, FAILED or KILLED, after all that was logged before."""

    def close(self, timeout: float = 30.0) -> int:
        """Write what waits, for at most `timeout` seconds; says and returns how many records were lost in all."""
        return 0

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


@dataclass(frozen=True)
class _Metrics:
    points: tuple[tuple[str, float], ...]
    step: int
    time_ms: int


@dataclass(frozen=True)
class _Image:
    path: str
    array: npt.NDArray[np.uint8]


@dataclass(frozen=True)
class _Params:
    values: dict[str, object]


@dataclass(frozen=True)
class _Status:
    status: str


_Record = _Metrics | _Image | _Params | _Status


class _MlflowTracker(Tracker):
    """A background thread writes the records in order; a batch is kept until it is written, refused or dropped."""

    def __init__(self, handle: RunHandle, say: Callable[..., None]) -> None:
        self._handle, self._say = handle, say
        self._waiting: deque[_Record] = deque()
        self._batch: list[_Record] = []
        self._lost = 0
        self._told: set[str] = set()
        self._away = False
        self._changed = threading.Condition()
        self._deadline: float | None = None
        """monotonic time until which `close` waits"""
        if handle.unconfirmed:
            self._add(_Status("RUNNING"))
        self._thread = threading.Thread(target=self._work, name="raytalk-tracker", daemon=True)
        self._thread.start()

    def metrics(self, values: Mapping[str, float], step: int) -> None:
        points = tuple((key, float(value)) for key, value in values.items())
        self._add(_Metrics(points, step, int(time.time() * 1000)))

    def image(self, key: str, array: npt.NDArray[np.uint8], step: int) -> None:
        if array.ndim != 3 or array.shape[2] != 3 or array.dtype != np.uint8:
            raise ValueError(f"a picture must be [H, W, 3] uint8, not {list(array.shape)} {array.dtype}")
        self._add(_Image(f"grids/{key}-{step:08d}.png", array.copy()))

    def params(self, values: Mapping[str, object]) -> None:
        self._add(_Params(dict(values)))

    def finish(self, status: str) -> None:
        self._add(_Status(status))

    def close(self, timeout: float = 30.0) -> int:
        with self._changed:
            first, self._deadline = self._deadline is None, time.monotonic() + timeout
            self._changed.notify_all()
        self._thread.join(timeout)
        with self._changed:
            lost = self._lost + len(self._waiting) + len(self._batch)
        if lost and first:
            self._say("%s: %d records of run %s were not written", self._name, lost, self._handle.run_id)
        return lost

    @property
    def _name(self) -> str:
        kind = "server" if self._handle.uri.startswith("http") else "store"
        return f"tracking {kind} {_shown(self._handle.uri)}"

    def _add(self, record: _Record) -> None:
        with self._changed:
            if self._deadline is not None:
                self._lost += 1
                return
            if isinstance(record, _Image) and sum(isinstance(item, _Image) for item in self._waiting) >= _KEPT_IMAGES:
                self._drop_oldest(_Image)
            if len(self._waiting) >= _KEPT_RECORDS:
                self._drop_oldest(_Metrics | _Image)
            self._waiting.append(record)
            self._changed.notify_all()

    def _drop_oldest(self, kind: Any) -> None:
        oldest = next((index for index, item in enumerate(self._waiting) if isinstance(item, kind)), None)
        if oldest is not None:
            del self._waiting[oldest]
            self._lost += 1

    def _work(self) -> None:
        client: MlflowClient | None = None
        delay = _FIRST_RETRY
        while self._take():
            try:
                client = client or _client(self._handle.uri)
                self._write(client)
            except Exception as error:  # noqa: BLE001 - whatever a store raises, training must not end of it
                if not self._pause(delay, error):
                    return
                delay = min(2 * delay, _LONGEST_RETRY)
                continue
            with self._changed:
                self._batch = []
                waiting, lost = len(self._waiting), self._lost
            if self._away:
                self._away, delay = False, _FIRST_RETRY
                self._say("%s answers again: %d more records are written now, %d were lost", self._name, waiting, lost)

    def _take(self) -> bool:
        """Make the next batch, or keep the one that could not be written; false when all is written and closed."""
        with self._changed:
            if self._batch:
                return True
            self._changed.wait_for(lambda: self._waiting or self._deadline is not None)
            if not self._waiting:
                return False
            if isinstance(self._waiting[0], _Metrics):
                # A moment's wait turns many small requests into one.
                self._changed.wait_for(lambda: self._deadline is not None or len(self._waiting) >= _BATCH, _GATHER)
            self._batch = [self._waiting.popleft()]
            values = 0
            while isinstance(last := self._batch[-1], _Metrics) and self._waiting:
                values += len(last.points)
                if values >= _BATCH or not isinstance(self._waiting[0], _Metrics):
                    break
                self._batch.append(self._waiting.popleft())
            return True

    def _pause(self, delay: float, error: Exception) -> bool:
        """Wait before the next try; false when the time to close has run out."""
        with self._changed:
            waiting = len(self._waiting) + len(self._batch)
        if not self._away:
            self._away = True
            verb = "does not answer" if _code(error) in _UNAVAILABLE else "refuses the records"
            message = "%s %s: training goes on; %d records wait (%s)"
            self._say(message, self._name, verb, waiting, _brief(error))
        with self._changed:
            if self._deadline is None:
                self._changed.wait_for(lambda: self._deadline is not None, delay)
                return True
            left = self._deadline - time.monotonic()
        time.sleep(max(0.0, min(left, _FIRST_RETRY)))
        return left > 0

    def _write(self, client: "MlflowClient") -> None:
        from mlflow.entities import Metric

        first = self._batch[0]
        if isinstance(first, _Metrics):
            records = [record for record in self._batch if isinstance(record, _Metrics)]
            values = [Metric(key, value, r.time_ms, r.step) for r in records for key, value in r.points]
            for start in range(0, len(values), _BATCH):
                self._write_metrics(client, values[start : start + _BATCH])
        elif isinstance(first, _Image):
            self._write_image(client, first)
        elif isinstance(first, _Params):
            _log_params(client, self._handle.run_id, first.values)
        elif first.status == "RUNNING":
            client.update_run(self._handle.run_id, first.status)
        else:
            client.set_terminated(self._handle.run_id, first.status)

    def _write_metrics(self, client: "MlflowClient", values: "list[Metric]") -> None:
        """What the store refuses for its name or value is searched by halves and left out; the rest is written."""
        try:
            client.log_batch(self._handle.run_id, metrics=values)
        except Exception as error:
            if _code(error) != "INVALID_PARAMETER_VALUE":
                raise
            if len(values) == 1:
                self._refused(f"the metric {values[0].key}", error)
            else:
                middle = len(values) // 2
                self._write_metrics(client, values[:middle])
                self._write_metrics(client, values[middle:])

    def _write_image(self, client: "MlflowClient", image: _Image) -> None:
        """A picture that only the artifact store refuses is given up, so that it holds up nothing else."""
        from PIL import Image

        with tempfile.TemporaryDirectory(prefix="raytalk-grid-") as folder:
            file = Path(folder) / Path(image.path).name
            Image.fromarray(image.array).save(file)
            for left in reversed(range(_IMAGE_TRIES)):
                try:
                    client.log_artifact(self._handle.run_id, str(file), str(Path(image.path).parent))
                    return
                except Exception as error:  # noqa: BLE001 - artifact stores raise what their libraries raise
                    run = client.get_run(self._handle.run_id)
                    if left == 0:
                        self._refused(f"pictures in {_shown(run.info.artifact_uri)}", error)
                time.sleep(_FIRST_RETRY)

    def _refused(self, what: str, error: Exception) -> None:
        with self._changed:
            self._lost += 1
        if what not in self._told:
            self._told.add(what)
            self._say("%s does not take %s: training goes on without (%s)", self._name, what, _brief(error))


def register_checkpoint(handle: RunHandle, folder: Path) -> str:
    """Keep the checkpoint folder with the run and register it under the run's name and alias; gives the version.

    Raises TrackingError.
    """
    if not handle.enabled or not handle.register:
        raise TrackingError(f"nothing to register with: give tracking.register=NAME, and {_CHANGE}")
    if not folder.is_dir():
        raise TrackingError(f"cannot register {folder}: there is no such folder")
    with _explained(handle.uri), _patience():
        client = _client(handle.uri)
        path = f"registered/{folder.name}-{uuid.uuid4().hex[:8]}"
        client.log_artifacts(handle.run_id, str(folder), path)
        try:
            client.create_registered_model(handle.register)
        except Exception as error:
            if _code(error) != "RESOURCE_ALREADY_EXISTS":
                raise
        source = f"runs:/{handle.run_id}/{path}"
        version = str(client.create_model_version(handle.register, source=source, run_id=handle.run_id).version)
        if handle.alias.lower() != "latest":
            client.set_registered_model_alias(handle.register, handle.alias, version)
    return version


def fetch_registered(model: str, uri: str, into: Path) -> Path:
    """Download `models:/NAME@ALIAS` or `models:/NAME/VERSION` below `into`; what is there already is not fetched again.

    `uri` is the store, "" for MLFLOW_TRACKING_URI. Raises TrackingError.
    """
    match = re.fullmatch(r"models:/(?P<name>[^/@]+)(?:@(?P<alias>[^/@]+)|/(?P<version>[^/@]+))", model)
    if match is None:
        raise TrackingError(f"cannot read '{model}': write models:/NAME@ALIAS or models:/NAME/VERSION")
    store = store_uri(TrackingSettings(uri=uri))
    if store == "none":
        raise TrackingError(f"{model} needs a tracking store: set MLFLOW_TRACKING_URI or give tracking.uri=URI")
    if store.startswith("sqlite:///") and not Path(store.removeprefix("sqlite:///")).is_file():
        raise TrackingError(f"cannot fetch {model}: there is no {store.removeprefix('sqlite:///')}")
    with _explained(store), _patience():
        client = _client(store)
        from mlflow.artifacts import download_artifacts

        version = _version(client, model, match["name"], match["alias"] or match["version"], store)
        source = client.get_model_version_download_uri(match["name"], version)
        mark = hashlib.sha256(f"{store} {source}".encode()).hexdigest()[:8]
        target = into / f"{re.sub(r'[^A-Za-z0-9._-]', '_', match['name'])}-{version}-{mark}"
        if target.is_dir():
            return target
        into.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".aside-", dir=into) as aside:
            found = Path(download_artifacts(artifact_uri=source, dst_path=aside, tracking_uri=store))
            with contextlib.suppress(FileExistsError):
                shutil.move(found, target)
    return target


def _version(client: "MlflowClient", model: str, name: str, which: str, store: str) -> str:
    try:
        if which.lower() == "latest":
            newest = client.search_model_versions(f"name='{name}'", max_results=1, order_by=["version_number DESC"])
            if newest:
                return str(newest[0].version)
        elif "@" in model:
            return str(client.get_model_version_by_alias(name, which).version)
        else:
            return str(client.get_model_version(name, which).version)
    except Exception as error:
        if _code(error) not in ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE"):
            raise
    for known in client.search_registered_models(max_results=100):
        if known.name == name:
            aliases = [f"@{alias}" for alias in known.aliases]
            raise TrackingError(f"there is no {model} in {_shown(store)}: it has {', '.join(['@latest', *aliases])}")
    raise TrackingError(f"there is no registered model '{name}' in {_shown(store)}")


def _client(uri: str) -> "MlflowClient":
    for key, value in {**_QUIET, **_SHORT}.items():
        os.environ.setdefault(key, value)
    from mlflow import MlflowClient

    for noisy in ("mlflow", "alembic"):
        logging.getLogger(noisy).setLevel(logging.WARNING)
    if not uri.startswith("sqlite:///"):
        return MlflowClient(tracking_uri=uri)
    folder = Path(uri.removeprefix("sqlite:///")).parent
    folder.mkdir(parents=True, exist_ok=True)
    with _locked(folder):
        return MlflowClient(tracking_uri=uri)


@contextlib.contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """One process at a time makes the tables: two at once would fail on each other's."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        with contextlib.suppress(OSError):  # not every network file system locks
            fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)


@contextlib.contextmanager
def _patience() -> Iterator[None]:
    """Checkpoints are large: wait longer than a tracker does, unless the user has set the times."""
    short = {key: value for key, value in _SHORT.items() if os.environ.get(key, value) == value}
    os.environ.update({key: _PATIENT[key] for key in short})
    try:
        yield
    finally:
        os.environ.update(short)


@contextlib.contextmanager
def _explained(uri: str) -> Iterator[None]:
    try:
        yield
    except RaytalkError:
        raise
    except ImportError as error:
        raise TrackingError(f"MLflow cannot be imported ({error}): install it or give tracking.uri=none") from error
    except Exception as error:
        raise TrackingError(
            f"tracking {_shown(uri)} cannot be used ({_brief(error)}): start it, or {_CHANGE}"
        ) from error


def _experiment(client: "MlflowClient", name: str, artifacts: str | None) -> str:
    found = client.get_experiment_by_name(name)
    if found is None:
        try:
            return str(client.create_experiment(name, artifact_location=artifacts))
        except Exception as error:
            found = client.get_experiment_by_name(name) if _code(error) == "RESOURCE_ALREADY_EXISTS" else None
            if found is None:
                raise
    if found.lifecycle_stage != "active":
        raise TrackingError(f"the MLflow experiment '{name}' was deleted: restore it or give tracking.experiment=NAME")
    return str(found.experiment_id)


def _artifacts(uri: str, output_folder_uri: str) -> str | None:
    """Where a new experiment's files go; a server decides that itself, and MLflow's default is the working folder."""
    if uri.startswith("sqlite:///"):
        return str(Path(uri.removeprefix("sqlite:///")).parent / "mlflow-artifacts")
    if uri.startswith(("postgresql", "mysql", "mssql")):
        return join(output_folder_uri.partition("?")[0], "mlflow-artifacts")
    return None


def _log_params(client: "MlflowClient", run_id: str, params: Mapping[str, object]) -> None:
    from mlflow.entities import Param, RunTag
    from mlflow.utils.validation import MAX_PARAM_VAL_LENGTH, MAX_PARAMS_TAGS_PER_BATCH

    known = client.get_run(run_id).data.params
    texts = {key: str(value)[:MAX_PARAM_VAL_LENGTH] for key, value in params.items()}
    fresh = [Param(key, text) for key, text in texts.items() if key not in known]
    changed = [RunTag(f"resumed.{key}", text) for key, text in texts.items() if known.get(key, text) != text]
    for start in range(0, max(len(fresh), len(changed)), MAX_PARAMS_TAGS_PER_BATCH):
        part = slice(start, start + MAX_PARAMS_TAGS_PER_BATCH)
        client.log_batch(run_id, params=fresh[part], tags=changed[part])


def _code(error: Exception) -> str:
    return str(getattr(error, "error_code", ""))


def _brief(error: Exception) -> str:
    return _shown(" ".join(str(error).split()))[:200]


def _shown(uri: str) -> str:
    """The URI without a password."""
    return re.sub(r"//[^/@]*@", "//", uri)
