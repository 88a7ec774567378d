#!/usr/bin/env python
"""Let a person's avatar move as somebody does in a video.

Takes a video, pictures, a clip or a kept track, brings the motion to the avatar's face, and writes an MP4 with the
driver's sound.

    python jobs/puppeteer.py avatar=/data/avatars/ada driver=talk.mp4 output=ada.mp4 side_by_side=true
"""

import sys
from pathlib import Path

# The folder above is not on the path of a script, and the project need not be installed.
sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from raytalk.command import run_job
from raytalk.driving.settings import PuppeteerSettings


def main(settings: PuppeteerSettings) -> None:
    """Imported late: --help must not wait for torch."""
    from raytalk.driving.puppeteer import puppeteer

    puppeteer(settings)


if __name__ == "__main__":
    run_job(PuppeteerSettings, __doc__ or "", main)
