import csv
import io
import json

import cv2
import numpy as np
import pytest
from scipy import stats

from raytalk.errors import StudyError
from raytalk.evaluation.study import AnalysisSettings
from raytalk.evaluation.study.analysis import analyse, share_found
from raytalk.evaluation.study.answers import LeftOut, Result
from raytalk.evaluation.study.figure import user_figure


def _results(*made):
    return {f"{number}.json": Result.model_validate(result) for number, result in enumerate(made)}


def _only_ff(_, truth):
    return truth["check"] or truth["method"] == "ff"


def test_shares_by_hand(answered, key):
    """ff: all six found by one, none by the other; ft at T = 8: by the second alone."""
    second = answered(2, lambda _, truth: truth["check"] or (truth["method"], truth["shots"]) == ("ft", 8), seconds=5.0)
    table = analyse(_results(answered(1, _only_ff, seconds=2.0), second), [], key, AnalysisSettings()).table
    rows = {(row.method, row.shots): row for row in table.itertuples()}
    assert list(rows) == [("ff", 1), ("ff", 8), ("ft", 1), ("ft", 8)]
    assert [row.user for row in rows.values()] == [0.5, 0.5, 0.0, 0.5]
    assert {row.answers for row in rows.values()} == {12}
    assert {row.participants for row in rows.values()} == {2}
    assert rows["ff", 1].found == 6
    assert rows["ff", 1].seconds == 3.5


def test_one_participant_gets_wilsons_interval():
    share = share_found(np.array([7]), np.array([10]))
    wanted = stats.binomtest(7, 10).proportion_ci(0.95, "wilson")
    assert (share.low, share.high) == pytest.approx((wanted.low, wanted.high))
    z = (0.7 - 1 / 3) / np.sqrt(2 / 9 / 10)
    assert share.p == pytest.approx(2 * stats.norm.sf(z))


def test_the_design_effect_by_hand():
    """Two all right, two all wrong, 10 answers each: the share varies as that of 3 independent answers does."""
    share = share_found(np.array([10, 10, 0, 0]), np.array([10] * 4))
    # Variance of the mean of 1, 1, 0, 0: (4 / 3) * 4 * 0.25 / 16 = 1 / 12, and 0.25 / n = 1 / 12 for n = 3.
    n, t = 3, stats.t.ppf(0.975, 3)
    centre = (0.5 + t**2 / (2 * n)) / (1 + t**2 / n)
    half = t / (1 + t**2 / n) * np.sqrt(0.25 / n + t**2 / (4 * n**2))
    assert (share.low, share.high) == pytest.approx((centre - half, centre + half))


def test_participants_who_differ_widen_the_interval():
    answered = np.full(10, 20)
    alike = share_found(np.full(10, 10), answered)
    differing = share_found(np.array([20, 0] * 5), answered)
    assert alike.share == differing.share
    assert differing.high - differing.low > 2.5 * (alike.high - alike.low)


@pytest.mark.parametrize(("found", "low", "high"), [([0, 0, 0], 0, None), ([8, 8, 8], None, 1)])
def test_all_or_none_has_an_interval_too(found, low, high):
    share = share_found(np.array(found), np.array([8] * 3))
    assert 0 <= share.low < share.high <= 1
    assert low is None or share.low == pytest.approx(low, abs=1e-9)
    assert high is None or share.high == pytest.approx(high, abs=1e-9)


@pytest.mark.parametrize(("people", "answers", "spread"), [(5, 6, 0.0), (12, 6, 0.15), (30, 10, 0.25)])
def test_intervals_hold_the_truth_as_often_as_they_say(people, answers, spread):
    """Simulated participants with different eyes: rates of a beta law around 0.5."""
    random = np.random.default_rng(0)
    held, rejected, trials = 0, 0, 1500
    for _ in range(trials):
        rates = np.full(people, 0.5) if not spread else _beta(random, 0.5, spread, people)
        share = share_found(random.binomial(answers, rates), np.full(people, answers))
        held += share.low <= 0.5 <= share.high
        guesses = np.full(people, 1 / 3) if not spread else _beta(random, 1 / 3, spread, people)
        rejected += share_found(random.binomial(answers, guesses), np.full(people, answers)).p < 0.05
    assert 0.93 <= held / trials <= 1
    assert rejected / trials <= 0.075


def _beta(random, mean, spread, number):
    strength = mean * (1 - mean) / spread**2 - 1
    return random.beta(mean * strength, (1 - mean) * strength, number)


def test_a_simulated_population(answered, key):
    """Forty people who find ff at a rate of 0.8 and guess at ft."""
    random = np.random.default_rng(1)

    def right(_, truth):
        return truth["check"] or random.uniform() < (0.8 if truth["method"] == "ff" else 1 / 3)

    table = analyse(_results(*(answered(n, right) for n in range(1, 41))), [], key, AnalysisSettings()).table
    for row in table.itertuples():
        assert row.user_low < (0.8 if row.method == "ff" else 1 / 3) < row.user_high
        assert (row.p < 0.001) == (row.method == "ff")


def test_who_is_not_attentive_is_left_out(answered, key):
    careless = answered(2, lambda number, truth: not truth["check"])
    results = _results(answered(1, _only_ff), careless)
    analysis = analyse(results, [LeftOut("x.json", "broken")], key, AnalysisSettings())
    assert analysis.participants == 1
    assert [each.file for each in analysis.left_out] == ["x.json", "1.json"]
    assert analysis.left_out[1].reason == "not attentive: 0 of 2 attention checks found"
    assert analysis.table.set_index(["method", "shots"]).user["ff", 1] == 1.0
    assert analyse(results, [], key, AnalysisSettings(attention=0)).participants == 2


def test_half_of_the_checks_is_enough_where_half_is_asked_for(answered, key):
    checks = [number for number, truth in enumerate(key.triplets.values()) if truth.check]
    results = _results(answered(1, lambda number, truth: number != checks[0]))
    assert analyse(results, [], key, AnalysisSettings(attention=0.5)).participants == 1
    with pytest.raises(StudyError, match="1 of 2 attention checks"):
        analyse(results, [], key, AnalysisSettings(attention=0.51))


def test_nobody_left_says_why(key):
    with pytest.raises(StudyError, match="there is no result file"):
        analyse({}, [], key, AnalysisSettings())
    with pytest.raises(StudyError, match=r"a\.json: incomplete"):
        analyse({}, [LeftOut("a.json", "incomplete")], key, AnalysisSettings())


def test_what_is_written(answered, key):
    analysis = analyse(_results(answered(1, _only_ff)), [LeftOut("x.json", "broken")], key, AnalysisSettings())
    text = analysis.to_markdown()
    assert "| Ours, feed-forward | 1 | 1.00 | [0.61, 1.00] | < 0.001 | 6 | 1 | 3.0 |" in text
    assert "| x.json | broken |" in text
    assert "the paper takes them from other videos" in text
    rows = list(csv.DictReader(io.StringIO(analysis.to_csv())))
    assert float(rows[0]["user"]) == 1.0
    whole = json.loads(analysis.to_json())
    assert whole["rows"][0]["user"] == 1.0
    assert whole["left_out"] == [{"file": "x.json", "reason": "broken"}]
    picture = user_figure(analysis.table, analysis.participants)
    assert cv2.imdecode(np.frombuffer(picture, np.uint8), cv2.IMREAD_COLOR) is not None
