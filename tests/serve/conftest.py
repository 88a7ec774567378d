"""The whole service, where a module's tests want it."""

from collections.abc import Iterator

import pytest
from running_service import RunningService, deployed
from toy_run import write_toy_run


@pytest.fixture(scope="module")
def service(ray_session: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningService]:
    folder = tmp_path_factory.mktemp("service")
    with deployed(folder / "storage", write_toy_run(folder / "run"), steps=40) as running:
        yield running
