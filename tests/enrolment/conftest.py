"""A run of tiny networks and clips of toy people to learn from."""

from pathlib import Path

import pytest
from toy import write_toy_clips
from toy_run import write_toy_run


@pytest.fixture(scope="session")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run with one checkpoint, of landmarks by dlib."""
    return write_toy_run(tmp_path_factory.mktemp("run"))


@pytest.fixture(scope="session")
def clips(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Clips of 64 pixels: person0 to person3 in train, person4 in val."""
    folder = tmp_path_factory.mktemp("clips")
    write_toy_clips(str(folder), people=4, held_out=1)
    return folder
