#!/usr/bin/env python
"""Measure a checkpoint on people whom it has not seen: the paper's protocol, its table and its figures.

    python jobs/evaluate.py checkpoint=/data/runs/first clips=/data/clips output=/data/evaluations/first

Each person's clip gives T learning frames and others to reenact. OUTPUT gets summary.md, figures/, and a Parquet file
of rows per person; the same command goes on where a killed one stopped. jobs/study.py makes a user study from it.
"""

import sys
from pathlib import Path

# The folder above is not on the path of a script, and the project need not be installed.
sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from raytalk.command import run_job
from raytalk.evaluation.settings import EvaluateSettings


def main(settings: EvaluateSettings) -> None:
    """Imported late: --help must not wait for torch."""
    from raytalk.evaluation.evaluate import evaluate

    evaluate(settings)


if __name__ == "__main__":
    run_job(EvaluateSettings, __doc__ or "", main)
