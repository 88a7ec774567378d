"""A picture to look at after preprocessing: of every clip a frame and its drawing."""

import contextlib
from collections.abc import Sequence

import cv2
import numpy as np
import numpy.typing as npt

from raytalk.clips.analyse import decode_jpeg
from raytalk.clips.catalog import read_clips
from raytalk.clips.ledger import Ledger, Written
from raytalk.clips.schema import Clip
from raytalk.errors import ClipsError
from raytalk.faces.draw import draw_landmarks
from raytalk.storage import Storage

FILE = "contact-sheet.png"
_MOST = 60
_COLUMNS = 3
_SIDE = 160
_CAPTION = 18


def write_contact_sheet(storage: Storage, ledger: Ledger) -> bool:
    """Write `contact-sheet.png` into the clips folder; False if there is no clip to show."""
    sheet = contact_sheet(_load(storage, _chosen(ledger.clips)))
    if sheet is None:
        return False
    _, data = cv2.imencode(".png", sheet[..., ::-1])
    storage.write(FILE, data.tobytes())
    return True


def contact_sheet(clips: Sequence[Clip]) -> npt.NDArray[np.uint8] | None:
    """One tile per clip: its first, middle and last frame, the drawing of the middle one alone and laid over it.

    Returns an RGB picture, uint8. Damaged clips are left out; None if no other is there.
    """
    tiles = []
    for clip in clips:
        with contextlib.suppress(ValueError, IndexError, cv2.error):
            tiles.append(_tile(clip))
    if not tiles:
        return None
    blank = np.zeros_like(tiles[0])
    rows = [tiles[start : start + _COLUMNS] for start in range(0, len(tiles), _COLUMNS)]
    columns = min(_COLUMNS, len(tiles))
    return np.vstack([np.hstack([*row, *[blank] * (columns - len(row))]) for row in rows])


def _tile(clip: Clip) -> npt.NDArray[np.uint8]:
    middle = len(clip.frames) // 2
    pictures = {index: decode_jpeg(clip.frames[index]) for index in {0, middle, len(clip.frames) - 1}}
    drawing = draw_landmarks(clip.landmarks[middle], pictures[middle].shape[0])
    over = np.where(drawing.any(axis=2, keepdims=True), drawing, pictures[middle])
    shown = [pictures[0], pictures[middle], pictures[len(clip.frames) - 1], drawing, over]
    small = [cv2.resize(picture, (_SIDE, _SIDE), interpolation=cv2.INTER_AREA) for picture in shown]
    tile = np.zeros((_SIDE + _CAPTION, _SIDE * len(small) + 6, 3), dtype=np.uint8)
    tile[_CAPTION:, : _SIDE * len(small)] = np.hstack(small)
    caption = f"{clip.person_id}  {clip.split}  {len(clip.frames)} frames".encode("ascii", "replace").decode()
    cv2.putText(tile, caption, (4, 13), cv2.FONT_HERSHEY_SIMPLEX, 0.42, (230, 230, 230), 1, cv2.LINE_AA)
    return tile


def _chosen(written: Sequence[Written]) -> list[Written]:
    """At most _MOST clips: each person once before anyone twice."""
    ordered = sorted(written, key=lambda clip: clip.clip_id)
    turn: dict[str, int] = {}
    turns = []
    for clip in ordered:
        turn[clip.person_id] = turn.get(clip.person_id, -1) + 1
        turns.append((turn[clip.person_id], clip.clip_id, clip))
    return sorted((clip for _, _, clip in sorted(turns, key=lambda item: item[:2])[:_MOST]), key=lambda c: c.clip_id)


def _load(storage: Storage, chosen: Sequence[Written]) -> list[Clip]:
    files: dict[str, set[str]] = {}
    for clip in chosen:
        files.setdefault(clip.file, set()).add(clip.clip_id)
    clips: list[Clip] = []
    for file, wanted in files.items():
        # The clips are made: a damaged file only goes unseen.
        with contextlib.suppress(ClipsError):
            clips += [clip for clip in read_clips(storage, file) if clip.clip_id in wanted]
    return sorted(clips, key=lambda clip: clip.clip_id)
