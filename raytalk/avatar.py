"""A person's talking head: made from a meta-learned model, kept as a folder, driven by landmarks.

An avatar's folder holds `weights.safetensors` and, put there last, `avatar.json`. A feed-forward avatar (FF) is an
embedding of some kilobytes and needs its checkpoint to render; a fine-tuned one (FT) brings its own generator.
"""

import json
import tempfile
import uuid
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal, Self

import numpy as np
import numpy.typing as npt
import torch
from safetensors.torch import save_file
from torch import Tensor

from raytalk.command import absolute_uri
from raytalk.errors import AvatarError, CheckpointError
from raytalk.faces.draw import draw_batch
from raytalk.learning.checkpoint import compare_tensors, load_part
from raytalk.learning.fewshot import FewShotLearner
from raytalk.learning.meta import to_unit
from raytalk.learning.pretrained import Pretrained, load_pretrained
from raytalk.networks.generator import Generator
from raytalk.networks.settings import NetworkSettings
from raytalk.networks.spectral import fold
from raytalk.storage import Storage

FORMAT = 1
MARKER = "avatar.json"
_WEIGHTS = "weights.safetensors"
_PROJECTION = "projection."

Pictures = npt.NDArray[np.uint8]


@dataclass(frozen=True)
class AvatarCard:
    """What `avatar.json` says."""

    name: str
    """the person's"""
    detector: str
    """whose landmarks it was learned with; another detector's must not drive it"""
    networks: dict[str, Any]
    """NetworkSettings of the generator"""
    checkpoint: str
    """URI of the model that it was made from"""
    mode: Literal["FF", "FT"]
    """feed-forward, or fine-tuned"""
    learned: dict[str, Any] = field(default_factory=dict)
    """how: number of images, steps, rates"""
    consent: str = ""
    """what is known about the person's consent"""
    id: str = field(default_factory=lambda: uuid.uuid4().hex)
    format: int = FORMAT

    @property
    def resolution(self) -> int:
        """Height and width of the frames, and of the square in which landmarks are measured, in pixels."""
        return int(self.networks["resolution"])


