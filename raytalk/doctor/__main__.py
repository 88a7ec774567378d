"""Check a machine or a cluster, and say what to mend, line by line.

Looks at versions and clocks (alike on all nodes), memory and disk, GPUs and an all-reduce over them, storage (written
and read from every node), weights, MLflow, and the landmark detector. Ends with status 0 if nothing is to be mended,
with 1 if something is, with 2 if it was asked wrongly. --json prints the findings as JSON. docs/doctor.md says what
lines mean.

    python -m raytalk.doctor
    python -m raytalk.doctor address=10.0.0.1:6379 storage=s3://bucket/raytalk tracking.uri=http://mlflow:5000
"""

import contextlib
import json
import logging
import os
import sys
import threading
from collections.abc import Sequence

from raytalk.config import parse_command_line
from raytalk.doctor.finding import Finding
from raytalk.doctor.settings import DoctorSettings
from raytalk.errors import RaytalkError

_MARKS = {"ok": "ok  ", "note": "note", "mend": "MEND"}


def main(words: Sequence[str]) -> int:
    """Examine, print, and return the exit status."""
    logging.basicConfig(level=logging.ERROR, format="%(levelname)s %(name)s: %(message)s")
    as_json = "--json" in words
    found: list[Finding] = []
    try:
        settings = parse_command_line(DoctorSettings, [word for word in words if word != "--json"], __doc__ or "")
        from raytalk.doctor.examine import examine  # late: --help must not wait for torch

        report = sys.stdout
        with contextlib.redirect_stdout(sys.stderr):  # what checks print themselves is no part of the report
            for finding in examine(settings):
                found.append(finding)
                if not as_json:
                    print(line(finding), file=report, flush=True)
    except RaytalkError as error:
        print(f"raytalk: {' '.join(str(error).split())}", file=sys.stderr)
        return 2
    wrong = sum(finding.kind == "mend" for finding in found)
    if as_json:
        print(json.dumps({"ok": not wrong, "findings": [finding.to_dict() for finding in found]}, indent=1))
    else:
        print(f"{wrong} {'thing' if wrong == 1 else 'things'} to mend" if wrong else "all is well", flush=True)
    return 1 if wrong else 0


def line(finding: Finding) -> str:
    """As a person reads it."""
    where = f"{finding.node}: " if finding.node else ""
    return f"{_MARKS[finding.kind]}  {finding.check:<11} {where}{finding.text}"


def end(status: int) -> None:
    """Leave, even if a check still hangs in a library."""
    sys.stdout.flush()
    if "ray" in sys.modules:
        sys.modules["ray"].shutdown()
    if any(thread.name.startswith("check-") and thread.is_alive() for thread in threading.enumerate()):
        os._exit(status)
    sys.exit(status)


if __name__ == "__main__":
    end(main(sys.argv[1:]))
