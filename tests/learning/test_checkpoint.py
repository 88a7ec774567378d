"""Checkpoints: whole or refused, by name; nothing half loaded; a writer that does not lose errors."""

import json
import os
import subprocess
import tempfile
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from toy import TINY_NETWORKS

from raytalk.errors import CheckpointError, RaytalkError, StorageError
from raytalk.learning import checkpoint
from raytalk.learning.checkpoint import FORMAT, Snapshot, State
from raytalk.learning.checkpoint_writer import CheckpointWriter
from raytalk.learning.meta import MetaLearner
from raytalk.learning.naming import found
from raytalk.learning.settings import MetatrainSettings
from raytalk.storage import Storage

TINY = {
    "networks": TINY_NETWORKS,
}


class NoContent(nn.Module):
    """Nothing here runs a step."""

    convolutions = nn.Module()

    def forward(self, images: Tensor) -> list[Tensor]:
        return [images]


def make(videos: tuple[str, ...] = ("a", "b"), **layers: Any) -> MetaLearner:
    settings = MetatrainSettings.resolve("debug", TINY, {key.replace("__", "."): v for key, v in layers.items()})
    content: Any = NoContent()
    return MetaLearner(settings, list(videos), content, None, torch.device("cpu"))


def trained(seed: int = 7, **layers: Any) -> MetaLearner:
    """As if it had taken a step: optimizers and rows hold something."""
    made = make(seed=seed, **layers)
    for module, optimizer in (
        (made.talker, made.talker_optimizer),
        (made.discriminator, made.discriminator_optimizer),
    ):
        for parameter in module.parameters():
            parameter.grad = torch.randn_like(parameter)
        optimizer.step()
        optimizer.zero_grad()
    made.rows.step(torch.tensor([1]), torch.randn(1, 16))
    made.steps = 5
    return made


def state(episodes: int = 40) -> State:
    return State(episodes, 1.5, 5, 7, "dlib", [{"name": "hed", "sha256": "12"}], "run1")


def write(run: Storage, made: MetaLearner, *episodes: int, keep: int = 3) -> Storage:
    writer = CheckpointWriter(run, keep)
    for number in episodes:
        writer.save(Snapshot.take(made, state(number)))
    writer.close()
    return run.below(checkpoint.FOLDER, f"episodes-{episodes[-1]:09d}")


def everything(made: MetaLearner) -> dict[str, Tensor]:
    found = {f"talker.{key}": value.clone() for key, value in made.talker.state_dict().items()}
    found |= {f"discriminator.{key}": value.clone() for key, value in made.discriminator.state_dict().items()}
    found |= {f"average.{key}": value.clone() for key, value in made.average.state_dict().items()}
    return found | made.rows.state()


def assert_untouched(made: MetaLearner, before: dict[str, Tensor]) -> None:
    for key, value in everything(made).items():
        assert torch.equal(value, before[key]), key
    assert not made.talker_optimizer.state_dict()["state"]
    assert made.steps == 0


def amend(place: Storage, **fields: Any) -> None:
    """Change state.json, with the sizes of the files as they are now."""
    assert place.local_root
    marker = place.local_root / checkpoint.MARKER
    content = json.loads(marker.read_text()) | fields
    content["files"] = {file.name: file.stat().st_size for file in place.local_root.iterdir() if file != marker}
    marker.write_text(json.dumps(content))


@pytest.fixture
def run(tmp_path: Path) -> Storage:
    return Storage(str(tmp_path / "run"))


@pytest.fixture
def place(run: Storage) -> Storage:
    return write(run, trained(), 40)


@pytest.mark.parametrize("where", ["folder", pytest.param("s3", marks=pytest.mark.s3)])
def test_round_trip(where: str, run: Storage, request: pytest.FixtureRequest) -> None:
    if where == "s3":
        run = Storage(request.getfixturevalue("s3_server") + "/runs/one")
    source, target = trained(), make(seed=1)
    write(run, source, 40)
    place, refused = checkpoint.latest(run)
    assert refused == []
    got = checkpoint.load(place, target)
    assert got.files.keys() == {
        "config.yaml",
        "optimizer.pt",
        *(f"{part}.safetensors" for part in ("embedder", "generator", "discriminator", "ema", "video_embeddings")),
    }
    assert (got.episodes, got.epoch, got.steps, got.detector, got.tracking_run) == (40, 1.5, 5, "dlib", "run1")
    assert got.perceptual == [{"name": "hed", "sha256": "12"}]
    wanted = everything(source)
    for key, value in everything(target).items():
        assert torch.equal(value, wanted[key]), key
    for ours, theirs in (
        (target.talker_optimizer, source.talker_optimizer),
        (target.discriminator_optimizer, source.discriminator_optimizer),
    ):
        for index, values in theirs.state_dict()["state"].items():
            for key, value in values.items():
                assert torch.equal(ours.state_dict()["state"][index][key], value)
    assert target.steps == 5


