"""The networks of L_CNT in few-shot learning."""

from raytalk.enrolment.settings import LearnedPerceptualSettings
from raytalk.errors import SettingsError
from raytalk.learning.pretrained import Pretrained
from raytalk.networks.perceptual import PerceptualNetwork, load_perceptual


def perceptual_networks(
    settings: LearnedPerceptualSettings, pretrained: Pretrained
) -> tuple[PerceptualNetwork, PerceptualNetwork | None]:
    """Those of L_CNT: what the settings name, else what the model was trained with.

    Raises SettingsError or WeightsError saying what is missing.
    """
    trained = [str(network["name"]) for network in pretrained.state.perceptual]
    content = settings.content or (trained[0] if trained else "")
    identity = settings.identity or (trained[1] if len(trained) > 1 else "none")
    if not content:
        raise SettingsError(
            f"{pretrained.uri} does not say with which content network it was trained: give perceptual.content=NAME"
        )
    weights = settings.weights
    wanted = identity != "none" and pretrained.losses.identity > 0
    return load_perceptual(content, weights), load_perceptual(identity, weights) if wanted else None
