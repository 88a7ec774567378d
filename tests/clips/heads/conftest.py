"""What the tests of rendered people share."""

import pytest

from raytalk.clips.heads.anatomy import Anatomy, load_anatomy


@pytest.fixture(scope="session")
def anatomy() -> Anatomy:
    """Seconds to build; a minute the first time on a machine."""
    return load_anatomy()