def test_weights_only_leaves_optimizers_and_counters(place: Storage) -> None:
    target = make(seed=1)
    checkpoint.load(place, target, weights_only=True)
    for name, value in load_file(f"{place.root}/generator.safetensors").items():
        assert torch.equal(target.talker.generator.state_dict()[name], value)
    assert not target.talker_optimizer.state_dict()["state"]
    assert target.steps == 0


def test_a_snapshot_does_not_move_on(tmp_path: Path) -> None:
    made = trained()
    before = everything(made)
    optimizers = {"talker": made.talker_optimizer, "discriminator": made.discriminator_optimizer}
    moments = {
        (name, index): values["exp_avg_sq"].clone()
        for name, optimizer in optimizers.items()
        for index, values in optimizer.state_dict()["state"].items()
    }
    snapshot = Snapshot.take(made, state())
    for parameter in made.talker.parameters():
        parameter.data.add_(1)
    for values in [*made.talker_optimizer.state.values(), *made.discriminator_optimizer.state.values()]:
        values["exp_avg_sq"].add_(1)
    made.rows.step(torch.tensor([0]), torch.ones(1, 16))
    snapshot.write(tmp_path)
    kept = load_file(tmp_path / "embedder.safetensors")
    assert all(torch.equal(value, before[f"talker.embedder.{key}"]) for key, value in kept.items())
    assert torch.equal(load_file(tmp_path / "video_embeddings.safetensors")["rows"], before["rows"])
    kept_optimizers = torch.load(tmp_path / "optimizer.pt", weights_only=True)
    for (name, index), moment in moments.items():
        assert torch.equal(kept_optimizers[name]["state"][index]["exp_avg_sq"], moment)


def truncate(place: Storage) -> None:
    assert place.local_root
    file = place.local_root / "generator.safetensors"
    file.write_bytes(file.read_bytes()[:-10])


def remove_file(place: Storage) -> None:
    place.delete("ema.safetensors")


def remove_marker(place: Storage) -> None:
    place.delete(checkpoint.MARKER)


def spoil_marker(place: Storage) -> None:
    place.write(checkpoint.MARKER, b"{")


def list_for_marker(place: Storage) -> None:
    place.write(checkpoint.MARKER, b"[1]")


def newer_format(place: Storage) -> None:
    amend(place, format=FORMAT + 1)


def older_format(place: Storage) -> None:
    amend(place, format=FORMAT - 1)


def newer_format_with_new_fields(place: Storage) -> None:
    amend(place, format=FORMAT + 1, something_new=1)


BROKEN: list[tuple[Callable[[Storage], None], str]] = [
    (truncate, "is not complete: generator.safetensors has"),
    (remove_file, "is not complete: ema.safetensors has 0 bytes instead of"),
    (remove_marker, "is not a complete checkpoint: state.json is missing"),
    (spoil_marker, "state.json cannot be read"),
    (list_for_marker, "state.json cannot be read"),
    (newer_format, f"has format {FORMAT + 1}; this version reads format {FORMAT}"),
    (older_format, rf"has format {FORMAT - 1}; this version reads format {FORMAT}: use the version that wrote it"),
    (newer_format_with_new_fields, f"has format {FORMAT + 1}; this version reads format {FORMAT}"),
]


@pytest.mark.parametrize(("spoil", "message"), BROKEN)
def test_a_broken_checkpoint_is_refused_by_name(place: Storage, spoil: Callable[[Storage], None], message: str) -> None:
    spoil(place)
    target = make(seed=1)
    before = everything(target)
    with pytest.raises(CheckpointError) as caught:
        checkpoint.load(place, target)
    assert message in str(caught.value)
    assert place.uri in str(caught.value)
    assert_untouched(target, before)


