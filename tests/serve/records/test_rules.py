"""What becomes of a record, without a desk."""

from datetime import UTC, datetime

import pytest
from toy_desk import INTRODUCED, new_avatar, new_film

from serve.errors import BadRequest
from serve.records import rules
from serve.records.record import Attempt, Avatar, Change, Film

NOW = datetime(2026, 7, 1, tzinfo=UTC)


def _taken(record: rules.Record) -> rules.Record:
    hold = Attempt(token="t", worker="w", number=rules.begun(record) + 1, expires_at=NOW)
    return rules.taken(record, hold, NOW)


def test_progress_goes_back_to_what_is_true() -> None:
    record = rules.finished(_taken(new_avatar()), INTRODUCED, NOW)
    assert (record.progress, rules.job_kind(record)) == (0.2, "learn")
    learning = rules.reported(_taken(record), Change(progress=0.9, step=90, steps=100), NOW)
    back = rules.failed(learning, "internal", "It broke.", True, 3, NOW)
    assert (back.state, back.progress, back.step, back.preview_ready, back.reason) == ("queued", 0.2, 0, True, None)
    over = rules.failed(learning, "too-dark", "It is too dark.", False, 3, NOW)
    assert (over.state, over.preview_ready, over.progress) == ("failed", True, 0.2)
    assert over.reason is not None
    assert over.reason.code == "too-dark"


@pytest.mark.parametrize("record", [new_avatar(), new_film(new_avatar())])
def test_tries_are_counted_but_not_interruptions(record: Avatar | Film) -> None:
    for _ in range(2):
        record = rules.failed(_taken(record), "worker-lost", "", True, 3, NOW)
        assert record.state == "queued"
    for _ in range(rules.MOST_INTERRUPTIONS):
        record = rules.failed(_taken(record), "service-stopped", "", True, 3, NOW)
        assert record.state == "queued"
    assert rules.failed(_taken(record), "worker-lost", "", True, 3, NOW).state == "failed"
    assert rules.failed(_taken(record), "stopped", "", True, 3, NOW).state == "failed", "at some time it is enough"


def test_the_tries_of_learning_are_its_own() -> None:
    record: Avatar = new_avatar()
    for _ in range(2):
        record = rules.failed(_taken(record), "worker-lost", "", True, 3, NOW)
    record = rules.finished(_taken(record), INTRODUCED, NOW)
    for _ in range(2):
        record = rules.failed(_taken(record), "worker-lost", "", True, 3, NOW)
    assert record.state == "queued"
    assert rules.failed(_taken(record), "worker-lost", "", True, 3, NOW).state == "failed"


@pytest.mark.parametrize("record", [new_avatar(), new_film(new_avatar())])
def test_released_is_as_if_never_taken(record: Avatar | Film) -> None:
    released = rules.released(_taken(record), NOW)
    assert (released.state, released.attempt, rules.begun(released)) == ("queued", None, 0)
    assert released.revision == record.revision + 2


def test_what_cannot_be_stored_is_not_taken() -> None:
    record = rules.reported(new_avatar(), Change(quality={"a": float("nan"), "b": 0.5}, progress=float("nan")), NOW)
    assert record.quality == {"b": 0.5}
    assert Avatar.model_validate_json(record.model_dump_json()) == record
    assert rules.reported(record, Change(progress=7.0), NOW).progress == 1.0
    film = new_film(record)
    with pytest.raises(BadRequest):
        rules.reported(film, Change(fps=float("inf")), NOW)
    with pytest.raises(BadRequest):
        rules.reported(film, Change(new_preview=True), NOW)


def test_reports_are_parted_and_joined() -> None:
    light, heavy = rules.parted(Change(progress=0.0, step=3, preview_ready=False))
    assert (light, heavy) == (Change(progress=0.0, step=3), Change(preview_ready=False))
    assert rules.parted(Change(progress=0.0)) == (Change(progress=0.0), None)
    assert rules.parted(Change(new_preview=True))[1] == Change(new_preview=True)
    first, then = Change(new_preview=True, resolution=3), Change(resolution=4, quality={})
    assert rules.joined(first, then) == Change(new_preview=True, resolution=4, quality={})
    assert rules.joined(None, then) == then
    assert rules.joined(first, None) == first


def test_a_new_desk_takes_no_revision_that_was_seen() -> None:
    record = new_avatar()
    assert rules.found_again(record) == record
    held = _taken(record)
    seen = held
    for step in range(200):
        seen = rules.reported(seen, Change(step=step + 1), NOW)
    assert rules.found_again(held).revision > seen.revision
