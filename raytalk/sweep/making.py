"""A model makes the hold-out frames of a person it has learned from T frames: few-shot learning, on the device."""

from collections.abc import Callable

import numpy as np
import torch

from raytalk.evaluation.methods.made import Pictures
from raytalk.evaluation.methods.ours import FineTuned
from raytalk.evaluation.protocol import Sitting
from raytalk.learning.fewshot import FewShotLearner
from raytalk.learning.losses import LossSettings
from raytalk.learning.meta import MetaLearner, Talker, arithmetic
from raytalk.learning.pretrained import Pretrained
from raytalk.learning.settings import FewShotSettings, SpeedSettings
from raytalk.networks.discriminator import Discriminator
from raytalk.networks.operations import fused_kernels
from raytalk.networks.perceptual import PerceptualNetwork, load_perceptual
from raytalk.sweep.settings import ObjectiveSettings

Make = Callable[[Sitting], Pictures]


def by_learner(learner: MetaLearner, settings: ObjectiveSettings) -> Make:
    """The averaged model of a run as it is now; nothing of the run is changed."""
    run = learner.settings
    return _maker(
        settings,
        learner.average,
        learner.discriminator,
        learner.content,
        learner.identity,
        run.losses,
        learner.device,
        learner.dtype,
        pupils=run.data.pupils > 0,
        fused=run.speed.fused_kernels,
    )


def by_checkpoint(
    model: Pretrained, perceptual: tuple[str, str, str], settings: ObjectiveSettings, device: torch.device
) -> Make:
    """A model from a checkpoint. perceptual: names of the content and identity networks, and where weights are."""
    content, identity, weights = perceptual
    wanted = identity != "none" and model.losses.identity > 0
    return _maker(
        settings,
        model.talker.to(device),
        model.discriminator,
        load_perceptual(content, weights),
        load_perceptual(identity, weights) if wanted else None,
        model.losses,
        device,
        arithmetic("auto", device),
        pupils=model.pupils,
        fused=True,
    )


def _maker(
    settings: ObjectiveSettings,
    talker: Talker,
    discriminator: Discriminator,
    content: PerceptualNetwork,
    identity: PerceptualNetwork | None,
    losses: LossSettings,
    device: torch.device,
    dtype: torch.dtype,
    pupils: bool,
    fused: bool,
) -> Make:
    """With the losses that the model was trained with, as a person is learned in use."""
    few = FewShotSettings(steps=settings.steps, batch_size=min(8, settings.shots))
    # Recording the steps costs more than so few of them, and would hold memory beside the run's.
    speed = SpeedSettings(fused_kernels=fused, graphs=False)
    method = FineTuned(
        "ft", FewShotLearner(few, losses, talker, discriminator, content, identity, device, dtype, speed), pupils
    )

    def make(sitting: Sitting) -> Pictures:
        with fused_kernels(fused):
            return np.asarray(method.make(sitting, settings.shots)[-1].pictures, np.uint8)

    return make