@pytest.mark.parametrize(("spoil", "message"), BROKEN)
def test_a_run_goes_back_to_the_newest_complete_one(
    run: Storage, spoil: Callable[[Storage], None], message: str
) -> None:
    newest = write(run, trained(), 20, 40)
    spoil(newest)
    place, refused = checkpoint.latest(run)
    assert place.uri.endswith("episodes-000000020")
    assert len(refused) == 1
    assert message in refused[0]


def test_no_checkpoint_at_all(run: Storage) -> None:
    with pytest.raises(CheckpointError, match=r"no complete checkpoint in .*run/checkpoints"):
        checkpoint.newest(run)
    assert checkpoint.latest(run) == (None, [])


def test_a_run_does_not_start_over_on_top_of_checkpoints_that_cannot_be_used(run: Storage) -> None:
    place = write(run, trained(), 20)
    place.write("generator.safetensors", b"")
    with pytest.raises(CheckpointError, match=r"can be used .*generator.safetensors has 0 bytes.*give another name"):
        checkpoint.latest(run)


@pytest.mark.parametrize(
    ("key", "value"), [("adain_blocks", 2), ("max_channels", 32), ("embedding_scale", 0.5), ("attention_up", 0)]
)
def test_other_networks_are_refused_by_field(place: Storage, key: str, value: float) -> None:
    target = make(**{f"networks__{key}": value})
    before = everything(target)
    with pytest.raises(
        CheckpointError, match=rf"does not fit: networks\.{key} is .* in the checkpoint and {value} her"
    ):
        checkpoint.load(place, target)
    assert_untouched(target, before)


def spoil_rows(folder: Path) -> None:
    rows = load_file(folder / "video_embeddings.safetensors")
    wide = {name: torch.cat([rows[name]] * 2, dim=1) for name in ("rows", "first_moment", "second_moment")}
    save_file(rows | wide, folder / "video_embeddings.safetensors")


def drop_moments(folder: Path) -> None:
    rows = load_file(folder / "video_embeddings.safetensors")
    del rows["second_moment"]
    save_file(rows, folder / "video_embeddings.safetensors")


def rename_tensor(folder: Path) -> None:
    tensors = load_file(folder / "ema.safetensors")
    tensors["embedder.other"] = tensors.pop(sorted(tensors)[0])
    save_file(tensors, folder / "ema.safetensors")


def reshape_tensor(folder: Path) -> None:
    tensors = load_file(folder / "ema.safetensors")
    tensors["generator.last.bias"] = torch.zeros(4)
    save_file(tensors, folder / "ema.safetensors")


def spoil_optimizer(folder: Path) -> None:
    (folder / "optimizer.pt").write_bytes(b"rubbish")


def empty_optimizer(folder: Path) -> None:
    torch.save({}, folder / "optimizer.pt")


def foreign_optimizer(folder: Path) -> None:
    optimizer = torch.load(folder / "optimizer.pt", weights_only=True)
    torch.save(dict.fromkeys(optimizer, optimizer["discriminator"]), folder / "optimizer.pt")


def rubbish_tensors(folder: Path) -> None:
    (folder / "ema.safetensors").write_bytes(b"rubbish")


def rubbish_config(folder: Path) -> None:
    (folder / "config.yaml").write_text("networks:\n")


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (spoil_rows, "embedding size is 32 in the checkpoint's video_embeddings and 16 here"),
        (drop_moments, "second_moment"),
        (rename_tensor, "ema.safetensors does not fit: embedder."),
        (reshape_tensor, "generator.last.bias is [4] in the checkpoint and [3] here"),
        (spoil_optimizer, "optimizer.pt cannot be read"),
        (empty_optimizer, "optimizer.pt"),
        (foreign_optimizer, "optimizer.pt"),
        (rubbish_tensors, "ema.safetensors cannot be read"),
        (rubbish_config, "config.yaml cannot be read"),
    ],
)
def test_what_does_not_fit_leaves_nothing_half_loaded(
    place: Storage, spoil: Callable[[Path], None], message: str
) -> None:
    assert place.local_root
    spoil(place.local_root)
    amend(place)
    target = make(seed=1)
    before = everything(target)
    with pytest.raises(CheckpointError) as caught:
        checkpoint.load(place, target)
    assert message in str(caught.value)
    assert_untouched(target, before)


