"""Training and sweeps whose own process dies, and whose command is given again."""

import subprocess
import sys
import time
from pathlib import Path

from faults.outcome import Outcome
from faults.training_run import ROOT, WINDOW, curve_of, state_of, training, unreadable

_SWEEP = "tests/sweep/test_sweep.py::test_the_same_command_goes_on_after_its_driver_was_killed"


def training_driver_killed(folder: Path, episodes: int = 800) -> Outcome:
    """The job is killed between two checkpoints; the same command is given again.

    Its workers live a little longer and may keep another checkpoint.
    """
    moment = episodes // 4 + 2 * WINDOW
    with training(folder, episodes=episodes) as first:
        shown = first.wait_until_shown(moment).shown or 0
        first.kill()
    log = folder / "job.log"
    log.rename(folder / "first.log")
    start = time.monotonic()
    with training(folder, episodes=episodes) as again:
        progress = again.wait_for("^episodes ").at - start
        status = again.end()
        said = again.said("going on from the checkpoint at episode ([0-9,]+)")
    run, began = again.run, int(said[0][1].replace(",", "")) if said else 0
    state, broken = state_of(run), unreadable(run)
    curve = curve_of(run, f"sqlite:///{run / 'mlflow.db'}", episodes)
    return Outcome(
        "the driver killed during training",
        held=status == 0 and state.episodes == episodes and not broken and curve.missing == 0 and 0 < began < episodes,
        measured={
            "exit status of the same command": status,
            "episodes before": shown,
            "goes on at": began,
            "episodes of the last checkpoint": state.episodes,
            "windows without a loss": curve.missing,
            "unreadable checkpoints": len(broken),
            "s from the command to the next progress": round(progress, 1),
        },
    )


def sweep_driver_killed(folder: Path) -> Outcome:
    """By the test of it: trials that were begun go on, those that are done are not done again."""
    start = time.monotonic()
    words = ["-m", "pytest", _SWEEP, "-p", "no:cacheprovider", f"--basetemp={folder / 'test'}"]
    tried = subprocess.run([sys.executable, *words], cwd=ROOT, capture_output=True, text=True, check=False)
    return Outcome(
        "the driver killed during a sweep",
        held=tried.returncode == 0 and "1 passed" in tried.stdout,
        measured={
            "s of both runs": round(time.monotonic() - start, 1),
            **({} if tried.returncode == 0 else {"said": tried.stdout[-400:]}),
        },
    )