class Avatar:
    """One person's generator and ψ', ready to render."""

    def __init__(self, card: AvatarCard, generator: Generator, embedding: Tensor, coefficients: Tensor) -> None:
        """embedding ê_NEW [N], coefficients ψ' [C], both float32; the generator now belongs to the avatar."""
        self.card = card
        self._generator = generator.eval().requires_grad_(False)
        self._embedding, self._coefficients = embedding.detach(), coefficients.detach()
        self.to("cpu")

    @classmethod
    def feed_forward(cls, card: AvatarCard, pretrained: Pretrained, embedding: Tensor) -> Self:
        """The FF avatar of an embedding [N]: no learning, the model's own generator."""
        generator = _copy(pretrained.talker.generator, pretrained.networks)
        with torch.no_grad():
            coefficients = generator.projection(embedding.cpu()[None])[0]
        return cls(card, generator, embedding.cpu(), coefficients)

    @classmethod
    def fine_tuned(cls, card: AvatarCard, learner: FewShotLearner) -> Self:
        """The FT avatar as the learner is now; the learner may go on."""
        generator = _copy(learner.generator, NetworkSettings(**card.networks))
        return cls(card, generator, learner.embedding.cpu(), learner.coefficients.cpu().clone())

    def to(self, device: str, dtype: torch.dtype | None = None) -> Self:
        """Render there from now on. dtype: bfloat16 on a GPU and float32 on a CPU if not given."""
        self._device = torch.device(device)
        self._dtype = dtype or (torch.bfloat16 if self._device.type == "cuda" else torch.float32)
        self._generator.to(self._device)
        fold(self._generator, self._dtype)
        self._coefficients = self._coefficients.to(self._device)
        return self

    @torch.inference_mode()
    def render(self, landmarks: npt.NDArray[np.floating], batch_size: int = 8) -> Pictures:
        """Frames of the person with these landmarks.

        landmarks: [M, 68, 2] x and y in pixels of the card's resolution. Returns [M, H, W, 3] uint8 RGB. Raises
        ValueError for another shape or numbers that are not finite.
        """
        size = self.card.resolution
        drawings = torch.from_numpy(draw_batch(landmarks, size))
        frames = np.empty((len(drawings), size, size, 3), np.uint8)
        for start in range(0, len(drawings), batch_size):
            part = drawings[start : start + batch_size].to(self._device)
            output = self._generator.render(to_unit(part, self._dtype), self._coefficients.expand(len(part), -1))
            pictures = ((output + 1) * 127.5).round().clamp(0, 255).to(torch.uint8).movedim(1, -1)
            frames[start : start + len(part)] = pictures.cpu().numpy()
        return frames

    def save(self, uri: str) -> None:
        """Publish the avatar's folder; it is never seen half."""
        tensors = {"embedding": self._embedding}
        if self.card.mode == "FT":
            tensors["coefficients"] = self._coefficients
            tensors |= {f"generator.{key}": value for key, value in _own(self._generator).items()}
        with tempfile.TemporaryDirectory(prefix="raytalk-avatar-") as temporary:
            folder = Path(temporary)
            save_file({key: value.cpu().contiguous() for key, value in tensors.items()}, folder / _WEIGHTS)
            (folder / MARKER).write_text(json.dumps(asdict(self.card), indent=1))
            Storage(absolute_uri(uri)).publish(folder, "", MARKER)

    @classmethod
    def load(cls, uri: str, tracking_uri: str = "", pretrained: Pretrained | None = None) -> Self:
        """An avatar from its folder; `pretrained` saves loading an FF avatar's checkpoint again.

        Raises AvatarError if there is none or it is damaged, CheckpointError if an FF avatar's checkpoint is missing.
        """
        place = Storage(absolute_uri(uri))
        card = _read_card(place)
        with tempfile.TemporaryDirectory(prefix="raytalk-avatar-") as temporary:
            try:
                tensors = load_part(place.uri, place.fetch_file(_WEIGHTS, Path(temporary)))
                embedding = tensors.pop("embedding")
                if card.mode == "FF":
                    pretrained = pretrained or load_pretrained(card.checkpoint, tracking_uri)
                    return cls.feed_forward(card, pretrained, embedding)
                coefficients = tensors.pop("coefficients")
                generator = Generator(NetworkSettings(**card.networks))
                weights = {key.removeprefix("generator."): value for key, value in tensors.items()}
                compare_tensors(f"{place.uri}/{_WEIGHTS}", weights, _own(generator))
            except KeyError as error:
                raise AvatarError(f"{place.uri}/{_WEIGHTS} lacks {error}: make the avatar again") from None
            except CheckpointError as error:
                raise error if card.mode == "FF" else AvatarError(f"{error}: make the avatar again") from None
        generator.load_state_dict(weights, strict=False)
        return cls(card, generator, embedding, coefficients)


def _read_card(place: Storage) -> AvatarCard:
    if not place.exists(MARKER):
        raise AvatarError(f"{place.uri} is no avatar: {MARKER} is missing")
    try:
        loaded = json.loads(place.read(MARKER))
        if loaded.get("format") != FORMAT:
            raise AvatarError(
                f"{place.uri} has format {loaded.get('format')}; this version reads format {FORMAT}: make it again"
            )
        card = AvatarCard(**loaded)
        NetworkSettings(**card.networks)
    except (ValueError, TypeError, AttributeError) as error:
        raise AvatarError(f"{place.uri}/{MARKER} cannot be read: {error}") from None
    if card.mode not in ("FF", "FT"):
        raise AvatarError(f"{place.uri}/{MARKER} cannot be read: mode is {card.mode!r}")
    return card


def _copy(generator: Generator, networks: NetworkSettings) -> Generator:
    copied = Generator(networks)
    copied.load_state_dict({key: value.cpu() for key, value in generator.state_dict().items()})
    return copied


def _own(generator: Generator) -> dict[str, Tensor]:
    """What of a generator an avatar needs: all but the projection, which ψ' stands for."""
    return {key: value for key, value in generator.state_dict().items() if not key.startswith(_PROJECTION)}
