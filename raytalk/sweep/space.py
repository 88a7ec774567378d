"""The search space: YAML into dimensions, each a setting of meta-learning with its values.

    losses.content: {times: [0.2, 5]}              a factor of the setting's own value, evenly in its logarithm
    optimization.generator_rate: {log: [1e-5, 1e-3]}
    data.pupils: {linear: [0, 1]}
    data.shots: {integer: [1, 8]}
    optimization.ema_decay: [0.99, 0.999, 0.9995]  one of these

`grid: N` beside a range says into how many values a grid divides it (default 3).
"""

import itertools
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pydantic

from raytalk.config import describe, flatten, read_yaml
from raytalk.errors import SettingsError
from raytalk.learning.settings import MetatrainSettings

Point = dict[str, Any]
"""values by dotted key"""

DEFAULT: dict[str, Any] = {
    "losses.content": {"times": [0.1, 10]},
    "losses.identity": {"times": [0.1, 10]},
    "losses.feature_matching": {"times": [0.1, 10]},
    "losses.match": {"times": [0.1, 10]},
    "optimization.generator_rate": {"times": [0.3, 3]},
    "optimization.discriminator_rate": {"times": [0.3, 3]},
    "optimization.ema_decay": [0.99, 0.995, 0.999],
    "optimization.discriminator_steps": [1, 2],
}
"""what is searched without a file. The paper's versions differ by 15 in the content weight and 8 in L_FM's."""

_KINDS = ("times", "log", "linear", "integer")
_NOT_SEARCHED = (
    "preset", "clips", "output", "name", "checkpoint", "accept_detector", "episodes", "workers", "device", "seed",
    "cpus_per_worker", "gpus_per_worker", "log_every", "checkpoint_every", "keep_checkpoints", "max_failures",
)  # fmt: skip
_NOT_SEARCHED_GROUPS = ("tracking.", "validation.", "guard.", "speed.")


@dataclass(frozen=True)
class Dimension:
    """One setting and its values: some to choose from, or all from `low` to `high`."""

    key: str
    choices: tuple[Any, ...] = ()
    low: float = 0.0
    high: float = 0.0
    log: bool = False
    integer: bool = False
    grid: int = 3

    def draw(self, random: np.random.Generator) -> Any:
        """One value."""
        if self.choices:
            return self.choices[int(random.integers(len(self.choices)))]
        if self.integer:
            return int(random.integers(int(self.low), int(self.high) + 1))
        return self._at(float(random.uniform()))

    def values(self) -> list[Any]:
        """Those of a grid."""
        if self.choices:
            return list(self.choices)
        spread = [self._at(place) for place in np.linspace(0, 1, self.grid).tolist()]
        return sorted({round(value) for value in spread}) if self.integer else spread

    def ends(self) -> list[Any]:
        """Values such that all are valid if these are."""
        if self.choices:
            return list(self.choices)
        return [int(self.low), int(self.high)] if self.integer else [self.low, self.high]

    def place(self, value: Any) -> float:
        """Where a value lies on an axis of this dimension, 0 to 1; outside for one that the space does not have."""
        if self.choices:
            return self.choices.index(value) / max(1, len(self.choices) - 1) if value in self.choices else -0.1
        low, high, own = self.low, self.high, float(value)
        if self.log:
            low, high, own = math.log(low), math.log(high), math.log(max(own, 1e-300))
        return (own - low) / (high - low)

    def _at(self, place: float) -> float:
        if self.log:
            return float(math.exp(math.log(self.low) + place * (math.log(self.high) - math.log(self.low))))
        return float(self.low + place * (self.high - self.low))


@dataclass(frozen=True)
class Space:
    """All dimensions, in the order of the file."""

    dimensions: tuple[Dimension, ...]

    def grid(self) -> Iterator[Point]:
        """Every combination."""
        keys = [dimension.key for dimension in self.dimensions]
        for values in itertools.product(*(dimension.values() for dimension in self.dimensions)):
            yield dict(zip(keys, values, strict=True))

    def draw(self, seed: int, number: int) -> Point:
        """A random point; the same for the same seed and number."""
        random = np.random.default_rng([seed, number])
        return {dimension.key: dimension.draw(random) for dimension in self.dimensions}

    def contains(self, point: Mapping[str, Any]) -> bool:
        """Whether every value lies on its axis."""
        return all(0 <= dimension.place(point[dimension.key]) <= 1 for dimension in self.dimensions)


