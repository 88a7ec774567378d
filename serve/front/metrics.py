"""Figures for Prometheus, through Ray's own metrics where the front runs on Ray; nothing happens elsewhere."""

import sys
from dataclasses import dataclass
from typing import Any, Literal

_MILLISECONDS = (1.0, 2.0, 5.0, 10.0, 20.0, 30.0, 40.0, 60.0, 80.0, 120.0, 200.0, 500.0, 1000.0, 5000.0)
Kind = Literal["count", "gauge", "milliseconds"]


@dataclass(frozen=True)
class Figure:
    """One metric: its name is its key in FIGURES, behind `raytalk_`."""

    kind: Kind
    help: str
    tags: tuple[str, ...] = ()


FIGURES = {
    "http_requests": Figure("count", "Answered requests", ("method", "route", "status")),
    "http_request_ms": Figure(
        "milliseconds", "From the head of a request to the end of its answer", ("method", "route")
    ),
    "uploaded_bytes": Figure("count", "Bytes of photographs and videos that were taken"),
    "refused": Figure("count", "Requests refused, by code", ("code",)),
    "live_connections": Figure("gauge", "Open live connections of this replica"),
    "live_frames": Figure("count", "Pictures sent over live connections", ("mode",)),
    "live_skipped": Figure("count", "Driving messages left out because a newer one was there"),
    "live_server_ms": Figure("milliseconds", "From a driving message to its picture", ("mode",)),
    "live_front_ms": Figure("milliseconds", "Of that, what was neither detection nor rendering nor waiting"),
    "event_streams": Figure("gauge", "Open streams of events of this replica"),
}


class Metrics:
    """Counts by name. An unknown name or tag is a KeyError: a programming mistake that a test finds."""

    def __init__(self) -> None:
        self._made: dict[str, Any] = {}

    def add(self, name: str, value: float = 1, **tags: str) -> None:
        """Count up, set a gauge, or note a duration in milliseconds, whichever the figure is."""
        figure = FIGURES[name]
        if set(tags) != set(figure.tags):
            raise KeyError(f"{name} takes the tags {figure.tags}, not {tuple(tags)}")
        metric = self._metric(name, figure)
        # Ray's counters refuse to count nothing.
        if metric is not None and (value or figure.kind != "count"):
            method = {"count": "inc", "gauge": "set", "milliseconds": "observe"}[figure.kind]
            getattr(metric, method)(value, tags=tags)

    def _metric(self, name: str, figure: Figure) -> Any:
        if name not in self._made:
            self._made[name] = _ray_metric(name, figure)
        return self._made[name]

    def __getstate__(self) -> dict[str, Any]:
        """Without the metrics of this process."""
        return {"_made": {}}


def _ray_metric(name: str, figure: Figure) -> Any:
    """None outside Ray. Ray is there if somebody has imported and started it: the front does neither."""
    ray = sys.modules.get("ray")
    if ray is None or not ray.is_initialized():
        return None
    from ray.util import metrics

    label = f"raytalk_{name}"
    if figure.kind == "count":
        return metrics.Counter(label, figure.help, figure.tags)
    if figure.kind == "gauge":
        return metrics.Gauge(label, figure.help, figure.tags)
    return metrics.Histogram(label, figure.help, list(_MILLISECONDS), figure.tags)
