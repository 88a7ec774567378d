"""The benchmark of the training step, small, on the CPU."""

import json
import subprocess
import sys
from pathlib import Path

SCRIPT = Path(__file__).parents[2] / "benchmarks" / "train_step.py"


def test_it_runs_on_a_cpu() -> None:
    options = ["recipe=debug", "device=cpu", "batch_sizes=1,2", "steps=1", "warm_up=1", "videos=5"]
    done = subprocess.run([sys.executable, str(SCRIPT), *options], check=True, capture_output=True, text=True)
    result = json.loads(done.stdout)
    small, large = result["steps"]
    assert [row["batch size"] for row in (small, large)] == [1, 2]
    for row in (small, large):
        assert row["episodes per second"] > 0
        assert 0 < row["floor over time"] < 1
    # 16 of 36 products: less than the 3x3 convolutions, pooled and up-sampled for themselves, would take.
    assert 0.008 < small["floor"]["TFLOP per episode"] < 0.014
    assert small["floor"]["TFLOP per episode"] == large["floor"]["TFLOP per episode"]
    assert result["peaks"]["TFLOP/s"] > 0
