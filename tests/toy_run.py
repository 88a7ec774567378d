"""A run of tiny networks with one checkpoint, without training it."""

from pathlib import Path
from typing import Any

import torch
from toy import TINY_NETWORKS

from raytalk.learning.checkpoint import Snapshot, State
from raytalk.learning.checkpoint_writer import CheckpointWriter
from raytalk.learning.meta import MetaLearner
from raytalk.learning.settings import MetatrainSettings
from raytalk.networks.perceptual import load_perceptual
from raytalk.storage import Storage


def write_toy_run(folder: Path, **networks: Any) -> Path:
    """Of landmarks by dlib; networks: what differs from TINY_NETWORKS."""
    settings = MetatrainSettings.resolve("debug", {"networks": TINY_NETWORKS | networks})
    content = load_perceptual("hed", "")
    torch.manual_seed(0)
    made = MetaLearner(settings, ["a", "b"], content, None, torch.device("cpu"))
    for parameter in made.average.parameters():  # not what a fresh network of this seed would have
        parameter.add_(torch.randn_like(parameter) * 0.02)
    writer = CheckpointWriter(Storage(str(folder)), keep=1)
    writer.save(Snapshot.take(made, State(8, 1.0, 1, 0, "dlib", [content.describe()])))
    writer.close()
    return folder
