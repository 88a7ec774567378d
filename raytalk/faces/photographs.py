"""Photographs of one person become the crops and landmarks that few-shot learning takes, or reasons why not."""

import io
from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt
from PIL import Image, ImageOps, UnidentifiedImageError

from raytalk.errors import FaceError, WeightsError
from raytalk.faces.crop import crop_frames
from raytalk.faces.face import Face, LandmarkDetector
from raytalk.faces.identity import Descriptor, describe, mean_of, odd_ones_out
from raytalk.faces.video import LONGEST_SIDE
from raytalk.storage import Storage

Pictures = npt.NDArray[np.uint8]

SUFFIXES = frozenset([".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tif", ".tiff", ".gif", ".heic", ".heif"])
"""of photographs' names, in small letters"""
MOST = 32
"""photographs that are learned from; more are refused rather than left out unasked"""
_MOST_PIXELS = 150_000_000
_COMPARABLE = 0.5
"""a second face counts if it is at least this large beside the first"""
_INSIDE_SHARE = 0.85
"""of the landmarks that must lie in the photograph"""
_SHARPNESS = 5.0
"""least `sharpness_of` a face, in grey levels; soft video has 8 to 13, sharp photographs have 15 to 35"""


@dataclass(frozen=True)
class Photograph:
    """A file as somebody gave it."""

    name: str
    """what to call it when something is wrong with it"""
    data: bytes
    """JPEG, PNG, WebP, GIF, TIFF, BMP; HEIC where the package pillow-heif is installed"""


@dataclass(frozen=True)
class Portraits:
    """What can be learned from."""

    frames: Pictures
    """[T, S, S, 3] uint8 RGB"""
    landmarks: npt.NDArray[np.float32]
    """[T, 68, 2] in pixels of the frames"""
    names: list[str]
    """of the photographs that were taken"""
    refused: dict[str, str]
    """of the others, and why"""
    identity: Descriptor | None
    """[128] mean descriptor of the face; None where the network for it is not installed"""


@dataclass(frozen=True)
class Examined:
    """A photograph that was looked at on its own."""

    name: str
    image: Pictures | None
    """HxWx3 uint8 RGB, None if it cannot be read"""
    face: Face | None
    """the largest that was found, whether it can be used or not"""
    refusal: FaceError | None
    """why it cannot be used"""


def portraits(
    photographs: Sequence[Photograph], detector: LandmarkDetector, resolution: int, min_face: float = 64.0
) -> Portraits:
    """Read, find the face, check, and crop to resolution x resolution as training clips are.

    min_face: least size of the face in pixels of the photograph. Photographs of somebody else than most show are left
    out. Raises FaceError if there are none or more than 32 photographs, if not one of them can be used (then it names
    the reason of each), or if nobody can tell who is meant.
    """
    if not photographs:
        raise FaceError("no photographs", "give 1 to 32 photographs of one person")
    if len(photographs) > MOST:
        raise FaceError("too many photographs", f"{len(photographs)} were given; choose at most {MOST}")
    return together([examine(photograph, detector, min_face) for photograph in photographs], resolution)


def examine(photograph: Photograph, detector: LandmarkDetector, min_face: float) -> Examined:
    """Read one photograph and find the face. Raises nothing for a photograph that cannot be used."""
    image: Pictures | None = None
    faces: list[Face] = []
    try:
        image = read_photograph(photograph)
        faces = detector.detect([image])[0]
        return Examined(photograph.name, image, the_face(image, faces, min_face), None)
    except FaceError as error:
        return Examined(photograph.name, image, faces[0] if faces else None, error)


def together(examined: Sequence[Examined], resolution: int) -> Portraits:
    """What can be used of some photographs, cropped, and nobody else. Raises FaceError as `portraits`."""
    images: list[Pictures] = []
    faces: list[Face] = []
    names: list[str] = []
    refused: dict[str, str] = {}
    for each in examined:
        if each.refusal is not None:
            refused[each.name] = f"{each.refusal.reason}: {each.refusal}"
        elif each.image is not None and each.face is not None:
            images.append(each.image)
            faces.append(each.face)
            names.append(each.name)
    if not images:
        why = "; ".join(f"{name}: {reason}" for name, reason in refused.items())
        raise FaceError("no usable photograph", why)
    descriptors = _descriptors(images, faces)
    if descriptors is not None:
        odd = odd_ones_out(descriptors)
        if len(odd) == len(images):
            raise FaceError(
                "different people", f"{', '.join(names)} show different people: give photographs of one person only"
            )
        for place in odd:
            refused[names[place]] = "somebody else: the others show another person"
        kept = [place for place in range(len(images)) if place not in odd]
        images, faces = [images[place] for place in kept], [faces[place] for place in kept]
        names, descriptors = [names[place] for place in kept], [descriptors[place] for place in kept]
    frames, landmarks = crop_frames(images, np.stack([face.landmarks for face in faces]), resolution)
    identity = None if descriptors is None else mean_of(descriptors)
    return Portraits(frames, landmarks, names, refused, identity)


