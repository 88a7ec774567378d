"""Problems on their way through pickles and Ray."""

import pickle

import pytest

from serve import errors
from serve.errors import Conflict, Problem, TooMany

CLASSES = [thing for thing in vars(errors).values() if isinstance(thing, type) and issubclass(thing, Problem)]


@pytest.mark.parametrize("kind", CLASSES)
def test_each_has_a_status_a_title_and_a_code(kind: type[Problem]) -> None:
    problem = kind("Do this.")
    assert problem.status in {500, 503} or 400 <= problem.status < 500
    assert problem.title
    assert problem.code == kind.usual_code


def test_a_problem_stays_what_it_is_in_a_pickle() -> None:
    problem = pickle.loads(
        pickle.dumps(TooMany("Later.", code="queue-full", headers={"Retry-After": "3"}, extra={"a": 1}))
    )
    assert type(problem) is TooMany
    assert (problem.detail, problem.code, problem.headers, problem.extra) == (
        "Later.",
        "queue-full",
        {"Retry-After": "3"},
        {"a": 1},
    )


def test_what_ray_raises_says_the_same() -> None:
    from ray.exceptions import RayTaskError

    cause = Conflict("Not yet.", code="not-ready", headers={"x": "y"})
    raised = RayTaskError("accept_film", "traceback", cause).as_instanceof_cause()
    assert isinstance(raised, Conflict)
    assert (raised.status, raised.code, raised.detail, raised.headers) == (409, "not-ready", "Not yet.", {"x": "y"})
