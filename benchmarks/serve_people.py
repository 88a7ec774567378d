"""People for `benchmarks/serve.py`: avatars written into a service's storage, as if they had been learned there.

    python -m benchmarks.serve_people storage=/tmp/people people=32 mode=FT checkpoint=base
    python -m benchmarks.serve_people storage=/tmp/people people=32 mode=FT recipe=paper

With `recipe=` the model has random weights, which take as long, and is written to STORAGE/model: give that to the
service as checkpoint=. FT avatars each have weights of their own, though the same numbers; FF avatars differ in their
embedding. They show nobody. Write before the service starts: it reads its records then.
"""

import sys
from datetime import UTC, datetime
from typing import Literal

import torch
from pydantic import Field

from raytalk.avatar import Avatar, AvatarCard
from raytalk.avatar.body import Body
from raytalk.command import absolute_uri
from raytalk.config import JobSettings, parse_command_line
from raytalk.learning.checkpoint import Snapshot, State
from raytalk.learning.checkpoint_writer import CheckpointWriter
from raytalk.learning.meta import Talker
from raytalk.learning.pretrained import Pretrained, load_pretrained
from raytalk.learning.settings import MetatrainSettings
from raytalk.networks.discriminator import Discriminator
from raytalk.storage import Storage, join
from serve.records.record import Avatar as Record
from serve.records.record import Version
from serve.records.store import Store
from serve.work.samples import load_sample


class PeopleSettings(JobSettings):
    """Whom to write, and where."""

    storage: str
    """of the service: a folder or s3://bucket/prefix"""
    people: int = Field(1, ge=1)
    mode: Literal["FF", "FT"] = "FT"
    checkpoint: str = "base"
    """the model they are made from"""
    recipe: Literal["", "paper", "base", "debug"] = ""
    """instead: a model of random weights, of this preset of jobs/metatrain.py"""
    owner: str = "local"
    """whose avatars they are"""


def main(settings: PeopleSettings) -> None:
    """Write them and print their ids."""
    uri = absolute_uri(settings.storage)
    checkpoint = write_model(join(uri, "model"), settings.recipe) if settings.recipe else settings.checkpoint
    model, store = load_pretrained(checkpoint), Store(uri)
    for number in range(settings.people):
        print(write_person(store, model, settings.mode, settings.owner, number), flush=True)


def write_model(uri: str, recipe: str) -> str:
    """A checkpoint of random weights, without what only training needs; returns its run's URI."""
    settings = MetatrainSettings.resolve(recipe)
    torch.manual_seed(0)
    talker, discriminator = Talker(settings.networks), Discriminator(settings.networks)
    parts = {"ema": talker.state_dict(), "discriminator": discriminator.state_dict()}
    writer = CheckpointWriter(Storage(uri), keep=1)
    writer.save(Snapshot(State(1, 0.0, 1, 0, "dlib", []), settings.to_yaml(), parts, {}))
    writer.close()
    return uri


def write_person(store: Store, model: Pretrained, mode: Literal["FF", "FT"], owner: str, number: int) -> str:
    """An avatar that can be driven, and its record; returns its id."""
    id, now, side = store.new_id(), datetime.now(UTC), model.networks.resolution
    sample = load_sample()
    landmarks = (sample.landmarks[::24] + 0.5) * side / sample.size[0] - 0.5
    card = AvatarCard(
        f"nobody {number}",
        model.state.detector,
        model.networks.model_dump(mode="json"),
        model.uri,
        mode,
        consent="nobody is shown",
        episodes=model.state.episodes,
    )
    embedding = torch.randn(model.networks.embedding_size, generator=torch.Generator().manual_seed(number))
    made = Avatar.feed_forward(card, model, embedding, landmarks)
    if mode == "FT":
        body = Body.copy(model.talker.generator, model.networks)
        made = Avatar(card, body, embedding, made.coefficients, landmarks)
    folder = "ff" if mode == "FF" else "ft-1"
    made.save(store.avatar_uri(id, folder))
    record = Record(
        id=id,
        owner=owner,
        name=card.name,
        mode=mode,
        state="ready",
        consent=card.consent,
        created_at=now,
        changed_at=now,
        progress=1.0,
        preview_ready=True,
        version=Version(mode=mode, folder=folder),
        resolution=side,
        detector=card.detector,
    )
    store.write_record("avatars", id, record.model_dump_json().encode())
    return id


if __name__ == "__main__":
    main(parse_command_line(PeopleSettings, sys.argv[1:], __doc__ or ""))
