"""What a person reads while a job runs on a cluster: lines from anywhere, printed by the driver alone.

Ray would forward every worker's output with a prefix and its own notes in between. Instead the driver joins the
cluster without that and prints what workers and tasks say through here.
"""

import contextlib
import logging
import threading
from collections.abc import Iterator
from typing import Any

import ray

_EVERY_SECONDS = 0.5
_REMEMBERED = 1000

logger = logging.getLogger(__name__)


class _Lines:
    """An actor on the driver's node that holds lines until the driver fetches them."""

    def __init__(self) -> None:
        self._waiting: list[str] = []
        self._once: dict[str, None] = {}

    def say(self, text: str) -> None:
        self._waiting.append(text)

    def say_once(self, text: str) -> None:
        """Tasks that run again would say the same again."""
        if text not in self._once and len(self._once) < _REMEMBERED:
            self._once[text] = None
            self._waiting.append(text)

    def fetch(self) -> list[str]:
        waiting, self._waiting = self._waiting, []
        return waiting


class Console:
    """Says lines to the driver; can be sent to workers and tasks."""

    def __init__(self, lines: Any) -> None:
        self._lines = lines

    def say(self, text: str) -> None:
        """Print a line at the driver, soon. Never waits, never fails."""
        with contextlib.suppress(ray.exceptions.RayError):
            self._lines.say.remote(text)

    def say_once(self, text: str) -> None:
        """The same, unless that very line was said so before."""
        with contextlib.suppress(ray.exceptions.RayError):
            self._lines.say_once.remote(text)


@contextlib.contextmanager
def console() -> Iterator[Console]:
    """A console whose lines this process prints until the block ends."""
    # Not soft: Ray takes that for a hint, and the lines would go with a node that dies.
    here = ray.util.scheduling_strategies.NodeAffinitySchedulingStrategy(
        ray.get_runtime_context().get_node_id(), soft=False
    )
    lines: Any = ray.remote(_Lines).options(num_cpus=0, scheduling_strategy=here).remote()
    ended = threading.Event()

    def show() -> None:
        while True:
            last = ended.wait(_EVERY_SECONDS)
            try:
                for text in ray.get(lines.fetch.remote(), timeout=30):
                    print(text, flush=True)
            except ray.exceptions.GetTimeoutError:
                pass  # a busy cluster: next time
            except ray.exceptions.RayError as error:
                logger.warning("lines of the workers are lost: %s", error)
                return
            if last:
                return

    thread = threading.Thread(target=show, name="console", daemon=True)
    thread.start()
    try:
        yield Console(lines)
    finally:
        ended.set()
        thread.join(timeout=60)
        ray.kill(lines)
