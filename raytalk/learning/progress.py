"""The one line that tells a person how training goes."""

import time


class Stopwatch:
    """Episodes per second and the share of time spent waiting for data, since the last `lap`."""

    def __init__(self) -> None:
        self._start = time.perf_counter()
        self._waited = 0.0

    def waited(self, seconds: float) -> None:
        """Count time spent waiting for data."""
        self._waited += seconds

    def lap(self, episodes: int) -> dict[str, float]:
        """Figures for `episodes` shown since the last lap."""
        now = time.perf_counter()
        elapsed = max(now - self._start, 1e-9)
        figures = {"speed/episodes_per_second": episodes / elapsed, "speed/waiting": self._waited / elapsed}
        self._start, self._waited = now, 0.0
        return figures


def line(figures: dict[str, float], shown: int, total: int, epoch: float) -> str:
    """Progress, losses, the embedding's health, speed and the time left."""
    speed = figures["speed/episodes_per_second"]
    rms = figures["embedding/rms"]
    spread = figures["embedding/between"] / rms if rms else 0.0
    left = duration(max(0, total - shown) / speed)
    return (
        f"episodes {shown:,}/{total:,} ({shown / total:.0%}, epoch {epoch:.1f}) | "
        f"content {figures['loss/content']:.3g} identity {figures['loss/identity']:.3g} "
        f"FM {figures['loss/feature_matching']:.3g} match {figures['loss/match']:.2g} "
        f"D {figures['loss/discriminator']:.3g} "
        f"(real {figures['score/real']:+.2f}, fake {figures['score/fake']:+.2f}) | "
        f"e {rms:.2g} ±{spread:.0%} | "
        f"{speed:.3g} episodes/s, waiting {figures['speed/waiting']:.1%} | {left} left"
    )


def duration(seconds: float) -> str:
    """Roughly: '45 s', '12 min', '3.5 h', '2.1 days'."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    if seconds < 90 * 60:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.1f} h" if seconds < 48 * 3600 else f"{seconds / 86400:.1f} days"
