"""Engines compute what the plain generator does, take turns between threads, and are shared."""

import gc
import threading
import time
import weakref
from collections.abc import Callable

import numpy as np
import pytest
import torch
from avatar.toy_avatar import WIDE, landmarks, plain, random_avatar

from raytalk.avatar import Avatar
from raytalk.errors import SettingsError
from raytalk.faces.draw import draw_batch

CPU = ["winograd", "eager"]
GPU = [pytest.param(name, marks=pytest.mark.gpu) for name in ("graphs", "eager")]


def wide_avatar() -> Avatar:
    return random_avatar(networks=WIDE)


def error(frames: np.ndarray, truth: np.ndarray) -> np.ndarray:
    return np.abs(frames.astype(np.float64) - truth)


def in_four_threads(work: Callable[[int], None]) -> None:
    threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


@pytest.mark.parametrize("engine", CPU)
@pytest.mark.parametrize("batch_size", [1, 3, 8])
def test_float32_is_at_most_a_grey_level_away(engine: str, batch_size: int) -> None:
    avatar = wide_avatar().to("cpu", engine=engine)
    assert avatar.engine == engine
    truth = plain(avatar, landmarks(7, 64))
    assert error(avatar.render(landmarks(7, 64), batch_size), truth).max() < 1
    assert truth.std() > 10


def mixed(avatar: Avatar, count: int) -> torch.Tensor:
    """[count, C] of as many people."""
    return avatar.coefficients + 0.3 * torch.randn(count, len(avatar.coefficients))


@pytest.mark.parametrize("engine", CPU)
@pytest.mark.parametrize("sizes", [(5,), (2, 1, 2), (1, 1, 1, 1, 1)])
def test_a_batch_of_several_people_is_their_frames_one_by_one(engine: str, sizes: tuple[int, ...]) -> None:
    avatar = wide_avatar().to("cpu", engine=engine)
    drawings, people = draw_batch(landmarks(5, 64), 64), mixed(avatar, 5)
    together, alone = np.empty_like(drawings), np.empty_like(drawings)
    avatar._ready().render(np.split(drawings, np.cumsum(sizes)[:-1]), people, together)
    for index, person in enumerate(people):
        avatar._ready().render([drawings[index : index + 1]], person, alone[index : index + 1])
    assert error(together, alone).max() <= 1
    assert error(together[1:], alone[:-1]).mean() > 3


def test_bfloat16_is_some_grey_levels_away() -> None:
    avatar = wide_avatar()
    away = error(avatar.to("cpu", torch.bfloat16).render(landmarks(4, 64)), plain(avatar, landmarks(4, 64)))
    assert 0 < away.mean() < 3


@pytest.mark.parametrize("engine", CPU)
def test_threads_take_turns(engine: str) -> None:
    """Two people of one body, asked for from several threads at once."""
    ada, bob = wide_avatar(), wide_avatar()
    bob.body, bob.coefficients = ada.body, ada.coefficients.flip(0).clone()
    expected = [each.to("cpu", engine=engine).render(landmarks(3, 64)) for each in (ada, bob)]
    assert np.abs(expected[0].astype(int) - expected[1]).max() > 5
    wrong = []

    def work(number: int) -> None:
        for _ in range(4):
            made = (ada, bob)[number % 2].render(landmarks(3, 64), 2)
            if not np.array_equal(made, expected[number % 2]) and error(made, expected[number % 2]).max() > 1:
                wrong.append(number)

    in_four_threads(work)
    assert not wrong


