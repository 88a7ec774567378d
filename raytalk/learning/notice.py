"""Notice that a node is about to be taken away, as providers of preemptible machines give it some seconds before."""

import time
from collections.abc import Callable

import ray.train
from ray.train import PreemptionInfo

from raytalk.learning.ranks import from_first

_EVERY = 5.0
"""seconds between two looks: each is a barrier of all ranks"""
_MOST_STEPS = 1000


class Notice:
    """Asks Ray now and then, at the same step on every rank, and tells of each node once."""

    def __init__(
        self, ask: Callable[[], PreemptionInfo | None] = ray.train.get_preemption_info, steps: int = 0
    ) -> None:
        """ask: what all ranks must call equally often; steps: that the run had when this process began."""
        self._ask = ask
        self._known: set[str] = set()
        self._looked_at, self._next = steps, 0
        self._then = time.monotonic()

    def look(self, steps: int) -> PreemptionInfo | None:
        """A notice that was not told of before. Call it after every step, with the number of steps so far."""
        if steps < self._next:
            return None
        now = time.monotonic()
        # Clocks and speeds differ a little from rank to rank, and all have to look at the same step.
        per_step = from_first((now - self._then) / max(1, steps - self._looked_at))
        self._then, self._looked_at = now, steps
        self._next = steps + min(_MOST_STEPS, max(1, int(_EVERY / max(per_step, 1e-6))))
        info = self._ask()
        if info is None or self._known.issuperset(info.preempted_node_ids):
            return None
        self._known.update(info.preempted_node_ids)
        return info


def describe(info: PreemptionInfo) -> str:
    """What is going to happen: '1 node with rank 1 will be taken away in 25 s'."""
    nodes, ranks = len(info.preempted_node_ids), ", ".join(map(str, info.preempted_ranks))
    left = f" in {max(0.0, info.deadline_ms / 1e3 - time.time()):.0f} s" if info.deadline_ms else ""
    return f"{nodes} node{'s' * (nodes > 1)} with rank{'s' * (',' in ranks)} {ranks} will be taken away{left}"
