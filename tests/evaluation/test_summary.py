"""Means, intervals, claims and tables, on rows made by hand."""

import math
from typing import Any

import numpy as np
import pandas as pd
import pytest

from raytalk.evaluation.claims import check_claims
from raytalk.evaluation.results import ROWS, method_title
from raytalk.evaluation.summary import bootstrap, likeness, per_person, summarise
from raytalk.evaluation.tables import markdown

LABELS = {
    "ssim": "SSIM",
    "csim": "cosine",
    "landmark_error": "by dlib",
    "not_found": "share",
    "frechet": "distance (not FID)",
}


def row(person: str, method: str, shots: int, ssim: float, frame: int = 0, **more: Any) -> dict[str, Any]:
    values: dict[str, Any] = dict.fromkeys(ROWS.names, math.nan)
    random = np.random.default_rng((len(person), ord(person[-1]), len(method), shots, frame))
    values |= {"split": "block", "person": person, "clip": f"{person}/0", "method": method, "shots": shots, "steps": 0,
               "frame": frame, "ssim": ssim, "lpips": 1 - ssim, "features": random.normal(size=4), "descriptor": None,
               "picture": None, "landmark_error": 0.1}  # fmt: skip
    return values | more


def rows() -> pd.DataFrame:
    made = []
    for number, person in enumerate("abcdef"):
        for frame in range(3):
            made += [
                row(person, "truth", 0, 1.0, frame),
                row(person, "ff", 1, 0.50 + 0.01 * number, frame),
                row(person, "ff", 8, 0.60 + 0.01 * number, frame),
                row(person, "ft", 1, 0.40 + 0.01 * number, frame, steps=250),
                row(person, "ft", 8, 0.70 + 0.01 * number, frame, steps=250),
                row(person, "ft", 8, 0.10, frame, steps=10),
                row(person, "nearest", 8, 0.70 + 0.01 * number + (0.1 if number % 2 else -0.1), frame),
            ]
        made.append(row(person, "learning", 8, math.nan))
    return pd.DataFrame(made)


def test_means_are_over_people_not_frames() -> None:
    made = pd.DataFrame([row("a", "ff", 1, 0.2, 0), row("a", "ff", 1, 0.4, 1), row("b", "ff", 1, 0.9, 0)])
    line = summarise(made).iloc[0]
    assert line["ssim"] == pytest.approx((0.3 + 0.9) / 2)
    assert (line["people"], line["frames"]) == (2, 3)
    assert line["ssim_low"] == pytest.approx(0.3)
    assert line["ssim_high"] == pytest.approx(0.9)


def test_faces_that_were_not_found_are_counted_and_left_out_of_the_error() -> None:
    made = pd.DataFrame(
        [
            row("a", "ff", 1, 1.0, frame, landmark_error=error)
            for frame, error in enumerate((0.2, math.nan, 0.4, math.nan))
        ]
    )
    line = summarise(made).iloc[0]
    assert line["landmark_error"] == pytest.approx(0.3)
    assert line["not_found"] == pytest.approx(0.5)


def test_exact_copies_do_not_make_psnr_infinite() -> None:
    made = pd.DataFrame([row("a", "nearest", 1, 1.0, 0, psnr=math.inf), row("a", "nearest", 1, 1.0, 1, psnr=20.0)])
    assert summarise(made).iloc[0]["psnr"] == 20


def test_the_interval_holds_the_mean_and_narrows_with_people() -> None:
    random = np.random.default_rng(0)
    few, many = (bootstrap(random.normal(1.0, 0.5, count)) for count in (10, 1000))
    assert few[0] < 1.0 < few[1]
    assert many[1] - many[0] == pytest.approx(4 * 0.5 / 1000**0.5, rel=0.2)
    assert math.isnan(bootstrap(np.array([1.0]))[0])


