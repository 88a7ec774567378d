"""Search spaces: what YAML means, and what is refused."""

from pathlib import Path

import pytest
from sweep.toy_sweep import default_space, sweep_settings

from raytalk.errors import SettingsError
from raytalk.learning.settings import MetatrainSettings
from raytalk.sweep.space import Space, default_point, read_space, with_point

BASE = MetatrainSettings.resolve("debug")


def space(folder: Path, text: str) -> Space:
    file = folder / "space.yaml"
    file.write_text(text)
    return read_space(str(file), BASE)


def test_every_kind_of_range_is_drawn_within_its_ends(tmp_path: Path) -> None:
    made = space(
        tmp_path,
        "losses.content: {times: [0.2, 5]}\n"
        "optimization:\n  generator_rate: {log: [1.0e-5, 1.0e-3]}\n  ema_decay: [0.99, 0.999]\n"
        "data: {pupils: {linear: [0, 1]}, shots: {integer: [1, 8]}}\n",
    )
    points = [made.draw(3, number) for number in range(200)]
    assert [dimension.key for dimension in made.dimensions] == [
        "losses.content",
        "optimization.generator_rate",
        "optimization.ema_decay",
        "data.pupils",
        "data.shots",
    ]
    content = [point["losses.content"] for point in points]
    assert min(content) >= 0.1
    assert max(content) <= 2.5
    # Evenly in the logarithm: half of them lie below the geometric mean.
    assert 70 < sum(value < 0.5 for value in content) < 130
    assert {point["data.shots"] for point in points} == set(range(1, 9))
    assert {point["optimization.ema_decay"] for point in points} == {0.99, 0.999}
    assert all(made.contains(point) for point in points)
    assert points[5] == made.draw(3, 5) != made.draw(4, 5)


def test_a_grid_has_every_combination(tmp_path: Path) -> None:
    made = space(tmp_path, "losses.match: {log: [1, 100]}\noptimization.discriminator_steps: [1, 2]\n")
    points = list(made.grid())
    assert [round(point["losses.match"], 6) for point in points] == [1, 1, 10, 10, 100, 100]
    assert [point["optimization.discriminator_steps"] for point in points] == [1, 2] * 3
    assert len(list(space(tmp_path, "data.shots: {integer: [1, 8], grid: 4}").grid())) == 4


def test_the_default_space_fits_its_preset() -> None:
    made = default_space()
    keys = [dimension.key for dimension in made.dimensions]
    assert "losses.content" in keys
    assert "losses.identity" not in keys, "there is no identity network in this preset"
    assert "losses.identity" in [d.key for d in read_space("", MetatrainSettings.resolve("paper")).dimensions]
    own = default_point(made, sweep_settings().train)
    assert made.contains(own)
    assert with_point(sweep_settings().train, own) == sweep_settings().train


def test_a_point_becomes_settings() -> None:
    changed = with_point(BASE, {"losses.content": 0.25, "optimization.discriminator_steps": 2})
    assert (changed.losses.content, changed.optimization.discriminator_steps) == (0.25, 2)
    assert changed.networks == BASE.networks


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("losses.contents: [1, 2]", "unknown setting 'losses.contents'"),
        ("losses.content: {log: [0, 1]}", "low < high above 0"),
        ("losses.content: {log: [2, 1]}", "low < high"),
        ("losses.content: {linear: [a, b]}", "both numbers"),
        ("losses.content: 3", "needs a list of values, or one of"),
        ("losses.content: {linear: [0, 1], steps: 3}", "needs a list of values, or one of"),
        ("losses.identity: {linear: [-1, 1]}", "greater than or equal to 0"),
        ("optimization.ema_decay: [0.9, 1.5]", "less than 1"),
        ("episodes: [10, 20]", "the same for all trials; give it as train.episodes="),
        ("tracking.uri: [a, b]", "the same for all trials"),
        ("", "names nothing to search"),
    ],
)
def test_what_cannot_be_searched_is_refused_by_name(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(SettingsError, match=message) as refused:
        space(tmp_path, text)
    assert "space.yaml" in str(refused.value)


def test_a_factor_of_nothing_is_refused(tmp_path: Path) -> None:
    (tmp_path / "space.yaml").write_text("losses.match: {times: [0.1, 10]}")
    without = with_point(BASE, {"losses.match": 0.0})
    with pytest.raises(SettingsError, match="a factor of it searches nothing"):
        read_space(str(tmp_path / "space.yaml"), without)
    assert "losses.match" not in [dimension.key for dimension in read_space("", without).dimensions]
