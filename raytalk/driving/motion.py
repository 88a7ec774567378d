"""A driver's track becomes the landmarks that an avatar is rendered from."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from raytalk.avatar import Avatar, AvatarCard
from raytalk.clips.schema import RENDERED
from raytalk.driving.settings import SMOOTHING, Smoothing
from raytalk.errors import AvatarError, SettingsError
from raytalk.faces.crop import square_map, steady_squares, to_crop
from raytalk.faces.identity import SAME_PERSON_MEANS, distance
from raytalk.faces.retarget import adapt
from raytalk.faces.smooth import one_euro
from raytalk.faces.track import Track


@dataclass(frozen=True, eq=False)
class Motion:
    """What an avatar does, frame by frame of the output."""

    landmarks: npt.NDArray[np.float32]
    """[n, 68, 2] in pixels of the avatar's resolution"""
    pupils: npt.NDArray[np.float32] | None
    """[n, 2, 2] likewise; None where nobody knows, or the avatar was learned without"""
    squares: npt.NDArray[np.float64]
    """[n, 3] of the driver's frames, in their pixels"""
    shown: npt.NDArray[np.intp]
    """[n] number of the driver's frame at that time"""
    fps: float

    def __len__(self) -> int:
        return len(self.landmarks)


def check_detector(card: AvatarCard, detector: str, accepted: bool) -> None:
    """Raises SettingsError if an avatar must not be driven by this detector's landmarks. accepted: do it anyway."""
    if detector == card.detector or accepted:
        return
    known = card.detector if card.detector != RENDERED else "rendered people"
    help_ = (
        f"give detector={card.detector}, or" if card.detector != RENDERED else "drive it by a rendered clip, or give"
    )
    raise SettingsError(
        f"{card.name}'s avatar was learned with the landmarks of {known}, the driver's are of {detector}, which lie a "
        f"little differently: {help_} accept_detector=true to drive it anyway"
    )


def needs_adaptation(wish: str, track: Track, avatar: Avatar) -> tuple[bool, str]:
    """Whether the landmarks are brought to the avatar's face, and why.

    wish: auto, true or false. auto compares the descriptors of driver and avatar; where one is unknown they count as
    different people. Raises AvatarError if it is wished for and the avatar keeps no landmarks.
    """
    if wish == "false":
        return False, "off, as asked"
    if not len(avatar.landmarks):
        if wish == "true":
            raise AvatarError(
                f"{avatar.card.name}'s avatar keeps no landmarks of its learning images, which adapt=true needs: "
                "make it again with jobs/finetune.py, or give adapt=false"
            )
        return False, "off, because the avatar keeps no landmarks of its learning images"
    if wish == "true":
        return True, "on, as asked"
    if track.identity is None or avatar.identity is None:
        whose = "driver's" if track.identity is None else "avatar's"
        return True, f"on, because the {whose} face has no descriptor to compare (adapt=false turns it off)"
    apart = distance(track.identity, avatar.identity)
    if apart < SAME_PERSON_MEANS:
        return False, f"off, because driver and avatar are one person (distance {apart:.2f} < {SAME_PERSON_MEANS})"
    return True, f"on, because the driver is somebody else (distance {apart:.2f} >= {SAME_PERSON_MEANS})"


def motion_of(
    track: Track, avatar: Avatar, adapted: bool = False, smooth: Smoothing = "none", fps: float = 0.0
) -> Motion:
    """Landmarks at an even rate, of the avatar's face if `adapted`, in the square that the project crops everywhere.

    fps: of the output; 0: the driver's. A driver whose frames come evenly at that rate gives each of them once;
    otherwise the motion is taken at even times, so that sound stays in step.
    """
    rate = fps or track.fps
    even, shown = _evenly(track, rate)
    landmarks, pupils = even.landmarks, even.pupils if avatar.card.pupils else None
    if adapted:
        result = adapt(landmarks, avatar.landmarks, times=even.times, pupils=pupils)
        landmarks, pupils = result.landmarks, result.pupils
    if smooth != "none":
        cutoff, gain = SMOOTHING[smooth]
        landmarks = one_euro(landmarks, even.times, cutoff, gain, both_ways=True)
    squares = steady_squares(landmarks, even.times)
    maps = [square_map(square, avatar.card.resolution) for square in squares]
    return Motion(
        landmarks=np.stack([to_crop(face, forward) for face, forward in zip(landmarks, maps, strict=True)]),
        pupils=None
        if pupils is None
        else np.stack([to_crop(p, forward) for p, forward in zip(pupils, maps, strict=True)]),
        squares=squares,
        shown=shown,
        fps=rate,
    )


def _evenly(track: Track, rate: float) -> tuple[Track, npt.NDArray[np.intp]]:
    count = len(track)
    if abs(rate - track.fps) < 1e-6 and np.abs(track.times - np.arange(count) / rate).max() < 0.5 / rate:
        return track, np.arange(count)
    length = float(track.times[-1]) + 1 / track.fps
    moments = np.arange(max(1, round(length * rate))) / rate
    middles = (track.times[1:] + track.times[:-1]) / 2
    return track.at(moments), np.searchsorted(middles, moments)
