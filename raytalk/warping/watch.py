"""A look at people held out of training: how far warping is from the truth, and a grid of pictures."""

from collections.abc import Callable

import cv2
import numpy as np
import torch
import torch.nn.functional as F

from raytalk.clips.schema import Split
from raytalk.errors import RaytalkError
from raytalk.learning.meta import to_unit
from raytalk.learning.validation import People, Pictures, load_people, to_pictures
from raytalk.storage import Storage
from raytalk.warping.network import WarpNetwork
from raytalk.warping.settings import WarpingSettings

_PEOPLE, _TARGETS, _SOURCES_SHOWN = 8, 2, 3


class Watch:
    """The people, and where their grids go: `grids/val-EPISODES.png` of the run, or `seen-` if nobody is held out."""

    def __init__(self, clips: Storage, run: Storage, settings: WarpingSettings, say: Callable[[str], None]) -> None:
        self._run, self._say = run, say
        self._people: dict[str, People] = {}
        shots, size, pupils = settings.data.shots, settings.network.resolution, settings.data.pupils > 0
        splits: dict[str, Split] = {"val": "val", "seen": "train"}
        for name, split in splits.items():
            if self._people:
                break
            try:
                self._people[name] = load_people(clips, split, _PEOPLE, shots, _TARGETS, size, pupils)
            except RaytalkError as error:
                say(f"no look at '{name}': {error}")

    def look(self, network: WarpNetwork, device: torch.device, episodes: int) -> None:
        """Say the figures and write the grid."""
        for name, people in self._people.items():
            figures, grid = look(network, people, device)
            self._run.write(f"grids/{name}-{episodes:08d}.png", cv2.imencode(".png", grid[..., ::-1])[1].tobytes())
            self._say(f"  {name}: L1 {figures['l1']:.3f} (mean of the sources {figures['l1_mean_source']:.3f})")


@torch.no_grad()
def look(network: WarpNetwork, people: People, device: torch.device) -> tuple[dict[str, float], Pictures]:
    """`l1` of warped pictures and `l1_mean_source` of the sources' mean, in [-1, 1], and a grid HxWx3 uint8 RGB.

    The grid has a row per person: sources · drawing · ground truth · output.
    """
    rows, distances, copied = [], [], []
    for index in range(len(people.names)):
        sources, drawings = (
            to_unit(pictures[index].to(device)) for pictures in (people.sources, people.source_drawings)
        )
        truth = to_unit(people.targets[index].to(device))
        drawn = torch.cat(
            [
                network.warp(sources[None], drawings[None], to_unit(target[None].to(device)))
                for target in people.target_drawings[index]
            ]
        )
        distances.append(F.l1_loss(drawn, truth))
        copied.append(F.l1_loss(sources.mean(dim=0).expand_as(truth), truth))
        shown = [
            *people.sources[index][:_SOURCES_SHOWN].numpy(),
            people.target_drawings[index][0].numpy(),
            people.targets[index][0].numpy(),
            to_pictures(drawn[0]),
        ]
        rows.append(np.concatenate(shown, axis=1))
    figures = {"l1": float(torch.stack(distances).mean()), "l1_mean_source": float(torch.stack(copied).mean())}
    return figures, np.concatenate(rows)
