"""A study as one HTML file that anybody can open, and its answer key, kept apart.

Nothing in the page tells the generated pictures from the real ones but what they show: all are cut to one size, go
through one JPEG encoder and are filled up to one length; names are random.
"""

import base64
import hashlib
import json
from dataclasses import dataclass
from importlib.resources import files
from typing import Any

import cv2
import numpy as np
import pandas as pd

from raytalk.evaluation.study.settings import TripletSettings
from raytalk.evaluation.study.triplets import Picture, Triplet, draw_checks, draw_triplets

FORMAT = 1
_PLACE = "__STUDY__"


@dataclass(frozen=True)
class StudyFiles:
    """What is given to participants, and what is not."""

    page: str
    """study.html"""
    key: dict[str, Any]
    """key.json: which picture of each triplet is generated, by what"""
    triplets: list[Triplet]
    """attention checks last"""


def make_study(rows: pd.DataFrame, settings: TripletSettings, source: str = "") -> StudyFiles:
    """A study of the pictures in `rows` (results.ROWS, `features` and `descriptor` not needed).

    source: where the rows came from, for the key. Raises what draw_triplets raises.
    """
    triplets = draw_triplets(rows, settings)
    shown = min(settings.shown, len(triplets))
    checks = draw_checks(rows, _number_of_checks(shown, settings.attention), settings.seed)
    every = triplets + checks
    random = np.random.default_rng((settings.seed, 2))
    names = [random.bytes(6).hex() for _ in every]
    pictures = _encoded(every, settings, random)
    groups: dict[tuple[str, int], list[dict[str, Any]]] = {}
    for name, triplet, three in zip(names, every, pictures, strict=True):
        groups.setdefault((triplet.method, triplet.shots), []).append({"id": name, "pictures": three})
    checking = groups.pop(("", 0), [])
    kinds = list(groups.values())
    random.shuffle(kinds)
    same = {triplet.same_clip for triplet in every}
    data = {
        "format": FORMAT,
        "recording": "same" if same == {True} else "other" if same == {False} else "mixed",
        "parts": [{"take": shown - len(checking), "groups": kinds}, {"take": len(checking), "groups": [checking]}],
    }
    data["study"] = hashlib.blake2b(json.dumps(data).encode(), digest_size=8).hexdigest()
    template = files("raytalk.evaluation.study").joinpath("page.html").read_text("utf-8")
    text = json.dumps(data, separators=(",", ":")).replace("<", "\\u003c")
    key = {
        "format": FORMAT,
        "study": data["study"],
        "evaluation": source,
        "settings": settings.model_dump(mode="json"),
        "triplets": {name: _told(triplet) for name, triplet in zip(names, every, strict=True)},
    }
    return StudyFiles(template.replace(_PLACE, text), key, every)


def _number_of_checks(shown: int, share: float) -> int:
    """At least one if any are wanted, and never all that is shown."""
    return min(shown - 1, max(1, round(share * shown))) if share else 0


def _told(triplet: Triplet) -> dict[str, Any]:
    return {
        "fake": triplet.fake,
        "check": triplet.is_check,
        "method": triplet.method,
        "shots": triplet.shots,
        "person": triplet.person,
        "clip": triplet.clip,
        "frame": triplet.frame,
        "others": [{"clip": clip, "frame": frame} for clip, frame in triplet.others],
        "same_clip": triplet.same_clip,
        "shows_truth": triplet.shows_truth,
    }


def _encoded(triplets: list[Triplet], settings: TripletSettings, random: np.random.Generator) -> list[list[str]]:
    """Base64 of JPEG files, all of one size in pixels and in bytes."""
    size = settings.size or min(len(picture) for triplet in triplets for picture in triplet.pictures)
    flags = [
        cv2.IMWRITE_JPEG_QUALITY,
        settings.quality,
        cv2.IMWRITE_JPEG_SAMPLING_FACTOR,
        cv2.IMWRITE_JPEG_SAMPLING_FACTOR_444,
    ]
    encoded = [[_jpeg(picture, size, flags) for picture in triplet.pictures] for triplet in triplets]
    longest = max(len(data) for three in encoded for data in three)
    # What follows the end of a JPEG file is not looked at.
    filled = ([data + random.bytes(longest - len(data)) for data in three] for three in encoded)
    return [[base64.b64encode(data).decode() for data in three] for three in filled]


def _jpeg(picture: Picture, size: int, flags: list[int]) -> bytes:
    if picture.shape[:2] != (size, size):
        way = cv2.INTER_AREA if size < len(picture) else cv2.INTER_CUBIC
        picture = np.asarray(cv2.resize(picture, (size, size), interpolation=way), np.uint8)
    return bytes(cv2.imencode(".jpg", picture[..., ::-1], flags)[1].tobytes())
