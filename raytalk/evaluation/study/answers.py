"""The answer key and participants' result files: read, checked; what cannot be used is left out with a reason."""

from dataclasses import dataclass
from typing import Annotated

import pydantic

from raytalk.errors import StudyError
from raytalk.evaluation.study.page import FORMAT
from raytalk.storage import Storage, file_at


class Truth(pydantic.BaseModel):
    """What the key says about a triplet."""

    fake: Annotated[int, pydantic.Field(ge=0, le=2)]
    check: bool
    method: str
    shots: int
    same_clip: bool
    shows_truth: bool


class Key(pydantic.BaseModel):
    """key.json"""

    format: int
    study: str
    evaluation: str
    triplets: dict[str, Truth]


class Answer(pydantic.BaseModel):
    """One triplet, answered."""

    triplet: str
    chosen: Annotated[int, pydantic.Field(ge=0, le=2, strict=True)]
    seconds: Annotated[float, pydantic.Field(ge=0, allow_inf_nan=False)]
    """from when the pictures were shown"""


class Result(pydantic.BaseModel):
    """What the page saves for one participant."""

    format: int
    study: str
    seed: Annotated[str, pydantic.Field(pattern="^[0-9a-f]{8,64}$")]
    """random, made in the browser: decides what is shown and tells participants apart"""
    participant: str = ""
    shown: Annotated[list[str], pydantic.Field(min_length=1)]
    """ids of triplets in their order"""
    answers: list[Answer]


@dataclass(frozen=True)
class LeftOut:
    """A file that does not count."""

    file: str
    reason: str


def read_key(uri: str) -> Key:
    """Raises StudyError if it is not a key."""
    storage, name = file_at(uri)
    try:
        key = Key.model_validate_json(storage.read(name))
    except pydantic.ValidationError as error:
        raise StudyError(f"{uri} is no key: {_first(error)}; give the key.json that was made with the study") from None
    if key.format != FORMAT:
        raise StudyError(f"{uri} is a key of format {key.format}, and this version reads {FORMAT}")
    return key


def read_answers(storage: Storage, key: Key) -> tuple[dict[str, Result], list[LeftOut]]:
    """Results by file name, and the .json files that do not count. Every participant is in there once."""
    results: dict[str, Result] = {}
    left_out: list[LeftOut] = []
    for name in storage.files((".json",)):
        try:
            result = Result.model_validate_json(storage.read(name))
        except pydantic.ValidationError as error:
            left_out.append(LeftOut(name, f"not a result file: {_first(error)}"))
            continue
        if reason := _trouble(result, key) or _again(result, results):
            left_out.append(LeftOut(name, reason))
        else:
            results[name] = result
    return results, left_out


def _trouble(result: Result, key: Key) -> str | None:
    answered = [answer.triplet for answer in result.answers]
    if result.study != key.study:
        return f"of another study: {result.study}, and the key is of {key.study}"
    if result.format != FORMAT:
        return f"of format {result.format}, and this version reads {FORMAT}"
    if unknown := (set(answered) | set(result.shown)) - set(key.triplets):
        return f"names a triplet that the study does not have: {min(unknown)}"
    if len(set(answered)) < len(answered) or len(set(result.shown)) < len(result.shown):
        return "has a triplet twice"
    if set(answered) - set(result.shown):
        return "answers a triplet that was not shown"
    if len(answered) < len(result.shown):
        return f"incomplete: {len(answered)} of {len(result.shown)} answered"
    return None


def _again(result: Result, results: dict[str, Result]) -> str | None:
    for name, other in results.items():
        if other.seed == result.seed:
            return f"the same as {name}"
        if result.participant and other.participant == result.participant:
            return f"participant {result.participant} took part before, in {name}"
    return None


def _first(error: pydantic.ValidationError) -> str:
    item = error.errors()[0]
    where = ".".join(str(part) for part in item["loc"])
    return f"{where}: {item['msg']}" if where else item["msg"]
