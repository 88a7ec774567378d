#!/usr/bin/env python
"""Make the avatar of a new person from photographs, a video or a clip; or of many people from a table.

    python jobs/finetune.py checkpoint=/data/runs/first images=~/photographs/ada output=/data/avatars/ada name=Ada

The feed-forward avatar is there at once, the fine-tuned one replaces it when it is learned (mode=FF: not). A table is
a CSV file with the columns name and images (and id, clip, mode, consent): people=people.csv output=/data/avatars
"""

import sys
from pathlib import Path

# The folder above is not on the path of a script, and the project need not be installed.
sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from raytalk.command import run_job
from raytalk.enrolment.settings import FinetuneSettings


def main(settings: FinetuneSettings) -> None:
    """Imported late: --help must not wait for torch."""
    from raytalk.enrolment.finetune import finetune

    finetune(settings)


if __name__ == "__main__":
    run_job(FinetuneSettings, __doc__ or "", main)
