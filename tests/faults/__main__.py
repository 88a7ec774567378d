"""`PYTHONPATH=tests python -m faults [AREA or SCENARIO ...]`: breaks things on purpose, one after the other, and writes
docs/reliability.md. Exit status 1 if anything did not hold."""

import argparse
import json
import os
import shutil
import sys
import tempfile
import time
import traceback
from collections.abc import Sequence
from pathlib import Path

from faults import report
from faults.alone import adopt_orphans, run_alone
from faults.scenarios import SCENARIOS, Scenario

ROOT = Path(__file__).resolve().parents[2]
KEPT = ROOT / "runs" / "faults"
"""results, and logs of what did not hold"""
_NOT_STARTED = "timed out during startup"
"""Ray gives a node 30 s, which may be too little on a busy machine; that is tried again"""
_TRIES = 3


def main() -> int:
    """The command."""
    options = _options()
    if options.one:
        return _child(_named(options.one), Path(options.folder), Path(options.result))
    # What was tried for a shorter time does not count as tried.
    kept = KEPT / ("quick.json" if options.quick else "results.json")
    before = report.read(kept)
    chosen = _chosen(options, before)
    if options.list:
        for scenario in chosen:
            print(f"{scenario.name:<28} {scenario.fault}")
        return 0
    adopt_orphans()
    whole = options.again or len(chosen) == len(SCENARIOS)
    output = Path(options.output) if options.output else (ROOT / "docs" if whole else KEPT) / "reliability.md"
    end = time.monotonic() + 60 * options.minutes
    results: dict[str, report.Result] = {}
    for number, scenario in enumerate(chosen, 1):
        if time.monotonic() > end:
            print(f"the {options.minutes:g} minutes are over; --again goes on with the rest")
            break
        print(f"[{number}/{len(chosen)}] {scenario.name} ...", flush=True)
        results[scenario.name] = _tried(scenario, options.quick)
        print(results[scenario.name].line(), flush=True)
        report.write(kept, before | results)
        # Whatever ends this process, what was measured is told.
        _tell(output, before | results if options.again else results)
    _tell(output, before | results if options.again else results)
    failed = [result.name for result in results.values() if result.held is False]
    held = sum(result.held is True for result in results.values())
    print(f"{output}: {held} of {len(chosen)} held" + (f"; not {', '.join(failed)}" if failed else ""))
    return 1 if failed else 0


def _tell(output: Path, results: dict[str, report.Result]) -> None:
    if results:
        output.write_text(report.page(SCENARIOS, results, "make faults"))


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m faults", description=__doc__)
    parser.add_argument("what", nargs="*", help="areas or scenarios; all if none is given")
    parser.add_argument("--quick", action="store_true", help="one of each kind, outages of 12 s")
    parser.add_argument("--again", action="store_true", help="what did not hold last time, or was never tried")
    parser.add_argument("--minutes", type=float, default=1e9, help="begin nothing after so many")
    parser.add_argument("--list", action="store_true", help="say what there is, and do nothing")
    parser.add_argument("--output", help="the page to write; else docs/reliability.md, or runs/faults/ for a part")
    for internal in ("--one", "--folder", "--result"):
        parser.add_argument(internal, help=argparse.SUPPRESS)
    return parser.parse_args()


def _chosen(options: argparse.Namespace, before: dict[str, report.Result]) -> Sequence[Scenario]:
    known = {scenario.area for scenario in SCENARIOS} | {scenario.name for scenario in SCENARIOS}
    if unknown := set(options.what) - known:
        raise SystemExit(f"no fault is called {', '.join(sorted(unknown))}: {', '.join(sorted(known))}")
    wanted = [each for each in SCENARIOS if not options.what or {each.area, each.name} & set(options.what)]
    if options.quick:
        wanted = [each for each in wanted if each.quick]
    if options.again:
        wanted = [each for each in wanted if each.name not in before or before[each.name].held is not True]
    return wanted