def test_other_videos_keep_their_start(place: Storage) -> None:
    target = make(videos=("new", "b", "c"), seed=1)
    start = target.rows.rows.clone()
    checkpoint.load(place, target)
    assert target.rows.visits.tolist() == [0, 1, 0]
    assert torch.equal(target.rows.rows[1], load_file(f"{place.root}/video_embeddings.safetensors")["rows"][1])
    assert torch.equal(target.rows.rows[[0, 2]], start[[0, 2]])


def test_only_the_newest_are_kept(run: Storage) -> None:
    write(run, trained(), 10, 20, 30, 40, keep=2)
    assert checkpoint.names(run.below(checkpoint.FOLDER)) == ["episodes-000000030", "episodes-000000040"]


@pytest.mark.s3
def test_only_the_newest_are_kept_in_a_bucket(s3_server: str) -> None:
    run = Storage(s3_server)
    write(run, trained(), 10, 20, 30, keep=1)
    assert checkpoint.names(run.below(checkpoint.FOLDER)) == ["episodes-000000030"]
    assert checkpoint.latest(run)[0].uri.endswith("episodes-000000030")


def test_incomplete_checkpoints_do_not_push_out_complete_ones(run: Storage) -> None:
    """A run that resumed before a broken checkpoint must not lose the good ones that it writes."""
    run.write("checkpoints/episodes-000009999/ema.safetensors", b"half")
    write(run, trained(), 10, 20, keep=1)
    assert checkpoint.latest(run)[0].uri.endswith("episodes-000000020")


def test_found_by_checkpoint_or_run(run: Storage, place: Storage) -> None:
    for uri in (place.uri, run.uri):
        with found(uri) as there:
            assert checkpoint.read_state(there).episodes == 40
    with pytest.raises(CheckpointError, match="no complete checkpoint"):
        with found(run.uri + "/nothing"):
            pass


def test_an_error_in_the_background_surfaces_at_the_next_call(run: Storage, monkeypatch: pytest.MonkeyPatch) -> None:
    tried = threading.Event()

    def refuse(*_: object) -> None:
        tried.set()
        raise StorageError("the disk is full")

    monkeypatch.setattr(Storage, "publish", refuse)
    writer = CheckpointWriter(run, 3)
    snapshot = Snapshot.take(trained(), state())
    writer.save(snapshot)
    assert tried.wait(60)
    with pytest.raises(StorageError, match="the disk is full"):
        writer.close()
    with pytest.raises(StorageError, match="the disk is full"):
        writer.save(snapshot)


def test_saving_does_not_wait_for_the_disk(run: Storage, monkeypatch: pytest.MonkeyPatch) -> None:
    going, publish = threading.Event(), Storage.publish

    def slow(self: Storage, folder: Path, path: str, marker: str) -> None:
        assert going.wait(60)
        publish(self, folder, path, marker)

    monkeypatch.setattr(Storage, "publish", slow)
    writer = CheckpointWriter(run, 3)
    writer.save(Snapshot.take(trained(), state(10)))
    assert checkpoint.names(run.below(checkpoint.FOLDER)) == []
    going.set()
    writer.close()
    assert checkpoint.names(run.below(checkpoint.FOLDER)) == ["episodes-000000010"]


@pytest.mark.parametrize("room", ["nothing", "half of the networks", "networks but no optimizer"])
def test_a_full_temporary_folder_is_an_error_that_says_so(
    run: Storage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, room: str
) -> None:
    if os.geteuid() != 0:
        pytest.skip("needs root to mount a small disk")
    disk = tmp_path / "disk"
    disk.mkdir()
    snapshot = Snapshot.take(trained(), state())
    measured = tmp_path / "measured"
    measured.mkdir()
    snapshot.write(measured)
    sizes = {file.name: file.stat().st_size for file in measured.iterdir()}
    networks = sum(size for name, size in sizes.items() if name.endswith("safetensors"))
    free = {"nothing": 4096, "half of the networks": networks // 2}.get(room, networks + sizes["optimizer.pt"] // 2)
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={free}", "none", str(disk)], capture_output=True)
    if mounted.returncode:
        pytest.skip("mounting is not allowed here")
    try:
        monkeypatch.setattr(tempfile, "tempdir", str(disk))
        writer = CheckpointWriter(run, 3)
        writer.save(snapshot)
        with pytest.raises(RaytalkError, match="cannot write the checkpoint"):
            writer.close()
    finally:
        subprocess.run(["umount", "-l", str(disk)], check=True)
    assert checkpoint.names(run.below(checkpoint.FOLDER)) == []
