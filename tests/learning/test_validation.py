"""Validation on people held out, and its picture."""

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from toy import toy_clip, with_pupils, write_toy_clips

from raytalk.clips.schema import clips_to_table, write_table
from raytalk.errors import ClipsError
from raytalk.learning.meta import Talker, to_unit
from raytalk.learning.validation import People, load_people, to_pictures, validate
from raytalk.networks.settings import NetworkSettings
from raytalk.storage import Storage


class Pixels(nn.Module):
    """A content network whose features are the picture."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(1), requires_grad=False)

    def forward(self, images: Tensor) -> list[Tensor]:
        return [images]


class Painter(nn.Module):
    """Knows identity only: paints a person's mean source colour, whatever the drawing."""

    def __init__(self) -> None:
        super().__init__()
        self.embedder = lambda frames, drawings: frames.mean(dim=(2, 3))
        self.generator = lambda drawings, embedding: embedding[:, :, None, None].expand_as(drawings)


@pytest.fixture
def storage(tmp_path: Path) -> Storage:
    write_toy_clips(str(tmp_path), people=4, held_out=3, frames=10, size=32, per_file=2)
    return Storage(str(tmp_path))


def check(model: Any, people: People) -> tuple[dict[str, float], Any]:
    content: Any = Pixels()
    return validate(model, content, people, torch.device("cpu"))


def test_people_are_of_their_split_and_of_different_persons(storage: Storage) -> None:
    people = load_people(storage, "val", people=8, shots=4, targets=3, resolution=32)
    assert people.names == ["person4", "person5", "person6"]
    assert people.sources.shape == people.source_drawings.shape == (3, 4, 32, 32, 3)
    assert people.targets.shape == people.target_drawings.shape == (3, 3, 32, 32, 3)
    assert people.sources.dtype == torch.uint8
    assert load_people(storage, "train", 2, 4, 3, 32).names == ["person0", "person1"]


@pytest.mark.parametrize(("shots", "targets"), [(4, 3), (7, 3), (1, 9), (9, 1), (2, 2)])
def test_no_target_is_a_source_and_none_comes_twice(storage: Storage, shots: int, targets: int) -> None:
    people = load_people(storage, "val", 3, shots, targets, 32)
    for sources, wanted in zip(people.sources, people.targets, strict=True):
        shown = [frame.numpy().tobytes() for frame in torch.cat([sources, wanted])]
        assert len(set(shown)) == shots + targets


def test_the_same_people_every_time(storage: Storage) -> None:
    first, second = (load_people(storage, "val", 3, 4, 3, 32) for _ in range(2))
    assert torch.equal(first.sources, second.sources)
    assert torch.equal(first.target_drawings, second.target_drawings)


def test_drawings_carry_pupils_if_they_are_asked_for_and_known(tmp_path: Path) -> None:
    storage = Storage(str(tmp_path))
    clips = [with_pupils(toy_clip(0, 8, 32, "val")), toy_clip(1, 8, 32, "val")]
    write_table(storage, "val/a.parquet", clips_to_table(clips))
    without, carrying = (load_people(storage, "val", 2, 4, 3, 32, with_pupils=wanted) for wanted in (False, True))
    assert torch.equal(without.targets, carrying.targets)
    for before, after in (
        (without.source_drawings, carrying.source_drawings),
        (without.target_drawings, carrying.target_drawings),
    ):
        assert (before[0] != after[0]).flatten(1).any(dim=1).all(), "every drawing of the one whose pupils are known"
        assert torch.equal(before[1], after[1])


def test_broken_frames_and_short_clips_are_left_out(tmp_path: Path) -> None:
    storage = Storage(str(tmp_path))
    clips = [toy_clip(person, 8, 32, "val") for person in range(4)]
    clips[0].frames[2] = clips[0].frames[2][:40]
    clips[1] = toy_clip(1, 5, 32, "val")
    clips[2].landmarks[0] = np.nan
    write_table(storage, "val/a.parquet", clips_to_table(clips))
    assert load_people(storage, "val", 9, 4, 3, 32).names == ["person0", "person2", "person3"]
    with pytest.raises(ClipsError, match="val has 1 people with at least 8 good frames; 2 are needed"):
        load_people(storage, "val", 9, 4, 4, 32)


def test_a_broken_file_does_not_end_validation(storage: Storage) -> None:
    assert storage.local_root
    (storage.local_root / "val" / "part-0004.parquet").write_bytes(b"")
    write_table(storage, "val/z.parquet", clips_to_table([toy_clip(40, 10, 32, "val")]))
    assert load_people(storage, "val", 8, 4, 3, 32).names == ["person6", "person40"]


