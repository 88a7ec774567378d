"""An avatar's folder: `avatar.json` and the file of weights that it names.

A new version puts its weights beside the old ones, then replaces `avatar.json`, then deletes the old weights: whoever
reads sees one version or the other, also in an object store, and whatever else lies in the folder stays.

Weights of an FT avatar's convolutions are kept in half precision: half the bytes, and frames differ by at most two grey
levels, .15 on average (measured with random weights, 128 and 256 px). All else is float32.
"""

import json
import uuid
from dataclasses import asdict, dataclass

from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor

from raytalk.avatar.body import Body
from raytalk.avatar.card import MARKER, AvatarCard, is_weights, read_marker
from raytalk.command import absolute_uri
from raytalk.errors import AvatarError, CheckpointError, StorageError
from raytalk.learning.checkpoint import compare_tensors
from raytalk.learning.release import halved
from raytalk.networks.settings import NetworkSettings
from raytalk.storage import Storage

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
    tensors = tensors | {f"{_GENERATOR}{key}": halved(value) for key, value in weights.items()}
    place, name = Storage(absolute_uri(uri)), f"weights-{uuid.uuid4().hex[:12]}.safetensors"
    place.write(name, save({key: value.cpu().contiguous() for key, value in tensors.items()}))
    place.write(MARKER, json.dumps(asdict(card) | {"weights": name}, indent=1).encode())
    for entry in place.entries():
        if is_weights(entry.path) and entry.path != name:
            place.delete(entry.path)


def load_folder(place: Storage) -> Kept:
    """Nothing of a person is laid down on this machine. Raises AvatarError if there is no avatar, or it is damaged;
    StorageError if the store fails."""
    for last in (False, True):
        card, name = read_marker(place)
        where = f"{place.uri}/{name}"
        try:
            data = place.read(name)
            break
        except StorageError:
            if place.exists(name):
                raise
            # Replaced between two reads; or damaged, and then it is no better now.
            if last:
                raise AvatarError(f"{where} is not there: make the avatar again") from None
    try:
        tensors = load(data)
        embedding, landmarks = tensors.pop("embedding"), tensors.pop("landmarks")
        identity = tensors.pop("identity", None)
        if card.mode == "FF":
            return Kept(card, embedding, landmarks, identity, None, None)
        coefficients = tensors.pop("coefficients")
        weights = {key.removeprefix(_GENERATOR): value.float() for key, value in tensors.items()}
        body = Body.empty(NetworkSettings(**card.networks))
        compare_tensors(where, weights, body.weights())
    except SafetensorError as error:
        raise AvatarError(f"{where} cannot be read: {error}: make the avatar again") from None
    except KeyError as error:
        raise AvatarError(f"{where} lacks {error}: make the avatar again") from None
    except CheckpointError as error:
        raise AvatarError(f"{error}: make the avatar again") from None
    body.fill(weights)
    return Kept(card, embedding, landmarks, identity, coefficients, body)
