"""A checkpoint as it is given to others: the averaged E and G, and D, with convolutions in half precision.

It has a tenth of the bytes of a run's checkpoint. New people are enrolled and evaluated from it as from the whole one,
and another run can start from it; the run itself cannot go on from it.
"""

import json
import tempfile
from dataclasses import asdict, replace
from pathlib import Path

import yaml
from safetensors.torch import save_file
from torch import Tensor

from raytalk.config import JobSettings
from raytalk.errors import CheckpointError
from raytalk.learning.checkpoint import MARKER, RELEASED, load_part, read_state
from raytalk.learning.naming import found
from raytalk.learning.settings import MetatrainSettings
from raytalk.storage import Storage


class ReleaseSettings(JobSettings):
    """A checkpoint and where the released one goes."""

    checkpoint: str
    """URI of a run or of a checkpoint, or models:/name@alias"""
    output: str
    """folder or s3://bucket/prefix of the released checkpoint"""
    tracking_uri: str = ""
    """MLflow's tracking store, for a checkpoint models:/name@alias; empty: MLFLOW_TRACKING_URI"""


def release(settings: ReleaseSettings) -> int:
    """Write it and return its bytes. Raises CheckpointError for one that cannot be read or a place that is taken."""
    output = Storage(settings.output)
    if output.exists(MARKER):
        raise CheckpointError(f"{settings.output} holds a checkpoint already: give another output")
    with found(settings.checkpoint, settings.tracking_uri) as place:
        state = read_state(place)
        with tempfile.TemporaryDirectory(prefix="raytalk-release-") as temporary:
            given, made = Path(temporary) / "given", Path(temporary) / "made"
            for folder in (given, made):
                folder.mkdir()
            (made / "config.yaml").write_text(without_places(place.read("config.yaml").decode()))
            for name in RELEASED:
                tensors = load_part(place.uri, place.fetch_file(f"{name}.safetensors", given))
                save_file({key: halved(value) for key, value in tensors.items()}, made / f"{name}.safetensors")
            perceptual = [network | {"file": Path(network["file"]).name} for network in state.perceptual]
            sizes = {file.name: file.stat().st_size for file in sorted(made.iterdir())}
            (made / MARKER).write_text(
                json.dumps(asdict(replace(state, tracking_run="", perceptual=perceptual, files=sizes)), indent=1) + "\n"
            )
            output.publish(made, "", MARKER)
    return sum(sizes.values())


def without_places(config: str) -> str:
    """A run's settings without the places of the machine that it ran on, which tell others nothing."""
    settings = yaml.safe_load(config)
    defaults = MetatrainSettings().model_dump(mode="json")
    for key in ("clips", "output"):
        settings[key] = defaults[key]
    settings["tracking"] = defaults["tracking"]
    settings["perceptual"]["weights"] = defaults["perceptual"]["weights"]
    return yaml.safe_dump(settings, sort_keys=False)


def halved(weight: Tensor) -> Tensor:
    """In half precision, unless it is a vector: those are few and count for more."""
    return weight.half() if weight.dim() > 1 else weight
