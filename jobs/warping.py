#!/usr/bin/env python
"""Train the warping baseline that evaluation compares with, or resume a run of the same name.

    python jobs/warping.py --preset debug clips=/data/clips output=/data/runs

On a cluster: ray job submit --working-dir . -- python jobs/warping.py clips=s3://bucket/clips output=s3://bucket/runs
"""

import sys
from pathlib import Path

# The folder above is not on the path of a script, and the project need not be installed.
sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from raytalk.command import run_job
from raytalk.warping.settings import WarpingSettings


def main(settings: WarpingSettings) -> None:
    """Imported late: --help must not wait for Ray."""
    from raytalk.warping.train import train_warping

    train_warping(settings)


if __name__ == "__main__":
    run_job(WarpingSettings, __doc__ or "", main)
