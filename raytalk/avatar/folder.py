"""An avatar's folder: written as one, read with reasons.

Weights of an FT avatar's convolutions are kept in half precision: half the bytes, and frames differ by at most two grey
levels, .15 on average (measured with random weights, 128 and 256 px). All else is float32.
"""

import json
import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor

from raytalk.avatar.body import Body
from raytalk.avatar.card import MARKER, AvatarCard, read_card
from raytalk.command import absolute_uri
from raytalk.errors import AvatarError, CheckpointError
from raytalk.learning.checkpoint import compare_tensors, load_part
from raytalk.networks.settings import NetworkSettings
from raytalk.storage import Storage

_WEIGHTS = "weights.safetensors"
_GENERATOR = "generator."


@dataclass(frozen=True)
class Kept:
    """What a folder holds; FT avatars alone have a body and coefficients of their own."""

    card: AvatarCard
    embedding: Tensor
    landmarks: Tensor
    identity: Tensor | None
    coefficients: Tensor | None
    body: Body | None


def save_folder(uri: str, card: AvatarCard, tensors: dict[str, Tensor], weights: dict[str, Tensor]) -> None:
    """tensors: all but `weights`, which are the generator's."""
    tensors = tensors | {f"{_GENERATOR}{key}": _small(value) for key, value in weights.items()}
    with tempfile.TemporaryDirectory(prefix="raytalk-avatar-") as temporary:
        folder = Path(temporary)
        save_file({key: value.cpu().contiguous() for key, value in tensors.items()}, folder / _WEIGHTS)
        (folder / MARKER).write_text(json.dumps(asdict(card), indent=1))
        Storage(absolute_uri(uri)).publish(folder, "", MARKER)


def load_folder(uri: str) -> Kept:
    """Raises AvatarError if there is no avatar, or it is damaged."""
    place = Storage(absolute_uri(uri))
    card = read_card(place)
    where = f"{place.uri}/{_WEIGHTS}"
    with tempfile.TemporaryDirectory(prefix="raytalk-avatar-") as temporary:
        try:
            tensors = load_part(place.uri, place.fetch_file(_WEIGHTS, Path(temporary)))
            embedding, landmarks = tensors.pop("embedding"), tensors.pop("landmarks")
            identity = tensors.pop("identity", None)
            if card.mode == "FF":
                return Kept(card, embedding, landmarks, identity, None, None)
            coefficients = tensors.pop("coefficients")
            weights = {key.removeprefix(_GENERATOR): value.float() for key, value in tensors.items()}
            body = Body.empty(NetworkSettings(**card.networks))
            compare_tensors(where, weights, body.weights())
        except KeyError as error:
            raise AvatarError(f"{where} lacks {error}: make the avatar again") from None
        except CheckpointError as error:
            raise AvatarError(f"{error}: make the avatar again") from None
    body.fill(weights)
    return Kept(card, embedding, landmarks, identity, coefficients, body)


def _small(weight: Tensor) -> Tensor:
    return weight.to(torch.float16) if weight.dim() > 1 else weight
