"""What may become of a record. Pure functions from one record to the next: no clock, no storage, no waiting.

```
avatar  queued --taken--> queued ----finished--> ready (FF)
        (introduce)                              queued (FT), preview ready --taken--> learning --finished--> ready
film    queued --taken--> making --finished----> ready
any     under work --failed, again--> queued, until it was tried often enough; --failed--> failed
```
"""

import math
from datetime import datetime
from typing import Any, TypeVar, cast

from serve.errors import BadRequest
from serve.records.record import Attempt, Avatar, Change, Failure, Film, JobKind
from serve.records.store import Kind

Record = TypeVar("Record", bound=Avatar | Film)

NOT_TRIES = ("stopped", "service-stopped", "not-begun")
"""Codes of failures that say nothing about the work: a worker or the whole service was stopped, or nobody began."""
MOST_INTERRUPTIONS = 20
"""More than that count as tries after all: work that brings the whole machine down must end at some time."""
UNSAVED_REVISIONS = 1000
"""Reports that may have been announced and were not stored when a desk died: far more than come in two seconds."""
LIGHT = frozenset({"progress", "step", "steps"})
"""Fields of a report that need not be stored at once: after a crash the work goes back to what is stored."""


def job_kind(record: Avatar | Film) -> JobKind:
    """The job that a record is under, or waits for next."""
    if isinstance(record, Film):
        return "film"
    return "learn" if record.introduced else "introduce"


def waits(record: Avatar | Film) -> bool:
    """Whether a worker may take it."""
    return record.attempt is None and not done(record)


def done(record: Avatar | Film) -> bool:
    """Whether nothing more will be done to it."""
    return record.state in ("ready", "failed")


def begun(record: Avatar | Film) -> int:
    """How often the job at hand was begun."""
    return record.attempts if isinstance(record, Film) else record.attempts.get(job_kind(record), 0)


def taken(record: Record, attempt: Attempt, now: datetime) -> Record:
    """A worker has it. `attempt.number` becomes how often the job was begun."""
    if isinstance(record, Film):
        return _next(record, now, state="making", attempts=attempt.number, attempt=attempt)
    state = "learning" if record.introduced else "queued"
    attempts = {**record.attempts, job_kind(record): attempt.number}
    return _next(record, now, state=state, attempts=attempts, attempt=attempt)


def released(record: Record, now: datetime) -> Record:
    """As if it had not been taken: the worker never heard of it."""
    attempts: Any = begun(record) - 1
    if isinstance(record, Avatar):
        attempts = {**record.attempts, job_kind(record): attempts}
    return _next(record, now, state="queued", attempts=attempts, attempt=None)


def extended(record: Record, expires_at: datetime) -> Record:
    """The hold on it lasts longer; nobody but workers minds, so this is no change."""
    if record.attempt is None:
        return record
    return _with(record, {"attempt": record.attempt.model_copy(update={"expires_at": expires_at})})


def reported(record: Record, change: Change, now: datetime) -> Record:
    """What a worker says of it, if it is news. Raises BadRequest for fields that such a record does not have."""
    news = _news(record, change)
    return _next(record, now, **news) if news else record


def finished(record: Record, change: Change, now: datetime) -> Record:
    """The job at hand is done. Raises BadRequest as `reported`."""
    news = _news(record, change)
    if isinstance(record, Avatar) and not record.introduced:
        news |= {"introduced": True, "interrupted": 0}
        if record.mode == "FT":
            progress = news.get("progress", record.progress)
            return _next(record, now, **news, state="queued", kept_progress=progress, attempt=None)
    return _next(record, now, **{**news, "progress": 1.0, "state": "ready", "attempt": None, "reason": None})


def failed(record: Record, code: str, detail: str, again: bool, tries: int, now: datetime) -> Record:
    """The job at hand is not done: it waits again, if that may help and it was not tried `tries` times already."""
    interrupted = record.interrupted + (again and code in NOT_TRIES)
    back: dict[str, Any] = {"progress": 0.0, "attempt": None, "interrupted": interrupted}
    if isinstance(record, Avatar):
        back |= {"progress": record.kept_progress, "step": 0}
    if again and begun(record) - min(interrupted, MOST_INTERRUPTIONS) < tries:
        return _next(record, now, **back, state="queued")
    return _next(record, now, **back, state="failed", reason=Failure(code=code, detail=detail))


def has_material(record: Avatar | Film) -> bool:
    """Whether what it is made from is still kept."""
    return bool(record.driver) if isinstance(record, Film) else not record.material_deleted


def without_material(record: Record, now: datetime) -> Record:
    """What it was made from is deleted, the crops of an avatar too."""
    if isinstance(record, Film):
        return _next(record, now, driver="")
    photos = tuple(photo.model_copy(update={"crop": ""}) for photo in record.photos)
    return _next(record, now, material_deleted=True, photos=photos)


def found_again(record: Record) -> Record:
    """As read by a new desk. Who has seen a revision that was not stored yet must not take a later one for it."""
    if record.attempt is None:
        return record
    return _with(record, {"revision": record.revision + UNSAVED_REVISIONS})


def parted(change: Change) -> tuple[Change, Change | None]:
    """Of a report, what may be announced at once, and what must be stored first (None: nothing)."""
    given = _given(change)
    heavy = {name: value for name, value in given.items() if name not in LIGHT}
    light = {name: value for name, value in given.items() if name in LIGHT}
    return Change(**light), Change(**heavy) if heavy else None


def joined(first: Change | None, then: Change | None) -> Change | None:
    """Two reports as one: the later wins."""
    if first is None or then is None:
        return then or first
    return first.model_copy(update=_given(then))


def kind_of(record: Avatar | Film) -> Kind:
    """The folder of such records."""
    return "avatars" if isinstance(record, Avatar) else "films"


def _given(change: Change) -> dict[str, Any]:
    values = ((name, getattr(change, name)) for name in Change.model_fields)
    return {name: value for name, value in values if value is not None and (name != "new_preview" or value)}


def _news(record: Avatar | Film, change: Change) -> dict[str, Any]:
    news: dict[str, Any] = {}
    for name, value in _given(change).items():
        if name == "new_preview" and isinstance(record, Avatar):
            name, value = "previews", record.previews + 1
        if name not in type(record).model_fields:
            raise BadRequest(f"{type(record).__name__} has no {name}.", code="bad-report")
        if name == "progress":
            value = min(1.0, max(0.0, value))
        elif name == "quality":
            # JSON has no NaN: such a record could not be read again.
            value = {figure: number for figure, number in value.items() if math.isfinite(number)}
        elif name == "fps" and not math.isfinite(value):
            raise BadRequest(f"fps={value} is no number of frames a second.", code="bad-report")
        if value != getattr(record, name):
            news[name] = value
    return news


def _next(record: Record, now: datetime, **update: Any) -> Record:
    update |= {"revision": record.revision + 1, "changed_at": now}
    return _with(record, update)


def _with(record: Record, update: dict[str, Any]) -> Record:
    return cast(Record, record.model_copy(update=update))
