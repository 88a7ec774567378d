"""What `jobs/study.py` does: a study out of an evaluation, or an analysis out of answers."""

import json
from functools import partial

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from raytalk.command import absolute_uri
from raytalk.errors import StudyError
from raytalk.evaluation.results import PROTOCOL, ROWS
from raytalk.evaluation.study.analysis import analyse
from raytalk.evaluation.study.answers import read_answers, read_key
from raytalk.evaluation.study.figure import user_figure
from raytalk.evaluation.study.page import make_study
from raytalk.evaluation.study.settings import StudyJobSettings
from raytalk.storage import Storage, explained, join

_COLUMNS = [name for name in ROWS.names if name not in ("features", "descriptor")]
PAGE, KEY = "page/study.html", "key.json"
"""The page lies in a folder of its own, which can be put on a server as it is; the key does not."""


def study_job(settings: StudyJobSettings) -> None:
    """Make a study or analyse one, and say so on stdout. Raises RaytalkError for what a person can mend."""
    if settings.evaluation:
        _make(settings)
    else:
        _analyse(settings)


def read_rows(uri: str) -> pd.DataFrame:
    """The rows of an evaluation without `features` and `descriptor`. Raises StudyError if there are none."""
    storage = Storage(absolute_uri(uri))
    if not storage.is_file(PROTOCOL):
        raise StudyError(
            f"{uri} holds no finished evaluation: give the output= of jobs/evaluate.py (it has {PROTOCOL})"
        )
    # Not all that lies in people/: another evaluation may have left more there.
    files = [trial["rows"] for trial in json.loads(storage.read(PROTOCOL))]
    tables = []
    for file in files:
        with explained(join(uri, file), "read"):
            tables.append(storage.load(file, partial(pq.read_table, columns=_COLUMNS)))
    return pa.concat_tables(tables).to_pandas()


def _make(settings: StudyJobSettings) -> None:
    output = Storage(absolute_uri(settings.output))
    made = make_study(read_rows(settings.evaluation), settings.study, settings.evaluation)
    key = json.dumps(made.key, indent=1, ensure_ascii=False).encode()
    if output.is_file(KEY) and json.loads(output.read(KEY)).get("study") != made.key["study"]:
        raise StudyError(
            f"{join(settings.output, KEY)} is the key of another study, whose answers nobody could read without it: "
            "give another output="
        )
    output.write(KEY, key)
    output.write(PAGE, made.page.encode())
    checks = sum(triplet.is_check for triplet in made.triplets)
    print(
        f"study {made.key['study']}: {len(made.triplets) - checks} triplets and {checks} attention checks, "
        f"{len(made.page) / 1e6:.1f} MB\n"
        f"  {join(settings.output, PAGE)}  for participants\n"
        f"  {join(settings.output, KEY)}  to keep: whoever has it knows the answers"
    )


def _analyse(settings: StudyJobSettings) -> None:
    key = read_key(settings.key)
    answers = Storage(absolute_uri(settings.answers))
    results, left_out = read_answers(answers, key)
    analysis = analyse(results, left_out, key, settings.analysis)
    output = Storage(absolute_uri(settings.output))
    text = analysis.to_markdown()
    output.write("user.md", text.encode())
    output.write("user.csv", analysis.to_csv().encode())
    output.write("user.json", analysis.to_json().encode())
    output.write("user.png", user_figure(analysis.table, analysis.participants, settings.analysis.confidence))
    print(text)
