"""Which replica of the renderer a person belongs to: the same for every front, without asking anybody.

Rendezvous hashing (Thaler and Ravishankar 1998): each replica has a number for each person, the highest has them. A
replica that ends takes only its own people with it, a new one takes an equal share from all. Serve's own way, to the
replica with the fewest people as far as the router has heard, sends everybody who comes in the same second to one.
"""

import hashlib
from collections.abc import Sequence

from ray.serve.request_router import PendingRequest, RequestRouter, RunningReplica


def ranked(person: str, replicas: Sequence[str]) -> list[str]:
    """Ids of replicas, whom the person belongs to first."""

    def height(replica: str) -> bytes:
        return hashlib.blake2b(f"{person}\0{replica}".encode(), digest_size=8).digest()

    return sorted(replicas, key=height, reverse=True)


class PeopleRouter(RequestRouter):
    """A call says with its multiplexed model id whom it is about; one about nobody may go anywhere."""

    async def choose_replicas(
        self, candidate_replicas: list[RunningReplica], pending_request: PendingRequest | None = None
    ) -> list[list[RunningReplica]]:
        """Replicas to try, one after the other: the next where one has no room for another call."""
        person = ""
        if pending_request is not None:
            person = pending_request.metadata.multiplexed_model_id
            # Where all are full, try again after a pause, not at once.
            pending_request.routing_context.should_backoff = True
        if not person:
            return [candidate_replicas]
        by_id = {replica.replica_id.unique_id: replica for replica in candidate_replicas}
        return [[by_id[each]] for each in ranked(person, list(by_id))]
