#!/usr/bin/env python
"""Turn talking-head videos into clips for learning.

Reads a folder or bucket of videos, finds the face in each, and writes cropped frames with their 68 landmarks as
Parquet files. Give the same command again to go on after an interruption, or after adding videos.

    python jobs/preprocess.py videos=~/videos clips=~/raytalk/clips detector=dlib
"""

import sys
from pathlib import Path

# The folder above is not on the path of a script, and the project need not be installed.
sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from raytalk.clips.preprocess import PreprocessSettings, preprocess
from raytalk.command import run_job


def main(settings: PreprocessSettings) -> None:
    preprocess(settings)


if __name__ == "__main__":
    run_job(PreprocessSettings, __doc__ or "", main)
