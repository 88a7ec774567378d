"""Work in chunks through a pool of Ray Data actors: what the jobs that make clips share.

A chunk becomes one Parquet file. It travels as JSON; what became of it comes back as a list of `Outcome`.
"""

import contextlib
import hashlib
import json
import socket
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from raytalk.connect import StorageEnvironment, connect, storage_environment, without_core_noise
from raytalk.errors import ClipsError, RaytalkError, SettingsError, StorageError, WeightsError
from raytalk.storage import Storage

ACCEPTED = "accepted"
_MOST_BLOCKS = 2000
_ROUNDING = 1e-6
"""1 / 0.1 must be 10"""


@dataclass(frozen=True)
class Outcome:
    """What became of one clip; `reason` is `accepted` or why it was rejected."""

    clip_id: str
    split: str
    reason: str
    detail: str
    frames: int
    seconds: float


def chunk_size(clips: int, most: int, actors: int) -> int:
    """Clips in a chunk: at most `most`, fewer when that would leave actors idle."""
    return max(1, min(most, -(-clips // (4 * actors))))


def file_name(clip_ids: Sequence[str]) -> str:
    """The same clips always make the same name: a task that Ray repeats overwrites what it wrote."""
    ids = "\n".join(clip_ids)
    return f"part-{hashlib.sha256(ids.encode()).hexdigest()[:16]}.parquet"


class ChunkActor:
    """A Ray Data actor. Takes and returns batches with a column of JSON: chunks in, outcomes out.

    What must stop the whole job (no permission, disk full, weights missing) comes back as a row with `fatal` and `kind`
    set (see `fatal_error`), because an exception would be wrapped in Ray's own and repeated.
    """

    def __init__(self, environment: StorageEnvironment | None = None) -> None:
        if environment is not None:
            environment.apply()

    def __call__(self, batch: dict[str, Any]) -> dict[str, Any]:
        outcomes: list[str] = []
        fatal: list[str] = []
        kind: list[str] = []
        for text in batch["chunk"]:
            try:
                done = self.run(str(text))
                outcomes.append(json.dumps([asdict(outcome) for outcome in done]))
                fatal.append("")
                kind.append("")
            except RaytalkError as error:
                outcomes.append("[]")
                fatal.append(str(error))
                kind.append(type(error).__name__)
        columns = {"outcomes": outcomes, "fatal": fatal, "kind": kind}
        return {name: np.array(column, dtype=object) for name, column in columns.items()}

    def run(self, chunk: str) -> list[Outcome]:
        """Do and write one chunk. Raises RaytalkError for what must stop the job."""
        raise NotImplementedError


def fatal_error(kind: str, text: str) -> RaytalkError:
    """The error that stopped an actor: the user's to mend if its class is one of those, else a plain RaytalkError."""
    mendable = (StorageError, WeightsError, SettingsError, ClipsError)
    return {each.__name__: each for each in mendable}.get(kind, RaytalkError)(text)


class ActorPool:
    """Joins a cluster, or starts one here, and finds out how many actors to use.

    actors: 0 for as many as there is room for. Raises SettingsError if there is room for none.
    """

    def __init__(self, actors: int, cpus_per_actor: float, gpus_per_actor: float) -> None:
        self._ours = connect()
        self._cpus, self._gpus = cpus_per_actor, gpus_per_actor
        self.device = "cuda" if gpus_per_actor else "cpu"
        self.size = actors or _room(cpus_per_actor, gpus_per_actor)

    def run(self, actor: type[ChunkActor], chunks: Sequence[str], **arguments: Any) -> Iterator[list[Outcome]]:
        """Run every chunk; gives the outcomes of each as it is done.

        arguments: for the constructor of `actor`, which gets `environment` besides. Raises RaytalkError for what
        must stop the job.
        """
        import ray
        import ray.data
        from ray.exceptions import RayError

        from raytalk.console import console

        stack = contextlib.ExitStack()
        environment = storage_environment(stack.enter_context(console()).say_once)
        dataset = ray.data.from_items(
            [{"chunk": chunk} for chunk in chunks], override_num_blocks=min(len(chunks), _MOST_BLOCKS)
        ).map_batches(
            actor,
            batch_size=1,
            compute=ray.data.ActorPoolStrategy(size=min(self.size, len(chunks))),
            num_cpus=self._cpus,
            num_gpus=self._gpus or None,
            fn_constructor_kwargs={**arguments, "environment": environment},
        )
        try:
            with stack, without_core_noise():
                for batch in dataset.iter_batches(batch_size=None, prefetch_batches=0):
                    for text, fatal, kind in zip(batch["outcomes"], batch["fatal"], batch["kind"], strict=True):
                        if fatal:
                            if self._ours:
                                stack.close()
                                # Otherwise Ray reports every task that is stopped half-way.
                                ray.shutdown()
                            raise fatal_error(str(kind), str(fatal))
                        yield [Outcome(**outcome) for outcome in json.loads(str(text))]
        except RayError as error:
            raise RaytalkError(
                f"the worker processes failed ({' '.join(str(error).split())[-300:]}); "
                "the same command goes on with what is left"
            ) from error


def check_shared(uri: str) -> None:
    """On another machine than the driver's, a folder that is not shared would be empty, or lost when written.

    Raises StorageError.
    """
    if not Storage(uri).exists() and Storage(uri).local_root is not None:
        raise StorageError(
            f"{uri} is not on the machine {socket.gethostname()}, where a worker process runs: "
            "give a folder that all machines of the cluster share, or an s3:// URI"
        )


def raise_if_exhausted(error: Exception) -> None:
    """Raises RaytalkError if a machine has no memory left: it would fail everything that follows."""
    lost = isinstance(error, MemoryError) or type(error).__name__ in ("OutOfMemoryError", "AcceleratorError")
    # warp has no class for it.
    if lost or "Failed to allocate" in str(error):
        raise RaytalkError(
            f"a worker process ran out of memory or lost its GPU ({' '.join(str(error).split())[:200]}): "
            "use fewer actors or a larger machine, and give the same command again"
        ) from error


def _room(cpus_per_actor: float, gpus_per_actor: float) -> int:
    import ray

    has = ray.cluster_resources()
    room = has.get("CPU", 0) / cpus_per_actor
    if gpus_per_actor:
        # A fraction shares one GPU: what is left over on each does not add up.
        each = int(1 / gpus_per_actor + _ROUNDING) if gpus_per_actor < 1 else 1 / gpus_per_actor
        room = min(room, has.get("GPU", 0) * each)
    if room + _ROUNDING < 1:
        raise SettingsError(
            f"cpus_per_actor={cpus_per_actor:g} and gpus_per_actor={gpus_per_actor:g} do not fit: "
            f"the cluster has {has.get('CPU', 0):g} CPUs and {has.get('GPU', 0):g} GPUs "
            "(give actors=N if it will grow)"
        )
    return int(room + _ROUNDING)
