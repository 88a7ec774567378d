"""Runs of tiny networks, and clips of toy people that are long enough to be held out of."""

from pathlib import Path

import pytest
from toy import write_toy_clips
from toy_run import write_toy_run


@pytest.fixture(scope="session")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run with one checkpoint, of landmarks by dlib."""
    return write_toy_run(tmp_path_factory.mktemp("run"))


@pytest.fixture(scope="session")
def long_clips(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Clips of 12 frames and 32 pixels: person0 to person2 in train, person3 to person6 in val."""
    folder = tmp_path_factory.mktemp("long-clips")
    write_toy_clips(str(folder), people=3, held_out=4, frames=12, size=32, per_file=2)
    return folder