def list_photographs(folder: Storage) -> list[str]:
    """Names of the pictures that lie directly in a folder, sorted."""
    return folder.files(SUFFIXES)


def _descriptors(images: list[Pictures], faces: list[Face]) -> list[Descriptor] | None:
    try:
        return [describe(image, face.landmarks) for image, face in zip(images, faces, strict=True)]
    except WeightsError:
        return None


def read_photograph(photograph: Photograph) -> Pictures:
    """HxWx3 uint8 RGB, upright (EXIF), transparency on white, at most 1,920 pixels long.

    Raises FaceError with reason `not a picture` or `picture too large`.
    """
    register_heif()
    try:
        with Image.open(io.BytesIO(photograph.data)) as file:
            if file.width * file.height > _MOST_PIXELS:
                raise FaceError("picture too large", f"{file.width} x {file.height} pixels")
            return np.asarray(upright(file), np.uint8)
    except (OSError, UnidentifiedImageError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        text = " ".join(str(error).split())[:120]
        hint = "" if "heif" not in _brand(photograph.data) else " (HEIC: install pillow-heif, or convert it to JPEG)"
        raise FaceError("not a picture", f"it cannot be read{hint}: {text}") from error


def upright(file: Image.Image) -> Image.Image:
    """A picture just opened, as it is to be looked at: RGB, upright (EXIF), transparency on white, at most 1,920 px.

    Raises what Pillow raises on damaged files.
    """
    file.draft("RGB", (LONGEST_SIDE, LONGEST_SIDE))
    ImageOps.exif_transpose(file, in_place=True)
    image: Image.Image = file
    if image.mode.startswith("I;16"):
        image = Image.fromarray((np.asarray(image) >> 8).astype(np.uint8))
    clear = image.has_transparency_data
    if image.mode not in ("RGBA", "LA") if clear else image.mode != "RGB":
        image = image.convert("RGBA" if clear else "RGB")
    # Made small before anything else: of large pictures there are as few copies as can be.
    image.thumbnail((LONGEST_SIDE, LONGEST_SIDE), Image.Resampling.LANCZOS)
    if clear:
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image.convert("RGBA")).convert("RGB")
    return image


def the_face(image: Pictures, faces: Sequence[Face], min_face: float) -> Face:
    """The one face of a photograph (HxWx3 uint8 RGB).

    faces: the largest first. Raises FaceError with reason `no face`, `two faces`, `face too small`, `face cut off` or
    `blurred`.
    """
    if not faces:
        raise FaceError("no face", "no face was found: take a photograph from the front, with light on the face")
    face = faces[0]
    if len(faces) > 1 and faces[1].extent >= _COMPARABLE * face.extent:
        raise FaceError("two faces", f"{len(faces)} faces were found: cut out the one that is meant")
    if face.extent < min_face:
        raise FaceError("face too small", f"the face measures {face.extent:.0f} px, {min_face:.0f} are needed")
    height, width = image.shape[:2]
    inside = ((face.landmarks >= 0) & (face.landmarks < [width, height])).all(axis=1).mean()
    if inside < _INSIDE_SHARE:
        raise FaceError("face cut off", f"{1 - inside:.0%} of the face lie outside the photograph")
    sharpness = sharpness_of(image, face)
    if sharpness < _SHARPNESS:
        raise FaceError("blurred", f"the face is not sharp ({sharpness:.1f}, {_SHARPNESS:g} is needed): take another")
    return face


def sharpness_of(image: Pictures, face: Face) -> float:
    """Standard deviation of the Laplacian of the face at a width of 64 pixels, in grey levels.

    At that width pores and noise are gone, eyes and lips are not: it tells a blur that takes the features away.
    """
    low, high = face.landmarks.min(axis=0), face.landmarks.max(axis=0)
    left, top = np.maximum(np.floor(low).astype(int), 0)
    right, bottom = np.ceil(high).astype(int)
    grey = cv2.cvtColor(np.ascontiguousarray(image[top:bottom, left:right]), cv2.COLOR_RGB2GRAY)
    small = cv2.resize(grey, (64, max(8, round(64 * grey.shape[0] / grey.shape[1]))), interpolation=cv2.INTER_AREA)
    return float(cv2.Laplacian(small, cv2.CV_32F).std())


def _brand(data: bytes) -> str:
    return "heif" if data[4:12] in (b"ftypheic", b"ftypheix", b"ftypmif1", b"ftyphevc") else ""


def register_heif() -> None:
    """Let Pillow read HEIC, where the package for it is installed."""
    try:
        import pillow_heif  # type: ignore[import-not-found, unused-ignore]
    except ImportError:
        return
    pillow_heif.register_heif_opener()
