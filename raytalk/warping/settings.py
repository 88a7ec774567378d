"""What `jobs/warping.py` takes, and its presets."""

from typing import Any, ClassVar, Literal, Self

import pydantic

from raytalk.config import JobSettings, Settings
from raytalk.learning.settings import DataSettings


class WarpNetworkSettings(Settings):
    """The size of the network; every layer's size follows."""

    resolution: int = pydantic.Field(128, ge=32, le=1024)
    """height and width of frames and drawings in pixels; a power of two"""
    min_channels: int = pydantic.Field(32, ge=1)
    """channels at the full resolution; they double with every halving"""
    max_channels: int = pydantic.Field(192, ge=1)
    """upper limit of channels"""
    reach: float = pydantic.Field(1.0, gt=0)
    """how far the flow may reach, in widths of the picture"""

    @pydantic.model_validator(mode="after")
    def _fits(self) -> Self:
        if self.resolution & (self.resolution - 1):
            raise ValueError(f"network.resolution={self.resolution} must be a power of two")
        if self.max_channels < self.min_channels:
            raise ValueError(f"network.max_channels={self.max_channels} is below min_channels={self.min_channels}")
        return self


class ContentSettings(Settings):
    """The network of L_CNT: a name of `raytalk.networks.perceptual`."""

    content: str = "hed"
    """content network: vgg19-caffe, vgg19 (torchvision's), hed (a stand-in that a package ships) ..."""
    weights: str = ""
    """file, folder or URI of its weights; empty: $RAYTALK_WEIGHTS, ~/.cache/raytalk/weights, torch hub's folder"""


class WarpLossSettings(Settings):
    """Weights of the terms."""

    l1: float = pydantic.Field(10.0, ge=0)
    """weight of the mean absolute difference of pictures in [-1, 1]"""
    content: float = pydantic.Field(0.15, ge=0)
    """weight of L_CNT on the content network, at that network's own input scale; 0 leaves it out"""


class WarpOptimizationSettings(Settings):
    """Adam."""

    rate: float = pydantic.Field(2e-4, gt=0)
    """learning rate"""
    beta1: float = pydantic.Field(0.9, ge=0, lt=1)
    """decay of Adam's first moment"""
    beta2: float = pydantic.Field(0.999, ge=0, lt=1)
    """decay of Adam's second moment"""
    ema_decay: float = pydantic.Field(0.999, ge=0, lt=1)
    """decay per step of the average that is evaluated; less in the first steps"""


class WarpingSettings(JobSettings):
    """Learning to move the pixels of some frames of a person where a drawing wants them (the warping baseline)."""

    clips: str = "~/raytalk/clips"
    """where the clips are: a folder or s3://bucket/prefix"""
    output: str = "~/raytalk/runs"
    """where runs are kept: a folder or s3://bucket/prefix"""
    name: str = pydantic.Field("warping", pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")
    """the run: the same name again resumes it"""
    episodes: int = pydantic.Field(1_000_000, ge=1)
    """episodes to show in all"""
    batch_size: int = pydantic.Field(16, ge=1)
    """episodes per step"""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """auto: a GPU where the cluster has one"""
    cpus: float = pydantic.Field(0, ge=0)
    """CPUs that training reserves; 0: one beside a GPU, else half of the cluster's"""
    precision: Literal["auto", "bf16", "float32"] = "auto"
    """of the arithmetic; weights are float32. auto: bf16 on GPUs that have it, else float32"""
    fused_kernels: bool = True
    """on a GPU, compile kernels for the content network (some seconds at the start); false: PyTorch's own"""
    seed: int = 0
    """seed of initial weights, of the order and choice of episodes and of how many sources a step uses"""
    log_every: int = pydantic.Field(50, ge=1)
    """steps from one progress line to the next"""
    checkpoint_every: int = pydantic.Field(20_000, ge=1)
    """episodes from one checkpoint to the next, at progress lines; the last one is always kept"""
    keep_checkpoints: int = pydantic.Field(3, ge=1)
    """newest checkpoints kept"""
    max_failures: int = pydantic.Field(10, ge=0)
    """how often training restarts by itself from the last checkpoint after its process or node died"""
    network: WarpNetworkSettings = WarpNetworkSettings()
    data: DataSettings = DataSettings()
    perceptual: ContentSettings = ContentSettings()
    losses: WarpLossSettings = WarpLossSettings()
    optimization: WarpOptimizationSettings = WarpOptimizationSettings()

    presets: ClassVar[dict[str, dict[str, Any]]] = {
        "base": {},
        "paper": {
            "network": {"resolution": 256},
            "perceptual": {"content": "vgg19-caffe"},
            "batch_size": 8,
        },
        "debug": {
            "network": {"resolution": 64, "max_channels": 64},
            "data": {"shots": 4},
            "optimization": {"rate": 5e-4},
            "episodes": 8000,
            "batch_size": 8,
            "checkpoint_every": 2000,
        },
    }
