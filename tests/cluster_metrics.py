"""Which metrics there are: those that the code makes, read from its source, and Ray's own, read from Ray's."""

import ast
import functools
import importlib.util
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from cluster_files import ROOT

from serve.front.metrics import FIGURES

_MAKERS = {"Counter": "counter", "Gauge": "gauge", "Histogram": "histogram"}
_SUFFIXES = {"counter": ("_total",), "gauge": ("",), "histogram": ("_bucket", "_sum", "_count")}
_KINDS = {"count": "counter", "gauge": "gauge", "milliseconds": "histogram"}


@dataclass(frozen=True)
class Metric:
    """`name` without the prefix that Ray adds."""

    name: str
    kind: str

    def series(self) -> set[str]:
        """Names in Prometheus."""
        base = f"ray_{self.name.removesuffix('_total') if self.kind == 'counter' else self.name}"
        return {base + suffix for suffix in _SUFFIXES[self.kind]}


@functools.cache
def of_the_project() -> set[Metric]:
    """What raytalk and serve make."""
    found = {Metric(f"raytalk_{name}", _KINDS[figure.kind]) for name, figure in FIGURES.items()}
    for folder in ("raytalk", "serve"):
        for file in (ROOT / folder).rglob("*.py"):
            found |= set(_in_file(file))
    return found


@functools.cache
def of_ray() -> set[str]:
    """Names of Ray's own metrics, as Prometheus knows them: those of its dashboards, and those it makes in Python."""
    spec = importlib.util.find_spec("ray")
    assert spec is not None
    assert spec.origin is not None
    ray = Path(spec.origin).parent
    names: set[str] = set()
    for file in (ray / "dashboard/modules/metrics/dashboards").glob("*.py"):
        names.update(re.findall(r"\bray_[a-z0-9_]*[a-z0-9]\b", file.read_text()))
    for folder in ("dashboard/modules/reporter", "serve/_private"):
        for file in (ray / folder).rglob("*.py"):
            texts = (_text(node) for node in ast.walk(ast.parse(file.read_text())) if isinstance(node, ast.Constant))
            names.update(f"ray_{text}" for text in texts if re.fullmatch(r"(node|serve)(_[a-z0-9]+)+", text))
    return names


def _in_file(file: Path) -> Iterator[Metric]:
    for call in (node for node in ast.walk(ast.parse(file.read_text())) if isinstance(node, ast.Call)):
        name = _text(call.args[0]) if call.args else ""
        maker = getattr(call.func, "id", getattr(call.func, "attr", "")).lstrip("_")
        if maker in _MAKERS and name.startswith("raytalk_"):
            yield Metric(name, _MAKERS[maker])
        elif maker == "Timed":
            yield Metric(_text(call.args[1]), "histogram")
        elif maker in ("gauge", "counter") and name:
            yield Metric(f"raytalk_train_{name}", maker)


def _text(node: ast.expr) -> str:
    return node.value if isinstance(node, ast.Constant) and isinstance(node.value, str) else ""
