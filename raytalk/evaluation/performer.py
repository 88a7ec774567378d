"""All methods on one person: needs the device. What they made is judged elsewhere, but for what networks say of it."""

from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
import torch

from raytalk.clips.schema import takes_landmarks_of
from raytalk.command import absolute_uri
from raytalk.enrolment.perceptual import perceptual_networks
from raytalk.errors import CheckpointError, SettingsError
from raytalk.evaluation.labels import features_of, lpips_of
from raytalk.evaluation.methods.copying import MeanFrame, NearestFrame
from raytalk.evaluation.methods.made import Made, Method
from raytalk.evaluation.methods.ours import FeedForward, FineTuned, random_start
from raytalk.evaluation.methods.warping import WarpedFrames
from raytalk.evaluation.protocol import Sitting, Trial, sit
from raytalk.evaluation.settings import EvaluateSettings
from raytalk.learning.fewshot import FewShotLearner
from raytalk.learning.losses import LossSettings
from raytalk.learning.meta import Talker, arithmetic, choose_device, to_unit
from raytalk.learning.naming import absolute_checkpoint
from raytalk.learning.pretrained import Pretrained, load_pretrained
from raytalk.learning.settings import FewShotSettings
from raytalk.networks.discriminator import Discriminator
from raytalk.storage import Storage
from raytalk.warping.model import Warping, load_warping

_BATCH = 16
"""pictures that networks judge together"""

Numbers = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Performance:
    """What was made of one person, with what judges need. Can be sent to another process."""

    sitting: Sitting
    made: list[Made]
    lpips: list[Numbers | None]
    """[M] of each that was made; None where nothing measures it"""
    features: list[Numbers | None]
    """[M, D] likewise"""
    true_features: Numbers | None
    """[M, D] of the hold-out frames"""


@dataclass(frozen=True)
class Models:
    """Everything that is loaded from outside, on the CPU."""

    main: Pretrained
    others: dict[str, Pretrained] = field(default_factory=dict)
    translation: Pretrained | None = None
    warping: Warping | None = None

    @property
    def all(self) -> list[Pretrained]:
        """The main one first."""
        return [self.main, *self.others.values(), *([self.translation] if self.translation else [])]


def load_models(settings: EvaluateSettings) -> Models:
    """Raises CheckpointError if one cannot be used."""
    store = settings.tracking.uri

    def load(uri: str) -> Pretrained:
        return load_pretrained(absolute_checkpoint(uri), store)

    return Models(
        load(settings.checkpoint),
        {name: load(uri) for name, uri in settings.others.items()},
        load(settings.translation) if settings.translation else None,
        load_warping(absolute_uri(settings.warping)) if settings.warping else None,
    )


def check_models(settings: EvaluateSettings, models: Models, detectors: list[str]) -> None:
    """What is wrong for everybody is said before a cluster is asked.

    Raises CheckpointError if a model does not fit the others or the landmarks of the clips, SettingsError or
    WeightsError if a method cannot be had.
    """
    main = models.main
    sizes = [(other.uri, other.networks.resolution) for other in models.all[1:]]
    if models.warping is not None:
        sizes.append((models.warping.uri, models.warping.settings.resolution))
    size = main.networks.resolution
    for uri, other_size in sizes:
        if other_size != size:
            raise CheckpointError(f"{uri} makes pictures of {other_size} pixels and {main.uri} of {size}")
    for other in models.all:
        perceptual_networks(settings.perceptual, other)
    if "ft/no-identity" in settings.methods and not _has_identity(main):
        raise SettingsError(
            f"methods=ft/no-identity: {main.uri} was trained without an identity network; leave that method out"
        )
    if models.translation and models.translation.networks.embedder:
        raise CheckpointError(
            f"translation={models.translation.uri} has an embedder: train it with networks.embedder=false"
        )
    trained = [(model.uri, model.state.detector) for model in models.all]
    if models.warping is not None:
        trained.append((models.warping.uri, models.warping.state.detector))
    for uri, own in trained:
        if not settings.accept_detector and not all(takes_landmarks_of(own, name) for name in detectors):
            raise CheckpointError(
                f"{uri} was trained on landmarks by {own} and the clips have them by "
                f"{', '.join(detectors)}: give accept_detector=true if that is meant"
            )


