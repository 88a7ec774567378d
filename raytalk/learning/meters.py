"""Training's figures for Prometheus, through the metrics of the Ray node that a worker runs on.

Ray puts `ray_` before the names. They are set once for each window of steps, never in a step. Ray forgets a gauge that
was not set for half a minute, and a window may take longer: a thread sets them again for as long as the process lives.
"""

import threading
import time
from collections.abc import Callable, Mapping
from typing import ClassVar, Literal

import torch
from ray.util.metrics import Counter, Gauge, Histogram

_SECONDS = [0.1, 0.3, 1, 3, 10, 30, 100, 300]
_TERMS = ("generator", "content", "identity", "adversarial", "feature_matching", "match", "discriminator")


_AGAIN = 5.0
"""seconds after which gauges are set again"""
UNTIL_HEARD = 20.0
"""seconds: a process hands its metrics on every ten, and Prometheus asks for them as often"""


class _Gauge:
    """A gauge that goes on saying what it said last."""

    _all: ClassVar[list["_Gauge"]] = []
    _lock: ClassVar[threading.Lock] = threading.Lock()

    def __init__(self, name: str, about: str, tags: Mapping[str, str], *keys: str) -> None:
        """tags: the same for all its values; keys: names of other tags."""
        self._gauge = Gauge(name, description=about, tag_keys=(*tags, *keys))
        self._gauge.set_default_tags(dict(tags))
        self._said: dict[tuple[tuple[str, str], ...], float] = {}
        with self._lock:
            if not self._all:
                threading.Thread(target=_say_again, name="meters", daemon=True).start()
            self._all.append(self)

    def set(self, value: float, **tags: str) -> None:
        """From now on."""
        with self._lock:
            self._said[tuple(tags.items())] = value
            self._gauge.set(value, tags)

    def again(self) -> None:
        """Say it once more. Under the lock, so that nothing new is overwritten."""
        for tags, value in self._said.items():
            self._gauge.set(value, dict(tags))


def _say_again() -> None:
    while True:
        time.sleep(_AGAIN)
        with _Gauge._lock:
            for gauge in _Gauge._all:
                gauge.again()


class RunMeters:
    """What rank 0 says for the whole run."""

    def __init__(self, run: str, watched: bool = True) -> None:
        """run: its name; watched: whether it says when it begins and ends, which tells its end from its death."""
        self._watched = watched
        tags = {"run": run}

        def gauge(name: str, about: str, *keys: str) -> _Gauge:
            return _Gauge(f"raytalk_train_{name}", about, tags, *keys)

        def counter(name: str, about: str) -> Counter:
            made = Counter(f"raytalk_train_{name}_total", description=about, tag_keys=("run",))
            made.set_default_tags(tags)
            return made

        self._episodes = counter("episodes", "episodes shown, those shown again after a restart counted again")
        self._faults = counter("faults", "broken frames and clips that were left out")
        self._checkpoints = counter("checkpoints", "checkpoints published")
        self._restarts = counter("restarts", "times that the workers were started anew because one had died")
        self._speed = gauge("episodes_per_second", "over all workers")
        self._epoch = gauge("epoch", "passes over the clips so far")
        self._waiting = gauge("wait_share", "share of the time that rank 0 waited for data, 0 to 1")
        self._loss = gauge("loss", "mean of the last window of steps", "term")
        self._world = gauge("world_size", "workers at work")
        self._event = gauge("event_seconds", "Unix time when workers had begun, or a run finished or stopped", "event")
        self._validation = gauge("validation", "on people held out of training (val) or of it (seen)", "set", "figure")
        self._publishing = Histogram(
            "raytalk_train_checkpoint_seconds",
            description="from handing a checkpoint over to having it published",
            boundaries=_SECONDS,
            tag_keys=("run",),
        )
        self._publishing.set_default_tags(tags)

    def began(self, ranks: int, again: bool) -> None:
        """The workers of a run were started; again: because one of those before had died."""
        self._world.set(ranks)
        if again:
            self._restarts.inc()
        if self._watched:
            self._event.set(time.time(), event="begun")

    def ended(self, how: Literal["finished", "stopped"], wait: Callable[[float], None] = time.sleep) -> None:
        """The run has shown everything, or stopped itself; returns when that has been heard.

        Ray kills this process once all ranks have returned, and what it has not handed on by then is lost.
        """
        if self._watched:
            self._event.set(time.time(), event=how)
            wait(UNTIL_HEARD)

    def window(self, figures: Mapping[str, float], episodes: int, faults: float, epoch: float) -> None:
        """A window's figures, by the names of the progress line, and what it adds to episodes and faults."""
        for count, counter in ((episodes, self._episodes), (faults, self._faults)):
            if count > 0:
                counter.inc(count)
        self._speed.set(figures["speed/episodes_per_second"])
        self._waiting.set(figures["speed/waiting"])
        self._epoch.set(epoch)
        for term in _TERMS:
            self._loss.set(figures[f"loss/{term}"], term=term)

    def validated(self, people: str, figures: Mapping[str, float]) -> None:
        """The figures of one set of people."""
        for name, value in figures.items():
            self._validation.set(value, **{"set": people, "figure": name})

    def published(self, seconds: float) -> None:
        """A checkpoint is there."""
        self._checkpoints.inc()
        self._publishing.observe(max(seconds, 1e-6))


class RankMeters:
    """What every rank says of itself."""

    def __init__(self, run: str, rank: int, device: torch.device) -> None:
        """run: its name."""
        self._device = device
        tags = {"run": run, "rank": str(rank)}
        self._memory = _Gauge("raytalk_train_gpu_memory_bytes", "most that tensors took so far", tags)

    def window(self) -> None:
        """Peak memory since the worker began; 0 without a GPU."""
        on_gpu = self._device.type == "cuda"
        self._memory.set(torch.cuda.max_memory_allocated(self._device) if on_gpu else 0)
