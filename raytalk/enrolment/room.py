"""How many people a cluster can learn at a time."""

from typing import Any

import ray

from raytalk.enrolment.settings import TableSettings
from raytalk.errors import SettingsError


def room_for(wanted: TableSettings, device: str) -> tuple[float, float, int]:
    """CPUs and GPUs of each person that is learned, and for how many at a time there is room.

    device: auto, cpu or cuda. Raises SettingsError if there is none for anybody, and none is to come (`actors`).
    """
    nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    return room_on(nodes, wanted, device)


def room_on(nodes: list[dict[str, Any]], wanted: TableSettings, device: str) -> tuple[float, float, int]:
    """The same for nodes with these resources."""
    all_gpus = sum(node.get("GPU", 0.0) for node in nodes)
    may_come = wanted.actors > 0 and device == "cuda"
    if device == "cpu" or wanted.gpus_per_person == 0 or (wanted.gpus_per_person < 0 and not all_gpus and not may_come):
        gpus = 0.0
    else:
        gpus = 1.0 if wanted.gpus_per_person < 0 else wanted.gpus_per_person
    largest = max((node.get("CPU", 0.0) for node in nodes), default=0.0)
    cpus = wanted.cpus_per_person or (1.0 if gpus else max(1.0, min(4.0, largest // 2)))
    room = sum(min(_fit(node.get("CPU", 0.0), cpus), _on_gpus(node.get("GPU", 0.0), gpus)) for node in nodes)
    if (room < 1 and not wanted.actors) or (device == "cuda" and not gpus):
        raise SettingsError(
            f"nobody can be learned with table.gpus_per_person={gpus:g}, table.cpus_per_person={cpus:g} and "
            f"device={device}: the cluster has {all_gpus:g} GPUs, and at most {largest:g} CPUs on a node "
            "(give table.actors=N if it will grow)"
        )
    return cpus, gpus, wanted.actors or room


def _fit(there: float, each: float) -> int:
    return int(there / each + 1e-6)


def _on_gpus(there: float, each: float) -> int:
    """A share of a GPU lies on one GPU."""
    if not each:
        return 1_000_000
    return int(there) * _fit(1.0, each) if each < 1 else _fit(there, each)
