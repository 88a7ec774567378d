"""USER of the paper's Table 1: how often the generated picture is found. 1/3 is guessing, a perfect score."""

import io
import json
import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy import stats

from raytalk.errors import StudyError
from raytalk.evaluation.figures.look import ordered
from raytalk.evaluation.results import method_title
from raytalk.evaluation.study.answers import Key, LeftOut, Result
from raytalk.evaluation.study.settings import AnalysisSettings

GUESSING = 1 / 3
Counts = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Share:
    """How often the generated picture was found."""

    share: float
    low: float
    high: float
    p: float
    """how probable a share so far from 1/3, on either side, is if everybody guesses"""


@dataclass(frozen=True)
class Analysis:
    """What a study says."""

    table: pd.DataFrame
    """a row per method and T: method, shots, participants, answers, found, user, user_low, user_high, p, seconds"""
    participants: int
    left_out: list[LeftOut]
    settings: AnalysisSettings
    key: Key

    def to_json(self) -> str:
        """Everything."""
        whole: dict[str, Any] = {
            "study": self.key.study,
            "evaluation": self.key.evaluation,
            "participants": self.participants,
            "settings": self.settings.model_dump(mode="json"),
            "notes": _notes(self.key),
            "rows": json.loads(self.table.to_json(orient="records")),
            "left_out": [{"file": each.file, "reason": each.reason} for each in self.left_out],
        }
        return json.dumps(whole, indent=1, ensure_ascii=False)

    def to_csv(self) -> str:
        """The table."""
        text = io.StringIO()
        self.table.to_csv(text, index=False)
        return text.getvalue()

    def to_markdown(self) -> str:
        """For reading: the table, how it was made, who does not count."""
        percent = f"{100 * self.settings.confidence:g} %"
        lines = [
            "# User study",
            "",
            f"{_count(self.participants, 'participant')} looked for the generated one of three pictures. USER is the "
            "share of answers that found it: lower is better, and 1/3 is guessing. "
            f"In brackets: {percent} interval. p: against 1/3.",
            "",
            "| method | T | USER ↓ | interval | p | answers | participants | seconds, median |",
            "|---|---|---|---|---|---|---|---|",
        ]
        for row in self.table.itertuples():
            p = "< 0.001" if row.p < 0.001 else f"{row.p:.3f}"
            interval = f"[{row.user_low:.2f}, {row.user_high:.2f}]"
            lines.append(
                f"| {method_title(row.method)} | {row.shots} | {row.user:.2f} | {interval} | {p} | {row.answers} "
                f"| {row.participants} | {row.seconds:.1f} |"
            )
        lines += [
            "",
            "Intervals are Wilson's, widened by how alike the answers of one participant are (design effect, "
            "Student's t over participants). They speak of other viewers of these pictures, not of other pictures.",
        ]
        lines += [f"\n{note}" for note in _notes(self.key)]
        if self.left_out:
            lines += ["", "## Left out", "", "| file | reason |", "|---|---|"]
            lines += [f"| {each.file} | {each.reason} |" for each in self.left_out]
        return "\n".join(lines) + "\n"


def analyse(results: dict[str, Result], left_out: list[LeftOut], key: Key, settings: AnalysisSettings) -> Analysis:
    """Shares per method and T of those who pass the attention checks. Raises StudyError if nobody is left."""
    counted, inattentive = _attentive(results, key, settings)
    everybody_out = [*left_out, *inattentive]
    if not counted:
        reasons = "; ".join(f"{each.file}: {each.reason}" for each in everybody_out[:5])
        raise StudyError(f"no answers to analyse: {reasons or 'there is no result file (.json)'}")
    answers = pd.DataFrame(
        [
            (name, truth.method, truth.shots, answer.chosen == truth.fake, answer.seconds)
            for name, result in counted.items()
            for answer in result.answers
            if not (truth := key.triplets[answer.triplet]).check
        ],
        columns=["file", "method", "shots", "found", "seconds"],
    )
    rows = []
    for (method, shots), group in answers.groupby(["method", "shots"]):
        people = group.groupby("file").found.agg(["sum", "count"])
        found, answered = people["sum"].to_numpy(np.int64), people["count"].to_numpy(np.int64)
        share = share_found(found, answered, settings.confidence)
        rows.append(
            {"method": method, "shots": int(shots), "participants": len(people), "answers": int(answered.sum())}
            | {"found": int(found.sum()), "user": share.share, "user_low": share.low, "user_high": share.high}
            | {"p": share.p, "seconds": float(group.seconds.median())}
        )
    order = {method: place for place, method in enumerate(ordered(answers.method))}
    rows.sort(key=lambda row: (order[row["method"]], row["shots"]))
    return Analysis(pd.DataFrame(rows), len(counted), everybody_out, settings, key)


def share_found(found: Counts, answered: Counts, confidence: float = 0.95) -> Share:
    """The share of all answers, with an interval and a test that take participants as clusters.

    found, answered: [G], of each participant, answered > 0. Wilson's score interval with the effective number of
    answers n / d, where d >= 1 is the design effect (Kish): the variance of the share between participants over that
    of as many independent answers. Quantiles are Student's with G - 1 degrees of freedom (normal for G = 1, which
    knows nothing of other participants). The test is the same interval turned round.
    """
    people, answers = len(found), int(answered.sum())
    share = float(found.sum() / answers)
    alone = share * (1 - share) / answers
    effect = 1.0
    if people > 1 and alone > 0:
        between = people / (people - 1) * float(np.square(found - share * answered).sum()) / answers**2
        effect = max(1.0, between / alone)
    n = answers / effect
    law = stats.t(people - 1) if people > 1 else stats.norm()
    z = float(law.ppf((1 + confidence) / 2))
    centre = (share + z**2 / (2 * n)) / (1 + z**2 / n)
    half = z / (1 + z**2 / n) * math.sqrt(share * (1 - share) / n + z**2 / (4 * n**2))
    p = 2 * float(law.sf(abs(share - GUESSING) / math.sqrt(GUESSING * (1 - GUESSING) / n)))
    return Share(share, max(0.0, centre - half), min(1.0, centre + half), p)


def _attentive(
    results: dict[str, Result], key: Key, settings: AnalysisSettings
) -> tuple[dict[str, Result], list[LeftOut]]:
    counted: dict[str, Result] = {}
    others = []
    for name, result in results.items():
        checks = [answer for answer in result.answers if key.triplets[answer.triplet].check]
        passed = sum(answer.chosen == key.triplets[answer.triplet].fake for answer in checks)
        if checks and passed < settings.attention * len(checks):
            others.append(LeftOut(name, f"not attentive: {passed} of {len(checks)} attention checks found"))
        else:
            counted[name] = result
    return counted, others


def _notes(key: Key) -> list[str]:
    """What differs from the paper."""
    shown = [truth for truth in key.triplets.values() if not truth.check]
    same, truth = sum(each.same_clip for each in shown), sum(each.shows_truth for each in shown)
    notes = []
    if same:
        notes.append(
            f"In {same} of {len(shown)} triplets a real picture is from the clip that the generated one reenacts, at "
            "another time; the paper takes them from other videos."
        )
    if truth:
        notes.append(f"In {truth} of {len(shown)} triplets it is the very frame: there was no other.")
    return notes


def _count(number: int, what: str) -> str:
    return f"{number} {what}" if number == 1 else f"{number} {what}s"
