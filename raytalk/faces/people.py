"""Who is who over time: the faces of successive frames become people, and one of them is chosen.

Somebody is followed from frame to frame by place and size. Who walks through the picture becomes a person of their own.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from raytalk.faces.face import Face

LONGEST_GAP = 1.0
"""seconds out of sight after which somebody is not followed on"""

JUMP, SPEED = 0.3, 2.0
"""how far a head moves between two frames: at once, and per second, in face sizes; beyond this it is a scene cut"""
ZOOM, ZOOM_SPEED = 0.2, 0.7
"""how much its size changes, as a logarithm: at once, and per second"""
LONGEST_STEP = 0.5
"""seconds after which no further movement is allowed for"""

_LOOK = 1.0
"""seconds over which the people in a shot are compared"""
_START = 0.2
"""seconds within which somebody counts as there from the start"""
_FEWEST = 3
"""sightings that make a person, where anybody is seen so often: fewer are mostly no face at all"""
_PRESENT = 0.5
"""share of the others' sightings in the first second that is needed not to be taken for a wrong detection"""
_COMPARABLE = 0.5
"""somebody may be the one meant if their face is at least this large beside the largest"""
_MOST_FACES = 6
"""of a frame that are followed, the largest"""


@dataclass(frozen=True)
class Place:
    """Where a face is, and how large."""

    centre: npt.NDArray[np.float64]
    """[2] mean of the landmarks, in frame pixels"""
    size: float
    """larger side of the landmarks' bounding box, in frame pixels"""

    @classmethod
    def of(cls, landmarks: npt.NDArray[np.floating]) -> "Place":
        """landmarks: [68, 2] in frame pixels."""
        points = np.asarray(landmarks, np.float64)
        return cls(points.mean(axis=0), max(float(np.ptp(points, axis=0).max()), 1.0))

    def apart(self, other: "Place") -> float:
        """Distance in face sizes of the smaller."""
        return float(np.linalg.norm(self.centre - other.centre)) / min(self.size, other.size)

    def step(self, other: "Place", seconds: float) -> float | None:
        """How unlike they are; None if no head gets from one to the other in this time."""
        apart, zoom = self.apart(other), abs(float(np.log(self.size / other.size)))
        passed = min(max(seconds, 0.0), LONGEST_STEP)
        possible = apart <= JUMP + SPEED * passed and zoom <= ZOOM + ZOOM_SPEED * passed
        return apart + zoom if possible else None


@dataclass(eq=False)
class Person:
    """One person's sightings, in order; gaps are at most LONGEST_GAP long."""

    frames: list[int] = field(default_factory=list)
    """numbers of the frames"""
    times: list[float] = field(default_factory=list)
    """seconds"""
    faces: list[Face] = field(default_factory=list)
    last: Place | None = None

    def add(self, frame: int, time: float, face: Face, place: Place) -> None:
        """Another sighting."""
        self.frames.append(frame)
        self.times.append(time)
        self.faces.append(face)
        self.last = place

    def early(self) -> list[Face]:
        """The sightings of the first second."""
        return [face for face, time in zip(self.faces, self.times, strict=True) if time <= self.times[0] + _LOOK]


class People:
    """Everybody seen so far."""

    def __init__(self) -> None:
        self._all: list[Person] = []
        self._present: list[Person] = []

    def see(self, frame: int, time: float, faces: Sequence[Face]) -> None:
        """Give each face of one frame to somebody. faces: the largest first; frames come in order."""
        self._present = [person for person in self._present if time - person.times[-1] <= LONGEST_GAP]
        places = [Place.of(face.landmarks) for face in faces[:_MOST_FACES]]
        steps = sorted(
            (step, number, index)
            for number, person in enumerate(self._present)
            for index, place in enumerate(places)
            if person.last is not None and (step := person.last.step(place, time - person.times[-1])) is not None
        )
        given: dict[int, Person] = {}
        taken: set[int] = set()
        for _, number, index in steps:
            if index not in given and number not in taken:
                given[index] = self._present[number]
                taken.add(number)
        for index, place in enumerate(places):
            if index not in given:
                given[index] = Person()
                self._all.append(given[index])
                self._present.append(given[index])
            given[index].add(frame, time, faces[index], place)

    def the_one(self) -> list[Person]:
        """The person meant, as one or several stretches in order of time; empty if there was no face.

        First whose face is the largest at the start. When they are gone, who comes into the picture after that (a
        scene cut, or the same person again) and is nearest to where they were; never somebody who was already there.
        """
        most = max((len(person.frames) for person in self._all), default=0)
        left = [person for person in self._all if len(person.frames) >= min(_FEWEST, most)]
        line: list[Person] = []
        while left:
            earliest = min(left, key=lambda person: person.times[0])
            # A short shot may end sooner: who comes after it was not there at the start.
            end = min(earliest.times[0] + _START, earliest.times[-1])
            first = [person for person in left if person.times[0] <= end]
            most = max(len(person.early()) for person in first)
            first = [person for person in first if len(person.early()) >= _PRESENT * most]
            sizes = {id(person): float(np.median([face.extent for face in person.early()])) for person in first}
            before = line[-1].last if line else None
            if before is None:
                chosen = max(first, key=lambda person: sizes[id(person)])
            else:
                large = [person for person in first if sizes[id(person)] >= _COMPARABLE * max(sizes.values())]
                chosen = min(large, key=lambda person: Place.of(person.faces[0].landmarks).apart(before))
            line.append(chosen)
            left = [person for person in left if person.frames[0] > chosen.frames[-1]]
        return line


def cuts(landmarks: npt.NDArray[np.floating], times: npt.NDArray[np.floating]) -> npt.NDArray[np.bool_]:
    """Where a scene begins: [n] bool, the first true. landmarks: [n, 68, 2] in frame pixels; times: [n] seconds."""
    places = [Place.of(face) for face in landmarks]
    begins = np.ones(len(places), bool)
    for index in range(1, len(places)):
        step = places[index - 1].step(places[index], float(times[index] - times[index - 1]))
        begins[index] = step is None
    return begins
