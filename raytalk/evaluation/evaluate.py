"""The whole job: choose people, have them performed and judged over a Ray cluster, and tell how it went.

A trial (one person under one split) is done when its file of rows is there; the same command again does the others.
"""

import csv
import io
import json
from collections.abc import Iterator
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import yaml

from raytalk.command import absolute_uri
from raytalk.connect import connect
from raytalk.errors import RaytalkError, SettingsError
from raytalk.evaluation.cast import Cast
from raytalk.evaluation.labels import labels_of, resolved
from raytalk.evaluation.performer import Models, check_models, load_models
from raytalk.evaluation.protocol import Choice, Trial, choose
from raytalk.evaluation.report import keep_report
from raytalk.evaluation.settings import EvaluateSettings
from raytalk.learning.naming import absolute_checkpoint
from raytalk.storage import Storage, explained, join
from raytalk.tracking import store_uri

SETTINGS_FILE, FAILED_FILE = "evaluation.yaml", "failed.csv"
_MAY_DIFFER = ("preset", "people", "again", "device", "table", "tracking", "speed", "output")
"""settings that another run over the same output may change"""


def evaluate(settings: EvaluateSettings) -> pd.DataFrame:
    """Evaluate, write everything below `output` and into MLflow, and print the table; returns the summary.

    Raises RaytalkError for what a person can mend, and if nobody at all could be evaluated. A person who fails is
    reported, in failed.csv and in the summary.
    """
    settings = _with_absolute_places(settings)
    store_uri(settings.tracking, settings.output)  # what is wrong with it is told now, not after everything is done
    output, models = Storage(settings.output), load_models(settings)
    choice = _choose(settings)
    check_models(settings, models, choice.detectors)
    settings = settings.model_copy(update={"metrics": resolved(settings.metrics)})
    labels, about = labels_of(settings.metrics), _about(settings, models)
    _begin(output, settings, about)
    settings = _pinned(settings, models)
    work = [trial for trial in choice.trials if settings.again or not _kept(output, trial, about)]
    done = len(choice.trials) - len(work)
    print(
        f"{choice.people} people, {len(choice.trials)} trials" + (f", {done} done before" if done else ""),
        flush=True,
    )
    failed: dict[Trial, str] = {}
    if work:
        connect()
        failed = Cast(settings, about).play(work)
    output.write(FAILED_FILE, _failures(failed))
    rows = read_rows(output, [trial for trial in choice.trials if trial not in failed])
    if not len(rows):
        raise RaytalkError(f"nobody could be evaluated; why is in {output.uri}/{FAILED_FILE}")
    return keep_report(
        output, settings, rows, labels, choice, {f"{t.person} ({t.split})": why for t, why in failed.items()}
    )


def read_rows(output: Storage, trials: list[Trial]) -> pd.DataFrame:
    """All rows of these trials. Raises StorageError."""
    tables = []
    for trial in trials:
        with explained(join(output.uri, trial.path), "read"):
            tables.append(output.load(trial.path, pq.read_table).replace_schema_metadata(None))
    return pa.concat_tables(tables).to_pandas() if tables else pd.DataFrame()


def _choose(settings: EvaluateSettings) -> Choice:
    needed = max(settings.shots) + settings.hold_out
    choice = choose(
        Storage(settings.clips), settings.clips_split, settings.people, needed, settings.splits, settings.seed
    )
    for text in choice.left_out:
        print(f"left out: {text}", flush=True)
    if choice.people < settings.people:
        short = f", and {len(choice.too_short)} more have fewer than {needed} frames" if choice.too_short else ""
        print(f"there are {choice.people} people to evaluate, not {settings.people}{short}", flush=True)
    return choice


def _about(settings: EvaluateSettings, models: Models) -> dict[str, str]:
    """With what rows are made: rows made otherwise do not belong beside them."""
    kept = {key: value for key, value in settings.model_dump(mode="json").items() if key not in _MAY_DIFFER}
    used = [(model.uri, model.state.episodes) for model in models.all]
    if models.warping is not None:
        used.append((models.warping.uri, models.warping.state.episodes))
    kept["models"] = [f"{uri} after {episodes} episodes" for uri, episodes in used]
    return {key: json.dumps(value) for key, value in kept.items()}


def _pinned(settings: EvaluateSettings, models: Models) -> EvaluateSettings:
    """With the very checkpoints that were found: a run may go on while it is evaluated."""
    return settings.model_copy(
        update={
            "checkpoint": models.main.uri,
            "against": tuple(f"{name}={model.uri}" for name, model in models.others.items()),
            "translation": models.translation.uri if models.translation else "",
            "warping": models.warping.uri if models.warping else "",
        }
    )


def _begin(output: Storage, settings: EvaluateSettings, about: dict[str, str]) -> None:
    """Raises SettingsError if the place holds an evaluation of something else."""
    if output.exists(SETTINGS_FILE):
        before = yaml.safe_load(output.read(SETTINGS_FILE)).get("about", {})
        different = [key for key in about if before.get(key) != about[key]]
        if different and settings.again:
            for folder in ("people", "figures"):
                output.delete(folder)
        elif different:
            key = different[0]
            raise SettingsError(
                f"{output.uri} holds an evaluation with another {key} ({before.get(key)}, now {about[key]}): give "
                "another output=, or again=true to begin anew"
            )
    written = {"settings": settings.model_dump(mode="json"), "about": about}
    output.write(SETTINGS_FILE, yaml.safe_dump(written, sort_keys=False).encode())


def _kept(output: Storage, trial: Trial, about: dict[str, str]) -> bool:
    if not output.is_file(trial.path):
        return False
    try:
        metadata = output.load(trial.path, pq.read_schema).metadata or {}
    except (OSError, pa.ArrowInvalid):
        return False  # damaged: made again
    return all(metadata.get(key.encode()) == value.encode() for key, value in about.items())


def _failures(failed: dict[Trial, str]) -> bytes:
    text = io.StringIO(newline="")
    table = csv.writer(text)
    table.writerow(["split", "person", "clip", "reason"])
    table.writerows(_lines(failed))
    return text.getvalue().encode()


def _lines(failed: dict[Trial, str]) -> Iterator[list[str]]:
    for trial, reason in failed.items():
        yield [trial.split, trial.person, trial.clip, reason]


def _with_absolute_places(settings: EvaluateSettings) -> EvaluateSettings:
    """Actors run in other folders."""

    changes: dict[str, Any] = {name: absolute_uri(getattr(settings, name)) for name in ("clips", "output")}
    for name in ("checkpoint", "translation", "warping"):
        changes[name] = absolute_checkpoint(getattr(settings, name))
    changes["against"] = tuple(f"{name}={absolute_checkpoint(uri)}" for name, uri in settings.others.items())
    for group in ("perceptual", "metrics"):
        inner = getattr(settings, group)
        changes[group] = inner.model_copy(update={"weights": inner.weights and absolute_uri(inner.weights)})
    return settings.model_copy(update=changes)
