"""The whole examination, of a cluster or of this machine alone."""

import os
import subprocess
import sys
from collections.abc import Iterator

from raytalk.command import absolute_uri
from raytalk.connect import cluster_named, connect, storage_environment
from raytalk.doctor import places, software
from raytalk.doctor.finding import Finding, bounded, mend, note, ok
from raytalk.doctor.node import Visit, look_around, tracked
from raytalk.doctor.settings import DoctorSettings
from raytalk.errors import RaytalkError
from raytalk.learning.naming import absolute_checkpoint

NO_RAY = "none"


def examine(settings: DoctorSettings) -> Iterator[Finding]:
    """Everything, as it is found. Always ends; raises StorageError only for places that could not be meant."""
    settings = _with_absolute_places(settings)
    unnamed = [] if settings.storage else [note("storage", "no place is named (storage=URI): not looked at")]
    if not tracked(settings):
        unnamed.append(note("mlflow", "no store is named (tracking.uri=URI, MLFLOW_TRACKING_URI): not looked at"))
    word, failed = _leave_word(settings)
    yield from failed
    try:
        # What fails here would fail on every node, and say no more.
        usable = settings.model_copy(update={"storage": settings.storage if word else ""})
        yield from _look(Visit(usable, storage_environment(), word))
    finally:
        if word:
            bounded("storage", lambda: places.take_word_back(settings.storage, word), settings.timeout)
    yield from unnamed


def _look(visit: Visit) -> Iterator[Finding]:
    settings = visit.settings
    if settings.address != NO_RAY:
        joined = _join(settings)
        yield from joined
        if all(finding.kind != "mend" for finding in joined):
            # Importing Ray takes seconds, and it may be broken.
            from raytalk.doctor.gather import exchange_everywhere
            from raytalk.doctor.nodes import compare_software, look_everywhere, nodes

            found = nodes()
            yield from compare_software(found)
            yield from look_everywhere(found, visit)
            yield from exchange_everywhere(found, settings)
            return
    yield from software.compare({"here": software.versions()})
    yield from look_around(visit)


def _join(settings: DoctorSettings) -> list[Finding]:
    if settings.address:
        os.environ["RAY_ADDRESS"] = settings.address
    found = bounded("ray", lambda: _alive(settings.timeout), settings.timeout + 30)
    if found:
        return found
    # In this thread: what Ray starts dies with the thread that started it.
    try:
        connect()
    except RaytalkError as error:
        return [mend("ray", str(error))]
    except Exception as error:  # noqa: BLE001 - whatever Ray raises is what a person must know
        return [mend("ray", f"Ray does not start here ({' '.join(str(error).split())[:300]})")]
    return bounded("ray", _members, settings.timeout)


def _alive(timeout: float) -> list[Finding]:
    """Nothing, unless the cluster to be joined does not answer: Ray would end this process, after a minute."""
    address = cluster_named()
    if address is None or ":" not in address or "://" in address:
        return []
    command = [sys.executable, "-m", "ray.scripts.scripts", "health-check", "--address", address]
    try:
        asked = subprocess.run(command, capture_output=True, text=True, timeout=timeout, check=False)
    except subprocess.TimeoutExpired:
        return [mend("ray", f"the cluster at {address} accepts connections and does not answer: restart its head")]
    if asked.returncode:
        return [mend("ray", f"no Ray cluster answers at {address}: check address= (or RAY_ADDRESS), and that it runs")]
    return []


def _members() -> list[Finding]:
    import ray

    alive = [node for node in ray.nodes() if node["Alive"]]
    has = ray.cluster_resources()
    nodes = f"{len(alive)} {'node' if len(alive) == 1 else 'nodes'}"
    text = f"{nodes}, {has.get('CPU', 0):g} CPUs, {has.get('GPU', 0):g} GPUs (Ray {ray.__version__})"
    dead = len(ray.nodes()) - len(alive)
    lost = [note("ray", f"{dead} nodes of this cluster have died; why is in its logs (ray list nodes)")] if dead else []
    return [ok("ray", text), *lost]


def _leave_word(settings: DoctorSettings) -> tuple[str, list[Finding]]:
    """What the nodes are to find in the storage; or why nothing could be left there."""
    left: list[str] = []
    if not settings.storage:
        return "", []

    def leave() -> list[Finding]:
        left.append(places.leave_word(settings.storage))
        return []

    failed = bounded("storage", leave, settings.timeout)
    return (left[0], []) if left else ("", failed)


def _with_absolute_places(settings: DoctorSettings) -> DoctorSettings:
    """Tasks run in other folders."""
    changes = {
        name: absolute_uri(getattr(settings, name)) for name in ("storage", "weights") if getattr(settings, name)
    }
    # Jobs hand it to their workers, whose own environment need not have it.
    uri = settings.tracking.uri or os.environ.get("MLFLOW_TRACKING_URI", "")
    tracking = settings.tracking.model_copy(update={"uri": uri})
    checkpoint = absolute_checkpoint(settings.checkpoint)
    return settings.model_copy(update={**changes, "checkpoint": checkpoint, "tracking": tracking})
