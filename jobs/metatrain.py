#!/usr/bin/env python
"""Meta-learn a talking-head model from the clips of many people, or resume a run of the same name.

    python jobs/metatrain.py --preset debug clips=/data/clips output=/data/runs name=first workers=2

On a cluster: ray job submit --working-dir . -- python jobs/metatrain.py clips=s3://bucket/clips output=s3://bucket/runs

With workers=1-4 the run has as many as there is room for, and goes on with fewer or more when nodes go or come.
"""

import sys
from pathlib import Path

# The folder above is not on the path of a script, and the project need not be installed.
sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from raytalk.command import run_job
from raytalk.learning.settings import MetatrainSettings


def main(settings: MetatrainSettings) -> None:
    """Imported late: --help must not wait for Ray."""
    from raytalk.learning.metatrain import metatrain

    metatrain(settings)


if __name__ == "__main__":
    run_job(MetatrainSettings, __doc__ or "", main)
