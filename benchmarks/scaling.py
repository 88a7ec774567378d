"""The tables of docs/scaling.md and docs/voxceleb2.md: bytes, requests, times and costs, from measured constants.

    python benchmarks/scaling.py                                       # everything
    python benchmarks/scaling.py table=cost gpu_price=2.1 gpus=8,64    # one table, with other assumptions
    python benchmarks/scaling.py update=docs                           # write the tables into those pages

Sizes are counted on the networks themselves (`messages.py`), rates are measured ones (benchmarks/README.md names the
machine of each); prices, links and failures are assumptions to be replaced. Prints Markdown.
"""

import re
import sys
from collections.abc import Callable
from pathlib import Path

from messages import Sizes
from pydantic import Field
from scaling_tables import TABLES

from raytalk.config import JobSettings, parse_command_line
from raytalk.errors import SettingsError
from raytalk.learning.settings import MetatrainSettings


class ScalingSettings(JobSettings):
    """Measured constants and assumptions."""

    recipe: str = "paper"
    """preset of jobs/metatrain.py"""
    table: str = ""
    """print this one alone"""
    update: str = ""
    """folder of pages whose tables are replaced, between <!-- scaling.py NAME --> and <!-- end -->"""
    factor: int = Field(100, ge=1)
    """the second column is so many VoxCeleb2s"""

    # VoxCeleb2, its development part
    people: int = 5_994
    videos: int = 145_569
    clips: int = 1_092_009
    """utterances; each is a file and becomes a clip"""
    hours: float = 2_360
    source_bytes: float = 280e9
    """of all archives"""
    passes: int = 75
    """over videos, an episode for each: the paper's 75 epochs"""
    video_name_bytes: float = 19
    """of a video_id, such as id00012/21Uxsk56VDQ"""

    # Clips: benchmarks/reading.py, on real faces brought to VoxCeleb2's 224 px
    clip_bytes: float = 530e3
    """in Parquet: 32 frames of 256 px and their landmarks"""
    clips_per_file: int = 64
    """as docs/voxceleb2.md makes them; requests below are for files of so many"""
    write_per_file: int = 6
    """requests: a file goes up in parts"""
    read_per_file: int = 4
    """requests each time that a file is drawn from"""
    scan_per_file: float = 7.5
    """requests for looking a file over when a run starts"""
    request_seconds: float = 0.05
    """until the object store has answered one of them; 16 are on their way together"""
    drawn_per_core: float = 50
    """K=8 episodes a second: decoding and drawing"""
    candidates: float = 48
    """frames looked at for each clip: 1.5 for each of 32 kept"""
    detector_gpu: float = 574
    """frames a second, face-alignment on one H100, without decoding of videos"""
    detector_core: float = 11
    """frames a second and core, dlib and decoding included"""

    # The step, on one H100
    batch_size: int = 8
    """episodes of each GPU in a step"""
    step_seconds: float = 38.4e-3
    step_memory: float = 7.8e9
    gpu_memory: float = 80e9
    two_gpus: float = 391
    """episodes a second of two GPUs of one host: what its link gives follows from that"""
    links: str = "50,12.5,3.1"
    """GB/s that each GPU sends to other hosts: 400, 100 and 25 Gbit/s; the first one is taken above 8 GPUs"""

    # Failures and checkpoints
    hours_per_failure: float = 50_676
    """GPU hours to a failure that ends a run: 419 in 54 days on 16,384 H100"""
    spot_hours: float = 6
    """hours to the loss of a spot host of 8 GPUs"""
    copy_seconds: float = 1.0
    """for which a checkpoint holds up the step: its tensors are copied to the CPU"""
    restart_seconds: float = 92
    """from a death to the next step: new workers, data, compiled kernels read"""
    disk_rate: float = 0.5e9
    """bytes a second to a disk, and from there to the object store"""

    # Prices in dollars
    gpu_price: float = 3.0
    """of an H100 for an hour"""
    core_price: float = 0.05
    """of a CPU core for an hour"""
    month_price: float = 0.023
    """of a GB in the object store for a month"""
    put_price: float = 5e-6
    get_price: float = 0.4e-6
    gpus: str = "1,8,64,512"
    """numbers of GPUs to show"""

    def counts(self) -> list[int]:
        """Numbers of GPUs."""
        return [int(count) for count in self.gpus.split(",")]


