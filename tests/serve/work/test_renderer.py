"""Many people at once, some deleted, some damaged, and whose pictures are whose."""

import asyncio
import shutil
import threading
import time
from collections.abc import Awaitable, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from avatar.toy_avatar import landmarks, random_avatar
from toy import TINY_NETWORKS

from raytalk.avatar import Avatar, AvatarCard
from raytalk.errors import CheckpointError
from raytalk.learning.pretrained import Pretrained, load_pretrained
from serve.errors import NotFound, Problem, Unavailable, Unprocessable
from serve.parts import PersonKey
from serve.records.store import Store
from serve.settings import RenderSettings, ServiceSettings
from serve.work.renderer import Renderer
from serve.work.together import Together

POINTS = landmarks(3)
FF, FT = (
    [PersonKey(f"{kind}{number:031x}", folder) for number in range(6)] for kind, folder in ((0, "ff"), (1, "ft-1"))
)


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


def renderer(store: Store, run: Path, note: Any = None, **settings: Any) -> Renderer:
    wanted = ServiceSettings(device="cpu", render=RenderSettings(**settings))
    return Renderer(store, str(run), wanted, *([note] if note else []))


def decoded(data: bytes) -> np.ndarray:
    return np.asarray(cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR))[..., ::-1].astype(int)


def in_loop(work: Callable[[], Awaitable[None]]) -> None:
    async def main() -> None:
        await asyncio.wait_for(work(), 60)

    asyncio.run(main())


async def code_of(work: Awaitable[Any]) -> tuple[type[Problem], str]:
    try:
        await work
    except Problem as problem:
        return type(problem), problem.code
    raise AssertionError("nothing was wrong")


def test_everybody_gets_their_own_picture(store: Store, run: Path, people: dict[PersonKey, Avatar]) -> None:
    """All twelve at once, several times, with different landmarks each."""
    truth = {key: person.render(POINTS).astype(int) for key, person in people.items()}

    async def work() -> None:
        one = renderer(store, run)

        async def ask(key: PersonKey, place: int) -> None:
            made = await one.render(key, POINTS[place : place + 1], "png")
            (picture,) = made.pictures
            # The weights of an FT avatar are kept in half precision.
            assert np.abs(decoded(picture) - truth[key][place]).max() <= 3
            assert made.render_ms > 0
            assert made.encode_ms > 0
            assert made.queue_ms >= 0

        await asyncio.gather(*(ask(key, place) for _ in range(3) for key in (*FF, *FT) for place in range(3)))
        made = await one.render(FT[0], POINTS, "jpeg", 95)
        assert [each[:2] for each in made.pictures] == [b"\xff\xd8"] * 3
        for picture, frame in zip(made.pictures, truth[FT[0]], strict=True):
            plain = cv2.imencode(".jpg", frame[..., ::-1].astype(np.uint8), [cv2.IMWRITE_JPEG_QUALITY, 95])[1]
            assert np.abs(decoded(picture) - decoded(plain.tobytes())).mean() < 3
        one.close()

    # Otherwise one picture for all would do.
    ends = [truth[key][0] for key in (*FF, *FT)]
    assert min(np.abs(one - other).max() for i, one in enumerate(ends) for other in ends[:i]) > 3
    in_loop(work)


def test_colours_come_as_they_are(store: Store, run: Path, people: dict[PersonKey, Avatar]) -> None:
    truth = people[FF[0]].render(POINTS[:1])[0].astype(int)

    async def work() -> None:
        made = await renderer(store, run).render(FF[0], POINTS[:1], "png")
        right = np.abs(decoded(made.pictures[0]) - truth).max()
        swapped = np.abs(decoded(made.pictures[0])[..., ::-1] - truth).max()
        assert right <= 1 < 5 < swapped

    in_loop(work)


