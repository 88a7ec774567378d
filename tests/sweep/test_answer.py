"""The end of a sweep: files that people and jobs read."""

import csv
import io
import json
from pathlib import Path

import cv2
import numpy as np
import pytest
import yaml
from sweep.toy_sweep import default_space, record, sweep_settings

from raytalk.config import parse_command_line
from raytalk.learning.settings import MetatrainSettings
from raytalk.storage import Storage
from raytalk.sweep.again import again
from raytalk.sweep.answer import best_settings, best_yaml, summary, table
from raytalk.sweep.confirm import Confirmation
from raytalk.sweep.objective import People, Scale, Yardstick
from raytalk.sweep.plots import plots
from raytalk.sweep.records import Record, Records, ranked
from raytalk.sweep.space import default_point, read_entries

SETTINGS, SPACE = sweep_settings(), default_space()
PEOPLE = People((), Yardstick({"ssim": Scale(0.4, 1.0), "likeness": Scale(0.8, 0.95)}))


def trials() -> list[Record]:
    scores = [0.5, 0.7, 0.2, 0.6, 0.45, 0.1]
    made = [record(number, score) for number, score in enumerate(scores)]
    own = default_point(SPACE, SETTINGS.train)
    made[0] = Record(0, own, "finished", "", made[0].curve, 60, 15)
    made[2] = record(2, 0.2, "stopped", 24)
    made[5] = record(5, 0.1, "collapsed", 24)
    return [*made, Record(6, SPACE.draw(0, 6), "failed", "its process died")]


def confirmation(gain: float) -> Confirmation:
    own = np.linspace(0.4, 0.6, 8)
    rows = [{"person": f"p{i}", "score": float(s), "ssim": float(s)} for i, s in enumerate(own)]
    better = [{**row, "score": row["score"] + gain + 0.001 * i, "ssim": row["ssim"]} for i, row in enumerate(rows)]
    return Confirmation(better, rows)


def test_metatrain_takes_best_yaml_as_it_is(tmp_path: Path) -> None:
    best = ranked(trials(), 32)[0]
    assert best.number == 1
    chosen = best_settings(SETTINGS, best)
    (tmp_path / "best.yaml").write_text(best_yaml(SETTINGS, best, chosen))
    taken = parse_command_line(MetatrainSettings, ["--config", str(tmp_path / "best.yaml")], "")
    assert taken == chosen
    assert taken.losses.content == best.point["losses.content"]
    assert taken.optimization.discriminator_steps == best.point["optimization.discriminator_steps"]
    assert (taken.clips, taken.name, taken.networks.resolution) == ("/nowhere/clips", "sweep-best", 32)
    longer = parse_command_line(MetatrainSettings, ["--config", str(tmp_path / "best.yaml"), "episodes=99"], "")
    assert longer.episodes == 99


def test_a_password_of_the_tracking_store_goes_into_no_file() -> None:
    best = ranked(trials(), 32)[0]
    for uri, kept in (("https://ada:secret@mlflow:5000", ""), ("http://mlflow:5000", "http://mlflow:5000")):
        settings = SETTINGS.model_copy(update={"tracking": SETTINGS.tracking.model_copy(update={"uri": uri})})
        chosen = best_settings(settings, best)
        assert chosen.tracking.uri == kept
        assert "secret" not in best_yaml(settings, best, chosen)


def test_the_table_has_a_line_per_trial_best_first() -> None:
    rows = list(csv.DictReader(io.StringIO(table(SPACE, trials(), 32))))
    assert [row["trial"] for row in rows] == ["001", "003", "000", "004", "002", "005", "006"]
    assert rows[0]["score"] == "0.70000"
    assert float(rows[0]["losses.content"]) == trials()[1].point["losses.content"]
    assert rows[-1]["reason"] == "its process died"


@pytest.mark.parametrize(
    ("gain", "verdict"), [(0.1, "is better than"), (-0.1, "is worse than"), (-0.0035, "is no better and no worse than")]
)
def test_the_summary_says_what_it_cost_and_whether_the_winner_is_better(gain: float, verdict: str) -> None:
    text = summary(SETTINGS, SPACE, trials(), trials()[1], confirmation(gain), PEOPLE)
    assert "7 trials of 32 episodes (debug, optuna, asha): 4 finished, 1 stopped, 1 collapsed, 1 failed" in text
    assert "2 min of GPUs" in text
    assert f"trial 001 {verdict} the defaults" in text
    assert "| 000 (defaults) | finished | 0.5000 | 32 |" in text


def test_a_comparison_that_there_is_not_is_said() -> None:
    text = summary(
        SETTINGS, SPACE, trials(), trials()[0], Confirmation(missing="the defaults themselves are best"), PEOPLE
    )
    assert "Not compared with the defaults on other people: the defaults themselves are best." in text


def test_plots_are_pictures_that_depend_on_the_trials() -> None:
    made = plots(SPACE, trials(), 32, confirmation(0.1))
    assert set(made) == {
        "score-over-settings.png",
        "parallel-coordinates.png",
        "learning-curves.png",
        "winner-and-defaults.png",
    }
    for data in made.values():
        picture = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
        assert picture is not None
        assert min(picture.shape[:2]) > 500
    other = plots(SPACE, [record(0, 0.5), record(1, 0.8)], 32, Confirmation())
    assert "winner-and-defaults.png" not in other
    assert other["learning-curves.png"] != made["learning-curves.png"]
    assert plots(SPACE, [Record(0, {})], 32, Confirmation()) == {}


def test_tables_and_plots_are_made_again_from_what_is_kept(tmp_path: Path) -> None:
    kept = {"settings": SETTINGS.model_dump(mode="json"), "about": {}}
    (tmp_path / "sweep.yaml").write_text(yaml.safe_dump(kept))
    (tmp_path / "space.yaml").write_text(yaml.safe_dump(read_entries("", SETTINGS.train)))
    people = {"selection": {"people": ["a", "b"], "yardstick": PEOPLE.yardstick.to_json()}}
    (tmp_path / "people.json").write_text(json.dumps(people))
    for each in trials():
        Records(Storage(str(tmp_path))).write(each)
    measured = confirmation(0.1)
    rows = {"of": [1, 32, 32], "winner": measured.winner, "defaults": measured.defaults}
    (tmp_path / "confirmation.json").write_text(json.dumps(rows))
    again(str(tmp_path))
    text = (tmp_path / "summary.md").read_text()
    assert "on 2 people held out" in text
    assert "trial 001 is better than the defaults" in text
    assert {file.name for file in (tmp_path / "figures").iterdir()} >= {"winner-and-defaults.png"}
    assert (tmp_path / "best.yaml").read_text() == best_yaml(
        SETTINGS, trials()[1], best_settings(SETTINGS, trials()[1])
    )