class Model:
    """What follows from the settings; `scale`: how many VoxCeleb2s."""

    def __init__(self, settings: ScalingSettings) -> None:
        self.of = settings
        self.run = MetatrainSettings.resolve(settings.recipe)
        self.sizes = Sizes.of(self.run)

    @property
    def frame_pair_bytes(self) -> int:
        """A decoded frame and its drawing."""
        return 2 * 3 * self.run.networks.resolution**2

    @property
    def episode_bytes(self) -> int:
        """An episode as a worker gets it."""
        return (1 + self.run.data.shots) * self.frame_pair_bytes

    def episodes(self, scale: int) -> int:
        return self.of.passes * self.of.videos * scale

    def scan_seconds(self, scale: int) -> float:
        """For looking over all files when a run starts."""
        return self.files(scale) * self.of.scan_per_file * self.of.request_seconds / 16

    @property
    def requests_per_episode(self) -> float:
        return self.of.read_per_file / self.of.clips_per_file

    def files(self, scale: int) -> int:
        return -(-self.of.clips * scale // self.of.clips_per_file)

    @property
    def rate(self) -> float:
        """Episodes a second of one GPU."""
        return self.of.batch_size / self.of.step_seconds

    @property
    def host_link(self) -> float:
        """Bytes a second between the two GPUs measured, if D's messages account for all that was lost."""
        lost = 2 * self.of.batch_size / self.of.two_gpus - self.of.step_seconds
        return self.exposed(2) / lost

    def exposed(self, gpus: int) -> float:
        """Bytes sent in a step that nothing is computed beside: D's gradients and W's rows."""
        discriminator = 4 * self.sizes.discriminator_steps * self.sizes.discriminator.parameters
        return 2 * (gpus - 1) / gpus * discriminator + (gpus - 1) * self.sizes.gathered(self.of.batch_size)

    def step(self, gpus: int, link: float, hidden: bool = True) -> float:
        """Seconds of a step. hidden: E's and G's gradients travel wholly beside D's first pass; else not at all."""
        sent = self.exposed(gpus) if hidden else self.sizes.sent(gpus, self.of.batch_size)
        return self.of.step_seconds + (sent / link if gpus > 1 else 0)

    def efficiency(self, gpus: int, link: float, hidden: bool = True) -> float:
        return self.of.step_seconds / self.step(gpus, link, hidden)

    def hours(self, scale: int, gpus: int) -> float:
        """Of learning, on one host's link up to 8 GPUs, above that on the first of `links`."""
        link = self.host_link if gpus <= 8 else float(self.of.links.split(",")[0]) * 1e9
        return self.episodes(scale) / (self.rate * gpus * self.efficiency(gpus, link)) / 3600

    def checkpoint_bytes(self, scale: int) -> float:
        return sum(self.sizes.checkpoint(self.of.videos * scale, self.of.video_name_bytes).values())

    def detector_gpu_hours(self, scale: int) -> float:
        return self.of.clips * scale * self.of.candidates / self.of.detector_gpu / 3600

    def detector_core_hours(self, scale: int) -> float:
        return self.of.clips * scale * self.of.candidates / self.of.detector_core / 3600

    def most_videos(self) -> int:
        """Rows of W that fit on a GPU beside the step."""
        return int((self.of.gpu_memory - self.of.step_memory) / self.sizes.rows(1))


def main(settings: ScalingSettings) -> None:
    """Print the tables, or write them into pages."""
    model = Model(settings)
    if settings.update:
        for page in sorted(Path(settings.update).glob("*.md")):
            before = page.read_text()
            after = updated(before, model, TABLES)
            if after != before:
                page.write_text(after)
                print(f"updated {page}")
        return
    if settings.table and settings.table not in TABLES:
        raise SettingsError(f"unknown table '{settings.table}': choose one of {', '.join(TABLES)}")
    for name in [settings.table] if settings.table else TABLES:
        print(f"### {name}\n{TABLES[name](model)}\n")


def updated(text: str, model: Model, tables: dict[str, Callable[[Model], str]]) -> str:
    """A page with its tables as they are now."""

    def replaced(match: re.Match[str]) -> str:
        return f"{match[1]}\n{tables[match[2]](model)}\n{match[3]}"

    return re.sub(r"(<!-- scaling\.py (\w+) -->)\n.*?(<!-- end -->)", replaced, text, flags=re.DOTALL)


if __name__ == "__main__":
    main(parse_command_line(ScalingSettings, sys.argv[1:], __doc__ or ""))
