"""A run of tiny networks and clips of toy people to learn from."""

from pathlib import Path

import pytest
import torch
from toy import TINY_NETWORKS, write_toy_clips

from raytalk.learning.checkpoint import Snapshot, State
from raytalk.learning.checkpoint_writer import CheckpointWriter
from raytalk.learning.meta import MetaLearner
from raytalk.learning.settings import MetatrainSettings
from raytalk.networks.perceptual import load_perceptual
from raytalk.storage import Storage


@pytest.fixture(scope="session")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run with one checkpoint, of landmarks by dlib."""
    folder = tmp_path_factory.mktemp("run")
    settings = MetatrainSettings.resolve("debug", {"networks": TINY_NETWORKS})
    content = load_perceptual("hed", "")
    torch.manual_seed(0)
    made = MetaLearner(settings, ["a", "b"], content, None, torch.device("cpu"))
    for parameter in made.average.parameters():  # not what a fresh network of this seed would have
        parameter.add_(torch.randn_like(parameter) * 0.02)
    writer = CheckpointWriter(Storage(str(folder)), keep=1)
    writer.save(Snapshot.take(made, State(8, 1.0, 1, 0, "dlib", [content.describe()])))
    writer.close()
    return folder


@pytest.fixture(scope="session")
def clips(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Clips of 64 pixels: person0 to person3 in train, person4 in val."""
    folder = tmp_path_factory.mktemp("clips")
    write_toy_clips(str(folder), people=4, held_out=1)
    return folder
