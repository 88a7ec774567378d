"""Placement groups that a dead process left."""

import time

import pytest
import ray
from ray.util.placement_group import placement_group, remove_placement_group

from raytalk.sweep.groups import living_groups, orphaned_groups, remove_orphaned_groups

pytestmark = pytest.mark.ray


class Maker:
    """An actor that makes a placement group, as the controller of a run does."""

    def make(self) -> str:
        self.group = placement_group([{"CPU": 0.01}])
        ray.get(self.group.ready())
        return str(self.group.id.hex())


def until_dead(group: str) -> list[str]:
    deadline = time.monotonic() + 30
    while group not in orphaned_groups() and time.monotonic() < deadline:
        time.sleep(0.1)
    return orphaned_groups()


def test_the_group_of_a_dead_actor_is_removed_and_no_other(ray_session: None) -> None:
    before = living_groups()
    own = placement_group([{"CPU": 0.01}])
    ray.get(own.ready())
    alive, dying = (ray.remote(Maker).options(num_cpus=0).remote() for _ in range(2))
    kept, left = ray.get([alive.make.remote(), dying.make.remote()])
    assert orphaned_groups() == []
    ray.kill(dying)
    assert until_dead(left) == [left]
    assert living_groups() == before + 3, "Ray keeps it for as long as the job lives"
    assert remove_orphaned_groups() == 1
    assert orphaned_groups() == []
    assert living_groups() == before + 2
    ray.kill(alive)
    assert until_dead(kept) == [kept]
    remove_orphaned_groups()
    remove_placement_group(own)
