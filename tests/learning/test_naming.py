"""The checkpoint that comes with raytalk: it is whole and small, says where it comes from, and is there by default."""

import json
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from toy import face_landmarks, toy_frame

import raytalk.models
from raytalk.avatar import Avatar
from raytalk.enrolment.maker import About, AvatarMaker
from raytalk.enrolment.material import Material
from raytalk.enrolment.settings import FinetuneSettings
from raytalk.evaluation.settings import EvaluateSettings
from raytalk.learning.checkpoint import FORMAT
from raytalk.learning.naming import BASE, found
from raytalk.learning.pretrained import Pretrained, load_pretrained

FOLDER = Path(raytalk.models.__file__).parent / "base"
FILES = ["README.md", "config.yaml", "discriminator.safetensors", "ema.safetensors", "state.json"]
ELSEWHERE = """
import sys
import numpy as np
from raytalk.avatar import Avatar
avatar = Avatar.load(sys.argv[1])
np.save(sys.argv[3], avatar.render(np.load(sys.argv[2])))
"""


@pytest.fixture(scope="module")
def base() -> Pretrained:
    return load_pretrained(BASE)


def test_it_loads_and_keeps_its_name(base: Pretrained) -> None:
    assert base.uri == "base"
    assert base.networks.resolution == 128
    assert base.state.format == FORMAT
    assert base.state.detector == "rendered"
    assert all(parameter.isfinite().all() for parameter in base.talker.parameters())
    with found("base") as place:
        assert place.local_root == FOLDER


def test_it_is_small_and_nothing_else_lies_there() -> None:
    assert sorted(file.name for file in FOLDER.iterdir()) == FILES
    assert sum(file.stat().st_size for file in FOLDER.iterdir()) <= 30 << 20


def test_it_names_no_place_of_the_machine_that_made_it() -> None:
    absolute = re.compile(r"(?<![\w~.:/])/\w+/\w")
    for name in ("README.md", "config.yaml", "state.json"):
        assert not absolute.findall((FOLDER / name).read_text()), name
    for name in ("ema.safetensors", "discriminator.safetensors"):
        data = (FOLDER / name).read_bytes()
        head = json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")])
        assert "__metadata__" not in head
        assert not any("/" in key for key in head)


def test_the_card_is_of_this_model(base: Pretrained) -> None:
    card = (FOLDER / "README.md").read_text()
    assert f"{base.state.episodes:,} episodes" in card
    for heading in ("Data", "How it was made", "Figures", "Limits", "Intended use", "Licence"):
        assert f"## {heading}" in card


def test_it_is_what_is_taken_where_none_is_named() -> None:
    assert FinetuneSettings.resolve(None, {"images": "i", "output": "o"}).checkpoint == "base"
    assert EvaluateSettings.resolve(None, {"clips": "c", "output": "o"}).checkpoint == "base"


def test_a_feed_forward_avatar_of_it_loads_in_another_process_and_place(base: Pretrained, tmp_path: Path) -> None:
    points = np.stack([face_landmarks(128, (0.02 * turn, 0)) for turn in range(2)])
    frames = np.stack([toy_frame(3, some, 128) for some in points])
    settings = FinetuneSettings.resolve(None, {"images": "i", "output": "o", "device": "cpu", "mode": "FF"})
    avatar = AvatarMaker(settings, base).feed_forward(Material(frames, points, "rendered", "toy"), About("Ada"))
    avatar.save(str(tmp_path / "ada"))
    np.save(tmp_path / "points.npy", points)
    command = [sys.executable, "-c", ELSEWHERE, *(str(tmp_path / name) for name in ("ada", "points.npy", "out.npy"))]
    subprocess.run(command, check=True, cwd=tmp_path)
    there = np.load(tmp_path / "out.npy").astype(int)
    assert np.abs(there - avatar.render(points)).max() <= 2
    assert np.abs(there - frames).mean() < 90
    assert str(FOLDER) not in (tmp_path / "ada" / "avatar.json").read_text()
    assert Avatar.load(str(tmp_path / "ada"), pretrained=base).card.checkpoint == "base"
