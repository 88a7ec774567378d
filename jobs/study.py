#!/usr/bin/env python
"""Ask people which of three pictures is generated (USER in the paper's Table 1): make the study, then analyse it.

python jobs/study.py evaluation=/data/evaluation output=/data/study
    gives /data/study/page/study.html, one file that works offline, and /data/study/key.json; each participant opens
    the page and hands back the file that it saves
python jobs/study.py answers=/data/study/answers key=/data/study/key.json output=/data/study/results
    gives user.md, user.csv, user.json and user.png
"""

import sys
from pathlib import Path

# The folder above is not on the path of a script, and the project need not be installed.
sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from raytalk.command import run_job
from raytalk.evaluation.study.job import study_job
from raytalk.evaluation.study.settings import StudyJobSettings


def main(settings: StudyJobSettings) -> None:
    study_job(settings)


if __name__ == "__main__":
    run_job(StudyJobSettings, __doc__ or "", main)
