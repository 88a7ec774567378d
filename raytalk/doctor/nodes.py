"""Asking every node of a Ray cluster, none of which can keep the others waiting."""

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import ray
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from raytalk.doctor import software
from raytalk.doctor.finding import Finding, mend
from raytalk.doctor.node import Visit, checks_in_all, look_around

_START_SECONDS = 60.0
"""for a worker process to start and import what it needs"""


@dataclass(frozen=True)
class Node:
    """One living node."""

    id: str
    name: str
    """its address, and a number where several have one"""
    resources: dict[str, float]

    @property
    def gpus(self) -> float:
        """Those that Ray counts."""
        return self.resources.get("GPU", 0.0)

    def run(self, function: Any, **options: Any) -> Any:
        """A remote function or class that runs there, and takes no CPU from others."""
        where = NodeAffinitySchedulingStrategy(self.id, soft=False)
        return function.options(num_cpus=0, scheduling_strategy=where, **options)


def nodes() -> list[Node]:
    """The living ones, the driver's first. A head node that runs no work is one as well."""
    own = ray.get_runtime_context().get_node_id()
    alive = sorted((node for node in ray.nodes() if node["Alive"]), key=lambda node: node["NodeID"] != own)
    addresses = [str(node["NodeManagerAddress"]) for node in alive]
    names = [
        f"{address}#{addresses[: place + 1].count(address)}" if addresses.count(address) > 1 else address
        for place, address in enumerate(addresses)
    ]
    return [Node(node["NodeID"], name, dict(node["Resources"])) for node, name in zip(alive, names, strict=True)]


def compare_software(of: Sequence[Node]) -> list[Finding]:
    """Versions, and clocks. What has no answer is a finding, and left out of the comparison."""
    facts, findings = _ask(of, {node.id: (_facts, ()) for node in of}, _START_SECONDS)
    found = {node.name: facts[node.id][0] for node in of if node.id in facts}
    if found:
        findings += software.compare(found)
    offsets = {}
    for node in of:
        if node.id not in facts:
            continue
        # The worker that answered before answers again at once.
        sent = time.time()
        told, late = _ask([node], {node.id: (_facts, ())}, _START_SECONDS)
        findings += late
        if node.id in told:
            there = told[node.id][1]
            offsets[node.name] = max(0.0, there - time.time()) + min(0.0, there - sent)
    return findings + (software.clocks(offsets) if offsets else [])


def look_everywhere(of: Sequence[Node], visit: Visit) -> list[Finding]:
    """`look_around` on every node at once."""
    seconds = _START_SECONDS + visit.settings.timeout * checks_in_all(visit.settings)
    told, findings = _ask(of, {node.id: (look_around, (replace(visit, gpus=node.gpus),)) for node in of}, seconds)
    for node in of:
        findings += [finding.at(node.name) for finding in told.get(node.id, [])]
    return findings


def _ask(
    of: Sequence[Node], asked: dict[str, tuple[Any, tuple[Any, ...]]], seconds: float
) -> tuple[dict[str, Any], list[Finding]]:
    """What each node answers, by its id; and a finding for each that does not, within so many seconds for all."""
    references = {}
    for node in of:
        function, arguments = asked[node.id]
        references[node.id] = node.run(ray.remote(function), max_retries=0).remote(*arguments)
    ray.wait(list(references.values()), num_returns=len(references), timeout=seconds)
    told: dict[str, Any] = {}
    findings = []
    for node in of:
        try:
            told[node.id] = ray.get(references[node.id], timeout=0)
        except ray.exceptions.GetTimeoutError:
            ray.cancel(references[node.id], force=True)
            findings.append(
                mend("node", f"does not answer within {seconds:.0f} s: look at its logs, or take it out").at(node.name)
            )
        except ray.exceptions.RayError as error:
            findings.append(mend("node", why(error)).at(node.name))
    return told, findings


def why(error: Exception) -> str:
    """What a failed task means, and what to do."""
    text = " ".join(str(error).split())
    if "No module named 'raytalk" in text:
        return "raytalk is not installed there: install it, or submit with --working-dir"
    if "ModuleNotFoundError" in text or "ImportError" in text:
        return f"a package is missing there ({text[-160:]}): install the same as on the driver's machine"
    return f"a task failed there ({type(error).__name__}: {text[-300:]})"


def _facts() -> tuple[dict[str, str], float]:
    return software.versions(), time.time()
