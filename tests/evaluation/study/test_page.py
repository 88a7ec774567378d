import base64
import io
import json
import re

import numpy as np
import pandas as pd
import pytest
from evaluation.toy_results import toy_rows
from PIL import Image

from raytalk.evaluation.study import TripletSettings, make_study


def _data(page):
    return json.loads(re.search(r'<script type="application/json" id="study">(.*?)</script>', page, re.DOTALL).group(1))


def _shown(page):
    return [triplet for part in _data(page)["parts"] for group in part["groups"] for triplet in group]


def test_page_and_key_name_the_same_triplets(study):
    assert {triplet["id"] for triplet in _shown(study.page)} == set(study.key["triplets"])
    assert study.key["study"] == _data(study.page)["study"]
    checks = [truth for truth in study.key["triplets"].values() if truth["check"]]
    assert len(checks) == 2
    assert [part["take"] for part in _data(study.page)["parts"]] == [10, 2]


def test_the_page_knows_nothing_of_the_answers(study):
    text = re.sub(r'"pictures":\[.*?\]', "", study.page)
    for word in ("fake", "method", "shots", "person0", "video0", '"ff"', '"ft"', "truth", '"check"'):
        assert word not in text
    assert all(set(triplet) == {"id", "pictures"} for triplet in _shown(study.page))


def test_all_pictures_are_alike_but_for_what_they_show(study):
    """One length, one format, the same tables and the same size in pixels."""
    files = [base64.b64decode(data) for triplet in _shown(study.page) for data in triplet["pictures"]]
    assert len({len(data) for data in files}) == 1
    pictures = [Image.open(io.BytesIO(data)) for data in files]
    for picture in pictures:
        picture.load()
    assert {(picture.format, picture.size) for picture in pictures} == {("JPEG", (32, 32))}
    assert len({json.dumps(picture.quantization) for picture in pictures}) == 1
    assert len({data[: data.index(b"\xff\xda")] for data in files}) == 1


def test_the_key_tells_which_picture_is_generated(study):
    by_id = {triplet["id"]: triplet["pictures"] for triplet in _shown(study.page)}
    for name, triplet in zip(study.key["triplets"], study.triplets, strict=True):
        fake = study.key["triplets"][name]["fake"]
        seen = Image.open(io.BytesIO(base64.b64decode(by_id[name][fake])))
        wanted = triplet.pictures[triplet.fake].astype(int)
        assert np.abs(np.asarray(seen, int) - wanted).mean() < 12


def test_nothing_is_fetched(study):
    assert "http" not in study.page.replace("http-equiv", "")
    assert "default-src 'none'" in study.page


def test_the_same_seed_gives_the_same_study():
    rows = toy_rows(people=2, size=32, methods=("ff",), shots=(1,))
    first, again = (make_study(rows, TripletSettings(triplets=4, seed=5)) for _ in range(2))
    other = make_study(rows, TripletSettings(triplets=4, seed=6))
    assert first.page == again.page
    assert first.key == again.key
    assert first.key["study"] != other.key["study"]


@pytest.mark.parametrize(("clips", "recording"), [(1, "same"), (3, "mixed")])
def test_the_page_says_whether_the_real_pictures_are_from_the_same_recording(clips, recording):
    rows = toy_rows(people=2, size=32, methods=("ff",), shots=(1,), clips=clips)
    if clips == 3:
        rows = rows[(rows.person == "person0") | rows["clip"].str.contains("video0")]
    assert _data(make_study(rows, TripletSettings()).page)["recording"] == recording


def _sizes(page):
    files = (base64.b64decode(data) for triplet in _shown(page) for data in triplet["pictures"])
    return {Image.open(io.BytesIO(data)).size for data in files}


def test_pictures_of_several_sizes_become_one():
    small = toy_rows(people=1, size=32, methods=("ff",))
    rows = pd.concat([small, toy_rows(people=1, size=48, methods=("old/ff",), seed=1)])
    assert _sizes(make_study(rows, TripletSettings()).page) == {(32, 32)}
    assert _sizes(make_study(rows, TripletSettings(size=64)).page) == {(64, 64)}


def test_no_checks_if_none_are_wanted():
    rows = toy_rows(people=2, size=32, methods=("ff",), shots=(1,))
    made = make_study(rows, TripletSettings(attention=0))
    assert not any(truth["check"] for truth in made.key["triplets"].values())
    assert _data(made.page)["parts"][1]["take"] == 0
