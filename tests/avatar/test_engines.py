"""Engines compute what the plain generator does, take turns between threads, and are shared."""

import gc
import threading
import weakref

import numpy as np
import pytest
import torch
from avatar.toy_avatar import landmarks, plain, random_avatar

from raytalk.avatar import Avatar
from raytalk.avatar.engines import engines_for
from raytalk.errors import SettingsError

CPU = torch.device("cpu")
GPU = [pytest.param(name, marks=pytest.mark.gpu) for name in ("graphs", "eager")]


def error(frames: np.ndarray, truth: np.ndarray) -> np.ndarray:
    return np.abs(frames.astype(np.float64) - truth)


@pytest.mark.parametrize("engine", engines_for(CPU))
@pytest.mark.parametrize("batch_size", [1, 3, 8])
def test_float32_is_at_most_a_grey_level_away(engine: str, batch_size: int) -> None:
    avatar = random_avatar().to("cpu", engine=engine)
    assert avatar.engine == engine
    truth = plain(avatar, landmarks(7))
    assert error(avatar.render(landmarks(7), batch_size), truth).max() < 1
    assert truth.std() > 10


def test_bfloat16_is_some_grey_levels_away() -> None:
    avatar = random_avatar()
    away = error(avatar.to("cpu", torch.bfloat16).render(landmarks(4)), plain(avatar, landmarks(4)))
    assert 0 < away.mean() < 3


@pytest.mark.parametrize("engine", engines_for(CPU))
def test_threads_take_turns(engine: str) -> None:
    """Two people of one body, asked for from several threads at once."""
    ada, bob = random_avatar(), random_avatar()
    bob.body, bob.coefficients = ada.body, ada.coefficients.flip(0).clone()
    expected = [each.to("cpu", engine=engine).render(landmarks(3)) for each in (ada, bob)]
    assert np.abs(expected[0].astype(int) - expected[1]).max() > 5
    wrong = []

    def work(number: int) -> None:
        for _ in range(4):
            made = (ada, bob)[number % 2].render(landmarks(3), 2)
            if not np.array_equal(made, expected[number % 2]) and error(made, expected[number % 2]).max() > 1:
                wrong.append(number)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


def test_avatars_of_one_body_share_its_engine() -> None:
    ada, bob = random_avatar(), random_avatar()
    bob.body = ada.body
    assert ada.to("cpu")._engine is bob.to("cpu")._engine
    assert ada._engine is not ada.body.engine("cpu", torch.bfloat16, "eager")


def test_an_engine_goes_with_its_last_avatar() -> None:
    ada = random_avatar().to("cpu")
    ada.render(landmarks(1))
    gone = weakref.ref(ada._ready())
    body = ada.body
    ada.to("cpu", torch.bfloat16)
    gc.collect()
    assert gone() is None
    assert body.engine("cpu", None, "auto") is not None


def test_an_engine_that_does_not_work_there_is_refused() -> None:
    with pytest.raises(SettingsError, match="engine=graphs does not render on cpu: give one of auto, "):
        random_avatar().to("cpu", engine="graphs")


@pytest.mark.parametrize("engine", GPU)
@pytest.mark.parametrize("batch_size", [1, 3, 8])
def test_a_gpu_in_float32(engine: str, batch_size: int) -> None:
    avatar = random_avatar().to("cuda", torch.float32, engine)
    before = torch.backends.cudnn.allow_tf32
    torch.backends.cudnn.allow_tf32 = False
    try:
        frames = avatar.render(landmarks(13), batch_size)
    finally:
        torch.backends.cudnn.allow_tf32 = before
    assert error(frames, plain(avatar, landmarks(13))).max() < 1


@pytest.mark.parametrize("engine", GPU)
def test_a_gpu_in_bfloat16(engine: str) -> None:
    avatar = random_avatar().to("cuda", engine=engine)
    truth = plain(avatar, landmarks(13))
    for batch_size in (1, 4, 16):
        away = error(avatar.render(landmarks(13), batch_size), truth)
        assert away.mean() < 3
        assert np.quantile(away, 0.999) < 40


@pytest.mark.gpu
def test_recordings_are_replayed_for_whoever_asks() -> None:
    """ψ' is changed between people of one body, sizes of batches are mixed, threads take turns."""
    ada, bob = random_avatar(), random_avatar()
    bob.body, bob.coefficients = ada.body, ada.coefficients.flip(0).clone()
    people = [each.to("cuda") for each in (ada, bob)]
    expected = [each.render(landmarks(24), 8) for each in people]
    assert error(expected[0], expected[1]).max() > 5
    wrong: list[object] = []

    def work(number: int) -> None:
        for batch_size in (8, 1, 3, 8):
            away = error(people[number % 2].render(landmarks(24), batch_size), expected[number % 2])
            if away.mean() > 1:
                wrong.append((number, batch_size, away.mean()))

    threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


@pytest.mark.gpu
def test_recordings_are_freed_with_the_avatar() -> None:
    def make() -> Avatar:
        avatar = random_avatar().to("cuda")
        avatar.render(landmarks(8), 8)
        return avatar

    make()  # libraries keep some memory for themselves
    gc.collect()
    torch.cuda.empty_cache()
    before = torch.cuda.memory_reserved()
    for _ in range(3):
        make()
    gc.collect()
    torch.cuda.empty_cache()
    assert torch.cuda.memory_reserved() <= before


@pytest.mark.gpu
def test_what_fails_midway_leaves_the_engine_usable() -> None:
    avatar = random_avatar().to("cuda")
    expected = avatar.render(landmarks(6), 2)
    drawings = np.zeros((2, 32, 32, 3), np.uint8)

    def breaking():  # type: ignore[no-untyped-def]
        yield drawings
        yield drawings
        raise KeyError("broken")

    with pytest.raises(KeyError):
        avatar._ready().render(breaking(), avatar.coefficients, np.empty((6, 32, 32, 3), np.uint8))
    assert error(avatar.render(landmarks(6), 2), expected).mean() < 0.1
