"""The end of a sweep: best.yaml, a table, a summary to read, and plots; in storage and with the sweep's run."""

import csv
import io
import math
import tempfile
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from raytalk.learning.progress import duration
from raytalk.learning.settings import MetatrainSettings
from raytalk.storage import Storage, join
from raytalk.sweep.confirm import Confirmation
from raytalk.sweep.objective import FIGURES, People
from raytalk.sweep.records import Record, ranked
from raytalk.sweep.searching import DEFAULTS
from raytalk.sweep.settings import SweepSettings
from raytalk.sweep.space import Space, with_point
from raytalk.tracking import RunHandle, Tracker, log_files

BEST_FILE, TABLE_FILE, SUMMARY_FILE = "best.yaml", "trials.csv", "summary.md"


@dataclass(frozen=True)
class Answer:
    """What the sweep found."""

    best: Record
    settings: MetatrainSettings
    """of best.yaml"""
    confirmation: Confirmation
    uri: str
    """of best.yaml"""


def keep_answer(
    sweep: Storage,
    settings: SweepSettings,
    space: Space,
    records: list[Record],
    best: Record,
    confirmation: Confirmation,
    people: People,
    handle: RunHandle,
) -> Answer:
    """Write it all, and print the summary. Raises StorageError, TrackingError."""
    chosen = best_settings(settings, best)
    texts = {
        BEST_FILE: best_yaml(settings, best, chosen),
        TABLE_FILE: table(space, records, settings.train.episodes),
        SUMMARY_FILE: summary(settings, space, records, best, confirmation, people),
    }
    files = {name: text.encode() for name, text in texts.items()}
    files |= {f"figures/{name}": data for name, data in _figures(space, records, settings, confirmation).items()}
    with tempfile.TemporaryDirectory(prefix="raytalk-sweep-") as temporary:
        for name, data in files.items():
            sweep.write(name, data)
            local = Path(temporary) / name
            local.parent.mkdir(exist_ok=True)
            local.write_bytes(data)
        log_files(handle, Path(temporary))
    with Tracker.open(handle) as tracker:
        tracker.metrics(_headline(records, best, confirmation), best.episodes)
    print(texts[SUMMARY_FILE], flush=True)
    return Answer(best, chosen, confirmation, join(sweep.uri, BEST_FILE))


def best_settings(settings: SweepSettings, best: Record) -> MetatrainSettings:
    """Of a run of its own, with what the winner was trained with."""
    run = with_point(settings.train, best.point)
    places = {"clips": settings.clips, "output": settings.output, "name": f"{settings.name}-best"}
    return run.model_copy(update={**places, "tracking": settings.tracking.without_password()})


def best_yaml(settings: SweepSettings, best: Record, chosen: MetatrainSettings) -> str:
    """What `jobs/metatrain.py --config best.yaml` takes."""
    return (
        f"# The best of the sweep '{settings.name}': trial {best.name}, score {best.score:.4f} after "
        f"{best.episodes:,} episodes.\n"
        "# jobs/metatrain.py --config best.yaml trains with these settings as they are; episodes=N for longer.\n"
        + chosen.to_yaml()
    )


def table(space: Space, records: list[Record], whole: int) -> str:
    """CSV: a line per trial, best first, those without a score last."""
    order = ranked(records, whole)
    order += [record for record in records if record not in order]
    keys = [dimension.key for dimension in space.dimensions]
    figures = sorted({name for record in records for look in record.curve.values() for name in look} - {"score"})
    text = io.StringIO(newline="")
    writer = csv.writer(text)
    writer.writerow(
        ["trial", "state", "score", "episodes", *keys, *figures, "seconds", "gpu_seconds", "reason"]
    )  # fmt: skip
    for record in order:
        last = record.curve.get(record.episodes, {})
        writer.writerow(
            [
                record.name,
                record.state,
                f"{record.score:.5f}",
                record.episodes,
                *(record.point.get(key) for key in keys),
                *(f"{last[name]:.5f}" if name in last else "" for name in figures),
                round(record.seconds),
                round(record.gpu_seconds),
                record.reason,
            ]
        )
    return text.getvalue()


