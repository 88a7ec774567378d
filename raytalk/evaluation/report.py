"""What an evaluation leaves for people: tables, figures, the protocol as it was, and an MLflow run."""

import json
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from raytalk.config import flatten
from raytalk.evaluation.claims import check_claims
from raytalk.evaluation.figures import figures
from raytalk.evaluation.protocol import Choice, Trial
from raytalk.evaluation.results import METRICS, PROTOCOL
from raytalk.evaluation.settings import EvaluateSettings
from raytalk.evaluation.summary import likeness, per_person, summarise
from raytalk.evaluation.tables import markdown
from raytalk.storage import Storage
from raytalk.tracking import log_results


def keep_report(
    output: Storage,
    settings: EvaluateSettings,
    rows: pd.DataFrame,
    labels: Mapping[str, str],
    choice: Choice,
    failed: Mapping[str, str],
) -> pd.DataFrame:
    """Write summary.md, .csv and .json, people.parquet, protocol.json and figures/, and track them; the summary."""
    summary, people = summarise(rows, settings.seed), per_person(rows)
    claims, alike = check_claims(people), likeness(rows)
    left_out = dict(failed)
    if choice.too_short:
        some = ", ".join(list(choice.too_short)[:5])
        left_out["too few frames"] = (
            f"{len(choice.too_short)} people ({some}{' ...' if len(choice.too_short) > 5 else ''})"
        )
    text = markdown(summary, claims, labels, alike, _about(settings, rows), left_out)
    told: dict[str, Any] = {
        "settings": settings.model_dump(mode="json"),
        "labels": dict(labels),
        "rows": json.loads(summary.to_json(orient="records")),
        "claims": {split: [claim.told() for claim in found] for split, found in claims.items()},
        "likeness": alike,
        "left_out": left_out,
    }
    with tempfile.TemporaryDirectory(prefix="raytalk-evaluation-") as temporary:
        folder = Path(temporary)
        (folder / "summary.md").write_text(text)
        (folder / "summary.csv").write_text(summary.to_csv(index=False))
        (folder / "summary.json").write_text(json.dumps(told, indent=1, default=str))
        (folder / PROTOCOL).write_text(json.dumps(protocol(rows), indent=1))
        people.to_parquet(folder / "people.parquet")
        (folder / "figures").mkdir()
        for name, picture in figures(rows.drop(columns=["features", "descriptor"]), summary, dict(labels)).items():
            (folder / "figures" / name).write_bytes(picture)
        for file in sorted(file for file in folder.rglob("*") if file.is_file()):
            output.put_file(file, file.relative_to(folder).as_posix())
        print(text, flush=True)
        log_results(settings.tracking, output.uri, "evaluation", flatten(told["settings"]), _figures(summary), folder)
    print(f"tables, figures and rows: {output.uri}", flush=True)
    return summary


def protocol(rows: pd.DataFrame) -> list[dict[str, Any]]:
    """Who was evaluated and on which frames of which clip, so that anybody can repeat it."""
    listed = []
    for (split, person, clip), group in rows.groupby(["split", "person", "clip"], sort=True):
        learned = group[group["method"] == "learning"]
        shots = learned["shots"].max()
        listed.append(
            {
                "split": split,
                "person": person,
                "clip": clip,
                "rows": Trial(split, person, clip, "").path,
                "learning_frames": learned[learned["shots"] == shots]["frame"].tolist(),
                "hold_out_frames": group[group["method"] == "truth"]["frame"].tolist(),
            }
        )
    return listed


def _about(settings: EvaluateSettings, rows: pd.DataFrame) -> list[str]:
    clips = rows["clip"].nunique()
    held = rows[rows["method"] == "truth"].groupby(["split", "person"]).size()
    lines = [
        f"checkpoint: {settings.checkpoint}",
        f"{rows['person'].nunique()} people of {settings.clips} ({settings.clips_split}), {clips} clips, "
        f"{int(held.max())} hold-out frames each, T = {', '.join(map(str, settings.shots))}, seed {settings.seed}; "
        "who and which frames: protocol.json",
        f"fine-tuning: {settings.fewshot.steps} steps"
        if not settings.fewshot.epochs
        else f"fine-tuning: {settings.fewshot.epochs} epochs",
    ]
    lines += [f"{name}: {uri}" for name, uri in settings.others.items()]
    lines += [f"{name}: {uri}" for name in ("translation", "warping") if (uri := getattr(settings, name))]
    return lines


def _figures(summary: pd.DataFrame) -> dict[str, float]:
    """For MLflow: SPLIT/METHOD/T/STEPS/METRIC, the steps only where a method has several."""
    several = summary.groupby(["split", "method", "shots"])["steps"].transform("nunique") > 1
    values: dict[str, float] = {}
    for (_, row), apart in zip(summary.iterrows(), several, strict=True):
        place = f"{row['split']}/{row['method']}/T{row['shots']}" + (f"/{row['steps']}" if apart else "")
        for metric in [*METRICS, "learning_seconds", "frame_seconds"]:
            if metric in row and pd.notna(row[metric]):
                values[f"{place}/{metric}"] = float(row[metric])
    return values
