"""The driver, the drawing and the output beside each other, for judging."""

from collections.abc import Iterable, Iterator

import cv2
import numpy as np
import numpy.typing as npt

from raytalk.driving.frames import Frames, spread
from raytalk.driving.motion import Motion
from raytalk.errors import VideoError
from raytalk.faces.crop import crop_frame
from raytalk.faces.draw import draw_landmarks
from raytalk.faces.video import Frame

MOMENTS = 8
"""rows of a sheet"""
_CAPTION = 22


def driver_crops(frames: Frames, motion: Motion, size: int) -> Iterator[Frame]:
    """What the driver shows in the square of each frame of the output: size x size x 3 uint8 RGB.

    Raises VideoError if there are fewer frames than when they were analysed.
    """
    source = iter(frames.read())
    number, image = -1, None
    for wanted, square in zip(motion.shown.tolist(), motion.squares, strict=True):
        while number < wanted:
            frame = next(source, None)
            if frame is None:
                raise VideoError(
                    f"the driver has {number + 1} frames, its track {int(motion.shown[-1]) + 1}: it has changed since "
                    "it was analysed; analyse it again, or leave out side_by_side= and sheet="
                )
            number, image = number + 1, frame.image
        assert image is not None
        yield crop_frame(image, square, size)[0]


def beside(motion: Motion, rendered: Iterable[Frame], crops: Iterable[Frame] | None) -> Iterator[Frame]:
    """Rows of equal squares: the driver's crop where there is one, the drawing, the output."""
    seen: Iterable[Frame | None] = crops if crops is not None else (None for _ in range(len(motion)))
    for index, (output, crop) in enumerate(zip(rendered, seen, strict=True)):
        pupils = None if motion.pupils is None else motion.pupils[index]
        drawing = draw_landmarks(motion.landmarks[index], output.shape[0], pupils)
        yield np.hstack([part for part in (crop, drawing, output) if part is not None])


class Sheet:
    """Collects some moments on their way to the video."""

    def __init__(self, motion: Motion, with_driver: bool) -> None:
        self._motion, self._with_driver = motion, with_driver
        self._wanted = spread(len(motion), MOMENTS)
        self._rows: list[Frame] = []

    def passing(self, rows: Iterable[Frame]) -> Iterator[Frame]:
        """The same rows; those of the chosen moments are remembered."""
        for index, row in enumerate(rows):
            if index in self._wanted:
                self._rows.append(row)
            yield row

    def png(self) -> bytes:
        """The moments below each other, each with its time."""
        titles = ["driver", "drawing", "output"] if self._with_driver else ["drawing", "output"]
        side = self._rows[0].shape[0]
        head = np.zeros((_CAPTION, side * len(titles), 3), np.uint8)
        for place, title in enumerate(titles):
            _write(head, title, place * side + 4)
        parts = [head]
        for row, index in zip(self._rows, self._wanted, strict=True):
            shown = row.copy()
            _write(shown, f"{index / self._motion.fps:.2f} s", 4)
            parts.append(shown)
        return cv2.imencode(".png", np.vstack(parts)[..., ::-1])[1].tobytes()


def _write(picture: npt.NDArray[np.uint8], text: str, left: int) -> None:
    for width, colour in ((3, (0, 0, 0)), (1, (255, 255, 255))):
        cv2.putText(picture, text, (left, 15), cv2.FONT_HERSHEY_SIMPLEX, 0.42, colour, width, cv2.LINE_AA)
