#!/usr/bin/env python
"""Make of a run's checkpoint one that others can start from: a sixth of its size, without what only the run needs.

python jobs/release.py checkpoint=/data/runs/first output=/data/released/first
"""

import sys
from pathlib import Path

# The folder above is not on the path of a script, and the project need not be installed.
sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from raytalk.command import absolute_uri, run_job
from raytalk.learning.release import ReleaseSettings, release


def main(settings: ReleaseSettings) -> None:
    size = release(settings.model_copy(update={"output": absolute_uri(settings.output)}))
    print(f"{settings.output}: {size / 1e6:.1f} MB")


if __name__ == "__main__":
    run_job(ReleaseSettings, __doc__ or "", main)
