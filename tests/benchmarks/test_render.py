"""The benchmark of rendering, small, on the CPU."""

import json
import subprocess
import sys
from pathlib import Path

SCRIPT = Path(__file__).parents[2] / "benchmarks" / "render.py"


def test_it_runs_on_a_cpu() -> None:
    options = ["recipe=debug", "device=cpu", "batch_sizes=1,2", "seconds=0.05", "rounds=1"]
    done = subprocess.run([sys.executable, str(SCRIPT), *options], check=True, capture_output=True, text=True)
    result = json.loads(done.stdout)
    rates = result["frames per second"]
    assert "plain" in rates
    assert result["fastest"] in rates
    for rate in rates.values():
        assert rate["1"] > 0
        assert rate["2"] > 0
    # A frame's arithmetic does not depend on how many are rendered together.
    assert result["floor, per frame"]["1"]["GFLOP"] == result["floor, per frame"]["2"]["GFLOP"] > 0.5
    assert 0 < result["floor over time"]["1"] < 1.5
    assert result["parts, ms per frame"]["eager"]["1"]["drawing"] > 0
    assert result["one frame alone, ms"]["eager"]["median"] > 0
