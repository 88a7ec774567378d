"""Two sets of pictures as clouds of features: how far apart are they? Lower is better.

n and m pictures with D features each. Which network made the features decides what a figure may be called
(`frechet_label`); figures of different networks, or of different numbers of pictures, do not compare.
"""

import numpy as np
import numpy.typing as npt

from raytalk.evaluation.metrics.features import FrameFeatures

Features = npt.NDArray[np.floating]

_WHOLE = 5000
"""of up to so many pictures the kernel is computed once and for all subsets: 200 MB"""


def frechet_distance(one: Features, other: Features) -> float:
    """|mean - mean'|^2 + tr(C + C' - 2 (C C')^1/2) of the features one [n, D] and other [m, D], n and m at least 2.

    C is the covariance over n - 1. With Inception's features this is FID (Heusel et al. 2017). It is biased: the fewer
    pictures, the larger, also between two halves of one set, so only figures of equal n and m compare. With fewer
    pictures than features the covariances are singular; the distance is defined all the same and no noise is added
    here, but hardly anything but the bias may be left. `kernel_distance` has no such bias.
    Raises ValueError for fewer than two pictures, different D, or features that are not finite.
    """
    first, second = _checked(one), _checked(other)
    if first.shape[1] != second.shape[1]:
        raise ValueError(f"{first.shape[1]} and {second.shape[1]} features cannot be compared")
    gap = first.mean(axis=0) - second.mean(axis=0)
    fewer, more = sorted((_centred(first), _centred(second)), key=len)
    # With C = F'F the eigenvalues of C C' are those of F C' F', which is symmetric and no larger than the smaller set.
    factor = _factor(fewer)
    shared = np.linalg.eigvalsh(factor @ (more.T @ more) @ factor.T)
    spread = np.square(fewer).sum() + np.square(more).sum()
    return max(float(gap @ gap + spread - 2 * np.sqrt(shared.clip(0)).sum()), 0.0)


def kernel_distance(
    one: Features, other: Features, subsets: int = 100, size: int | None = None, seed: int = 0
) -> tuple[float, float]:
    """Squared maximum mean discrepancy under (x.y / D + 1)^3, unbiased: mean and standard deviation over subsets.

    one: [n, D]; other: [m, D]; size: pictures in a subset, drawn without replacement, min(1000, n, m) if not given.
    With Inception's features this is KID (Binkowski et al. 2018). Its mean does not depend on the number of pictures,
    and may come out below zero. The deviation is that of a subset, not of the mean; it says nothing when a subset is
    the whole set. Raises ValueError for fewer than two pictures in a subset, a larger subset than set, or as above.
    """
    first, second = _checked(one), _checked(other)
    if first.shape[1] != second.shape[1]:
        raise ValueError(f"{first.shape[1]} and {second.shape[1]} features cannot be compared")
    n, m = len(first), len(second)
    size = min(1000, n, m) if size is None else size
    if not 2 <= size <= min(n, m):
        raise ValueError(f"subsets of {size} pictures cannot be drawn from {n} and {m}: take 2 to {min(n, m)}")
    generator = np.random.default_rng(seed)
    count = 1 if size == n == m else subsets
    rows, columns = (np.stack([generator.permutation(k)[:size] for _ in range(count)]) for k in (n, m))
    within = _off_diagonal_sums(first, rows) + _off_diagonal_sums(second, columns)
    figures: npt.NDArray[np.float64] = within / (size * (size - 1)) - 2 * _sums(first, second, rows, columns) / size**2
    return float(figures.mean()), float(figures.std())


def frechet_label(features: FrameFeatures) -> str:
    """What the Fréchet distance of these features is called."""
    return "FID" if features.is_inception else f"Fréchet distance of {features.title} features (not FID)"


def kernel_label(features: FrameFeatures) -> str:
    """What the kernel distance of these features is called."""
    return "KID" if features.is_inception else f"kernel distance of {features.title} features (not KID)"


def _off_diagonal_sums(features: npt.NDArray[np.float64], rows: npt.NDArray[np.intp]) -> npt.NDArray[np.float64]:
    """The kernel's sums [S] over all pairs of two different pictures of each subset; rows: [S, size]."""
    alone = (np.square(features).sum(axis=1) / features.shape[1] + 1) ** 3
    return np.asarray(_sums(features, features, rows, rows) - alone[rows].sum(axis=1), np.float64)


def _sums(
    one: npt.NDArray[np.float64],
    other: npt.NDArray[np.float64],
    rows: npt.NDArray[np.intp],
    columns: npt.NDArray[np.intp],
) -> npt.NDArray[np.float64]:
    """The kernel's sums [S] over all pairs of one's pictures `rows` [S, size] and the other's `columns`."""
    if max(len(one), len(other)) > _WHOLE or len(rows) == 1:
        sums = [_kernel(one[row], other[column]).sum() for row, column in zip(rows, columns, strict=True)]
        return np.array(sums, np.float64)
    left, right = (np.zeros((len(rows), count)) for count in (len(one), len(other)))
    np.put_along_axis(left, rows, 1, axis=1)
    np.put_along_axis(right, columns, 1, axis=1)
    return np.asarray((left @ _kernel(one, other) * right).sum(axis=1), np.float64)


def _kernel(one: npt.NDArray[np.float64], other: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    # Written out: NumPy's powers of whole matrices are slow.
    base = one @ other.T / one.shape[1] + 1
    return np.asarray(base * base * base, np.float64)


def _centred(features: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """X [n, D] with X'X = the covariance of the features."""
    return np.asarray((features - features.mean(axis=0)) / np.sqrt(len(features) - 1), np.float64)


def _factor(centred: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """F [min(n, D), D] with F'F = X'X."""
    if len(centred) <= centred.shape[1]:
        return centred
    covariance = centred.T @ centred
    try:
        return np.asarray(np.linalg.cholesky(covariance).T, np.float64)
    except np.linalg.LinAlgError:  # singular: features that never change, for one
        values, vectors = np.linalg.eigh(covariance)
    return np.asarray(np.sqrt(values.clip(0))[:, None] * vectors.T, np.float64)


def _checked(features: Features) -> npt.NDArray[np.float64]:
    if features.ndim != 2 or len(features) < 2:
        raise ValueError(f"features must be of the shape [n, D] with n at least 2, not {list(features.shape)}")
    if not np.isfinite(features).all():
        raise ValueError("features must be finite")
    return features.astype(np.float64)
