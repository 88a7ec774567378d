"""Many people at once, some deleted, some damaged, and whose pictures are whose."""

import asyncio
import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest
from avatar.toy_avatar import landmarks, random_avatar
from toy import TINY_NETWORKS

from raytalk.avatar import Avatar
from raytalk.errors import CheckpointError
from serve.errors import NotFound, Problem, Unavailable, Unprocessable
from serve.parts import PersonKey
from serve.records.store import Store
from tests.serve.work.rendering import FF, FT, POINTS, code_of, decoded, in_loop, renderer


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
