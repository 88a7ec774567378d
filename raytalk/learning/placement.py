"""How a training job is placed on a cluster, beside the tasks that draw its episodes."""

from dataclasses import dataclass
from typing import Literal

import ray

from raytalk.errors import SettingsError


@dataclass(frozen=True)
class Placement:
    """What Ray is asked for."""

    gpu: bool
    """whether each worker gets one"""
    cpus: float
    """of each worker"""
    cpus_per_task: float
    """of a task that draws episodes"""


def place(device: Literal["auto", "cpu", "cuda"], cpus: float, key: str, workers: int = 1) -> Placement:
    """For so many workers on the cluster that this process is connected to.

    cpus: of each worker; 0: one beside a GPU, else half of its share of the cluster. key: the setting it came from.
    Raises SettingsError for what cannot be had.
    """
    cluster = ray.cluster_resources()
    gpus, all_cpus = cluster.get("GPU", 0), cluster.get("CPU", 1)
    gpu = device == "cuda" or (device == "auto" and gpus > 0)
    if gpu and gpus < workers:
        raise SettingsError(
            f"{workers} workers need a GPU each and the cluster has {gpus:.0f}: give device=cpu or fewer workers"
        )
    largest = max((node["Resources"].get("CPU", 0) for node in ray.nodes() if node["Alive"]), default=1)
    reserved = cpus or (1.0 if gpu else min(all_cpus / workers, largest) / 2)
    left = all_cpus - reserved * workers
    if left <= 0 or reserved > largest:
        raise SettingsError(
            f"{workers} workers with {key}={reserved:g} do not fit beside the reading of clips: the cluster has "
            f"{all_cpus:g} CPUs, at most {largest:g} on a node; lower {key} or the number of workers"
        )
    return Placement(gpu, reserved, min(1.0, left / 2))
