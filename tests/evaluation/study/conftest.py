import json

import pytest
from evaluation.toy_results import toy_rows

from raytalk.evaluation.study import TripletSettings, make_study
from raytalk.evaluation.study.answers import Key


@pytest.fixture(scope="session")
def study():
    """24 triplets and two attention checks, of which a participant sees twelve."""
    rows = toy_rows(people=3, size=32, methods=("ff", "ft"), shots=(1, 8), steps=(320,))
    return make_study(rows, TripletSettings(triplets=24, shown=12, attention=0.15), "/data/evaluation")


@pytest.fixture(scope="session")
def key(study):
    return Key.model_validate(study.key)


@pytest.fixture
def answered(study):
    """A result file as the page saves it: every triplet shown, and `right(number, truth)` says which are found."""

    def make(seed, right, participant="", seconds=3.0):
        names = list(study.key["triplets"])
        answers = []
        for number, name in enumerate(names):
            truth = study.key["triplets"][name]
            fake = truth["fake"]
            found = right(number, truth)
            answers.append({"triplet": name, "chosen": fake if found else (fake + 1) % 3, "seconds": seconds})
        result = {"format": 1, "study": study.key["study"], "seed": f"{seed:032x}", "participant": participant}
        return result | {"started": "", "finished": "", "reloads": 0, "shown": names, "answers": answers}

    return make


@pytest.fixture
def write(tmp_path):
    """Write a result file below `answers`."""

    def to_file(name, result):
        folder = tmp_path / "answers"
        folder.mkdir(exist_ok=True)
        text = result if isinstance(result, str) else json.dumps(result)
        (folder / name).write_text(text)
        return folder

    return to_file
