"""Every fault that is made on purpose, and what must hold."""

import os
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from faults import data, drivers, head, jobs, serve, storage, training
from faults.faulty_s3 import Kind
from faults.outcome import Outcome


@dataclass(frozen=True)
class Scenario:
    """One of them."""

    name: str
    """AREA-WHAT, for the command line"""
    fault: str
    must: str
    """what must hold"""
    run: Callable[[Path], Outcome]
    """in an empty folder"""
    minutes: float = 20.0
    """after which it counts as hanging"""
    quick: bool = False
    """a minute or so, or the only one of its kind: part of --quick"""
    lacks: Callable[[], str] = str
    """what this machine lacks for it; nothing: an empty text"""

    @property
    def area(self) -> str:
        return self.name.partition("-")[0]


def outage_seconds() -> float:
    """How long object storage is away."""
    return float(os.environ.get("RAYTALK_OUTAGE_S", "60"))


def _no_redis() -> str:
    return "" if head.redis_program() else "no redis-server here"


_OTHERS_FINISH = "the others finish; no clip or trial is doubled or missing"
_RESUMES = "the same command goes on where it was; nothing is doubled or missing"
_RETRIED = "asked again with growing pauses, nothing lost, the log says so once"
_CLEAR = "a clear error, what was there before is intact, the same command goes on later"
_SKIPPED = "skipped, counted, named; the job ends well"
_ACCEPTED = "what was accepted is done, once; refusals say when to come again; all is well again by itself"
_KINDS: dict[Kind, str] = {
    "unavailable": "answers 503",
    "reset": "resets every connection",
    "half": "resets every connection amid the answer",
    "slow": "takes a second for every answer",
    "silent": "does not answer",
}


def _outage(kind: Kind, folder: Path) -> Outcome:
    return storage.outage(kind, outage_seconds())


def _outage_of_a_job(kind: Kind, folder: Path) -> Outcome:
    return storage.job_through_outage(kind, outage_seconds(), folder)


def _outage_of_training(kind: Kind, folder: Path) -> Outcome:
    return storage.training_through_outage(kind, outage_seconds(), folder)


def _outage_of_the_service(kind: Kind, folder: Path) -> Outcome:
    return serve.storage_away(kind, outage_seconds(), folder)


def _with_job(make: Callable[[Path], jobs.Work], fault: Callable[[jobs.Work, Path], Outcome], folder: Path) -> Outcome:
    return fault(make(folder), folder)


_JOBS: dict[str, Callable[[Path], jobs.Work]] = {
    "preprocessing": jobs.preprocessing,
    "synthesis": jobs.synthesis,
    "evaluation": jobs.evaluation,
}

SCENARIOS = [
    Scenario(
        "training-workers",
        "a training worker killed 10 times at random moments of a run",
        "full count, continuous loss curve, every checkpoint readable",
        training.workers_killed,
        minutes=45,
    ),
    Scenario("training-node", "a node killed during training", _OTHERS_FINISH, training.node_killed, minutes=30),
    *(
        Scenario(
            f"jobs-{name}-node",
            f"a node killed during {name}",
            _OTHERS_FINISH,
            partial(_with_job, make, jobs.node_killed),
        )
        for name, make in _JOBS.items()
    ),
    Scenario("training-driver", "the driver killed during training", _RESUMES, drivers.training_driver_killed),
    *(
        Scenario(
            f"jobs-{name}-driver",
            f"the driver killed during {name}",
            _RESUMES,
            partial(_with_job, make, jobs.driver_killed),
            quick=name == "synthesis",
        )
        for name, make in _JOBS.items()
    ),
    Scenario("sweep-driver", "the driver killed during a sweep", _RESUMES, drivers.sweep_driver_killed),
    *(
        Scenario(
            f"storage-{kind}",
            f"object storage {words} for a minute, four clients at work",
            _RETRIED,
            partial(_outage, kind),
            quick=kind == "unavailable",
        )
        for kind, words in _KINDS.items()
    ),
    *(
        Scenario(
            f"storage-job-{kind}",
            f"object storage {_KINDS[kind]} for a minute in the middle of a job",
            _RETRIED,
            partial(_outage_of_a_job, kind),
        )
        for kind in ("unavailable", "slow", "reset")
    ),
    Scenario(
        "storage-training",
        "object storage answers 503 for a minute in the middle of training",
        _RETRIED,
        partial(_outage_of_training, "unavailable"),
    ),
    Scenario("storage-full", "object storage full", _CLEAR, partial(storage.refused_for_good, "full")),
    Scenario(
        "storage-forbidden",
        "permission for object storage withdrawn",
        _CLEAR,
        partial(storage.refused_for_good, "forbidden"),
    ),
    Scenario(
        "storage-checkpoint",
        "bucket or disk full while a checkpoint is published",
        "a clear error, the checkpoint before it is intact",
        storage.full_while_publishing,
        quick=True,
    ),
    *(
        Scenario(f"data-{where}", f"a file of clips cut short{more}, in {where}", _SKIPPED, run, quick=True)
        for where, more, run in (
            ("training", ", a JPEG corrupt, landmarks NaN", data.damaged_in_training),
            ("evaluation", ", a JPEG corrupt, landmarks NaN", data.damaged_in_evaluation),
            ("synthesis", "", data.damaged_in_synthesis),
        )
    ),
    Scenario(
        "training-checkpoint",
        "each file of the newest checkpoint cut short, empty, zeros or missing (half an upload)",
        "refused by name, the one before it is used",
        training.checkpoint_damaged,
        quick=True,
    ),
    Scenario(
        "training-tracking",
        "the MLflow server down for the middle third of a run",
        "training goes on; metrics of that time are written afterwards",
        training.tracking_down,
    ),
    Scenario(
        "training-preemption",
        "a node announced to be taken away (spot)",
        "one checkpoint in time; the others go on from it",
        training.node_taken_away,
        minutes=30,
    ),
    *(
        Scenario(
            f"serve-{part}",
            f"the service's {part} killed under load",
            _ACCEPTED,
            partial(serve.replica_killed, part),
            quick=part == "renderer",
        )
        for part in serve.PARTS
    ),
    Scenario("serve-everything", "every process of the service killed at once", _ACCEPTED, serve.everything_killed),
    Scenario(
        "serve-storage",
        "object storage answers 503 for a minute under the service",
        _ACCEPTED,
        partial(_outage_of_the_service, "unavailable"),
    ),
    Scenario(
        "head-gcs",
        "GCS of the service's cluster killed, 20 s later started again (state in Redis)",
        "the service goes on answering without it; " + _ACCEPTED,
        head.gcs_killed,
        minutes=30,
        lacks=_no_redis,
    ),
    Scenario(
        "head-node",
        "the whole head of the service's cluster killed, 20 s later started again (state in Redis)",
        "the service goes on answering without it; " + _ACCEPTED,
        head.head_killed,
        minutes=30,
        lacks=_no_redis,
    ),
]
