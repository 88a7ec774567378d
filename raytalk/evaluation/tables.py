"""The summary as Markdown: read like the paper's Table 1."""

import math
from collections.abc import Iterable, Mapping

import pandas as pd

from raytalk.evaluation import paper
from raytalk.evaluation.claims import Claim
from raytalk.evaluation.labels import is_published, short_title
from raytalk.evaluation.results import METRICS, method_title

_DIGITS = {"psnr": 1, "frechet": 1, "kernel": 4, "not_found": 2}
_BETTER = {"up": "↑", "down": "↓"}


def markdown(
    summary: pd.DataFrame,
    claims: Mapping[str, list[Claim]],
    labels: Mapping[str, str],
    likeness: Mapping[str, float],
    about: Iterable[str],
    failed: Mapping[str, str],
) -> str:
    """The whole report. about: lines on what was evaluated; failed: people and reasons."""
    parts = ["# Evaluation", "", *(f"- {line}" for line in about), ""]
    for split in sorted(set(summary["split"])):
        parts += [f"## {split} split", "", _explained(split), ""]
        parts += [*_table(summary[summary["split"] == split], labels), ""]
    parts += ["## The paper's figures", "", paper.TITLE + ".", "", *_paper(), ""]
    parts += ["## The paper's claims", "", "Mean difference over people, with its 95 % interval.", ""]
    for split, found in claims.items():
        if found:
            parts += [f"### {split} split", "", "| claim | figure | lead | verdict |", "|---|---|---|---|"]
            parts += [*(claim.line() for claim in found), ""]
    parts += ["## What the columns are", ""]
    parts += [f"- **{short_title(metric, labels)}**: {labels[metric]}" for metric in METRICS if metric in labels]
    if "frechet" in labels:
        parts += [
            "- The Fréchet distance grows as pictures get fewer: compare only rows with the same number of pictures, "
            "never with tables made from other numbers. The kernel distance has no such bias."
        ]
    stand_ins = [short_title(m, labels) for m in METRICS if m in labels and not is_published(m, labels)]
    if stand_ins:
        parts += [f"- \\* {', '.join(stand_ins)}: a stand-in's, not to be compared with published figures."]
    if likeness:
        parts += [
            f"- CSIM between real hold-out frames of one person: {likeness['same_person']:.3f}; of two different "
            f"people: {likeness['strangers']:.3f}."
        ]
    if failed:
        parts += ["", "## Left out", "", *(f"- {person}: {reason}" for person, reason in failed.items())]
    return "\n".join(parts) + "\n"


def _explained(split: str) -> str:
    if split == "interleaved":
        return (
            "Hold-out frames lie between learning frames in time, as in the paper's random choice: copying does well."
        )
    return "Learning frames come from the first part of each clip, hold-out frames from the rest."


def _table(summary: pd.DataFrame, labels: Mapping[str, str]) -> list[str]:
    shown = [name for name in METRICS if name in labels and name in summary and summary[name].notna().any()]
    heads = [f"{short_title(name, labels)}{_BETTER[METRICS[name][1]]}" for name in shown]
    lines = ["| method (T) | steps | " + " | ".join(heads) + " | learning, s | people |"]
    lines += ["|---|" + "---|" * (len(shown) + 3)]
    for _, row in summary.iterrows():
        name = method_title(str(row["method"])) + (f" ({row['shots']})" if row["shots"] else "")
        cells = [_cell(float(row[metric]), _DIGITS.get(metric, 3)) for metric in shown]
        seconds = _cell(float(row["learning_seconds"]), 2)
        lines.append(f"| {name} | {row['steps'] or ''} | {' | '.join(cells)} | {seconds} | {row['people']} |")
    return lines


def _paper() -> list[str]:
    lines = ["| data | method (T) | FID↓ | SSIM↑ | CSIM↑ | USER↓ |", "|---|---|---|---|---|---|"]
    for data, method, shots, fid, ssim, csim, user in paper.ROWS:
        lines.append(f"| {data} | {method} ({shots}) | {fid} | {ssim:.2f} | {csim:.2f} | {user:.2f} |")
    return lines


def _cell(value: float, digits: int) -> str:
    return f"{value:.{digits}f}" if math.isfinite(value) else "–"
