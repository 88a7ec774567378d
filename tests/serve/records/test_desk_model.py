"""The desk against a model of forty lines, through random histories."""

import random
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from toy_desk import INTRODUCED, LEARNED, ToyDesk, in_loop, running

from serve.records.leases import STORE_EVERY_S
from serve.records.record import Avatar, Change, Film

LEASE_S, UNHEARD_S, TRIES = 30.0, 10.0, 2
KINDS = ("introduce", "learn", "film")


@dataclass
class Model:
    """What one record should be."""

    id: str
    order: int
    kind: str
    mode: str = "FF"
    avatar: str = ""
    state: str = "queued"
    tries: dict[str, int] = field(default_factory=dict)
    interrupted: int = 0
    token: str = ""
    expires: float = 0.0
    innocent: bool = True
    """whether the end of the hold is no fault of the work"""

    @property
    def waits(self) -> bool:
        return not self.token and self.state not in ("ready", "failed")

    def take(self, token: str, now: float) -> None:
        self.token, self.expires, self.innocent = token, now + UNHEARD_S, True
        self.tries[self.kind] = self.tries.get(self.kind, 0) + 1
        self.state = {"introduce": "queued", "learn": "learning", "film": "making"}[self.kind]

    def finish(self) -> None:
        self.token = ""
        if self.kind == "introduce":
            self.interrupted = 0
        if self.kind == "introduce" and self.mode == "FT":
            self.kind, self.state = "learn", "queued"
        else:
            self.state = "ready"

    def fail(self, again: bool, counted: bool = True) -> None:
        self.token = ""
        self.interrupted += not counted
        self.state = "queued" if again and self.tries[self.kind] - self.interrupted < TRIES else "failed"


class History:
    """Does the same at the desk and to the model, and compares."""

    def __init__(self, toy: ToyDesk, seed: int) -> None:
        self.toy, self.random = toy, random.Random(seed)
        self.models: dict[str, Model] = {}
        self.old_tokens: list[str] = []
        self.count = 0

    def held(self) -> list[Model]:
        return [model for model in self.models.values() if model.token]

    async def accept(self) -> None:
        record = await self.toy.accept(mode=self.random.choice(["FF", "FT"]))
        self.count += 1
        self.models[record.id] = Model(record.id, self.count, "introduce", record.mode)

    async def accept_film(self) -> None:
        avatars = [model for model in self.models.values() if model.kind == "learn" or model.state == "ready"]
        avatars = [model for model in avatars if model.kind != "film"]
        if avatars:
            chosen = self.random.choice(avatars)
            record = await self.toy.accept_film(await self.toy.desk.avatar("anna", chosen.id))
            self.count += 1
            self.models[record.id] = Model(record.id, self.count, "film", avatar=chosen.id)

    async def take(self) -> None:
        kind: Any = self.random.choice(KINDS)
        waiting = [model for model in self.models.values() if model.waits and model.kind == kind]
        expected = min(waiting, key=lambda model: model.order, default=None)
        job = await self.toy.desk.take(kind, "w", 0)
        assert (job and job.id) == (expected and expected.id)
        if job is not None and expected is not None:
            expected.take(job.token, self.toy.clock())

    async def report(self) -> None:
        if self.held():
            model = self.random.choice(self.held())
            model.expires, model.innocent = self.toy.clock() + LEASE_S, False
            assert await self.toy.desk.report(model.token, Change(progress=self.random.random()))

    async def finish(self) -> None:
        if self.held():
            model = self.random.choice(self.held())
            self.old_tokens.append(model.token)
            change = {"introduce": INTRODUCED, "learn": LEARNED, "film": Change(frames=3)}[model.kind]
            assert await self.toy.desk.finish(model.token, change)
            model.finish()

    async def fail(self) -> None:
        if self.held():
            model = self.random.choice(self.held())
            self.old_tokens.append(model.token)
            again, code = self.random.random() < 0.7, self.random.choice(["internal", "stopped"])
            assert await self.toy.desk.fail(model.token, code, "It broke.", again)
            model.fail(again, counted=not (again and code == "stopped"))

    async def old_token(self) -> None:
        if self.old_tokens:
            token = self.random.choice(self.old_tokens)
            assert not await self.toy.desk.report(token, Change(progress=0.1))
            assert not await self.toy.desk.finish(token, INTRODUCED)

    async def delete(self) -> None:
        if self.models:
            chosen = self.random.choice(list(self.models.values()))
            if chosen.kind == "film":
                await self.toy.desk.delete_film("anna", chosen.id)
            else:
                await self.toy.desk.delete_avatar("anna", chosen.id)
            for model in list(self.models.values()):
                if chosen.id in (model.id, model.avatar):
                    self.old_tokens += [model.token] if model.token else []
                    del self.models[model.id]

    async def pass_time(self) -> None:
        await self.toy.tick(self.random.choice([1.0, 5.0, 20.0, 31.0]))
        for model in self.held():
            if model.expires <= self.toy.clock():
                self.old_tokens.append(model.token)
                model.fail(again=True, counted=not model.innocent)

    async def restart(self) -> None:
        await self.pass_time()
        await self.toy.tick(STORE_EVERY_S)
        for model in self.held():
            if model.expires <= self.toy.clock():
                self.old_tokens.append(model.token)
                model.fail(again=True, counted=not model.innocent)
            else:
                model.expires, model.innocent = model.expires + STORE_EVERY_S, True
        await self.toy.start_anew()

    async def compare(self) -> None:
        avatars, _ = await self.toy.desk.avatars("anna", 10_000, "")
        films = [film for avatar in avatars for film in await self.toy.desk.films("anna", avatar.id)]
        seen: list[Avatar | Film] = [*avatars, *films]
        assert {record.id for record in seen} == set(self.models)
        for record in seen:
            model = self.models[record.id]
            assert (record.state, record.attempt.token if record.attempt else "") == (model.state, model.token)
            assert (record.progress == 1.0) == (record.state == "ready")
        await self.toy.desk.settled()
        assert {file.split("/")[1] for file in self.toy.files()} == set(self.models)


@pytest.mark.parametrize("seed", range(12))
@in_loop
async def test_random_histories_go_as_the_model_says(tmp_path: Path, seed: int) -> None:
    async with running(tmp_path, lease_s=LEASE_S, tries=TRIES, avatars=10_000, waiting=10_000) as toy:
        history = History(toy, seed)
        steps = [history.accept] * 4 + [history.take] * 6 + [history.report] * 3 + [history.finish] * 3
        steps += [history.accept_film] * 2 + [history.fail, history.fail, history.delete, history.pass_time]
        steps += [history.old_token]
        for number in range(120):
            step = history.restart if number % 40 == 39 else history.random.choice(steps)
            await step()
            await history.compare()
