"""Writing to a run without waiting for it: a background thread that outlives outages of the store."""

import tempfile
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

import numpy as np
import numpy.typing as npt

from raytalk.tracking.run import RunHandle
from raytalk.tracking.store import UNAVAILABLE, brief, client_of, code, log_params, shown, warn

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
_FIRST_RETRY, _LONGEST_RETRY = 1.0, 30.0
"""seconds between tries"""


class Tracker:
    """Writes to a run; this class itself is the null object, whose calls do nothing. `open` gives the right one.

    No call waits for the store but `close`.
    """

    @staticmethod
    def open(handle: RunHandle, say: Callable[..., None] | None = None) -> "Tracker":
        """A tracker of the run. `say` takes a message and its %-arguments (default: a warning in the log)."""
        return _MlflowTracker(handle, warn if say is None else say) if handle.enabled else Tracker()

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
        return f"tracking {kind} {shown(self._handle.uri)}"

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
                client = client or client_of(self._handle.uri)
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
            verb = "does not answer" if code(error) in UNAVAILABLE else "refuses the records"
            message = "%s %s: training goes on; %d records wait (%s)"
            self._say(message, self._name, verb, waiting, brief(error))
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
            log_params(client, self._handle.run_id, first.values)
        elif first.status == "RUNNING":
            client.update_run(self._handle.run_id, first.status)
        else:
            client.set_terminated(self._handle.run_id, first.status)

    def _write_metrics(self, client: "MlflowClient", values: "list[Metric]") -> None:
        """What the store refuses for its name or value is searched by halves and left out; the rest is written."""
        try:
            client.log_batch(self._handle.run_id, metrics=values)
        except Exception as error:
            if code(error) != "INVALID_PARAMETER_VALUE":
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
                        self._refused(f"pictures in {shown(run.info.artifact_uri)}", error)
                time.sleep(_FIRST_RETRY)

    def _refused(self, what: str, error: Exception) -> None:
        with self._changed:
            self._lost += 1
        if what not in self._told:
            self._told.add(what)
            self._say("%s does not take %s: training goes on without (%s)", self._name, what, brief(error))
