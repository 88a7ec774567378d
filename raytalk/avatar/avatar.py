"""A person's talking head: made from a meta-learned model, kept as a folder, driven by landmarks.

An avatar's folder holds `weights.safetensors` and, put there last, `avatar.json`. A feed-forward avatar (FF) is an
embedding of some kilobytes and needs its checkpoint to render; a fine-tuned one (FT) brings its own generator.
"""

from collections.abc import Sequence
from typing import Self

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from raytalk.avatar.body import Body, shared_body
from raytalk.avatar.card import AvatarCard
from raytalk.avatar.drawing import draw_ahead
from raytalk.avatar.engines import Engine, EngineName, Pictures
from raytalk.avatar.folder import load_folder, save_folder
from raytalk.command import absolute_uri
from raytalk.errors import CheckpointError
from raytalk.faces.draw import draw_batch
from raytalk.learning.fewshot import FewShotLearner
from raytalk.learning.pretrained import Pretrained, load_pretrained
from raytalk.networks.settings import NetworkSettings
from raytalk.storage import Storage

Points = npt.NDArray[np.float32]


class Avatar:
    """One person's generator and ψ', ready to render."""

    def __init__(
        self,
        card: AvatarCard,
        body: Body,
        embedding: Tensor,
        coefficients: Tensor,
        landmarks: npt.NDArray[np.floating] | None = None,
        identity: npt.NDArray[np.floating] | None = None,
    ) -> None:
        """embedding ê_NEW [N], coefficients ψ' [C], both float32. landmarks and identity as in `feed_forward`."""
        self.card = card
        self.landmarks: Points = _points(landmarks)
        """[T, 68, 2] of the learning images, in pixels of the card's resolution; T is 0 where nobody kept them"""
        self.identity: Points | None = None if identity is None else _descriptor(identity)
        """[128] descriptor of the face (`raytalk.faces.identity`), if known"""
        self.body = body
        self._embedding, self.coefficients = embedding.detach().cpu(), coefficients.detach().cpu()
        self._engine: Engine | None = None

    @classmethod
    def feed_forward(
        cls,
        card: AvatarCard,
        pretrained: Pretrained,
        embedding: Tensor,
        landmarks: npt.NDArray[np.floating] | None = None,
        identity: npt.NDArray[np.floating] | None = None,
    ) -> Self:
        """The FF avatar of an embedding [N]: no learning, the model's own generator, which all its avatars share.

        landmarks: [T, 68, 2] of the learning images, in pixels of the card's resolution. identity: [128], the face's
        descriptor.
        """
        generator = pretrained.talker.generator
        with torch.no_grad():
            projection = generator.projection
            coefficients = projection(embedding.to(projection.bias.device)[None])[0]
        return cls(card, shared_body(generator, pretrained.networks), embedding, coefficients, landmarks, identity)

    @classmethod
    def fine_tuned(
        cls,
        card: AvatarCard,
        learner: FewShotLearner,
        landmarks: npt.NDArray[np.floating] | None = None,
        identity: npt.NDArray[np.floating] | None = None,
    ) -> Self:
        """The FT avatar as the learner is now; the learner may go on. landmarks and identity as in `feed_forward`."""
        body = Body.copy(learner.generator, NetworkSettings(**card.networks))
        return cls(card, body, learner.embedding, learner.coefficients.clone(), landmarks, identity)

    def to(self, device: str, dtype: torch.dtype | None = None, engine: EngineName = "auto") -> Self:
        """Render there from now on; an avatar that never moved renders on the CPU, made ready by its first frame.

        dtype: of the arithmetic; bfloat16 on a GPU and float32 on a CPU if not given. engine: see
        `raytalk.avatar.engines`; auto takes the fastest that works here. Raises SettingsError for an engine that
        does not.
        """
        self._engine = self.body.engine(device, dtype, engine)
        return self

    @property
    def engine(self) -> str:
        """Name of the engine that renders."""
        return self._ready().name

    def render(
        self, landmarks: npt.NDArray[np.floating], batch_size: int = 8, pupils: npt.NDArray[np.floating] | None = None
    ) -> Pictures:
        """Frames of the person with these landmarks.

        landmarks: [M, 68, 2] x and y in pixels of the card's resolution. pupils: [M, 2, 2] likewise, NaN where
        unknown; ignored by an avatar whose card does not want them. batch_size: frames rendered together. Returns
        [M, H, W, 3] uint8 RGB. Raises ValueError for another shape or landmarks that are not finite.
        """
        size = self.card.resolution
        frames = np.empty((len(landmarks), size, size, 3), np.uint8)
        with draw_ahead(landmarks, pupils if self.card.pupils else None, size, batch_size) as batches:
            self._ready().render(batches, self.coefficients, frames)
        return frames

    def _ready(self) -> Engine:
        if self._engine is None:
            self.to("cpu")
        assert self._engine is not None
        return self._engine

    def save(self, uri: str) -> None:
        """Publish the avatar's folder; it is never seen half.

        The weights of an FT avatar are kept in half precision (`raytalk.avatar.folder`).
        """
        tensors = {"embedding": self._embedding, "landmarks": torch.from_numpy(self.landmarks)}
        if self.identity is not None:
            tensors["identity"] = torch.from_numpy(self.identity)
        weights = {}
        if self.card.mode == "FT":
            tensors["coefficients"] = self.coefficients
            weights = self.body.weights()
        save_folder(uri, self.card, tensors, weights)

    @classmethod
    def load(cls, place: str | Storage, tracking_uri: str = "", pretrained: Pretrained | None = None) -> Self:
        """An avatar from its folder (a URI, or where it is to be read from); `pretrained` saves loading an FF avatar's
        checkpoint again.

        Raises AvatarError if there is none or it is damaged, CheckpointError if an FF avatar's checkpoint is missing or
        another than it was made from.
        """
        kept = load_folder(place if isinstance(place, Storage) else Storage(absolute_uri(place)))
        landmarks, identity = (None if part is None else part.numpy() for part in (kept.landmarks, kept.identity))
        if kept.card.mode == "FF":
            pretrained = pretrained or load_pretrained(kept.card.checkpoint, tracking_uri)
            _check_model(kept.card, pretrained)
            return cls.feed_forward(kept.card, pretrained, kept.embedding, landmarks, identity)
        assert kept.body is not None
        assert kept.coefficients is not None
        return cls(kept.card, kept.body, kept.embedding, kept.coefficients, landmarks, identity)


