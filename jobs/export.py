#!/usr/bin/env python
"""Make a file of an avatar that renders without raytalk: ONNX, or a program for torch.export.load.

python jobs/export.py avatar=/data/avatars/ada output=ada.onnx
python jobs/export.py avatar=/data/avatars/ada output=ada.pt2 format=torch
"""

import sys
from pathlib import Path

# The folder above is not on the path of a script, and the project need not be installed.
sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from raytalk.avatar.export import ExportSettings, export_job
from raytalk.command import run_job


def main(settings: ExportSettings) -> None:
    export_job(settings)


if __name__ == "__main__":
    run_job(ExportSettings, __doc__ or "", main)