def read_entries(path: str, base: MetatrainSettings) -> dict[str, Any]:
    """What a YAML file says of each setting by its dotted key, or the default around `base`. Raises SettingsError.

    Of the default, settings without effect on `base` are left out: weights of losses that it does not have.
    """
    if path:
        return _keys(read_yaml(path))
    own = flatten(base.model_dump(mode="json"))
    return {key: entry for key, entry in DEFAULT.items() if _matters(key, own, base)}


def to_space(entries: Mapping[str, Any], base: MetatrainSettings, where: str = "") -> Space:
    """The space of such entries; `where` they come from. Raises SettingsError for what cannot be searched."""
    where = where or "the default space"
    if not entries:
        raise SettingsError(f"{where} names nothing to search: write lines like 'losses.content: {{times: [0.2, 5]}}'")
    own, known = flatten(base.model_dump(mode="json")), {key for key, _, _ in describe(MetatrainSettings)}
    dimensions = tuple(_dimension(key, entry, own, known, where) for key, entry in entries.items())
    for dimension in dimensions:
        for value in dimension.ends():
            _check(base, {dimension.key: value}, where)
    return Space(dimensions)


def read_space(path: str, base: MetatrainSettings) -> Space:
    """The space of a YAML file, or the default one. Raises SettingsError."""
    return to_space(read_entries(path, base), base, path)


def with_point(base: MetatrainSettings, point: Mapping[str, Any]) -> MetatrainSettings:
    """`base` with the values of a point. Raises SettingsError if they are not valid."""
    tree = base.model_dump(mode="json")
    return MetatrainSettings.resolve(base.preset or None, tree, dict(point))


def default_point(space: Space, base: MetatrainSettings) -> Point:
    """The values that `base` has itself."""
    own = flatten(base.model_dump(mode="json"))
    return {dimension.key: own[dimension.key] for dimension in space.dimensions}


def _keys(tree: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested and dotted keys alike; what says how to search is no further level."""
    found: dict[str, Any] = {}
    for key, value in tree.items():
        name = f"{prefix}{key}"
        if isinstance(value, dict) and not any(kind in value for kind in _KINDS):
            found |= _keys(value, f"{name}.")
        else:
            found[name] = value
    return found


def _dimension(key: str, entry: Any, own: Mapping[str, Any], known: set[str], where: str) -> Dimension:
    if key not in known:
        raise SettingsError(f"{where}: unknown setting '{key}'; jobs/metatrain.py --help lists them")
    if key in _NOT_SEARCHED or key.startswith(_NOT_SEARCHED_GROUPS):
        raise SettingsError(f"{where}: '{key}' is the same for all trials; give it as train.{key}=")
    if isinstance(entry, list) and entry and not any(isinstance(value, dict | list) for value in entry):
        return Dimension(key, choices=tuple(entry))
    kinds = [kind for kind in _KINDS if kind in entry] if isinstance(entry, dict) else []
    if len(kinds) != 1 or set(entry) - {*kinds, "grid"}:
        raise SettingsError(f"{where}: '{key}' needs a list of values, or one of {', '.join(_KINDS)}: [low, high]")
    kind, grid = kinds[0], entry.get("grid", 3)
    try:
        low, high = (float(value) for value in entry[kind])
        if kind == "times":
            low, high = low * float(own[key]), high * float(own[key])
    except (TypeError, ValueError):
        raise SettingsError(f"{where}: '{key}: {entry}' must be {kind}: [low, high], both numbers") from None
    log = kind in ("times", "log")
    if not (low < high and (low > 0 or not log) and isinstance(grid, int) and grid >= 2):
        why = " (the setting itself is 0: a factor of it searches nothing)" if kind == "times" and low == high else ""
        raise SettingsError(
            f"{where}: '{key}: {entry}' must have low < high{' above 0' if log else ''}, and grid 2 or more{why}"
        )
    return Dimension(key, low=low, high=high, log=log, integer=kind == "integer", grid=grid)


def _check(base: MetatrainSettings, point: Point, where: str) -> None:
    try:
        with_point(base, point)
    except (SettingsError, pydantic.ValidationError) as error:
        raise SettingsError(f"{where}: {error}") from None


def _matters(key: str, own: Mapping[str, Any], base: MetatrainSettings) -> bool:
    if key == "losses.identity" and base.perceptual.identity == "none":
        return False
    return own[key] != 0 or not isinstance(DEFAULT[key], dict)