def test_winograd_renders_two_calls_side_by_side(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of different people, too, in threads that all share."""
    from raytalk.avatar.engines import winograd

    together = threading.Barrier(2, timeout=20)
    draw = winograd._draw

    def meet(*args: object) -> None:
        together.wait()
        draw(*args)

    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        people = [random_avatar(seed, WIDE).to("cpu", engine="winograd") for seed in range(2)]
        expected = [person.render(landmarks(1, 64)) for person in people]
        monkeypatch.setattr(winograd, "_draw", meet)
        made: dict[int, np.ndarray] = {}
        threads = [
            threading.Thread(
                target=lambda number=number: made.update({number: people[number].render(landmarks(1, 64))})
            )
            for number in range(2)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    finally:
        torch.set_num_threads(before)
    for number in range(2):
        np.testing.assert_array_equal(made[number], expected[number])


def test_avatars_of_one_body_share_its_engine() -> None:
    ada, bob = wide_avatar(), wide_avatar()
    bob.body = ada.body
    assert ada.to("cpu")._engine is bob.to("cpu")._engine
    assert ada._engine is not ada.body.engine("cpu", torch.bfloat16, "eager")


def test_an_engine_goes_with_its_last_avatar() -> None:
    ada = wide_avatar().to("cpu")
    ada.render(landmarks(1, 64))
    gone = weakref.ref(ada._ready())
    body = ada.body
    ada.to("cpu", torch.bfloat16)
    gc.collect()
    assert gone() is None
    assert body.engine("cpu", None, "auto") is not None


def test_narrow_networks_are_rendered_plainly() -> None:
    """`winograd` takes channels in blocks of sixteen, and float32."""
    assert wide_avatar().to("cpu").engine == "winograd"
    assert wide_avatar().to("cpu", torch.bfloat16).engine == "eager"
    assert random_avatar().to("cpu").engine == "eager"
    with pytest.raises(SettingsError, match="engine=winograd does not render on cpu"):
        random_avatar().to("cpu", engine="winograd")


def test_threads_of_pytorch_stay_what_they_were() -> None:
    before = torch.get_num_threads()
    torch.set_num_threads(3)
    try:
        avatar = wide_avatar().to("cpu", engine="winograd")
        avatar.render(landmarks(3, 64), 3)
        seen: list[int] = []
        thread = threading.Thread(target=lambda: seen.append(torch.get_num_threads()))
        thread.start()
        thread.join()
        assert [torch.get_num_threads(), *seen] == [3, 3]
    finally:
        torch.set_num_threads(before)


def test_an_engine_that_does_not_work_there_is_refused() -> None:
    with pytest.raises(SettingsError, match="engine=graphs does not render on cpu: give one of auto, "):
        wide_avatar().to("cpu", engine="graphs")


@pytest.mark.parametrize("engine", GPU)
@pytest.mark.parametrize("batch_size", [1, 3, 8])
def test_a_gpu_in_float32(engine: str, batch_size: int) -> None:
    avatar = wide_avatar().to("cuda", torch.float32, engine)
    before = torch.backends.cudnn.allow_tf32
    torch.backends.cudnn.allow_tf32 = False
    try:
        frames = avatar.render(landmarks(13, 64), batch_size)
    finally:
        torch.backends.cudnn.allow_tf32 = before
    assert error(frames, plain(avatar, landmarks(13, 64))).max() < 1


@pytest.mark.parametrize("engine", GPU)
def test_a_gpu_in_bfloat16(engine: str) -> None:
    avatar = wide_avatar().to("cuda", engine=engine)
    truth = plain(avatar, landmarks(13, 64))
    for batch_size in (1, 4, 16):
        away = error(avatar.render(landmarks(13, 64), batch_size), truth)
        assert away.mean() < 3
        assert np.quantile(away, 0.999) < 40


@pytest.mark.gpu
def test_recordings_are_replayed_for_whoever_asks() -> None:
    """ψ' is changed between people of one body, sizes of batches are mixed, threads take turns."""
    ada, bob = wide_avatar(), wide_avatar()
    bob.body, bob.coefficients = ada.body, ada.coefficients.flip(0).clone()
    people = [each.to("cuda") for each in (ada, bob)]
    expected = [each.render(landmarks(24, 64), 8) for each in people]
    assert error(expected[0], expected[1]).max() > 5
    wrong: list[object] = []

    def work(number: int) -> None:
        for batch_size in (8, 1, 3, 8):
            away = error(people[number % 2].render(landmarks(24, 64), batch_size), expected[number % 2])
            if away.mean() > 1:
                wrong.append((number, batch_size, away.mean()))

    in_four_threads(work)
    assert not wrong


@pytest.mark.gpu
@pytest.mark.parametrize("engine", ["graphs", "eager"])
def test_a_gpu_renders_several_people_together(engine: str) -> None:
    """And one alone between them, in the same recordings."""
    avatar = wide_avatar().to("cuda", engine=engine)
    drawings, people = draw_batch(landmarks(12, 64), 64), mixed(avatar, 12)
    together, alone = np.empty_like(drawings), np.empty_like(drawings)
    for index, person in enumerate(people):
        avatar._ready().render([drawings[index : index + 1]], person, alone[index : index + 1])
    for sizes in ((12,), (4, 3, 5), (1, 8, 3)):
        batches = np.split(drawings, np.cumsum(sizes)[:-1])
        avatar._ready().render(batches, people, together)
        assert error(together, alone).mean() < 0.5
        avatar._ready().render(batches, people[0], together)
        assert error(together[:1], alone[:1]).mean() < 0.5
        assert error(together[1:], alone[1:]).mean() > 3


@pytest.mark.gpu
def test_people_with_weights_of_their_own_are_recorded_and_rendered_in_threads() -> None:
    people = [random_avatar(seed, WIDE) for seed in range(4)]
    expected = [person.to("cuda", engine="eager").render(landmarks(6, 64), 2) for person in people]
    for person in people:
        person.to("cuda")
    wrong: list[object] = []

    def work(number: int) -> None:
        for batch_size in (1, 6, 2):
            away = error(people[number].render(landmarks(6, 64), batch_size), expected[number])
            if away.mean() > 1:
                wrong.append((number, batch_size, away.mean()))

    in_four_threads(work)
    assert not wrong


@pytest.mark.gpu
def test_the_second_person_is_recorded_in_a_moment_whichever_thread_asks() -> None:
    seconds: list[float] = []

    def first_frame(seed: int) -> None:
        avatar = random_avatar(seed, WIDE).to("cuda")
        began = time.perf_counter()
        avatar.render(landmarks(1, 64))
        seconds.append(time.perf_counter() - began)

    for seed in range(3):
        thread = threading.Thread(target=first_frame, args=(seed,))
        thread.start()
        thread.join()
    assert max(seconds[1:]) < 0.5, seconds


@pytest.mark.gpu
def test_recordings_are_freed_with_the_avatar() -> None:
    """Not all memory comes back: cuBLAS keeps a workspace for each of PyTorch's 32 streams once it was used."""
    from raytalk.avatar.engines.graphs import _Lane

    def lanes() -> int:
        gc.collect()
        return sum(isinstance(each, _Lane) for each in gc.get_objects())

    avatar = random_avatar().to("cuda")
    avatar.render(landmarks(8), 8)
    assert lanes() > 0
    del avatar
    assert lanes() == 0


@pytest.mark.gpu
def test_what_fails_midway_leaves_the_engine_usable() -> None:
    avatar = wide_avatar().to("cuda")
    expected = avatar.render(landmarks(6, 64), 2)
    drawings = np.zeros((2, 64, 64, 3), np.uint8)

    def breaking():  # type: ignore[no-untyped-def]
        yield drawings
        yield drawings
        raise KeyError("broken")

    with pytest.raises(KeyError):
        avatar._ready().render(breaking(), avatar.coefficients, np.empty((6, 64, 64, 3), np.uint8))
    assert error(avatar.render(landmarks(6, 64), 2), expected).mean() < 0.1