def _has_identity(model: Pretrained) -> bool:
    return len(model.state.perceptual) > 1 and model.losses.identity > 0


class Performer:
    """The methods of an evaluation, loaded once."""

    def __init__(self, settings: EvaluateSettings, models: Models) -> None:
        self.settings = settings
        self.device = choose_device(settings.device)
        self.dtype = arithmetic(settings.precision, self.device)
        self._clips = Storage(absolute_uri(settings.clips))
        self._resolution = models.main.networks.resolution
        self.methods = self._methods(models)
        lpips, features = lpips_of(settings.metrics), features_of(settings.metrics)
        self._lpips = None if lpips is None else lpips.to(self.device)
        self._features = None if features is None else features.to(self.device)

    def perform(self, trial: Trial) -> Performance:
        """Raises ClipsError if the clip cannot be used."""
        settings = self.settings
        sitting = sit(self._clips, trial, self._resolution, max(settings.shots), settings.hold_out, settings.seed)
        made = [each for shots in settings.shots for method in self.methods for each in method.make(sitting, shots)]
        truth = torch.from_numpy(sitting.truth)
        return Performance(
            sitting,
            made,
            [self._distances(torch.from_numpy(each.pictures), truth) for each in made],
            [self._seen(torch.from_numpy(each.pictures)) for each in made],
            self._seen(truth),
        )

    def _methods(self, models: Models) -> list[Method]:
        settings, main = self.settings, models.main
        made: list[Method] = []
        for name in settings.methods:
            if name == "nearest":
                made.append(NearestFrame())
            elif name == "mean":
                made.append(MeanFrame())
            elif name == "ff":
                made.append(FeedForward(name, main, self.device, self.dtype))
            elif name == "ft":
                made.append(self._fine_tuned(name, main, main.losses, shown=settings.steps_shown))
            elif name == "ft/no-feature-matching":
                made.append(self._fine_tuned(name, main, main.losses.model_copy(update={"feature_matching": 0.0})))
            elif name == "ft/random-start":
                made.append(self._fine_tuned(name, main, main.losses, start=random_start(main, settings.seed)))
            else:
                made.append(self._fine_tuned(name, main, main.losses.model_copy(update={"identity": 0.0})))
        for other_name, other in models.others.items():
            if "ff" in settings.methods:
                made.append(FeedForward(f"{other_name}/ff", other, self.device, self.dtype))
            if "ft" in settings.methods:
                made.append(self._fine_tuned(f"{other_name}/ft", other, other.losses))
        if models.translation is not None:
            few = settings.fewshot
            if settings.translation_epochs:
                few = few.model_copy(update={"epochs": settings.translation_epochs})
            made.append(self._fine_tuned("translation", models.translation, models.translation.losses, few=few))
        if models.warping is not None:
            made.append(WarpedFrames(models.warping, self.device))
        return made

    def _fine_tuned(
        self,
        name: str,
        pretrained: Pretrained,
        losses: LossSettings,
        few: FewShotSettings | None = None,
        start: tuple[Talker, Discriminator] | None = None,
        shown: tuple[int, ...] = (),
    ) -> FineTuned:
        settings = self.settings
        content, identity = perceptual_networks(settings.perceptual, pretrained)
        talker, discriminator = start or (pretrained.talker, pretrained.discriminator)
        learner = FewShotLearner(
            few or settings.fewshot,
            losses,
            talker,
            discriminator,
            content,
            identity if losses.identity else None,
            self.device,
            self.dtype,
            settings.speed,
        )
        return FineTuned(name, learner, pretrained.pupils, shown)

    @torch.no_grad()
    def _distances(self, pictures: torch.Tensor, truth: torch.Tensor) -> Numbers | None:
        if self._lpips is None:
            return None
        parts = [
            self._lpips(to_unit(ours.to(self.device)), to_unit(real.to(self.device))).cpu().numpy()
            for ours, real in zip(pictures.split(_BATCH), truth.split(_BATCH), strict=True)
        ]
        return np.concatenate(parts)

    @torch.no_grad()
    def _seen(self, pictures: torch.Tensor) -> Numbers | None:
        if self._features is None:
            return None
        return np.concatenate([self._features(p.to(self.device)).cpu().numpy() for p in pictures.split(_BATCH)])