def test_figures_of_a_model_that_knows_people(storage: Storage) -> None:
    people = load_people(storage, "val", 3, 4, 3, 32)
    figures, _ = check(Painter(), people)
    sources, targets = to_unit(people.sources), to_unit(people.targets)
    colours = sources.mean(dim=(1, 3, 4))
    right = colours[:, None, :, None, None].expand_as(targets)
    wrong = colours.roll(-1, 0)[:, None, :, None, None].expand_as(targets)
    assert figures["l1"] == pytest.approx(float((right - targets).abs().mean()), rel=1e-4)
    assert figures["l1_wrong"] == pytest.approx(float((wrong - targets).abs().mean()), rel=1e-4)
    assert figures["l1_wrong"] > figures["l1"]
    assert figures["content"] == pytest.approx(figures["l1"], rel=1e-3), "a mean over all frames, not over groups"
    spread = (colours - colours.mean(dim=0)).square().mean().sqrt() / colours.square().mean().sqrt()
    assert figures["spread"] == pytest.approx(float(spread), rel=1e-4)


def test_a_perfect_model(storage: Storage) -> None:
    people = load_people(storage, "val", 2, 4, 1, 32)
    truth = to_unit(people.targets).flatten(0, 1)
    model = Painter()
    calls = iter([truth[0], truth[1], truth[1], truth[0]])
    model.generator = lambda drawings, embedding: next(calls)[None]
    figures, _ = check(model, people)
    assert figures["ssim"] == pytest.approx(1)
    assert figures["l1"] == figures["content"] == 0
    assert figures["ssim_wrong"] < 0.95


def test_an_ignored_embedder_shows(storage: Storage) -> None:
    model = Painter()
    model.generator = lambda drawings, embedding: drawings
    figures, _ = check(model, load_people(storage, "val", 3, 4, 3, 32))
    assert figures["l1"] == figures["l1_wrong"]
    assert figures["ssim"] == figures["ssim_wrong"]


def test_real_networks_and_the_grid(storage: Storage) -> None:
    settings = NetworkSettings(
        resolution=32, min_channels=8, max_channels=16, attention_down=16, attention_up=32, adain_blocks=1
    )
    model = Talker(settings).requires_grad_(False).eval()
    people = load_people(storage, "val", 3, 4, 3, 32)
    figures, grid = check(model, people)
    assert set(figures) == {"l1", "ssim", "content", "l1_wrong", "ssim_wrong", "content_wrong", "spread"}
    assert all(np.isfinite(value) for value in figures.values())
    header = 22
    assert grid.dtype == np.uint8
    assert grid.shape == (header + 3 * 32, 7 * 32, 3)
    for person in range(3):
        row = grid[header + 32 * person : header + 32 * (person + 1)]
        np.testing.assert_array_equal(row[:, :32], people.sources[person, 0])
        np.testing.assert_array_equal(row[:, 96:128], people.target_drawings[person, 0])
        np.testing.assert_array_equal(row[:, 128:160], people.targets[person, 0])
    with torch.no_grad():
        embeddings = torch.stack(
            [model.embedder(to_unit(people.sources[p]), to_unit(people.source_drawings[p])).mean(dim=0) for p in (0, 1)]
        )
        own = model.generator(to_unit(people.target_drawings[0, :1]), embeddings[:1])
        other = model.generator(to_unit(people.target_drawings[0, :1]), embeddings[1:])
    shown = grid[header : header + 32].astype(int)
    assert np.abs(shown[:, 160:192] - to_pictures(own)[0]).max() <= 1
    assert np.abs(shown[:, 192:] - to_pictures(other)[0]).max() <= 1


def test_to_pictures_is_the_inverse_of_to_unit() -> None:
    pictures = torch.arange(256, dtype=torch.uint8)[:, None, None, None].expand(256, 1, 2, 3)
    np.testing.assert_array_equal(to_pictures(to_unit(pictures)), pictures.numpy())
    assert to_pictures(torch.tensor([[[-9.0]], [[9.0]], [[0.0]]]))[0, 0].tolist() == [0, 255, 128]


def test_people_hold_one_row_each(storage: Storage) -> None:
    again = dataclasses.replace(toy_clip(4, 10, 32, "val", video=1))
    write_table(storage, "val/part-0004b.parquet", clips_to_table([again]))
    assert load_people(storage, "val", 8, 4, 3, 32).names == ["person4", "person5", "person6"]
