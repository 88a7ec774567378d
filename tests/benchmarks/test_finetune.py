"""The benchmark of few-shot learning, small, on the CPU."""

import json
import subprocess
import sys
from pathlib import Path

SCRIPT = Path(__file__).parents[2] / "benchmarks" / "finetune.py"


def test_it_runs_on_a_cpu() -> None:
    options = ["recipe=debug", "device=cpu", "images=2", "batch_size=1", "steps=1,2"]
    done = subprocess.run([sys.executable, str(SCRIPT), *options], check=True, capture_output=True, text=True)
    result = json.loads(done.stdout)
    assert result["batch size"] == 1
    assert result["first feed-forward frame, s"] > 0
    for steps in ("1 steps", "2 steps"):
        row = result[steps]
        assert 0 < row["of it before the first step, s"] < row["in all, s"]
        assert 0 < row["floor over time"] < 1
    assert 0.002 < result["floor of a step"]["TFLOP per episode"] < 0.02
