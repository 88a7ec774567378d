"""The benchmark of the detectors runs on a CPU, without what only other parts of the project need."""

import json
import os
import subprocess
import sys
from pathlib import Path

SCRIPT = Path(__file__).parents[2] / "benchmarks/preprocess.py"
WITHOUT = ("av", "boto3", "dlib", "mlflow", "pyarrow", "ray")


def test_the_smallest_run_reports_everything() -> None:
    settings = ["frames=1", "width=96", "height=96", "batch_size=1", "threads=0"]
    program = (
        f"import runpy, sys; sys.modules.update(dict.fromkeys({WITHOUT})); sys.argv[1:] = {settings}; "
        f"runpy.run_path({str(SCRIPT)!r}, run_name='__main__')"
    )
    # face-alignment's own compilation, some seconds, changes nothing but its speed.
    environment = {**os.environ, "NUMBA_DISABLE_JIT": "1", "PYTHONPATH": str(SCRIPT.parent)}
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    ours = report["ours, in batches"]["eager"]
    assert ours["landmarks beside face-alignment's"]["share equal"] == 1
    assert ours["frames per second"] > 0
    assert report["face-alignment, frame by frame"]["eager"]["frames per second"] > 0
    assert report["ours is faster by"].keys() == {"eager against eager"}
    assert report["floor"]["per frame"]["FAN-4, a face and its mirror image"]["GFLOP"] == 100.9
    assert ours["times the floor"] >= 1
    assert report["dlib"] == "not installed"
