"""A run of tiny networks whose landmarks are dlib's."""

from pathlib import Path

import pytest
from toy_run import write_toy_run


@pytest.fixture(scope="session")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_toy_run(tmp_path_factory.mktemp("run"))
