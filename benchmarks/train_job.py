"""How fast meta-learning is through the job: `jobs/metatrain.py` with Ray Data and Ray Train, from Parquet files.

    python benchmarks/train_job.py batch_size=8 workers=1,2,4 compare=true
    python benchmarks/train_job.py recipe=debug device=cpu batch_size=4 log_every=5 seconds=40 warm_up=5 \
        compare=true steps=5

Every count of workers is a run of its own, begun as the long run that a person would begin and interrupted when enough
has been measured, so that clips are read and drawn all the while. It neither validates nor keeps checkpoints. `compare`
times the same step on data in memory first (`train_step.py`). Prints JSON.
"""

import json
import os
import re
import shlex
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from floor import machine
from pydantic import Field
from stand_ins import write_clips, write_weights

from raytalk.config import JobSettings, parse_command_line
from raytalk.learning.settings import MetatrainSettings

_HERE = Path(__file__).resolve().parent
_LINE = re.compile(r"episodes ([\d,]+)/.* ([\d.e+]+) episodes/s, waiting ([\d.]+)%")
_EPISODES = 10_900_000
"""of the run that is interrupted: the paper's"""
_NEVER = 1_000_000_000
_CLOSING = 60
"""seconds that an interrupted job is given to close"""


class TrainJobSettings(JobSettings):
    """What to measure."""

    recipe: Literal["paper", "base", "debug"] = "paper"
    """preset of jobs/metatrain.py"""
    batch_size: int = Field(8, ge=1)
    """episodes per step of each worker"""
    workers: str = "1"
    """data-parallel workers, one or several counts with commas between them"""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """auto: cuda where there is one"""
    clips: str = ""
    """where clips are, of the recipe's resolution or others; if not given, some are made"""
    people: int = Field(64, ge=2)
    """clips that are made, one each"""
    frames: int = Field(32, ge=2)
    """frames of each clip"""
    clips_per_file: int = Field(8, ge=1)
    """clips in each Parquet file"""
    weights: str = ""
    """perceptual.weights of the run; if not given, files of random weights are made"""
    log_every: int = Field(50, ge=1)
    """steps in each window that the job reports"""
    warm_up: float = Field(20.0, ge=0)
    """seconds left out from the first step on, and at least one window: kernels are compiled, buffers fill"""
    seconds: float = Field(60.0, gt=0)
    """measured after those"""
    limit: float = Field(600.0, gt=0)
    """seconds after which a run that has not come so far is given up"""
    more: str = ""
    """further words for the job, with spaces between them"""
    compare: bool = False
    """whether to time the step on data in memory too"""
    steps: int = Field(200, ge=1)
    """timed steps of that"""


@dataclass(frozen=True)
class Lap:
    """A window of steps as the job reported it."""

    episodes: int
    """in this window"""
    rate: float
    """episodes per second, to three digits"""
    waiting: float
    """share of the time spent waiting for data"""

    @property
    def seconds(self) -> float:
        """How long it took."""
        return self.episodes / self.rate


def main(settings: TrainJobSettings) -> None:
    """Print JSON."""
    device = settings.device if settings.device != "auto" else "cuda" if torch.cuda.is_available() else "cpu"
    settings = settings.model_copy(update={"device": device})
    with tempfile.TemporaryDirectory(prefix="raytalk-train-job-") as name:
        folder = Path(name)
        report: dict[str, Any] = {"recipe": settings.recipe, "batch size of a worker": settings.batch_size}
        settings = _with_material(settings, folder, report)
        alone = _in_memory(settings) if settings.compare else None
        if alone is not None:
            report["in memory"] = alone
        runs: list[dict[str, Any]] = []
        for workers in map(int, settings.workers.split(",")):
            run = _run(settings, workers, folder)
            each = run["episodes per second and worker"]
            if runs and runs[0]["workers"] == 1:
                run["over one worker"] = round(run["episodes per second"] / runs[0]["episodes per second"], 3)
            if alone is not None:
                run["a worker over in memory"] = round(each / alone["episodes per second"], 3)
            runs.append(run)
    # Last: on a GPU the question takes some of its memory.
    print(json.dumps({"machine": machine(torch.device(device)), **report, "through the job": runs}, indent=2))


def _with_material(settings: TrainJobSettings, folder: Path, report: dict[str, Any]) -> TrainJobSettings:
    """Clips and weights, made in `folder` where none are given."""
    recipe = MetatrainSettings.resolve(settings.recipe)
    if not settings.clips:
        start, size = time.perf_counter(), recipe.networks.resolution
        settings = settings.model_copy(update={"clips": str(folder / "clips")})
        count = settings.people, settings.frames
        written = write_clips(settings.clips, *count, size, settings.clips_per_file)
        report["clips"] = {
            "made": f"{count[0]} of {count[1]} frames of {size} px, {settings.clips_per_file} in a file",
            "KB per frame": round(written / (count[0] * count[1]) / 1e3, 1),
            "seconds to make": round(time.perf_counter() - start, 1),
        }
    if not settings.weights:
        weights = folder / "weights"
        weights.mkdir()
        names = {recipe.perceptual.content, recipe.perceptual.identity} - {"none"}
        write_weights(weights, names)
        settings = settings.model_copy(update={"weights": str(weights)})
        report["perceptual networks"] = dict.fromkeys(sorted(names), "random weights")
    return settings


