"""Where a run goes on: its newest checkpoint that can be read, or the one that it was told to start from.

Ranks choose together: what one of them finds damaged none of them uses.
"""

from collections.abc import Callable
from typing import Any

from raytalk.clips.schema import RENDERED
from raytalk.errors import CheckpointError, RaytalkError
from raytalk.learning import checkpoint
from raytalk.learning.meta import MetaLearner
from raytalk.learning.naming import found
from raytalk.learning.ranks import attempt, first_error, from_first, rank
from raytalk.learning.settings import MetatrainSettings
from raytalk.storage import Storage


class Resumption:
    """Loads what there is into a learner."""

    def __init__(
        self,
        learner: MetaLearner,
        settings: MetatrainSettings,
        detector: str,
        perceptual: list[dict[str, Any]],
        tracking_uri: str,
        say: Callable[[str], None],
    ) -> None:
        """detector: of the clips. perceptual: the networks of the content loss, with digests."""
        self.learner, self.settings, self.detector, self.perceptual = learner, settings, detector, perceptual
        self.tracking_uri, self.say = tracking_uri, say

    def episodes(self, run: Storage) -> int:
        """Load, and return the episodes shown so far. Every rank must call it. Raises CheckpointError."""
        damaged: dict[str, str] = {}
        while (place := self._newest(run, damaged)) is not None:
            state, error = attempt(lambda place=place: checkpoint.load(place, self.learner))  # type: ignore[misc]
            worst = first_error(error)
            if isinstance(worst, checkpoint.DamagedCheckpoint):
                damaged[place.uri] = str(worst)
                self._tell(f"left out: {worst}")
                continue
            if worst is not None:
                raise worst
            assert state is not None
            self._check_fit(place, state)
            return int(state.episodes)
        if self.settings.checkpoint:
            with found(self.settings.checkpoint, self.tracking_uri) as start:
                self._check_fit(start, checkpoint.load(start, self.learner, weights_only=True))
        return 0

    def _newest(self, run: Storage, damaged: dict[str, str]) -> Storage | None:
        """Rank 0 chooses for all: a listing may differ from node to node."""
        uri: str | None = None
        error: RaytalkError | None = None
        if rank() == 0:
            place, error = attempt(lambda: checkpoint.latest(run, damaged)[0])
            uri = place.uri if place else None
        uri, error = from_first((uri, error))
        if error is not None:
            raise error
        return Storage(uri) if uri else None

    def _check_fit(self, place: Storage, state: checkpoint.State) -> None:
        """Refuse drawings of another kind, and say where losses stop being comparable."""
        if left_behind := self.learner.rows.left_behind:
            self._tell(
                f"{left_behind:,} videos of {place.uri} are no longer among the clips: their rows of W are dropped"
            )
        if state.detector != self.detector and not self.settings.accept_detector:
            mend = "" if RENDERED in (state.detector, self.detector) else "preprocess with that detector, or "
            raise CheckpointError(
                f"{place.uri} was trained on landmarks by {state.detector} and these clips have them by "
                f"{self.detector}: {mend}give accept_detector=true"
            )
        before = [(network["name"], network["sha256"]) for network in state.perceptual]
        if before != [(network["name"], network["sha256"]) for network in self.perceptual]:
            self._tell(f"the networks of the content loss differ from those of {place.uri}: its losses do not compare")

    def _tell(self, text: str) -> None:
        if rank() == 0:
            self.say(text)
