"""Distances of clouds of features: against scipy's root, torch-fidelity's figures and a double loop."""

import numpy as np
import pytest
import torch
from other_metrics import imported
from scipy import linalg

from raytalk.evaluation.metrics.distribution import frechet_distance, frechet_label, kernel_distance, kernel_label
from raytalk.evaluation.metrics.features import EfficientNetFeatures, InceptionFeatures


def clouds(n: int, m: int, size: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Two skewed clouds with different covariances, as behind a ReLU; float32 [n, size] and [m, size]."""
    generator = np.random.default_rng(seed)
    mixing, other = generator.normal(size=(2, size, size)) / np.sqrt(size)
    one = np.maximum(generator.normal(size=(n, size)) @ mixing + 0.3, 0)
    two = np.maximum(1.3 * generator.normal(size=(m, size)) @ other + 0.1, 0)
    return one.astype(np.float32), two.astype(np.float32)


def by_square_root(one: np.ndarray, other: np.ndarray) -> float:
    first, second = one.astype(np.float64), other.astype(np.float64)
    gap = first.mean(axis=0) - second.mean(axis=0)
    covariance, another = np.cov(first, rowvar=False), np.cov(second, rowvar=False)
    root = linalg.sqrtm(covariance @ another)
    return float(gap @ gap + np.trace(covariance + another - 2 * root.real))


@pytest.mark.parametrize(("n", "m"), [(90, 140), (140, 90), (20, 140), (30, 25), (2, 40)])
def test_the_frechet_distance_equals_other_implementations(n: int, m: int) -> None:
    """With more pictures than the 32 features, with fewer in one set, and in both."""
    one, other = clouds(n, m, 32)
    distance = frechet_distance(one, other)
    fidelity = imported("torch_fidelity.metric_fid")
    statistics = [fidelity.fid_features_to_statistics(torch.from_numpy(part)) for part in (one, other)]
    theirs = fidelity.fid_statistics_to_metric(*statistics, verbose=False)["frechet_inception_distance"]
    assert distance == pytest.approx(theirs, rel=1e-4)
    if min(n, m) > 32:  # scipy has no root of a singular matrix
        assert distance == pytest.approx(by_square_root(one, other), rel=1e-6)


def test_features_that_never_change_do_no_harm() -> None:
    one, other = clouds(90, 80, 16)
    still = [np.concatenate([part, np.zeros((len(part), 3), np.float32)], axis=1) for part in (one, other)]
    assert frechet_distance(*still) == pytest.approx(frechet_distance(one, other), rel=1e-6)


def test_the_frechet_distance_by_hand() -> None:
    one = np.array([[0.0, 0.0], [2.0, 0.0], [0.0, 4.0], [2.0, 4.0]])
    # Variances 4/3 and 16/3 and means 1 and 2; three times wider in one direction and moved by (1, 5).
    other = one * [3, 1] + [-1, 5]
    expected = 1 + 25 + 4 / 3 * (1 - 3) ** 2
    assert frechet_distance(one, other) == pytest.approx(expected)
    assert frechet_distance(one, one) == pytest.approx(0, abs=1e-9)


def test_few_pictures_bias_the_frechet_distance_and_not_the_kernel_distance() -> None:
    one, _ = clouds(2400, 2, 24, seed=3)
    halves = one[:1200], one[1200:]
    few = [(one[start : start + 40], one[start + 1200 : start + 1240]) for start in range(0, 1200, 40)]
    assert np.mean([frechet_distance(*pair) for pair in few]) > 10 * frechet_distance(*halves)
    each = [kernel_distance(*pair)[0] for pair in few]
    assert abs(np.mean(each)) < 3 * np.std(each) / np.sqrt(len(each))
    assert min(each) < 0 < max(each)


def test_the_kernel_distance_equals_a_double_loop() -> None:
    one, other = clouds(12, 12, 8)
    kernel = [
        [[(float(x @ y) / 8 + 1) ** 3 for y in b] for x in a] for a, b in ((one, one), (other, other), (one, other))
    ]
    pairs = [(i, j) for i in range(12) for j in range(12)]
    expected = (
        sum(kernel[0][i][j] + kernel[1][i][j] for i, j in pairs if i != j) / (12 * 11)
        - 2 * sum(kernel[2][i][j] for i, j in pairs) / 144
    )
    mean, deviation = kernel_distance(one, other)
    assert mean == pytest.approx(expected, rel=1e-5)
    assert deviation == 0


@pytest.mark.parametrize("whole", [True, False])
def test_subsets_have_the_mean_and_spread_of_torch_fidelity_s(whole: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    if not whole:
        monkeypatch.setattr("raytalk.evaluation.metrics.distribution._WHOLE", 100)
    one, other = clouds(160, 120, 16)
    theirs = imported("torch_fidelity.metric_kid").kid_features_to_metric(
        torch.from_numpy(one), torch.from_numpy(other), kid_subsets=600, kid_subset_size=50, verbose=False, rng_seed=1
    )
    expected, spread = theirs["kernel_inception_distance_mean"], theirs["kernel_inception_distance_std"]
    mean, deviation = kernel_distance(one, other, subsets=600, size=50)
    assert mean == pytest.approx(expected, abs=4 * spread * np.sqrt(2 / 600))
    assert deviation == pytest.approx(spread, rel=0.15)
    assert kernel_distance(one, other, subsets=600, size=50) == (mean, deviation)
    assert kernel_distance(one, other, subsets=600, size=50, seed=1)[0] != mean


def test_both_ways_of_summing_give_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    one, other = clouds(60, 50, 16)
    whole = kernel_distance(one, other, size=20)
    monkeypatch.setattr("raytalk.evaluation.metrics.distribution._WHOLE", 10)
    assert kernel_distance(one, other, size=20) == pytest.approx(whole, rel=1e-9)


def test_only_inception_s_distances_are_called_fid_and_kid() -> None:
    inception, stand_in = (kind(torch.nn.Identity()) for kind in (InceptionFeatures, EfficientNetFeatures))
    assert (frechet_label(inception), kernel_label(inception)) == ("FID", "KID")
    assert frechet_label(stand_in) == "Fréchet distance of EfficientNet-Lite0 features (not FID)"
    assert kernel_label(stand_in) == "kernel distance of EfficientNet-Lite0 features (not KID)"


def test_what_cannot_be_compared_is_refused() -> None:
    one, other = clouds(10, 10, 4)
    for distance in (frechet_distance, kernel_distance):
        with pytest.raises(ValueError, match="4 and 3 features"):
            distance(one, other[:, :3])
        with pytest.raises(ValueError, match="at least 2"):
            distance(one[:1], other)
        with pytest.raises(ValueError, match="finite"):
            distance(np.where(one > 1, np.nan, one), other)
    with pytest.raises(ValueError, match=r"take 2 to 10"):
        kernel_distance(one, other, size=11)