def test_feed_forward_people_share_one_batch(people: dict[PersonKey, Avatar]) -> None:
    batches: list[list[Avatar]] = []
    inside = threading.Semaphore(1)

    def render(avatars: Sequence[Avatar], points: np.ndarray) -> np.ndarray:
        assert inside.acquire(blocking=False)
        batches.append(list(avatars))
        time.sleep(0.05)
        inside.release()
        return np.stack([np.full((2, 2, 3), points[index, 0, 0]) for index in range(len(points))]).astype(np.uint8)

    async def work() -> None:
        together = Together(asyncio.Semaphore(1), ThreadPoolExecutor(4), 4, 0.005, render)
        some = [people[key] for key in FF[:5]]

        async def ask(number: int, count: int) -> None:
            shown = await together.render(some[number], np.full((count, 68, 2), 10 * number, np.float32))
            assert [len(part.frames) for part in shown] == ([count] if count <= 4 else [4, count - 4])
            assert all((part.frames == 10 * number).all() for part in shown)

        await asyncio.gather(*(ask(number, 1) for number in range(5)), ask(2, 6), ask(3, 2))
        # 13 frames in batches of four, no piece of 4 or 2 torn apart.
        assert max(map(len, batches)) == 4
        assert len(batches) <= 5
        assert len({id(one) for one in batches[0]}) >= 3
        # One who gave up is not rendered.
        batches.clear()
        busy = asyncio.create_task(ask(0, 4))
        await asyncio.sleep(0.01)
        given_up = asyncio.create_task(ask(1, 1))
        await asyncio.sleep(0.01)
        given_up.cancel()
        await asyncio.gather(busy, ask(2, 1))
        assert some[1] not in [one for batch in batches for one in batch]

    in_loop(work)


def test_what_fails_in_a_batch_fails_for_those_in_it_alone(people: dict[PersonKey, Avatar]) -> None:
    def render(avatars: Sequence[Avatar], points: np.ndarray) -> np.ndarray:
        if (points < 0).any():
            raise RuntimeError("broken")
        return np.zeros((len(points), 2, 2, 3), np.uint8)

    async def work() -> None:
        together = Together(asyncio.Semaphore(1), ThreadPoolExecutor(1), 4, 0.0, render)
        with pytest.raises(RuntimeError, match="broken"):
            await together.render(people[FF[0]], np.full((6, 68, 2), -1, np.float32))
        (shown,) = await together.render(people[FF[0]], np.zeros((1, 68, 2), np.float32))
        assert len(shown.frames) == 1

    in_loop(work)


def test_the_one_not_driven_for_longest_is_given_up(store: Store, run: Path) -> None:
    async def work() -> None:
        one = renderer(store, run, people=3)
        for key in (FT[0], FF[1], FT[2], FT[0], FF[3]):
            await one.render(key, POINTS[:1])
        assert one.people() == [FT[2].id, FT[0].id, FF[3].id]
        # More than there is room for, all in use at the same time.
        await asyncio.gather(*(one.render(key, POINTS[:1]) for key in FT))
        assert len(one.people()) == 3

    in_loop(work)


