"""Placement groups that nobody will ever use again.

A run whose driver dies (a trial that is stopped the hard way, or whose process is killed) leaves the placement group of
its workers: Ray removes it only with the whole job, and Ray Train's own cleaner needs the dashboard. The group's
creator, the run's controller, is dead then; that is how such a group is told from all others.
"""

import time
from typing import Any

import ray
from ray._private.state import state
from ray.core.generated import gcs_pb2
from ray.util.placement_group import PlacementGroup, placement_group_table, remove_placement_group


def orphaned_groups() -> list[str]:
    """Ids (hex) of this job's placement groups whose creator, an actor, is dead."""
    return [group for group, orphaned in _groups_of_actors() if orphaned]


def clear_groups(seconds: float = 20.0) -> None:
    """Wait until no actor of this job has a placement group any more, and remove those that dying ones leave."""
    deadline = time.monotonic() + seconds
    while _groups_of_actors() and time.monotonic() < deadline:
        remove_orphaned_groups()
        time.sleep(0.5)


def _groups_of_actors() -> list[tuple[str, bool]]:
    """Of this job: id (hex), and whether the actor that made it is dead."""
    job = ray.get_runtime_context().get_job_id()
    # The public tables do not tell who made a group, and the state API needs the dashboard.
    accessor: Any = state._connect_and_get_accessor()
    messages: Any = gcs_pb2
    found = []
    for kept in accessor.get_placement_group_table():
        group = messages.PlacementGroupTableData.FromString(kept)
        if group.state == messages.PlacementGroupTableData.REMOVED or group.creator_job_id.hex() != job:
            continue
        creator = group.creator_actor_id
        if set(creator) <= {0xFF}:  # the driver itself
            continue
        maker = accessor.get_actor_info(ray.ActorID(creator))
        dead = maker is None or messages.ActorTableData.FromString(maker).state == messages.ActorTableData.DEAD
        found.append((group.placement_group_id.hex(), dead))
    return found


def remove_orphaned_groups() -> int:
    """Remove them; how many there were."""
    orphans = orphaned_groups()
    for each in orphans:
        remove_placement_group(PlacementGroup(ray.PlacementGroupID(bytes.fromhex(each))))
    return len(orphans)


def living_groups() -> int:
    """All placement groups of the cluster that are not removed."""
    return sum(group["state"] != "REMOVED" for group in placement_group_table().values())
