"""Which of several drivers keeps a person's identity best, as the paper chooses them for its paintings (Sec. 4).

The paper ranks driving videos by CSIM between the portrait and the output; here dlib's descriptor stands in place of
ArcFace's (see raytalk.faces.identity). Nothing is adapted: a driver whose face resembles the person's wins.
"""

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import numpy as np

from raytalk.avatar import Avatar
from raytalk.driving.drivers import Driver, open_driver
from raytalk.driving.frames import read_picture, spread
from raytalk.driving.motion import check_detector, motion_of
from raytalk.driving.perform import perform
from raytalk.errors import FaceError, RaytalkError, VideoError
from raytalk.faces.face import LandmarkDetector
from raytalk.faces.identity import Descriptor, describe, similarity
from raytalk.faces.track import Track
from raytalk.faces.video import Frame
from raytalk.storage import file_at, path_part


@dataclass(frozen=True)
class Candidate:
    """A driver that was tried."""

    uri: str
    score: float
    """mean `similarity` of the output's frames to the person, a frame without a face counting 0"""
    found: int = 0
    """frames of the output in which the detector finds a face"""
    tried: int = 0
    """frames of the output"""
    reason: str = ""
    """why it cannot drive; empty if it can"""


def describe_portrait(uri: str, detector: LandmarkDetector) -> Descriptor:
    """The descriptor [128] of the largest face of a photograph or painting.

    Raises StorageError or VideoError if it cannot be read, FaceError with reason `no face`, WeightsError without dlib.
    """
    place, name = file_at(uri)
    image = read_picture(uri, place.read(name))
    faces = detector.detect([image])[0]
    if not faces:
        raise FaceError("no face", f"no face was found in {uri}: give a portrait from the front, or leave it out")
    return describe(image, faces[0].landmarks)


def rank(
    uris: Sequence[str],
    avatar: Avatar,
    person: Descriptor,
    detector: LandmarkDetector,
    frames: int,
    batch_size: int = 8,
    accept_detector: bool = False,
) -> list[Candidate]:
    """Try each driver on some frames, without adaptation; the best comes first, those that cannot drive last.

    person: descriptor [128] of who the output should look like; detector: for the output, which any may look at,
    and for drivers that bring no landmarks.
    """
    candidates = []
    for uri in uris:
        with tempfile.TemporaryDirectory(prefix="raytalk-driver-") as temporary:
            try:
                driver = open_driver(uri, Path(temporary))
                landmarks_of = driver.track.detector if driver.track is not None else detector.name
                check_detector(avatar.card, landmarks_of, accept_detector)
                glimpse = _glimpse(driver, detector, frames)
            except RaytalkError as error:
                candidates.append(Candidate(uri, -1.0, reason=str(error)))
                continue
        output = list(perform(avatar, motion_of(glimpse, avatar), batch_size))
        scores = _scores(output, person, detector)
        found = sum(score is not None for score in scores)
        candidates.append(Candidate(uri, float(np.mean([score or 0.0 for score in scores])), found, len(output)))
    return sorted(candidates, key=lambda candidate: -candidate.score)


def table(candidates: Sequence[Candidate]) -> str:
    """The ranking, for people."""
    lines = ["likeness  face found  driver"]
    for candidate in candidates:
        name = PurePosixPath(path_part(candidate.uri)).name
        if candidate.reason:
            lines.append(f"       -           -  {name}: {candidate.reason}")
        else:
            lines.append(f"{candidate.score:8.4f}  {f'{candidate.found}/{candidate.tried}':>10}  {name}")
    return "\n".join(lines)


def _glimpse(driver: Driver, detector: LandmarkDetector, count: int) -> Track:
    """Some frames of a driver as a track. Raises FaceError with reason `no face`, and what reading raises."""
    if driver.track is not None:
        known = driver.track
        chosen = spread(len(known), count)
        pupils = None if known.pupils is None else known.pupils[chosen]
        # Far apart: each frame gets the square it would have in the whole video only roughly, alike for all drivers.
        return Track(
            known.landmarks[chosen], np.arange(len(chosen)) / 1.0, 1.0, known.detector, known.width, known.height,
            known.source, pupils,
        )  # fmt: skip
    if driver.frames is None:
        raise VideoError(f"{driver.source} has no frames")
    sampled = driver.frames.sample(count)
    faces = [those[0].landmarks for those in detector.detect([frame.image for frame in sampled]) if those]
    if not faces:
        raise FaceError("no face", f"no face in {len(sampled)} frames")
    height, width = sampled[0].image.shape[:2]
    return Track(np.stack(faces), np.arange(len(faces)) / 1.0, 1.0, detector.name, width, height, driver.source)


def _scores(output: Sequence[Frame], person: Descriptor, detector: LandmarkDetector) -> list[float | None]:
    return [
        similarity(describe(frame, faces[0].landmarks), person) if faces else None
        for frame, faces in zip(output, detector.detect(output), strict=True)
    ]
