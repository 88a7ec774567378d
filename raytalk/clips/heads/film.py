"""What becomes of a picture between the lens and a clip: focus, a codec, tone, and the edge of the video's frame.

Pictures are [s, s, 3] uint8 RGB. One film serves a whole clip.
"""

from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from raytalk.faces.crop import SIDE

Picture = npt.NDArray[np.uint8]

_SHARP, _UNCODED, _WHOLE = 0.5, 0.5, 0.62
"""shares of the clips that keep all detail, that no codec has touched, and whose frame holds all of the crop"""


@dataclass(frozen=True)
class Film:
    """How a clip was taken and kept."""

    contrast: float
    """0: as rendered; 1: a strong S-curve; below 0 flatter"""
    saturation: float
    """1: as rendered; 0: grey"""
    blur: float
    """of the lens, as a share of the picture's side"""
    detail: float
    """resolution of the video, as a share of the picture's: what is finer is lost"""
    quality: int
    """of the codec, as JPEG counts it; 0: none"""
    edges: tuple[float, float, float]
    """how far from the middle of the face the video's frame reaches to the left, to the right and downwards, in face
    sizes (see `faces.crop.SIDE`): beyond it the crop repeats the last pixels, as `faces.crop` does"""

    def develop(self, picture: Picture, reach: tuple[int, int, int]) -> Picture:
        """The picture as a clip holds it. reach: `Film.reach` of its square."""
        size = len(picture)
        if self.blur:
            picture = _as_picture(cv2.GaussianBlur(picture, (0, 0), self.blur * size))
        if self.detail < 1:
            small = cv2.resize(picture, None, fx=self.detail, fy=self.detail, interpolation=cv2.INTER_AREA)
            picture = _as_picture(
                cv2.resize(self._coded(_as_picture(small)), (size, size), interpolation=cv2.INTER_CUBIC)
            )
        else:
            picture = self._coded(picture)
        if self.saturation != 1:
            grey = cv2.cvtColor(cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY), cv2.COLOR_GRAY2RGB)
            picture = _as_picture(cv2.addWeighted(picture, self.saturation, grey, 1 - self.saturation, 0))
        picture = _as_picture(cv2.LUT(picture, self._curve()))
        left, right, bottom = reach
        picture = picture[:bottom, left:right]
        return _as_picture(cv2.copyMakeBorder(picture, 0, size - bottom, left, size - right, cv2.BORDER_REPLICATE))

    def reach(self, size: int, middle: npt.NDArray[np.floating]) -> tuple[int, int, int]:
        """First and last column + 1, and last row + 1, that the video's frame has of a crop.

        middle: x and y of the middle of the resting face in pixels of the crop, as the camera of the clip sees it. At
        least the inner part of the crop is there.
        """
        face = size / SIDE
        left, right = middle[0] - self.edges[0] * face, middle[0] + self.edges[1] * face
        bottom = middle[1] + self.edges[2] * face
        return (
            int(np.clip(round(float(left)), 0, size // 4)),
            int(np.clip(round(float(right)), size - size // 4, size)),
            int(np.clip(round(float(bottom)), size - size // 4, size)),
        )

    def _coded(self, picture: Picture) -> Picture:
        if not self.quality:
            return picture
        data = cv2.imencode(".jpg", picture[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, self.quality])[1]
        return _as_picture(np.asarray(cv2.imdecode(data, cv2.IMREAD_COLOR)))[..., ::-1]

    def _curve(self) -> Picture:
        value = np.arange(256) / 255
        bent = value * value * (3 - 2 * value)
        return _as_picture(np.clip(255 * (value + self.contrast * (bent - value)) + 0.5, 0, 255))


def draw_film(rng: np.random.Generator) -> Film:
    """How one clip was taken."""
    edges = [9.0, 9.0, 9.0]
    if rng.random() > _WHOLE:
        edges[2] = float(rng.uniform(0.66, 0.95))
        if rng.random() < 0.3:
            edges[int(rng.integers(2))] = float(rng.uniform(0.7, 1.05))
    return Film(
        contrast=float(np.clip(rng.normal(0.22, 0.25), -0.3, 0.9)),
        saturation=float(np.clip(rng.normal(1.05, 0.18), 0.4, 1.5)) if rng.random() > 0.02 else 0.0,
        blur=float(rng.choice([0.0, 0.0, rng.uniform(0.0008, 0.0028)])),
        detail=1.0 if rng.random() < _SHARP else float(rng.uniform(0.55, 1.0)),
        quality=0 if rng.random() < _UNCODED else int(rng.integers(50, 96)),
        edges=(edges[0], edges[1], edges[2]),
    )


def _as_picture(values: npt.ArrayLike) -> Picture:
    return np.asarray(values, np.uint8)
