"""Whom a replica of the renderer holds."""

from collections import Counter
from types import SimpleNamespace
from typing import Any

from toy_desk import in_loop

from serve.deployments.routing import PeopleRouter, ranked

PEOPLE = [f"person-{number}" for number in range(1000)]


def owners(replicas: list[str]) -> dict[str, str]:
    return {person: ranked(person, replicas)[0] for person in PEOPLE}


def test_everybody_has_a_place_whatever_the_order_of_replicas_and_each_replica_its_share() -> None:
    here = owners(["a", "b", "c", "d"])
    assert here == owners(["d", "b", "a", "c"])
    assert all(200 < count < 300 for count in Counter(here.values()).values())


def test_a_replica_that_ends_takes_its_own_people_with_it_alone() -> None:
    before, after = owners(["a", "b", "c", "d"]), owners(["a", "b", "d"])
    moved = {person for person in PEOPLE if before[person] != after[person]}
    assert moved == {person for person in PEOPLE if before[person] == "c"}
    assert len(set(Counter(after[person] for person in moved))) == 3, "and they are shared"


@in_loop
async def test_the_router_tries_whom_a_person_belongs_to_first_and_does_not_spin_where_all_are_full() -> None:
    replicas: list[Any] = [SimpleNamespace(replica_id=SimpleNamespace(unique_id=name)) for name in "abc"]
    router = object.__new__(PeopleRouter)
    for person in PEOPLE[:20]:
        asked: Any = SimpleNamespace(
            metadata=SimpleNamespace(multiplexed_model_id=person), routing_context=SimpleNamespace(should_backoff=False)
        )
        chosen = await router.choose_replicas(replicas, asked)
        assert [each.replica_id.unique_id for (each,) in chosen] == ranked(person, ["a", "b", "c"])
        assert asked.routing_context.should_backoff


@in_loop
async def test_a_call_about_nobody_may_go_anywhere() -> None:
    replicas: list[Any] = [SimpleNamespace(replica_id=SimpleNamespace(unique_id=name)) for name in "abc"]
    assert await object.__new__(PeopleRouter).choose_replicas(replicas) == [replicas]
