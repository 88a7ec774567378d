"""What somebody sent of a person becomes learning images, with a verdict for each file."""

import contextlib
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from raytalk.enrolment.maker import AvatarMaker
from raytalk.enrolment.material import Material, of_video
from raytalk.errors import FaceError, VideoError
from raytalk.faces.photographs import Examined, Photograph, examine, together
from serve.errors import Problem
from serve.footage import check_video
from serve.records.record import Avatar, Photo
from serve.records.store import Store
from serve.scratch import scratch
from serve.settings import LimitSettings
from serve.work.loop import slug
from serve.work.pictures import crop_and_drawing, side_by_side

Share = Callable[[float], None]
"""is told which share is done, 0 to 1"""


@dataclass(frozen=True)
class Looked:
    """What was found."""

    photos: tuple[Photo, ...]
    """the files of the record, with verdicts"""
    material: Material | None
    """None if nothing can be learned from"""
    refusal: Exception | None = None
    """then why: a FaceError, VideoError or Problem"""
    crops: dict[str, bytes] = field(default_factory=dict)
    """JPEGs by the names that `photos` give them"""

    def usable(self) -> Material:
        """Raises the refusal."""
        if self.material is None:
            assert self.refusal is not None
            raise self.refusal
        return self.material


def look(store: Store, avatar: Avatar, maker: AvatarMaker, limits: LimitSettings, share: Share) -> Looked:
    """Look at all material of an avatar. The same material gives the same result, whoever looks.

    Raises StorageError, and what `share` raises.
    """
    if avatar.material == "video":
        return _video(store, avatar, maker, limits)
    return _photographs(store, avatar, maker, share)


@contextlib.contextmanager
def called(path: Path, name: str) -> Iterator[None]:
    """Errors about a file speak of it by this name and not by its place on this machine."""
    try:
        yield
    except VideoError as error:
        raise VideoError(str(error).replace(str(path), name)) from error
    except FaceError as error:
        raise FaceError(error.reason, error.detail.replace(str(path), name)) from error


def _photographs(store: Store, avatar: Avatar, maker: AvatarMaker, share: Share) -> Looked:
    place, detector, settings = store.material(avatar.id), maker.detector(), maker.settings
    examined: list[Examined] = []
    for number, photo in enumerate(avatar.photos):
        examined.append(examine(Photograph(photo.file, place.read(photo.file)), detector, settings.min_face))
        share((number + 1) / len(avatar.photos))
    crops = {
        each.name: crop_and_drawing(each.image, each.face)
        for each in examined
        if each.image is not None and each.face is not None
    }
    try:
        taken = together(examined, maker.pretrained.networks.resolution)
    except FaceError as error:
        verdicts = [
            _verdict(photo, each.refusal or FaceError(error.reason, "it shows another person than the others"), crops)
            for photo, each in zip(avatar.photos, examined, strict=True)
        ]
        return Looked(tuple(verdicts), None, _of_all(verdicts), crops)
    verdicts = []
    for photo in avatar.photos:
        reason, _, detail = taken.refused.get(photo.file, "").partition(": ")
        verdicts.append(_verdict(photo, FaceError(reason, detail) if reason else None, crops))
    material = Material(
        taken.frames, taken.landmarks, detector.name, "photographs", identity=taken.identity, refused=taken.refused
    )
    return Looked(tuple(verdicts), material, None, crops)


def _video(store: Store, avatar: Avatar, maker: AvatarMaker, limits: LimitSettings) -> Looked:
    (film,), settings = avatar.photos, maker.settings
    try:
        with scratch("material") as folder:
            path = store.material(avatar.id).fetch_file(film.file, folder)
            with called(path, film.label or "the video"):
                check_video(path, film.label or "the video", limits.video_pixels, limits.video_seconds)
                resolution = maker.pretrained.networks.resolution
                material = of_video("video", path, settings.shots, resolution, settings.min_face, maker.detector())
    except FaceError as error:
        return Looked((_verdict(film, error, {}),), None, error)
    except (VideoError, Problem) as error:
        code = error.code if isinstance(error, Problem) else "bad-video"
        return Looked((film.model_copy(update={"used": False, "code": code, "reason": str(error)}),), None, error)
    middle, name = len(material) // 2, f"{Path(film.file).stem}.jpg"
    crops = {name: side_by_side(material.frames[middle], material.landmarks[middle])}
    return Looked((film.model_copy(update={"used": True, "crop": name}),), material, None, crops)


def _verdict(photo: Photo, refusal: FaceError | None, crops: dict[str, bytes]) -> Photo:
    crop = photo.file if photo.file in crops else ""
    code, reason = (slug(refusal.reason), refusal.detail) if refusal is not None else ("", "")
    return photo.model_copy(update={"used": refusal is None, "code": code, "reason": reason, "crop": crop})


def _of_all(verdicts: list[Photo]) -> FaceError:
    """Why none can be used: the one reason of all of them, if there is one."""
    (code, count), *_ = Counter(photo.code for photo in verdicts).most_common(1)
    reasons = "; ".join(f"{photo.label or photo.file}: {photo.reason}" for photo in verdicts)
    if code == "different-people":
        return FaceError(code, "The photographs show different people: give photographs of one person only.")
    if count < len(verdicts):
        return FaceError("no usable photograph", f"None of the {len(verdicts)} photographs can be used. {reasons}")
    return FaceError(code, reasons)
