"""A meta-learned model as those use it who go on from there: its averaged E and G, its D, and how it was made."""

import tempfile
from dataclasses import dataclass
from pathlib import Path

import pydantic
import yaml
from torch import nn

from raytalk.errors import CheckpointError
from raytalk.learning.checkpoint import State, compare_tensors, load_part, read_state
from raytalk.learning.losses import LossSettings
from raytalk.learning.meta import Talker
from raytalk.learning.naming import found, lasting_name
from raytalk.networks.discriminator import Discriminator
from raytalk.networks.settings import NetworkSettings
from raytalk.storage import Storage


@dataclass(frozen=True)
class Pretrained:
    """Networks on the CPU, in evaluation mode."""

    uri: str
    """of the checkpoint, absolute; of a registered model and of `base` as it was asked for"""
    talker: Talker
    """E and G, averaged over training"""
    discriminator: Discriminator
    networks: NetworkSettings
    losses: LossSettings
    """weights of meta-learning"""
    state: State
    pupils: bool = False
    """whether drawings carried the pupils where the clips knew them"""


def load_pretrained(uri: str, tracking_uri: str = "") -> Pretrained:
    """The model of a checkpoint, a run, models:/name@alias or `base`, the one that comes along.

    Raises CheckpointError if it is missing, not complete or damaged.
    """
    with found(uri, tracking_uri) as place:
        state = read_state(place)
        with tempfile.TemporaryDirectory(prefix="raytalk-pretrained-") as temporary:
            folder = Path(temporary)
            networks, losses, pupils = _settings(place, folder)
            talker, discriminator = Talker(networks), Discriminator(networks)
            for name, module in (("ema", talker), ("discriminator", discriminator)):
                _fill(place, name, module, folder)
        where = lasting_name(uri, place)
    return Pretrained(where, talker.eval(), discriminator.eval(), networks, losses, state, pupils)


def _settings(place: Storage, folder: Path) -> tuple[NetworkSettings, LossSettings, bool]:
    try:
        config = yaml.safe_load(place.fetch_file("config.yaml", folder).read_text())
        pupils = config.get("data", {}).get("pupils", 0) > 0  # older versions had none
        return NetworkSettings(**config["networks"]), LossSettings(**config["losses"]), pupils
    except (
        OSError,
        yaml.YAMLError,
        KeyError,
        TypeError,
        AttributeError,
        UnicodeDecodeError,
        pydantic.ValidationError,
    ) as error:
        raise CheckpointError(f"{place.uri}/config.yaml cannot be read: {error}") from None


def _fill(place: Storage, name: str, module: nn.Module, folder: Path) -> None:
    file = f"{name}.safetensors"
    tensors = load_part(place.uri, place.fetch_file(file, folder))
    compare_tensors(f"{place.uri}/{file}", tensors, module.state_dict())
    module.load_state_dict(tensors)