def summary(
    settings: SweepSettings,
    space: Space,
    records: list[Record],
    best: Record,
    confirmation: Confirmation,
    people: People,
) -> str:
    """Markdown: what was tried and what it cost, the table of trials, whether the winner is better."""
    count = {state: sum(record.state == state for record in records) for state in _STATES}
    states = ", ".join(f"{number} {state}" for state, number in count.items() if number)
    seconds, gpu = sum(record.seconds for record in records), sum(record.gpu_seconds for record in records)
    shown = sum(record.episodes for record in records)
    cost = f"{duration(seconds)} of trials, " + (f"{duration(gpu)} of GPUs" if gpu else "no GPU")
    lines = [
        f"# Sweep '{settings.name}'",
        "",
        f"{len(records)} trials of {settings.train.episodes:,} episodes ({settings.train.preset}, "
        f"{settings.search}, {settings.scheduler}): {states}. They cost {cost}, {shown:,} episodes in all; "
        f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC.",
        f"Score: mean of {', '.join(people.yardstick.scales)} on {len(people.trials)} people held out, "
        f"T = {settings.objective.shots}, {settings.objective.steps} steps.",
        "",
        *_trial_lines(space, records, settings.train.episodes),
        "",
        *_compared(best, confirmation),
        "",
    ]
    return "\n".join(lines)


_STATES = ("finished", "stopped", "collapsed", "failed", "begun")


def _trial_lines(space: Space, records: list[Record], whole: int) -> list[str]:
    short = [dimension.key.rsplit(".", 1)[-1] for dimension in space.dimensions]
    order = ranked(records, whole)
    order += [record for record in records if record not in order]
    lines = [
        f"| trial | state | score | episodes | {' | '.join(short)} |",
        "|---" * (4 + len(short)) + "|",
    ]
    for record in order:
        values = [_value(record.point.get(dimension.key)) for dimension in space.dimensions]
        name = f"{record.name} (defaults)" if record.number == DEFAULTS else record.name
        score = f"{record.score:.4f}" if record.score == record.score else "-"
        lines.append(f"| {name} | {record.state} | {score} | {record.episodes:,} | {' | '.join(values)} |")
    return lines


def _compared(best: Record, confirmation: Confirmation) -> list[str]:
    if confirmation.missing:
        return [f"Best: trial {best.name}. Not compared with the defaults on other people: {confirmation.missing}."]
    gain, low, high = confirmation.difference()
    verdict = (
        "better than the defaults"
        if low > 0
        else "worse than the defaults"
        if high < 0
        else "no better and no worse than the defaults as far as these people tell"
    )
    lines = [
        f"On {len(confirmation.winner)} people by whom nobody was chosen, trial {best.name} is {verdict}: "
        f"{gain:+.4f} [{low:+.4f}, {high:+.4f}] (95 % over people, paired).",
        "",
        "| | winner | defaults | difference |",
        "|---|---|---|---|",
    ]
    for key in ("score", *FIGURES.values()):
        mine, theirs = (
            [row[key] for row in rows if math.isfinite(row.get(key, math.nan))]
            for rows in (confirmation.winner, confirmation.defaults)
        )
        if mine and theirs:
            each, below, above = confirmation.difference(key)
            lines.append(
                f"| {key} | {sum(mine) / len(mine):.4f} | {sum(theirs) / len(theirs):.4f} | "
                f"{each:+.4f} [{below:+.4f}, {above:+.4f}] |"
            )
    return lines


def _headline(records: list[Record], best: Record, confirmation: Confirmation) -> dict[str, float]:
    found = {"sweep/best_score": best.score, "sweep/gpu_seconds": sum(record.gpu_seconds for record in records)}
    found |= {f"sweep/{state}": float(sum(record.state == state for record in records)) for state in _STATES}
    if not confirmation.missing:
        gain, low, high = confirmation.difference()
        found |= {"sweep/gain": gain, "sweep/gain_low": low, "sweep/gain_high": high}
    return found


def _figures(
    space: Space, records: list[Record], settings: SweepSettings, confirmation: Confirmation
) -> dict[str, bytes]:
    try:
        from raytalk.sweep.plots import plots
    except ImportError:
        print("no plots: they need matplotlib (pip install 'raytalk[metrics]')", flush=True)
        return {}
    return plots(space, records, settings.train.episodes, confirmation)


def _value(value: Any) -> str:
    return f"{value:.3g}" if isinstance(value, float) else str(value)
