"""Material of one person becomes an avatar: feed-forward at once, fine-tuned after that. Plain torch, no Ray."""

import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from raytalk.avatar import Avatar, AvatarCard
from raytalk.clips.schema import RENDERED, takes_landmarks_of
from raytalk.enrolment.material import Material
from raytalk.enrolment.perceptual import perceptual_networks
from raytalk.enrolment.settings import FinetuneSettings, Mode
from raytalk.errors import CheckpointError
from raytalk.faces.detect import AUTO, make_detector, resolve_detector
from raytalk.faces.face import LandmarkDetector
from raytalk.learning.fewshot import FewShotLearner, embed
from raytalk.learning.learning_images import LearningImages
from raytalk.learning.lesson import teach
from raytalk.learning.meta import arithmetic, choose_device
from raytalk.learning.pretrained import Pretrained

Progress = Callable[[int, int, dict[str, float]], None]
"""is told the step, the number of steps and the losses"""
EachStep = Callable[[int, int, FewShotLearner], None]
"""is told the step, the number of steps, and who learns, who can be asked to render; ends learning by an exception"""


@dataclass(frozen=True)
class About:
    """What is said of the person beside the pictures."""

    name: str
    consent: str = ""
    id: str = field(default_factory=lambda: uuid.uuid4().hex)


class AvatarMaker:
    """A model and what learns new people from it, one after the other. Costly parts are made once, when needed."""

    def __init__(self, settings: FinetuneSettings, pretrained: Pretrained) -> None:
        self.settings, self.pretrained = settings, pretrained
        self.device = choose_device(settings.device)
        pretrained.talker.to(self.device)
        self._detector: LandmarkDetector | None = None
        self._learner: FewShotLearner | None = None

    def detector(self) -> LandmarkDetector:
        """Finds landmarks as the model wants them. Raises CheckpointError, SettingsError or WeightsError."""
        if self._detector is None:
            name = detector_name(self.settings, self.pretrained)
            self._detector = make_detector(name, self.device.type)
        return self._detector

    def check(self, material: Material) -> None:
        """Raises CheckpointError if the material's landmarks are not what the model was trained with."""
        theirs, own = material.detector, self.pretrained.state.detector
        if not takes_landmarks_of(own, theirs) and not self.settings.accept_detector:
            raise CheckpointError(
                f"{self.pretrained.uri} was trained on landmarks by {own} and those of {material.source} are by "
                f"{theirs}: give accept_detector=true if that is meant"
            )

    def feed_forward(self, material: Material, about: About) -> Avatar:
        """The FF avatar: one pass through the embedder (Eq. 7)."""
        self.check(material)
        images = LearningImages.drawn(material.frames, material.landmarks, self._pupils(material))
        embedding = embed(self.pretrained.talker, images)
        card = self._card(material, about, "FF", {"images": len(material), "source": material.source})
        return Avatar.feed_forward(card, self.pretrained, embedding.cpu(), material.landmarks, material.identity)

    def fine_tuned(
        self,
        material: Material,
        about: About,
        progress: Progress | None = None,
        each_step: EachStep | None = None,
    ) -> Avatar:
        """The FT avatar (Eq. 8-10). `progress` is told some ten times, `each_step` after every step."""
        self.check(material)
        settings = self.settings.fewshot
        learner = self.learner()
        start = time.perf_counter()

        def report(step: int, total: int, metrics: dict[str, torch.Tensor]) -> None:
            if progress is not None and (step % max(1, total // 10) == 0 or step in (1, total)):
                # Reading them waits for the device.
                progress(step, total, {key: float(value) for key, value in metrics.items()})
            if each_step is not None:
                each_step(step, total, learner)

        pupils = self._pupils(material)
        lesson = teach(learner, material.frames, material.landmarks, pupils, report)
        how: dict[str, Any] = {"images": len(material), "source": material.source, "steps": lesson.steps}
        if lesson.aside:
            how |= {"kept_aside": lesson.aside, "best_step": lesson.best_step}
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)
        how |= {"seconds": round(time.perf_counter() - start, 2), "fewshot": settings.model_dump(mode="json")}
        how["perceptual"] = [network.describe() for network in (learner.content, learner.identity) if network]
        return Avatar.fine_tuned(self._card(material, about, "FT", how), learner, material.landmarks, material.identity)

    def learner(self) -> FewShotLearner:
        """The learner, with the networks of its losses. Raises WeightsError if their weights are not here."""
        if self._learner is None:
            pretrained, settings = self.pretrained, self.settings
            content, identity = perceptual_networks(settings.perceptual, pretrained)
            self._learner = FewShotLearner(
                settings.fewshot,
                pretrained.losses,
                pretrained.talker,
                pretrained.discriminator,
                content,
                identity,
                self.device,
                arithmetic(settings.precision, self.device),
                settings.speed,
            )
        return self._learner

    def _pupils(self, material: Material) -> npt.NDArray[np.float32] | None:
        """If the model was trained with pupils in its drawings and they are known."""
        return material.pupils if self.pretrained.pupils else None

    def _card(self, material: Material, about: About, mode: Mode, learned: dict[str, Any]) -> AvatarCard:
        return AvatarCard(
            name=about.name,
            detector=material.detector,
            networks=self.pretrained.networks.model_dump(mode="json"),
            checkpoint=self.pretrained.uri,
            mode=mode,
            learned=learned,
            consent=about.consent,
            pupils=self.pretrained.pupils and material.pupils is not None,
            episodes=self.pretrained.state.episodes,
            id=about.id,
        )


def detector_name(settings: FinetuneSettings, pretrained: Pretrained) -> str:
    """Which detector finds the landmarks of photographs: the model's own, or any for a model of rendered people.

    Raises CheckpointError if it is not the model's and that was not asked for, SettingsError or WeightsError if it
    cannot be had.
    """
    own = pretrained.state.detector
    name = settings.detector or (AUTO if own == RENDERED else own)
    name = resolve_detector(name)
    if not takes_landmarks_of(own, name) and not settings.accept_detector:
        raise CheckpointError(
            f"{pretrained.uri} was trained on landmarks by {own} and detector={name}: "
            "give accept_detector=true to go on all the same"
        )
    return name
