#!/usr/bin/env python
"""Search over the settings of meta-learning: loss weights, learning rates and more; the same command goes on.

    python jobs/tune.py --preset debug clips=/data/clips output=/data/sweeps trials=8 concurrent=2
    python jobs/metatrain.py --config /data/sweeps/sweep/best.yaml

Every setting of jobs/metatrain.py is set for all trials by train.KEY=VALUE, such as train.episodes=4000; what is
searched is in space=FILE. On a cluster:
    ray job submit --working-dir . -- python jobs/tune.py clips=s3://bucket/clips output=s3://bucket/sweeps
"""

import sys
from pathlib import Path

# The folder above is not on the path of a script, and the project need not be installed.
sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from raytalk.command import run_job
from raytalk.sweep.settings import SweepSettings


def main(settings: SweepSettings) -> None:
    """Imported late: --help must not wait for Ray."""
    from raytalk.sweep.sweep import sweep

    sweep(settings)


if __name__ == "__main__":
    run_job(SweepSettings, __doc__ or "", main)
