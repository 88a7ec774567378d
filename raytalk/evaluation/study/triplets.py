"""What a study shows: two real pictures of a person and a generated one (paper, Section 4).

The paper takes the two from other videos of the person. Where an evaluation has no other clip of somebody they come
from the same clip at other times, which `Triplet.same_clip` says.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt
import pandas as pd

from raytalk.errors import SettingsError, StudyError
from raytalk.evaluation.figures.grid import decode, final
from raytalk.evaluation.study.settings import TripletSettings

Picture = npt.NDArray[np.uint8]

_NOT_GENERATED = ("truth", "learning", "nearest", "mean")


@dataclass(frozen=True)
class Real:
    """A real picture of a person."""

    clip: str
    frame: int
    learned: bool
    """whether it is a learning frame, not a hold-out frame"""
    picture: bytes


@dataclass(frozen=True)
class Triplet:
    """Three pictures, one of them false."""

    pictures: list[Picture]
    """3 of HxWx3 uint8 RGB, in the order in which they stand"""
    fake: int
    """which of them"""
    method: str
    """empty: an attention check"""
    shots: int
    person: str
    clip: str
    frame: int
    others: list[tuple[str, int]]
    """clip and frame of the real ones"""

    @property
    def is_check(self) -> bool:
        """Whether it only shows that somebody pays attention."""
        return not self.method

    @property
    def same_clip(self) -> bool:
        """Whether a real picture is from the clip that the generated one reenacts."""
        return any(clip == self.clip for clip, _ in self.others)

    @property
    def shows_truth(self) -> bool:
        """Whether a real picture is the very frame that the generated one reenacts: nothing else was there."""
        return (self.clip, self.frame) in self.others


def draw_triplets(rows: pd.DataFrame, settings: TripletSettings) -> list[Triplet]:
    """`settings.triplets` of them, as many of each method and T as of the others, give or take one, people in turn.

    Fewer if there are no more pictures. Raises SettingsError for a method, T or split that the rows do not have,
    StudyError if nobody has a generated and two real pictures.
    """
    random = np.random.default_rng(settings.seed)
    reals = real_pictures(rows)
    groups = [list(_in_turn(group, random)) for group in _conditions(rows, settings)]
    random.shuffle(groups)
    triplets: list[Triplet] = []
    while any(groups) and len(triplets) < settings.triplets:
        for group in groups:
            while group and len(triplets) < settings.triplets:
                if (triplet := _triplet(group.pop(0), reals, random)) is not None:
                    triplets.append(triplet)
                    break
    if not triplets:
        raise StudyError(
            "no triplet can be made: nobody has a generated picture and two real ones of other frames; evaluate with "
            "pictures=4 or more"
        )
    return triplets


def draw_checks(rows: pd.DataFrame, number: int, seed: int) -> list[Triplet]:
    """Attention checks: three real pictures of a person, one of them distorted past doubt; people in turn."""
    random = np.random.default_rng((seed, 1))
    enough = {name: own for name, own in real_pictures(rows).items() if len(own) >= 3}
    names = list(enough)
    random.shuffle(names)
    checks = []
    for index in range(number if names else 0):
        name = names[index % len(names)]
        false, *others = (enough[name][place] for place in random.choice(len(enough[name]), 3, replace=False))
        checks.append(_placed(distorted(decode(false.picture)), ("", 0, name, false.clip, false.frame), others, random))
    return checks


def real_pictures(rows: pd.DataFrame) -> dict[str, list[Real]]:
    """Of each person, every frame once; a frame that is held out in one split and learned in another counts as held."""
    found: dict[str, dict[tuple[str, int], Real]] = {}
    shown = rows[rows.method.isin(["truth", "learning"]) & rows.picture.notna()]
    for row in shown.sort_values("method", ascending=False, kind="stable").itertuples():
        real = Real(str(row.clip), int(row.frame), row.method == "learning", row.picture)
        found.setdefault(str(row.person), {}).setdefault((real.clip, real.frame), real)
    return {person: list(own.values()) for person, own in found.items()}


def distorted(picture: Picture) -> Picture:
    """A whirl and coarse squares: no network makes such, and nobody misses it."""
    size = len(picture)
    y, x = np.mgrid[:size, :size].astype(np.float32) - (size - 1) / 2
    radius = np.hypot(x, y)
    angle = np.arctan2(y, x) + 3.0 * np.clip(1 - radius / (0.55 * size), 0, 1)
    across, down = (radius * np.cos(angle) + size / 2, radius * np.sin(angle) + size / 2)
    places = (across.astype(np.float32), down.astype(np.float32))
    whirled = cv2.remap(picture, *places, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT)
    few = cv2.resize(whirled, (20, 20), interpolation=cv2.INTER_AREA)
    return np.asarray(cv2.resize(few, (size, size), interpolation=cv2.INTER_NEAREST), np.uint8)


def _conditions(rows: pd.DataFrame, settings: TripletSettings) -> list[pd.DataFrame]:
    """The generated pictures of each method and T that are asked for."""
    made = rows[~rows.method.isin(_NOT_GENERATED) & rows.picture.notna()]
    _known("split", [settings.split], made.split)
    made = final(made[made.split == settings.split])
    methods = settings.methods or [name for name in made.method.unique() if not name.startswith("ft/")]
    shots = settings.shots or list(made.shots.unique())
    _known("methods", methods, made.method)
    _known("shots", shots, made.shots)
    chosen = made[made.method.isin(methods) & made.shots.isin(shots)]
    return [group for _, group in chosen.groupby(["method", "shots"])]


def _known(name: str, wanted: Sequence[object], there: pd.Series) -> None:
    have = sorted(set(there))
    if missing := [value for value in wanted if value not in have]:
        listed = ", ".join(map(str, have)) or "none at all"
        raise SettingsError(f"study.{name}: no pictures of {missing[0]} in this evaluation, but of {listed}")


def _in_turn(group: pd.DataFrame, random: np.random.Generator) -> Iterator[pd.Series]:
    """Rows in random order, everybody once before anybody twice."""
    mixed = group.iloc[random.permutation(len(group))]
    turn = mixed.groupby("person").cumcount()
    for _, row in mixed.iloc[np.argsort(turn.to_numpy(), kind="stable")].iterrows():
        yield row


def _triplet(row: pd.Series, reals: dict[str, list[Real]], random: np.random.Generator) -> Triplet | None:
    picture = decode(row.picture)
    key = (str(row["clip"]), int(row.frame))
    usable = [real for real in reals.get(str(row.person), []) if real.picture != row.picture]
    others: list[Real] = []
    for _ in range(2):
        left = [real for real in usable if real not in others]
        if not left:
            return None
        clips = {real.clip for real in others}

        def rank(real: Real, clips: set[str] = clips) -> tuple[bool, bool, bool, bool, float]:
            at = (real.clip, real.frame)
            return at == key, real.clip == key[0], real.clip in clips, real.learned, random.random()

        others.append(min(left, key=rank))
    return _placed(picture, (str(row.method), int(row.shots), str(row.person), *key), others, random)


def _placed(
    false: Picture, what: tuple[str, int, str, str, int], others: list[Real], random: np.random.Generator
) -> Triplet:
    fake = int(random.integers(3))
    pictures = [decode(real.picture) for real in others]
    pictures.insert(fake, false)
    return Triplet(pictures, fake, *what, others=[(real.clip, real.frame) for real in others])