def render_together(avatars: Sequence[Avatar], landmarks: npt.NDArray[np.floating]) -> Pictures:
    """Frames of several people whose weights are shared, as FF avatars of one model are: [N, H, W, 3] uint8 RGB.

    avatars: whose each frame is, all with one body, on one device; landmarks: [N, 68, 2] in pixels of their resolution.
    Pupils are left out. Raises ValueError for other shapes, or people who do not share.
    """
    first = avatars[0]
    engine = first._ready()
    if any(each.body is not first.body or each._ready() is not engine for each in avatars):
        raise ValueError("people who are rendered together must share one body and one device")
    if len(avatars) != len(landmarks):
        raise ValueError(f"{len(landmarks)} frames need as many people, not {len(avatars)}")
    drawings = draw_batch(landmarks, first.card.resolution)
    alone = all(each is first for each in avatars)
    coefficients = first.coefficients if alone else torch.stack([each.coefficients for each in avatars])
    frames = np.empty_like(drawings)
    engine.render([drawings], coefficients, frames)
    return frames


def _check_model(card: AvatarCard, pretrained: Pretrained) -> None:
    networks, episodes = pretrained.networks.model_dump(mode="json"), pretrained.state.episodes
    if networks != NetworkSettings(**card.networks).model_dump(mode="json") or episodes != card.episodes:
        raise CheckpointError(
            f"{pretrained.uri} is not the model that {card.name} was made from (after {card.episodes:,} episodes, this "
            f"one after {episodes:,}): give that checkpoint, or make the avatar again"
        )


def _points(landmarks: npt.NDArray[np.floating] | None) -> Points:
    points = np.zeros((0, 68, 2), np.float32) if landmarks is None else np.array(landmarks, np.float32)
    if points.shape[1:] != (68, 2):
        raise ValueError(f"landmarks of learning images must have the shape [T, 68, 2], not {list(points.shape)}")
    return points


def _descriptor(identity: npt.NDArray[np.floating]) -> Points:
    descriptor = np.array(identity, np.float32)
    if descriptor.shape != (128,):
        raise ValueError(f"a face's descriptor must have the shape [128], not {list(descriptor.shape)}")
    return descriptor
