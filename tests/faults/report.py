"""What became of the faults, kept from run to run, and as a page."""

import json
import os
import platform
import subprocess
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

import psutil

from faults.scenarios import Scenario

ROOT = Path(__file__).resolve().parents[2]
_INTRODUCTION = """# Reliability
What was broken on purpose, and what became of it. `make faults` breaks it all again, on this machine alone, and writes
this page; what is below is measured, not promised. Scenarios are in `tests/faults/`, and those of one area run alone:
`PYTHONPATH=tests python -m faults serve` (`--list` names them, `--again` repeats what did not hold).

Networks and people are tiny, so that the times are those of noticing, restarting and reading: loading real models adds
what their size costs. Kills are SIGKILL. Several nodes are raylets of one machine; a node is killed with everything on
it. "Doubled", "missing" and "lost" are counted in what is stored, not in what was said. Of the service, the share of
requests that were not answered well is that of the time from the kill to the first good answer after the last bad one,
over all kinds of requests, whoever they need; each part has one replica, and two would answer for each other.
"""


@dataclass(frozen=True)
class Result:
    """Of a scenario. held: None if it could not be tried here."""

    name: str
    held: bool | None
    seconds: float
    measured: dict[str, float | str] = field(default_factory=dict)
    when: str = ""
    """UTC"""
    commit: str = ""
    machine: str = ""
    load: float = 0.0
    """load average before it"""

    def line(self) -> str:
        """For the terminal."""
        word = {True: "held", False: "DID NOT HOLD", None: "not tried"}[self.held]
        return f"{self.name:<28} {word:<13} {self.seconds:6.0f} s  {_told(self.measured)}"


def noted(name: str, held: bool | None, seconds: float, measured: dict[str, float | str], load: float = 0.0) -> Result:
    """With when and where."""
    when = time.strftime("%Y-%m-%d %H:%M", time.gmtime())
    return Result(name, held, round(seconds, 1), measured, when, _commit(), machine(), round(load, 1))


def machine() -> str:
    """Cores and memory."""
    cores, memory = os.cpu_count(), psutil.virtual_memory().total / 2**30
    return f"{cores} cores ({platform.machine()}), {memory:.0f} GiB of memory"


def _commit() -> str:
    def git(*words: str) -> str:
        return subprocess.run(["git", *words], cwd=ROOT, capture_output=True, text=True, check=False).stdout.strip()

    changed = git("status", "--porcelain", "--untracked-files=no", "--", "raytalk", "serve", "jobs", "tests")
    return git("rev-parse", "--short", "HEAD") + (" with changes" if changed else "")


def read(file: Path) -> dict[str, Result]:
    """Results of earlier runs, by scenario."""
    if not file.exists():
        return {}
    return {each["name"]: Result(**each) for each in json.loads(file.read_text())}


def write(file: Path, results: dict[str, Result]) -> None:
    """For `read`."""
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps([asdict(result) for result in results.values()], indent=1))


def page(scenarios: Sequence[Scenario], results: dict[str, Result], command: str) -> str:
    """As Markdown, a row for each scenario, with results or without."""
    told = [results[scenario.name] for scenario in scenarios if scenario.name in results]
    held, tried = sum(result.held is True for result in told), sum(result.held is not None for result in told)
    when = f"{min(result.when for result in told)} to {max(result.when for result in told)} UTC"
    machines, commits = ({getattr(result, name) for result in told} for name in ("machine", "commit"))
    lines = [
        _INTRODUCTION,
        f"{held} of {tried} held. Measured {when}, {'; '.join(sorted(machines))}, commit {', '.join(sorted(commits))}, "
        f"load average before a scenario at most {max(result.load for result in told)}, with `{command}`; "
        f"{sum(result.seconds for result in told) / 60:.0f} minutes in all.",
        "",
        "| fault | what must hold | held | measured |",
        "|---|---|---|---|",
    ]
    words = {True: "yes", False: "**no**", None: "not tried"}
    for scenario in scenarios:
        result = results.get(scenario.name, Result(scenario.name, None, 0.0))
        cells = (scenario.fault, scenario.must, words[result.held], _told(result.measured))
        lines.append(f"| {' | '.join(cell.replace('|', '/').replace(chr(10), ' ') for cell in cells)} |")
    return "\n".join(lines) + "\n"


def _told(measured: dict[str, float | str]) -> str:
    return "; ".join(f"{what}: {value}" for what, value in measured.items())
