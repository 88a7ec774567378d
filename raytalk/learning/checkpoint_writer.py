"""Publishing checkpoints while training goes on."""

import queue
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path

from safetensors import SafetensorError

from raytalk.errors import CheckpointError
from raytalk.learning.checkpoint import FOLDER, MARKER, Snapshot, names
from raytalk.storage import Storage


class CheckpointWriter:
    """Publishes snapshots from a background thread, keeps the newest `keep` and deletes what a killed run left broken.

    An error is raised at the next call.
    """

    def __init__(self, run: Storage, keep: int, published: Callable[[float], None] = lambda _: None) -> None:
        """published: told of each checkpoint that is there, and how many seconds it took from `save` on."""
        self.storage, self.keep, self.published = run.below(FOLDER), keep, published
        self.storage.clear_aside()
        self._queue: queue.Queue[tuple[Snapshot, float] | None] = queue.Queue(maxsize=1)
        self._error: Exception | None = None
        self._thread = threading.Thread(target=self._work, name="checkpoints", daemon=True)
        self._thread.start()

    def save(self, snapshot: Snapshot) -> None:
        """Hand over a snapshot; waits only while two before it are still to be written."""
        self.raise_error()
        self._queue.put((snapshot, time.monotonic()))

    def close(self) -> None:
        """Wait until everything handed over is published."""
        self._queue.put(None)
        self._thread.join()
        self.raise_error()

    def raise_error(self) -> None:
        """Raise what went wrong in the background, if anything did."""
        if self._error is not None:
            raise self._error

    def _work(self) -> None:
        while (handed_over := self._queue.get()) is not None:
            if self._error is not None:
                continue
            snapshot, since = handed_over
            try:
                self._publish(snapshot)
                self.published(time.monotonic() - since)
            except Exception as error:  # noqa: BLE001 - raised again in the training thread
                self._error = error

    def _publish(self, snapshot: Snapshot) -> None:
        name = f"episodes-{snapshot.state.episodes:09d}"
        try:
            with tempfile.TemporaryDirectory(prefix="raytalk-checkpoint-") as folder:
                snapshot.write(Path(folder))
                self.storage.publish(Path(folder), name, MARKER)
        except (OSError, SafetensorError, RuntimeError) as error:  # torch.save raises RuntimeError for a full disk
            place = tempfile.gettempdir()
            raise CheckpointError(
                f"cannot write the checkpoint {name} to {place} (is that disk full?): {error}"
            ) from error
        found = {other: self.storage.exists(f"{other}/{MARKER}") for other in names(self.storage)}
        broken = [other for other, complete in found.items() if not complete]
        older = [other for other, complete in found.items() if complete and other != name]
        for other in [*broken, *older[: len(older) + 1 - self.keep]]:
            self.storage.delete(other)
