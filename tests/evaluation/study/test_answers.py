import json

import pytest

from raytalk.errors import StudyError
from raytalk.evaluation.study.answers import read_answers, read_key
from raytalk.storage import Storage


def _always(_, __):
    return True


def _read(folder, key):
    results, left_out = read_answers(Storage(str(folder)), key)
    return results, {each.file: each.reason for each in left_out}


def test_a_good_file_counts(answered, write, key):
    results, left_out = _read(write("a.json", answered(1, _always)), key)
    assert list(results) == ["a.json"]
    assert not left_out


def _without_last(result):
    return result | {"answers": result["answers"][:-3]}


def _with(place, **change):
    def damage(result):
        answers = [dict(answer) for answer in result["answers"]]
        answers[place] |= change
        return result | {"answers": answers}

    return damage


@pytest.mark.parametrize(
    ("damage", "reason"),
    [
        (_without_last, "incomplete: 23 of 26 answered"),
        (lambda result: result | {"study": "0123"}, "of another study: 0123"),
        (lambda result: result | {"format": 2}, "of format 2"),
        (_with(3, chosen=3), "answers.3.chosen"),
        (_with(3, chosen="1"), "answers.3.chosen"),
        (_with(0, seconds=-1), "answers.0.seconds"),
        (_with(0, triplet="ffff"), "a triplet that the study does not have: ffff"),
        (lambda result: result | {"answers": [*result["answers"], result["answers"][0]]}, "a triplet twice"),
        (lambda result: result | {"shown": result["shown"][1:]}, "answers a triplet that was not shown"),
        (lambda result: result | {"shown": []}, "shown"),
        (lambda result: result | {"seed": "me"}, "seed"),
        (lambda result: {"hello": 1}, "not a result file: format"),
        (lambda result: [1, 2], "not a result file"),
        (lambda result: json.dumps(result)[:-40], "not a result file: Invalid JSON"),
    ],
)
def test_what_cannot_be_used_is_left_out_with_its_reason(answered, write, key, damage, reason):
    write("good.json", answered(1, _always))
    results, left_out = _read(write("bad.json", damage(answered(2, _always))), key)
    assert list(results) == ["good.json"]
    assert reason in left_out["bad.json"]


def test_nobody_counts_twice(answered, write, key):
    write("a.json", answered(1, _always, "ada"))
    write("copy.json", answered(1, _always, "ada"))
    write("b.json", answered(2, _always, "ada"))
    write("c.json", answered(3, _always))
    results, left_out = _read(write("d.json", answered(4, _always)), key)
    assert list(results) == ["a.json", "c.json", "d.json"]
    assert left_out == {"copy.json": "the same as a.json", "b.json": "participant ada took part before, in a.json"}


def test_an_incomplete_file_does_not_push_out_the_whole_one(answered, write, key):
    write("a.json", _without_last(answered(1, _always)))
    results, left_out = _read(write("b.json", answered(1, _always)), key)
    assert list(results) == ["b.json"]
    assert "incomplete" in left_out["a.json"]


def test_other_files_are_not_looked_at(answered, write, key):
    write("notes.txt", "hello")
    results, left_out = _read(write("a.json", answered(1, _always)), key)
    assert list(results) == ["a.json"]
    assert not left_out


def test_a_key_is_read_and_anything_else_refused(study, answered, tmp_path):
    (tmp_path / "key.json").write_text(json.dumps(study.key))
    assert read_key(str(tmp_path / "key.json")).study == study.key["study"]
    (tmp_path / "a.json").write_text(json.dumps(answered(1, _always)))
    with pytest.raises(StudyError, match=r"a\.json is no key.*give the key\.json"):
        read_key(str(tmp_path / "a.json"))
    (tmp_path / "new.json").write_text(json.dumps(study.key | {"format": 9}))
    with pytest.raises(StudyError, match="format 9"):
        read_key(str(tmp_path / "new.json"))
