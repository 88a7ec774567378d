"""Pixel by pixel: by hand, and SSIM against windows summed in plain NumPy."""

import numpy as np
import pytest

from raytalk.evaluation.metrics.pictures import l1, psnr, ssim


def two_pairs() -> tuple[np.ndarray, np.ndarray]:
    """A smooth picture with noise and one without, against the smooth picture; [2, 24, 20, 3] uint8."""
    generator = np.random.default_rng(2)
    down, right = np.mgrid[:24, :20]
    plain = np.stack([120 + 60 * np.sin(right / 3), 100 + 4 * down, 90 + 50 * np.cos(down / 4)], axis=2)
    noisy = plain + generator.normal(0, 20, plain.shape)
    truth = np.stack([plain, plain[::-1]])
    return np.stack([noisy, plain]).clip(0, 255).astype(np.uint8), truth.astype(np.uint8)


def plain_ssim(one: np.ndarray, other: np.ndarray) -> float:
    """Wang et al. 2004 with windows of 7x7 that lie inside, unbiased variances, K = .01 and .03."""
    figures = []
    for channel in range(3):
        for top in range(one.shape[0] - 6):
            for left in range(one.shape[1] - 6):
                x, y = (p[top : top + 7, left : left + 7, channel].astype(float).ravel() for p in (one, other))
                (xx, xy), (_, yy) = np.cov(x, y)
                c1, c2 = (0.01 * 255) ** 2, (0.03 * 255) ** 2
                figures.append(
                    (2 * x.mean() * y.mean() + c1)
                    * (2 * xy + c2)
                    / ((x.mean() ** 2 + y.mean() ** 2 + c1) * (xx + yy + c2))
                )
    return float(np.mean(figures))


def test_ssim_equals_a_plain_loop_over_windows() -> None:
    output, truth = two_pairs()
    figures = ssim(output, truth)
    assert figures.dtype == np.float64
    expected = [plain_ssim(*pair) for pair in zip(output, truth, strict=True)]
    assert max(expected) < 0.9
    np.testing.assert_allclose(figures, expected, rtol=1e-6)
    assert ssim(truth, truth) == pytest.approx([1, 1])


def test_psnr_and_l1_by_hand() -> None:
    truth = np.full((2, 8, 8, 3), 100, np.uint8)
    output = truth.copy()
    output[0] = 110  # everywhere 10 too bright: no unsigned number may wrap around
    output[1, :, :4] = 80  # half of it 20 too dark
    assert psnr(output, truth) == pytest.approx([10 * np.log10(255**2 / 100), 10 * np.log10(255**2 / 200)])
    assert psnr(truth, output) == pytest.approx(psnr(output, truth))
    assert l1(output, truth) == pytest.approx([10 / 127.5, 10 / 127.5])
    assert np.isposinf(psnr(truth, truth)).all()
    assert l1(truth, truth) == pytest.approx([0, 0])
    assert l1(np.zeros_like(truth), np.full_like(truth, 255)) == pytest.approx([2, 2])


@pytest.mark.parametrize("figure", [ssim, psnr, l1])
def test_pictures_of_other_shapes_and_types_are_refused(figure: object) -> None:
    output, truth = two_pairs()
    with pytest.raises(ValueError, match="cannot be compared"):
        figure(output[:1], truth)
    with pytest.raises(ValueError, match="uint8 of the shape"):
        figure(output / 255, truth / 255)
    with pytest.raises(ValueError, match=r"not uint8 \[24, 20, 3\]"):
        figure(output[0], truth[0])
