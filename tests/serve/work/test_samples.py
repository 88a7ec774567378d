"""The sample track of the page is what its script makes, and moves as a speaking head does."""

import json
from pathlib import Path

import numpy as np
import pytest

from serve.work.samples import FILE, draw_sample, load_sample, write_sample

SAMPLE = load_sample()


def test_the_page_can_play_it() -> None:
    kept = json.loads(FILE.read_text())
    assert set(kept) == {"fps", "size", "frames"}
    assert FILE.stat().st_size < 300_000
    assert SAMPLE.landmarks.shape == (180, 68, 2)
    assert (SAMPLE.fps, SAMPLE.size) == (25, (256, 256))
    assert SAMPLE.landmarks.min() > 10
    assert SAMPLE.landmarks.max() < 246


def test_it_turns_speaks_and_blinks() -> None:
    faces = SAMPLE.landmarks.astype(np.float64)
    eyes = np.linalg.norm(faces[:, 45] - faces[:, 36], axis=1)
    side = (faces[:, 30, 0] - faces[:, [36, 45], 0].mean(axis=1)) / eyes
    assert side.min() < -0.08
    assert side.max() > 0.03
    lips = np.linalg.norm(faces[:, 62] - faces[:, 66], axis=1) / eyes
    assert lips.min() < 0.03
    assert lips.max() > 0.15
    lids = np.linalg.norm(faces[:, 37] - faces[:, 41], axis=1) / eyes
    shut = lids < 0.5 * np.median(lids)
    assert (np.diff(shut.astype(int)) == 1).sum() >= 2


def test_its_end_leads_to_its_beginning() -> None:
    steps = np.linalg.norm(np.diff(SAMPLE.landmarks, axis=0), axis=2).mean(axis=1)
    seam = np.linalg.norm(SAMPLE.landmarks[0] - SAMPLE.landmarks[-1], axis=1).mean()
    assert seam < np.quantile(steps, 0.98)


def test_the_script_makes_what_is_there(tmp_path: Path) -> None:
    pytest.importorskip("anny")
    write_sample(draw_sample(), tmp_path / "sample.json")
    again = load_sample(tmp_path / "sample.json")
    np.testing.assert_allclose(again.landmarks, SAMPLE.landmarks, atol=0.11)
