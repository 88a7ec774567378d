"""A run of tiny networks whose landmarks are dlib's, and people made with it."""

import shutil
from pathlib import Path

import pytest
import torch
from avatar.toy_avatar import landmarks, random_avatar
from toy_run import write_toy_run

from raytalk.avatar import Avatar, AvatarCard
from raytalk.learning.pretrained import Pretrained, load_pretrained
from serve.parts import PersonKey
from serve.records.store import Store
from tests.serve.work.rendering import FF, FT


@pytest.fixture(scope="session")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_toy_run(tmp_path_factory.mktemp("run"))


@pytest.fixture(scope="module")
def model(run: Path) -> Pretrained:
    return load_pretrained(str(run))


@pytest.fixture(scope="module")
def filled(tmp_path_factory: pytest.TempPathFactory, model: Pretrained) -> tuple[Path, dict[PersonKey, Avatar]]:
    """Storage with six people of each kind, and the same people."""
    folder = tmp_path_factory.mktemp("service")
    store, people = Store(str(folder)), {}
    for number, key in enumerate(FF):
        card = AvatarCard(
            f"FF {number}",
            "dlib",
            model.networks.model_dump(mode="json"),
            model.uri,
            "FF",
            episodes=model.state.episodes,
        )
        embedding = torch.randn(model.networks.embedding_size, generator=torch.Generator().manual_seed(number)) * 3
        people[key] = Avatar.feed_forward(card, model, embedding, landmarks(2, seed=number))
    for number, key in enumerate(FT):
        people[key] = random_avatar(number, name=f"FT {number}")
    for key, person in people.items():
        person.save(store.avatar_uri(key.id, key.folder))
    return folder, people


@pytest.fixture
def people(filled: tuple[Path, dict[PersonKey, Avatar]]) -> dict[PersonKey, Avatar]:
    return filled[1]


@pytest.fixture
def store(filled: tuple[Path, dict[PersonKey, Avatar]], tmp_path: Path) -> Store:
    """A copy that can be damaged."""
    shutil.copytree(filled[0], tmp_path / "service")
    return Store(str(tmp_path / "service"))
