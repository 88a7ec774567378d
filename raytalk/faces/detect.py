"""Faces and their 68 landmarks in a frame: one protocol, two detectors.

`face-alignment` is the paper's (SFD boxes, FAN-4 landmarks; GPU or CPU, weights downloaded). `dlib` needs neither a
GPU nor a network. Their landmarks differ a little, so clips and checkpoints record which one was used.
"""

from raytalk.errors import SettingsError, WeightsError
from raytalk.faces.detector_files import dlib_predictor, ensure_fan_weights
from raytalk.faces.face import DLIB, FACE_ALIGNMENT, LandmarkDetector

AUTO = "auto"
DETECTORS = (FACE_ALIGNMENT, DLIB)


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