def _in_memory(settings: TrainJobSettings) -> dict[str, Any]:
    """The step without Ray, in a process of its own: the GPU is free again when it ends."""
    words = [f"recipe={settings.recipe}", f"batch_sizes={settings.batch_size}", f"device={settings.device}"]
    words += [f"videos={settings.people}", f"steps={settings.steps}", f"warm_up={min(settings.steps, 10)}"]
    # Only what the step itself takes.
    words += [word for word in settings.more.split() if word.startswith("precision=")]
    words += [word.removeprefix("speed.") for word in settings.more.split() if word.startswith("speed.")]
    ended = subprocess.run(
        [sys.executable, str(_HERE / "train_step.py"), *words], stdout=subprocess.PIPE, text=True, check=True
    )
    step: dict[str, Any] = json.loads(ended.stdout)["steps"][0]
    return {name: figure for name, figure in step.items() if name not in ("floor", "parts, ms per step")}


def _run(settings: TrainJobSettings, workers: int, folder: Path) -> dict[str, Any]:
    """Figures of one run."""
    words = [
        *("--preset", settings.recipe, f"clips={settings.clips}", f"output={folder / 'runs'}", f"name=of-{workers}"),
        *(f"workers={workers}", f"batch_size={settings.batch_size * workers}", f"device={settings.device}"),
        *(f"episodes={_EPISODES}", f"log_every={settings.log_every}", f"perceptual.weights={settings.weights}"),
        *(f"validation.every={_NEVER}", f"checkpoint_every={_NEVER}", f"guard.patience={_NEVER}"),
        *("tracking.uri=none", "max_failures=0", *settings.more.split()),
    ]
    began = time.perf_counter()
    laps: list[Lap] = []
    measured: list[Lap] = []
    shown, first_line = 0, 0.0
    with _job(words, settings.limit, folder) as lines:
        for line in lines:
            print(line.rstrip()[:300], file=sys.stderr, flush=True)
            found = _LINE.search(line)
            if found is None:
                continue
            first_line = first_line or time.perf_counter() - began
            episodes = int(found[1].replace(",", ""))
            lap = Lap(episodes - shown, float(found[2]), float(found[3]) / 100)
            if laps and sum(earlier.seconds for earlier in laps) >= settings.warm_up:
                measured.append(lap)
            laps.append(lap)
            shown = episodes
            if sum(each.seconds for each in measured) >= settings.seconds:
                break
        gpus = _gpus(workers) if settings.device == "cuda" else {}
        load = os.getloadavg()[0]
    return {
        "workers": workers,
        "command": shlex.join(["jobs/metatrain.py", *words]),
        **_figures(measured, workers),
        "until the first line, s": round(first_line, 1),
        "until the first batch was asked for, s": round(first_line - laps[0].seconds, 1),
        "processes ready to run": round(load, 1),
        **gpus,
    }


def _figures(laps: list[Lap], workers: int) -> dict[str, Any]:
    seconds = sum(lap.seconds for lap in laps)
    rate = sum(lap.episodes for lap in laps) / seconds
    return {
        "episodes per second": round(rate, 2),
        "episodes per second and worker": round(rate / workers, 2),
        "windows": len(laps),
        "median, slowest and fastest window": [
            choose(lap.rate for lap in laps) for choose in (statistics.median, min, max)
        ],
        "waiting for data": round(sum(lap.waiting * lap.seconds for lap in laps) / seconds, 4),
        "waiting for data in the worst window": max(lap.waiting for lap in laps),
    }


@contextmanager
def _job(words: list[str], limit: float, folder: Path) -> Iterator[Iterator[str]]:
    """The lines that the job prints; when the block ends, the job is interrupted as if by Ctrl-C.

    Raises RuntimeError with its last words if the job ends by itself, or is killed because `limit` seconds are over.
    """
    environment = {key: value for key, value in os.environ.items() if key != "MLFLOW_TRACKING_URI"}
    environment |= {"RAY_ADDRESS": "local", "RAY_AUTH_MODE": "disabled"}
    command = [sys.executable, str(_HERE.parent / "jobs" / "metatrain.py"), *words]
    with (folder / "errors.log").open("w+") as errors:
        process = subprocess.Popen(
            command, env=environment, stdout=subprocess.PIPE, stderr=errors, text=True, start_new_session=True
        )
        assert process.stdout is not None
        watchdog = threading.Timer(limit, process.kill)
        watchdog.start()

        def lines() -> Iterator[str]:
            yield from process.stdout or ()
            errors.seek(0)
            raise RuntimeError(f"the job ended ({process.wait()}) before enough was measured: {errors.read()[-2000:]}")

        try:
            yield lines()
        finally:
            watchdog.cancel()
            process.send_signal(signal.SIGINT)
            try:
                process.communicate(timeout=_CLOSING)
            except subprocess.TimeoutExpired:
                process.kill()
                process.communicate()


def _gpus(count: int) -> dict[str, Any]:
    """Memory and use of the GPUs now, if the driver's tool is there."""
    tool = shutil.which("nvidia-smi")
    if tool is None:
        return {}
    asked = [tool, "--query-gpu=memory.used,utilization.gpu", "--format=csv,noheader,nounits"]
    answer = subprocess.run(asked, capture_output=True, text=True, check=False).stdout
    rows = [[int(figure) for figure in row.split(",")] for row in answer.splitlines() if re.match(r"\d+, *\d+$", row)]
    if not rows:
        return {}
    memory, use = zip(*rows[:count], strict=True)
    return {"GPU memory, GB": [round(used * 2**20 / 1e9, 1) for used in memory], "GPU use, %": list(use)}


if __name__ == "__main__":
    main(parse_command_line(TrainJobSettings, sys.argv[1:], __doc__ or ""))