def _named(name: str) -> Scenario:
    return next(scenario for scenario in SCENARIOS if scenario.name == name)


def _tried(scenario: Scenario, quick: bool) -> report.Result:
    """In a process of its own, which is killed if it hangs, with everything that it started."""
    if lack := scenario.lacks():
        return report.noted(scenario.name, None, 0.0, {"why": lack})
    for attempt in range(1, _TRIES + 1):
        start, load = time.monotonic(), os.getloadavg()[0]
        with tempfile.TemporaryDirectory(prefix="faults-", ignore_cleanup_errors=True) as name:
            folder = Path(name) / "work"
            folder.mkdir()
            told = _run(scenario, folder, quick)
            seconds = time.monotonic() - start
            if told["held"] is False:
                _keep_logs(scenario, Path(name))
        if _NOT_STARTED not in str(told.get("all", "")) or attempt == _TRIES:
            break
        print(f"  Ray did not start in time, {scenario.name} is tried again", flush=True)
    return report.noted(scenario.name, told["held"], seconds, told["measured"], load)


def _run(scenario: Scenario, folder: Path, quick: bool) -> dict[str, object]:
    result, log = folder.parent / "result.json", folder.parent / "scenario.log"
    command = [sys.executable, "-m", "faults", "--one", scenario.name]
    command += ["--folder", str(folder), "--result", str(result)]
    ended = run_alone(command, 60 * scenario.minutes, log, ROOT, _environment(quick))
    if result.exists():
        told: dict[str, object] = json.loads(result.read_text())
        return told
    said = log.read_text(errors="replace")
    why = (
        f"did not end within {scenario.minutes:.0f} minutes"
        if not ended
        else said.strip()[-300:] or "ended without a word"
    )
    return {"held": False, "measured": {"error": why}, "all": said}


def _environment(quick: bool) -> dict[str, str]:
    """Never a cluster, a token or a tracking server of this machine."""
    kept = {name: value for name, value in os.environ.items() if name not in ("RAY_ADDRESS", "MLFLOW_TRACKING_URI")}
    return kept | {
        "PYTHONPATH": f"{ROOT}{os.pathsep}{ROOT / 'tests'}",
        "RAY_AUTH_MODE": "disabled",
        "OMP_NUM_THREADS": "1",
        # What else fills this machine's memory is not what is tried.
        "RAY_memory_monitor_refresh_ms": "0",
        # Clients run on the same cores: they do not come before the service (Ray's workers have niceness 15).
        "RAY_worker_niceness": "0",
        "RAYTALK_OUTAGE_S": "12" if quick else os.environ.get("RAYTALK_OUTAGE_S", "60"),
    }


def _child(scenario: Scenario, folder: Path, result: Path) -> int:
    """One scenario, in this process."""
    try:
        outcome = scenario.run(folder)
        told: dict[str, object] = {"held": outcome.held, "measured": outcome.measured}
        print(outcome)
    except Exception as error:  # noqa: BLE001 - whatever it was, it did not hold, and the next ones are tried
        traceback.print_exc()
        lines = str(error).strip().splitlines() or [""]
        told = {"held": False, "measured": {"error": f"{type(error).__name__}: {lines[-1][:300]}"}}
        told["all"] = traceback.format_exc()
    # Where it was tried is nobody's business.
    result.write_text(json.dumps(told).replace(str(folder), "FOLDER"))
    sys.stdout.flush()
    # Threads of clients that wait for an answer hold nothing up.
    os._exit(0)


def _keep_logs(scenario: Scenario, folder: Path) -> None:
    place = KEPT / scenario.name
    shutil.rmtree(place, ignore_errors=True)
    place.mkdir(parents=True)
    for file in folder.rglob("*.log"):
        shutil.copy(file, place / "-".join(file.relative_to(folder).parts))


if __name__ == "__main__":
    sys.exit(main())