def test_the_distance_of_the_truth_from_itself_is_not_a_figure() -> None:
    summary = summarise(rows()).set_index("method")
    assert math.isnan(summary.loc["truth", "frechet"])
    assert summary.loc["nearest", "frechet"] > 0


def test_claims_come_out_as_they_are() -> None:
    claims = {(c.text, c.metric, c.better, c.worse): c for c in check_claims(per_person(rows()))["block"]}
    better = claims["better with T", "ssim", ("ft", 8), ("ft", 1)]
    assert (better.verdict, better.people) == ("holds", 6)
    assert better.lead == pytest.approx(0.3), "the last state of ft, not the one after 10 steps"
    assert claims["feed-forward ahead at T = 1", "lpips", ("ff", 1), ("ft", 1)].verdict == "holds"
    assert claims["fine-tuned ahead at T = 8", "ssim", ("ft", 8), ("ff", 8)].lead == pytest.approx(0.1)
    assert claims["ahead of copying", "ssim", ("ft", 8), ("nearest", 8)].verdict == "undecided"
    turned = rows()
    turned.loc[turned["method"] == "ft", "ssim"] *= -1
    against = [c for c in check_claims(per_person(turned))["block"] if c.text == "fine-tuned ahead at T = 8"]
    assert [claim.verdict for claim in against if claim.metric == "ssim"] == ["does not hold"]


def test_claims_of_t_need_more_than_one_t() -> None:
    made = rows()
    one = [c.text for c in check_claims(per_person(made[made["shots"].isin([0, 8])]))["block"]]
    assert "ahead of copying" in one
    assert not [text for text in one if "T" in text]
    assert check_claims(per_person(made[made["method"] == "truth"]))["block"] == []


def test_what_is_not_known_is_told_as_json_can() -> None:
    made = rows()
    claim = check_claims(per_person(made[made["person"] == "a"]))["block"][0]
    assert claim.told()["low"] is None
    assert claim.verdict == "undecided"
    assert "nan" not in claim.line()


def test_lower_is_better_where_it_is() -> None:
    made = rows()
    made.loc[made["method"] == "ft", "landmark_error"] = 0.05
    claim = next(c for c in check_claims(per_person(made))["block"] if c.metric == "landmark_error")
    assert claim.lead == pytest.approx(0.05)
    assert claim.verdict == "holds"


def test_csim_is_told_beside_what_it_can_be() -> None:
    faces = {"a": ([1.0, 0.0], [0.8, 0.6]), "b": ([0.0, 1.0], [0.0, 1.0])}
    made = pd.DataFrame([row(person, "truth", 0, 1.0, frame, descriptor=face)
                         for person, both in faces.items() for frame, face in enumerate(both)])  # fmt: skip
    alike = likeness(made)
    assert alike["same_person"] == pytest.approx((0.8 + 1.0) / 2)
    assert alike["strangers"] == pytest.approx((0 + 0 + 0.6 + 0.6) / 4)
    assert likeness(made[made["person"] == "a"]) == {}


def test_the_table_reads_like_the_paper_s_and_never_calls_a_stand_in_fid() -> None:
    made = rows()
    text = markdown(summarise(made), check_claims(per_person(made)), LABELS, {}, ["checkpoint: x"], {"z": "no face"})
    block = text[text.index("## block split") : text.index("## The paper's figures")]
    assert "| method (T) | steps | SSIM↑ |" in block
    assert "Fréchet*" in block
    assert "FID" not in block
    assert f"| {method_title('ft')} (8) | 250 | 0.725 |" in block
    assert "Ours-FT (32) | 30.6 | 0.72 | 0.45 | 0.33" in text
    assert "- z: no face" in text
    assert "FID↓" in markdown(summarise(made), {}, LABELS | {"frechet": "FID"}, {}, [], {}).split("## The paper")[0]


def test_methods_of_other_checkpoints_have_their_name() -> None:
    assert method_title("no-match/ft") == "no-match, fine-tuned"
    assert method_title("nearest") == "Copy of the nearest learning frame"
