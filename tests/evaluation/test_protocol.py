"""Who is evaluated and which frames."""

from pathlib import Path

import numpy as np
import pytest
from toy import toy_clip, with_pupils, write_toy_clips

from raytalk.clips.schema import clips_to_table, write_table
from raytalk.errors import ClipsError
from raytalk.evaluation.protocol import choose, divide, sit
from raytalk.storage import Storage


@pytest.mark.parametrize("arrangement", ["block", "interleaved"])
@pytest.mark.parametrize("frames", [12, 13, 40])
def test_learning_and_hold_out_frames_never_meet(arrangement: str, frames: int) -> None:
    pool, held = divide(frames, arrangement, 8, 4, (1,))  # type: ignore[arg-type]
    assert not set(pool) & set(held)
    assert len(pool) >= 8
    assert len(held) == len(set(held)) == 4
    assert held == sorted(held)
    assert max(held) < frames
    assert (pool, held) == divide(frames, arrangement, 8, 4, (1,))  # type: ignore[arg-type]
    assert pool != divide(frames, arrangement, 8, 4, (2,))[0]  # type: ignore[arg-type]


def test_block_learns_from_the_beginning() -> None:
    pool, held = divide(40, "block", 8, 4, (0,))
    assert sorted(pool) == list(range(20))
    assert held == [20, 26, 33, 39]
    pool, held = divide(13, "block", 8, 4, (0,))
    assert sorted(pool) == list(range(8)), "T needs more than half"
    pool, held = divide(13, "block", 1, 10, (0,))
    assert sorted(pool) == list(range(3)), "the hold-out frames need more than half"
    assert held == list(range(3, 13))


def test_interleaved_holds_out_between_learning_frames() -> None:
    pool, held = divide(40, "interleaved", 8, 20, (0,))
    assert sorted(pool + held) == list(range(40))
    assert min(pool) < max(held)
    assert min(held) < max(pool)


def test_the_choice_follows_from_seed_and_ids_alone(tmp_path: Path) -> None:
    for name, per_file in (("a", 1), ("b", 3)):
        write_toy_clips(str(tmp_path / name), people=2, held_out=8, frames=12, size=32, per_file=per_file)

    def chosen(name: str, seed: int, people: int = 3) -> list[tuple[str, str, str]]:
        choice = choose(Storage(str(tmp_path / name)), "val", people, 12, ["block", "interleaved"], seed)
        return [(trial.person, trial.clip, trial.split) for trial in choice.trials]

    first = chosen("a", 0)
    assert len(first) == 6
    assert first == chosen("b", 0)
    assert first != chosen("a", 1)
    assert chosen("a", 0, people=4)[:6] == first, "more people later leave the first ones in place"
    assert len({trial.path for trial in choose(Storage(str(tmp_path / "a")), "val", 9, 12, ["block"], 0).trials}) == 8


def test_people_with_too_few_frames_are_named(tmp_path: Path) -> None:
    storage = Storage(str(tmp_path))
    clips = [
        toy_clip(0, 12, 32, "test"),
        toy_clip(1, 6, 32, "test"),
        toy_clip(1, 12, 32, "test", video=1),
        toy_clip(2, 7, 32, "test"),
    ]
    write_table(storage, "test/a.parquet", clips_to_table(clips))
    choice = choose(storage, "test", 9, 12, ["block"], 0)
    assert sorted(trial.clip for trial in choice.trials) == ["person0/video0/0", "person1/video1/0"]
    assert choice.too_short == {"person2": 7}
    assert choice.people == 2
    with pytest.raises(ClipsError, match=r"no test clip in .* has 13 frames \(most: 12\).*frames_per_clip=13"):
        choose(storage, "test", 9, 13, ["block"], 0)


def test_a_sitting_knows_its_frames(tmp_path: Path) -> None:
    storage = Storage(str(tmp_path))
    clip = with_pupils(toy_clip(0, 12, 64, "test"))
    clip.frames[3] = b"broken"
    clip.landmarks[5] = np.nan
    write_table(storage, "test/a.parquet", clips_to_table([clip]))
    trial = choose(storage, "test", 1, 10, ["block"], 0).trials[0]
    sitting = sit(storage, trial, 32, 5, 4, 0)
    assert sitting.numbers == [0, 1, 2, 4, 6, 7, 8, 9, 10, 11]
    assert sitting.frames.shape == (10, 32, 32, 3)
    assert np.allclose(sitting.landmarks[3], (clip.landmarks[4] + 0.5) / 2 - 0.5)
    assert sitting.pupils is not None
    two, four = sitting.shots(2), sitting.shots(4)
    assert np.array_equal(two.frames, four.frames[:2]), "those of a smaller T are among those of a larger"
    assert four.pupils is not None
    assert np.array_equal(sitting.truth, sitting.frames[sitting.hold_out])
    with pytest.raises(ClipsError, match="10 frames can be used, 11 are needed"):
        sit(storage, trial, 32, 7, 4, 0)
