"""How a training job is placed on a cluster, beside the tasks that draw its episodes."""

import time
from dataclasses import dataclass
from typing import Literal

import ray
from ray.autoscaler.sdk import request_resources
from ray.data import ExecutionResources

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
    for_data: ExecutionResources | None = None
    """the most that drawing may take of a cluster shared with others; None: whatever is left"""


def place(
    device: Literal["auto", "cpu", "cuda"],
    cpus: float,
    key: str,
    workers: int = 1,
    gpus_per_worker: float = 1.0,
    share: float = 1.0,
    most: int | None = None,
) -> Placement:
    """For so many workers on the cluster that this process is connected to, and for as many as `most` later.

    cpus: of each worker; 0: one beside a GPU, else half of its share of the cluster. key: the setting it came from.
    share: of the cluster's CPUs that this run may use. Raises SettingsError for what cannot be had.
    """
    most = max(workers, most or workers)
    cluster = ray.cluster_resources()
    gpus, all_cpus = cluster.get("GPU", 0), cluster.get("CPU", 1) * share
    gpu = device == "cuda" or (device == "auto" and gpus > 0)
    if gpu and gpus < workers * gpus_per_worker:
        raise SettingsError(
            f"{workers} workers need a GPU each and the cluster has {gpus:.0f}: give device=cpu or fewer workers"
        )
    if gpu and gpus_per_worker < 1 and workers > 1:
        raise SettingsError(
            f"gpus_per_worker={gpus_per_worker:g} is for runs of one worker: {workers} workers on one GPU "
            "cannot exchange gradients"
        )
    largest = max((node["Resources"].get("CPU", 0) for node in ray.nodes() if node["Alive"]), default=1)
    largest = min(largest, all_cpus)
    reserved = cpus or (1.0 if gpu else min(all_cpus / most, largest) / 2)
    left = all_cpus - reserved * workers
    if left <= 0 or reserved > largest:
        raise SettingsError(
            f"{workers} workers with {key}={reserved:g} do not fit beside the reading of clips: the cluster has "
            f"{all_cpus:g} CPUs, at most {largest:g} on a node; lower {key} or the number of workers"
        )
    limits = None
    if share < 1:
        memory = cluster.get("object_store_memory", 0) * share / 2  # the other half is for what waits at workers
        limits = ExecutionResources.for_limits(cpu=left, object_store_memory=memory)
    with_most = all_cpus - reserved * most
    return Placement(gpu, reserved, min(1.0, (with_most if with_most > 0 else left) / 2), limits)


def wait_for_nodes(seconds: float, workers: int, gpus: float, cpus: float) -> None:
    """Ask the cluster's autoscaler for so many workers with their GPUs and CPUs each, and wait until there is room.

    Returns when there is, or after so many seconds: `place` then says what is missing. Without an autoscaler it is
    simply waited for nodes.
    """
    if seconds <= 0 or _there(workers, gpus, cpus):
        return
    bundle = {"CPU": cpus} | ({"GPU": gpus} if gpus else {})
    what = f"{workers * gpus:g} GPUs" if gpus else f"{workers * cpus:g} CPUs"
    print(f"waiting up to {seconds:.0f} s for nodes with {what}", flush=True)
    request_resources(bundles=[bundle] * workers + [{"CPU": 1}])  # the last for drawing episodes
    deadline = time.monotonic() + seconds
    try:
        while not _there(workers, gpus, cpus) and time.monotonic() < deadline:
            time.sleep(1)
    finally:
        request_resources(bundles=[])  # from here on Ray Train asks by itself


def _there(workers: int, gpus: float, cpus: float) -> bool:
    """Nodes with room for so many workers; drawing episodes needs something beside."""
    nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    room = sum(
        int(min(node.get("CPU", 0) // cpus, node.get("GPU", 0) // gpus if gpus else workers) + 1e-9) for node in nodes
    )
    return room >= workers and sum(node.get("CPU", 0) for node in nodes) > workers * cpus