def test_a_person_is_loaded_once_and_nobody_else_waits(
    store: Store, run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    loads: list[str] = []
    load, gate = Avatar.load, threading.Event()

    def slow(uri: str, *args: Any) -> Avatar:
        loads.append(uri)
        if FT[0].id in uri:
            assert gate.wait(30)
        return load(uri, *args)

    monkeypatch.setattr(Avatar, "load", slow)

    async def work() -> None:
        one = renderer(store, run)
        waiting = [asyncio.create_task(one.render(FT[0], POINTS[:1])) for _ in range(5)]
        await asyncio.sleep(0.05)
        await one.render(FT[1], POINTS[:1])
        await one.render(FF[1], POINTS[:1])
        # One who gives up waiting does not take it from the others.
        waiting[0].cancel()
        assert not any(each.done() for each in waiting[1:])
        gate.set()
        await asyncio.gather(*waiting[1:])
        assert len(loads) == 3

    try:
        in_loop(work)
    finally:
        gate.set()


def test_who_is_deleted_is_gone_even_while_being_loaded(
    store: Store, run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    load, gate, begun = Avatar.load, threading.Event(), threading.Event()

    def slow(uri: str, *args: Any) -> Avatar:
        made = load(uri, *args)
        begun.set()
        assert gate.wait(30)
        return made

    async def work() -> None:
        one = renderer(store, run)
        await one.render(FT[1], POINTS[:1])
        await one.render(FF[1], POINTS[:1])
        store.discard(FT[1].id)
        one.forget([FT[1].id])
        assert one.people() == [FF[1].id]
        assert await code_of(one.render(FT[1], POINTS[:1])) == (NotFound, "not-found")
        monkeypatch.setattr(Avatar, "load", slow)
        late = asyncio.create_task(one.render(FT[2], POINTS[:1]))
        await asyncio.to_thread(begun.wait, 30)
        one.forget([FT[2].id])
        gate.set()
        assert await code_of(late) == (NotFound, "not-found")
        assert one.people() == [FF[1].id]
        assert await code_of(one.face(FT[2])) == (NotFound, "not-found")

    try:
        in_loop(work)
    finally:
        gate.set()


def test_what_is_wrong_is_said_and_others_go_on(store: Store, run: Path) -> None:
    def file_of(key: PersonKey) -> Path:
        return next(Path(store.avatar_uri(key.id, key.folder)).glob("weights-*.safetensors"))

    file_of(FT[0]).write_bytes(file_of(FT[0]).read_bytes()[:-5000])
    file_of(FT[3]).unlink()
    (Path(store.avatar_uri(*FF[0])) / "avatar.json").write_text("{}")
    card = Path(store.avatar_uri(*FF[2])) / "avatar.json"
    card.write_text(card.read_text().replace('"episodes": 8', '"episodes": 9'))
    store.discard(FT[4].id)

    async def work() -> None:
        one = renderer(store, run)

        async def ask(key: PersonKey) -> tuple[type[Problem], str]:
            return await code_of(one.render(key, POINTS[:1]))

        for _ in range(2):
            assert await ask(FT[0]) == (Unavailable, "avatar-damaged")
            assert await ask(FT[3]) == (Unavailable, "avatar-damaged")
            assert await ask(FF[0]) == (Unavailable, "avatar-damaged")
            assert await ask(FF[2]) == (Unavailable, "model-missing")
        assert await ask(FT[4]) == (NotFound, "not-found")
        assert await ask(PersonKey("0" * 31 + "f", "ff")) == (NotFound, "not-found")
        assert await ask(PersonKey("../../secret", "ff")) == (NotFound, "not-found")
        assert await ask(PersonKey(FT[1].id, "../ff")) == (NotFound, "not-found")
        assert await ask(PersonKey(FT[1].id, "ft-2")) == (NotFound, "not-found")
        for wrong in (np.zeros((1, 67, 2)), np.zeros((68, 2)), np.full((1, 68, 2), np.nan)):
            assert await code_of(one.render(FT[1], wrong)) == (Unprocessable, "bad-landmarks")
        assert one.people() == []
        await one.render(FT[1], POINTS[:1])
        # What was mended is read anew.
        card.write_text(card.read_text().replace('"episodes": 9', '"episodes": 8'))
        await one.render(FF[2], POINTS[:1])

    in_loop(work)


def test_a_model_that_moved_is_found_where_the_service_has_it(store: Store, run: Path, tmp_path: Path) -> None:
    moved = tmp_path / "moved"
    shutil.copytree(run, moved)
    for key in FF:
        card = Path(store.avatar_uri(*key)) / "avatar.json"
        card.write_text(card.read_text().replace(str(run), str(tmp_path / "nowhere")))

    async def work() -> None:
        one = renderer(store, moved)
        await asyncio.gather(*(one.render(key, POINTS[:1]) for key in FF))
        assert len(one._models) == 1
        assert len(one._together) == 1

    in_loop(work)


def test_it_is_ready_when_the_model_is_there(store: Store, run: Path, tmp_path: Path) -> None:
    async def work() -> None:
        hidden = tmp_path / "hidden"
        one = renderer(store, hidden)
        assert not await one.ready()
        with pytest.raises(CheckpointError):
            await one.start()
        assert not await one.ready()
        shutil.copytree(run, hidden)
        await one.start()
        assert await one.ready()

    in_loop(work)


def test_a_face_is_told_for_live_driving(store: Store, run: Path, people: dict[PersonKey, Avatar]) -> None:
    async def work() -> None:
        one = renderer(store, run)
        for key, count in ((FF[1], 2), (FT[1], 3)):
            face = await one.face(key)
            assert face.landmarks.shape == (count, 68, 2)
            np.testing.assert_array_equal(face.landmarks, people[key].landmarks)
            assert (face.resolution, face.detector) == (32, "dlib")

    in_loop(work)


def test_figures_are_told(store: Store, run: Path) -> None:
    told: list[tuple[str, float, str]] = []

    async def work() -> None:
        one = renderer(store, run, note=lambda *figure: told.append(figure))
        await one.render(FF[0], POINTS)
        await one.render(FT[0], POINTS[:2])

    in_loop(work)
    assert [(name, mode) for name, _, mode in told] == [(n, m) for m in ("FF", "FT") for n in ("load_ms", "frames")]
    assert [value for name, value, _ in told if name == "frames"] == [3, 2]


def test_a_visible_mark_is_drawn_if_asked_for(store: Store, run: Path) -> None:
    key = PersonKey("2" + "0" * 31, "ft-1")
    random_avatar(9, TINY_NETWORKS | {"resolution": 64}).save(store.avatar_uri(*key))

    async def work() -> None:
        plain, marked = [
            decoded((await renderer(store, run, visible_mark=mark).render(key, landmarks(1, 64), "png")).pictures[0])
            for mark in (False, True)
        ]
        changed = np.abs(plain - marked).max(axis=2) > 8
        assert changed[44:, 32:].sum() > 50
        assert not changed[:40].any()

    in_loop(work)
