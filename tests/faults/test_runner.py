"""`make faults` outlives what hangs, leaves nothing running, and tells what did not hold."""

import os
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from faults import report
from faults.__main__ import main
from faults.scenarios import SCENARIOS

ROOT = Path(__file__).resolve().parents[2]
_LEAVES_SOMETHING = """
import subprocess, sys, time
left = "import os, time; os.setsid(); open({0!r}, 'w').write(str(os.getpid())); time.sleep(600)"
subprocess.Popen([sys.executable, "-c", left])
while not __import__("os").path.exists({0!r}):
    time.sleep(0.05)
time.sleep({1})
"""
_RUNS_IT = """
import os, sys
from pathlib import Path
from faults.alone import adopt_orphans, run_alone
adopt_orphans()
command = [sys.executable, "-c", Path(sys.argv[1]).read_text()]
print(run_alone(command, float(sys.argv[2]), Path(sys.argv[3]), Path("."), os.environ))
"""


@pytest.mark.skipif(sys.platform != "linux", reason="orphans are adopted on Linux alone")
@pytest.mark.parametrize(("lasts", "allowed", "ended"), [(0, 60, True), (600, 5, False)])
def test_what_a_scenario_leaves_running_is_ended(tmp_path: Path, lasts: float, allowed: float, ended: bool) -> None:
    pid = tmp_path / "pid"
    script = tmp_path / "script.py"
    script.write_text(_LEAVES_SOMETHING.format(str(pid), lasts))
    told = subprocess.run(
        [sys.executable, "-c", _RUNS_IT, str(script), str(allowed), str(tmp_path / "log")],
        cwd=ROOT,
        env=os.environ | {"PYTHONPATH": str(ROOT / "tests")},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert told.stdout.strip() == str(ended), told.stderr
    assert pid.exists(), "it was begun"
    assert not psutil.pid_exists(int(pid.read_text()))


def test_every_scenario_has_a_name_of_its_own_and_the_page_a_row_for_each() -> None:
    results = {each.name: report.Result(each.name, True, 1.0, {"lost": 0}) for each in SCENARIOS}
    assert len(results) == len(SCENARIOS)
    results["serve-desk"] = report.Result("serve-desk", False, 60.0, {"error": "a | b\nc"})
    results["head-gcs"] = report.Result("head-gcs", None, 0.0, {"why": "no redis-server here"})
    text = report.page(SCENARIOS, results, "make faults")
    rows = [line for line in text.splitlines() if line.startswith("| ") and not line.startswith("| fault")]
    assert len(rows) == len(SCENARIOS)
    assert f"{len(SCENARIOS) - 2} of {len(SCENARIOS) - 1} held" in text
    (desk,) = [row for row in rows if "the service's desk killed" in row]
    assert desk.endswith("| **no** | error: a / b c |")
    (gcs,) = [row for row in rows if row.startswith("| GCS")]
    assert gcs.endswith("| not tried | why: no redis-server here |")


def test_results_are_kept(tmp_path: Path) -> None:
    results = {"serve-desk": report.noted("serve-desk", True, 61.26, {"lost": 0, "namely": "3 503"}, 1.26)}
    report.write(tmp_path / "below" / "results.json", results)
    assert report.read(tmp_path / "below" / "results.json") == results
    assert report.read(tmp_path / "nothing.json") == {}


@pytest.mark.parametrize("words", [["--list"], ["--list", "serve"], ["--list", "--quick"]])
def test_the_list(words: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(sys, "argv", ["faults", *words])
    assert main() == 0
    listed = [line.split()[0] for line in capsys.readouterr().out.splitlines()]
    wanted = [each.name for each in SCENARIOS if ("serve" not in words or each.area == "serve")]
    if "--quick" in words:
        wanted = [each.name for each in SCENARIOS if each.quick]
    assert listed == wanted
    assert len(listed) > 3


def test_an_unknown_name_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["faults", "serv"])
    with pytest.raises(SystemExit, match="no fault is called serv: "):
        main()
