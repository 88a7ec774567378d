#!/usr/bin/env python
"""Make clips for learning without any data: rendered people who talk, look around and do not exist.

Writes frames with their 68 landmarks, pupils and gaze as Parquet files. Give the same command again to go on after an
interruption, or with more people to add some.

    python jobs/synthesize.py clips=~/raytalk/rendered people=24 resolution=128
"""

import sys
from pathlib import Path

# The folder above is not on the path of a script, and the project need not be installed.
sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from raytalk.clips.synthesize import SynthesizeSettings, synthesize
from raytalk.command import run_job


def main(settings: SynthesizeSettings) -> None:
    synthesize(settings)


if __name__ == "__main__":
    run_job(SynthesizeSettings, __doc__ or "", main)
