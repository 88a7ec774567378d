import json
import subprocess
import sys
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from evaluation.toy_results import toy_rows

from raytalk.errors import SettingsError, StudyError
from raytalk.evaluation.results import PROTOCOL, ROWS
from raytalk.evaluation.study import StudyJobSettings
from raytalk.evaluation.study.job import read_rows, study_job


@pytest.fixture(scope="module")
def evaluation(tmp_path_factory):
    """Files as an evaluation leaves them, one per person and split, with the heavy columns."""
    folder = tmp_path_factory.mktemp("evaluation")
    rows = toy_rows(people=3, size=32, methods=("ff", "ft"), steps=(320,))
    listed = []
    for (split, person), own in rows.groupby(["split", "person"]):
        full = own.assign(features=[[0.0] * 3] * len(own), descriptor=None)[ROWS.names]
        (folder / "people" / split).mkdir(parents=True, exist_ok=True)
        table = pa.Table.from_pandas(full, ROWS, preserve_index=False)
        pq.write_table(table, folder / "people" / split / f"{person}.parquet")
        listed.append({"rows": f"people/{split}/{person}.parquet"})
    (folder / "people" / "block" / "left-by-another.parquet").write_bytes(b"not of this evaluation")
    (folder / PROTOCOL).write_text(json.dumps(listed))
    return folder


def _make(evaluation, output, **study):
    study_job(StudyJobSettings.resolve(None, {"evaluation": str(evaluation), "output": str(output), "study": study}))


def test_rows_come_without_what_a_study_does_not_need(evaluation):
    rows = read_rows(str(evaluation))
    assert set(rows.person) == {"person0", "person1", "person2"}
    assert set(ROWS.names) - set(rows.columns) == {"features", "descriptor"}


def test_a_study_is_made_and_answered_and_analysed(evaluation, tmp_path, capsys):
    _make(evaluation, tmp_path / "study", shown=10)
    said = capsys.readouterr().out
    assert "study.html" in said
    assert not (tmp_path / "study" / "page" / "key.json").exists()
    key = json.loads((tmp_path / "study" / "key.json").read_text())
    assert key["evaluation"] == str(evaluation)
    answers = [{"triplet": name, "chosen": truth["fake"], "seconds": 2.5} for name, truth in key["triplets"].items()]
    result = {"format": 1, "study": key["study"], "seed": "0" * 32, "shown": list(key["triplets"]), "answers": answers}
    (tmp_path / "answers").mkdir()
    (tmp_path / "answers" / "one.json").write_text(json.dumps(result))
    (tmp_path / "answers" / "bad.json").write_text("{")
    given = {"answers": str(tmp_path / "answers"), "key": str(tmp_path / "study" / "key.json")}
    study_job(StudyJobSettings.resolve(None, given | {"output": str(tmp_path / "results")}))
    assert "| Ours, fine-tuned | 32 | 1.00 |" in capsys.readouterr().out
    names = sorted(path.name for path in (tmp_path / "results").iterdir())
    assert names == ["user.csv", "user.json", "user.md", "user.png"]
    whole = json.loads((tmp_path / "results" / "user.json").read_text())
    assert [each["file"] for each in whole["left_out"]] == ["bad.json"]


def test_the_key_of_another_study_is_not_written_over(evaluation, tmp_path):
    _make(evaluation, tmp_path, triplets=6)
    before = (tmp_path / "key.json").read_bytes()
    _make(evaluation, tmp_path, triplets=6)
    with pytest.raises(StudyError, match="another study"):
        _make(evaluation, tmp_path, triplets=6, seed=1)
    assert (tmp_path / "key.json").read_bytes() == before


def test_a_place_without_an_evaluation(tmp_path):
    with pytest.raises(StudyError, match=r"jobs/evaluate\.py"):
        read_rows(str(tmp_path))


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({}, "evaluation=URI"),
        ({"evaluation": "a", "answers": "b", "key": "c"}, "evaluation=URI"),
        ({"answers": "b"}, "key=FILE"),
        ({"evaluation": "a", "key": "c"}, "answers=FOLDER"),
    ],
)
def test_what_to_give_is_said(given, message):
    with pytest.raises(SettingsError, match=message):
        StudyJobSettings.resolve(None, given | {"output": "o"})


def test_the_job_says_in_one_line_what_is_wrong(tmp_path):
    job = Path(__file__).parents[3] / "jobs" / "study.py"
    done = subprocess.run(
        [sys.executable, str(job), f"evaluation={tmp_path}", f"output={tmp_path}"], capture_output=True, text=True
    )
    assert done.returncode == 2
    assert done.stderr.startswith("raytalk: ")
    assert "holds no finished evaluation" in done.stderr
    assert done.stderr.count("\n") == 1
