"""Processes on all GPUs, or on all machines where there are none, that exchange numbers as training does."""

from collections.abc import Sequence
from typing import Any

import ray

from raytalk.doctor import gpus
from raytalk.doctor.exchange import Exchanged, exchange, meeting_place
from raytalk.doctor.finding import Finding, bounded, mend, note, ok
from raytalk.doctor.nodes import Node, why
from raytalk.doctor.settings import DoctorSettings

_MOST_MACHINES = 64
_NETWORK = "open all ports between the nodes, and name the right network in NCCL_SOCKET_IFNAME or GLOO_SOCKET_IFNAME"


class _Rank:
    """One process."""

    def ready(self) -> str:
        """Returns, once there is room for it, where others could meet it."""
        return meeting_place()

    def computes(self, timeout: float) -> list[Finding]:
        return bounded("gpu", gpus.computes, timeout)

    def exchange(self, *arguments: Any) -> Exchanged:
        return exchange(*arguments)


def exchange_everywhere(of: Sequence[Node], settings: DoctorSettings) -> list[Finding]:
    """An all-reduce over all GPUs that are free by NCCL, or over all machines by gloo."""
    wanted = [node for node in of for _ in range(int(node.gpus))]
    on_gpus = bool(wanted)
    # Two on a lone machine: it is to be seen that processes can talk at all.
    machines = list(of[:_MOST_MACHINES]) if len(of) > 1 else [of[0], of[0]]
    places = wanted or machines
    rank: Any = ray.remote(_Rank)
    actors = [node.run(rank, num_gpus=1 if on_gpus else 0, max_restarts=0).remote() for node in places]
    try:
        return _with(actors, places, on_gpus, settings)
    finally:
        for actor in actors:
            ray.kill(actor)


def _with(actors: list[Any], places: list[Node], on_gpus: bool, settings: DoctorSettings) -> list[Finding]:
    what = "GPUs" if on_gpus else "processes"
    ready = [actor.ready.remote() for actor in actors]
    here, _ = ray.wait(ready, num_returns=len(ready), timeout=settings.timeout)
    findings: list[Finding] = []
    free = []
    for actor, place, reference in zip(actors, places, ready, strict=True):
        if reference not in here:
            continue
        try:
            free.append((actor, place, ray.get(reference)))
        except ray.exceptions.RayError as error:
            findings.append(mend("exchange", why(error)).at(place.name))
    if len(free) + len(findings) < len(actors):
        busy = len(actors) - len(free) - len(findings)
        waited = f"not free within {settings.timeout:.0f} s"
        findings.append(note("exchange", f"{busy} of {len(actors)} {what}: {waited}, other jobs hold them; not tried"))
    if on_gpus:
        answers = [(place, actor.computes.remote(settings.timeout)) for actor, place, _ in free]
        for place, reference in answers:
            try:
                findings += [each.at(place.name) for each in ray.get(reference, timeout=settings.timeout + 30)]
            except (ray.exceptions.RayError, TimeoutError) as error:
                findings.append(mend("gpu", why(error)).at(place.name))
    if len(free) < 2:
        return [*findings, *([note("exchange", "one GPU: there is nothing to exchange")] if on_gpus and free else [])]
    backend, size = ("nccl", settings.exchange_mib) if on_gpus else ("gloo", max(1, settings.exchange_mib // 8))
    given = [len(free), free[0][2], backend, size, settings.timeout]
    references = [actor.exchange.remote(number, *given) for number, (actor, _, _) in enumerate(free)]
    machines = len({place.id for _, place, _ in free})
    across = f"{len(free)} {what} on {machines} {'node' if machines == 1 else 'nodes'}"
    return [*findings, _judge(references, [place for _, place, _ in free], across, settings.timeout)]


def _judge(references: list[Any], places: list[Node], across: str, timeout: float) -> Finding:
    _, missing = ray.wait(references, num_returns=len(references), timeout=2 * timeout)
    if missing:
        silent = sorted(
            {place.name for place, reference in zip(places, references, strict=True) if reference in missing}
        )
        return mend(
            "exchange",
            f"{across} do not hear each other within {2 * timeout:.0f} s (no end on {', '.join(silent)}): {_NETWORK}",
        )
    try:
        told: list[Exchanged] = ray.get(references)
    except ray.exceptions.RayError as error:
        return mend(
            "exchange",
            f"{across} cannot exchange numbers ({' '.join(str(error).split())[-200:]}): {_NETWORK}",
        )
    first = told[0]
    if not all(each.right for each in told):
        return mend(
            "exchange", f"{across}: the sum by {first.backend} is wrong; training on them would go wrong silently"
        )
    slowest = min(each.gigabytes_per_second for each in told)
    return ok("exchange", f"{across}: all-reduce of {first.mebibytes} MiB by {first.backend} at {slowest:.2f} GB/s")
