"""The meta-learned model as the service uses it: which detector finds its people, and what makes avatars of them."""

import logging

from raytalk.clips.schema import RENDERED
from raytalk.enrolment.maker import AvatarMaker
from raytalk.enrolment.settings import FinetuneSettings
from raytalk.errors import WeightsError
from raytalk.faces.detect import AUTO, resolve_detector
from raytalk.learning.pretrained import Pretrained, load_pretrained
from serve.settings import ServiceSettings

_log = logging.getLogger("raytalk.serve.work")


def load_maker(settings: ServiceSettings) -> AvatarMaker:
    """The model and what makes avatars from it, which loads a detector or a learner when one is needed first.

    Raises CheckpointError, SettingsError or WeightsError saying what is missing.
    """
    pretrained = load_pretrained(settings.checkpoint, settings.tracking_uri)
    wanted = FinetuneSettings(
        checkpoint=settings.checkpoint,
        output="storage of the service",
        images="material of the person",
        shots=settings.shots,
        min_face=settings.min_face,
        # Which detector is right was decided here.
        accept_detector=True,
        detector=choose_detector(settings, pretrained),
        device=settings.device,
        tracking_uri=settings.tracking_uri,
        fewshot=settings.fewshot,
        perceptual=settings.perceptual,
    )
    return AvatarMaker(wanted, pretrained)


def choose_detector(settings: ServiceSettings, pretrained: Pretrained) -> str:
    """The detector of everything in the service: the one asked for, else the model's own, else what can be had.

    A model of rendered people, whose landmarks nobody had to find, is driven by any. Raises WeightsError if none can be
    had.
    """
    own = pretrained.state.detector
    if settings.detector != AUTO:
        name = resolve_detector(settings.detector)
    else:
        try:
            name = resolve_detector(own if own != RENDERED else AUTO)
        except WeightsError as error:
            name = resolve_detector(AUTO)
            _log.warning("%s instead of %s, whose landmarks the model was trained with: %s", name, own, error)
    if name != own and own != RENDERED:
        _log.warning("the model was trained with landmarks by %s, people are found by %s", own, name)
    return name
