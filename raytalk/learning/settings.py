"""What `jobs/metatrain.py` takes, and its presets."""

from typing import Annotated, Any, ClassVar, Literal, Self

import pydantic

from raytalk.config import JobSettings, Settings
from raytalk.learning.loss_settings import LossSettings
from raytalk.networks.settings import NetworkSettings
from raytalk.tracking import TrackingSettings


def _share_left(done: int, total: int, fall: float) -> float:
    """1 until the last `fall` of the way, then down to 0 in a straight line."""
    return min(1.0, max(0.0, (total - done) / (fall * total))) if fall else 1.0


class DataSettings(Settings):
    """How episodes are drawn."""

    shots: int = pydantic.Field(8, ge=1)
    """K, source frames per episode; the target is never one of them"""
    shuffle_files: int = pydantic.Field(4, ge=1)
    """Parquet files whose clips are mixed at a time, after the files themselves have been shuffled"""
    prefetch_batches: int = pydantic.Field(4, ge=0)
    """batches made ready in each worker ahead of the step"""
    pupils: float = pydantic.Field(0.0, ge=0, le=1)
    """share of episodes whose drawings carry the pupils, where the clip knows them; 0: never. Above 0 validation draws
    them too, and a checkpoint's config.yaml tells those who go on from it"""


class PerceptualSettings(Settings):
    """The networks of L_CNT: names of `raytalk.networks.perceptual`."""

    content: str = "vgg19-caffe"
    """content network: vgg19-caffe, vgg19 (torchvision's), hed (a stand-in that a package ships) ..."""
    identity: str = "vggface"
    """identity network, or none"""
    weights: str = ""
    """file, folder or URI of their weights; empty: $RAYTALK_WEIGHTS, ~/.cache/raytalk/weights, torch hub's folder"""


class OptimizationSettings(Settings):
    """Adam for everybody."""

    generator_rate: float = pydantic.Field(5e-5, gt=0)
    """learning rate of E and G"""
    discriminator_rate: float = pydantic.Field(2e-4, gt=0)
    """learning rate of D and W"""
    beta1: float = pydantic.Field(0.0, ge=0, lt=1)
    """decay of Adam's first moment"""
    beta2: float = pydantic.Field(0.999, ge=0, lt=1)
    """decay of Adam's second moment"""
    discriminator_steps: int = pydantic.Field(2, ge=1)
    """D steps for each E+G step"""
    ema_decay: float = pydantic.Field(0.999, ge=0, lt=1)
    """decay per step of the average of E and G that is evaluated and served; less in the first steps"""
    fall: float = pydantic.Field(0.0, ge=0, le=1)
    """share of `episodes`, the last ones, over which rates fall to zero in a straight line; 0: rates stay. A run that
    is given more episodes later goes on with the rates of that place in the longer run"""


class SpeedSettings(Settings):
    """How a GPU runs the step; the mathematics stays the same. Without one both are ignored."""

    fused_kernels: bool = True
    """compile kernels for what lies between the convolutions (some seconds at the start); false: PyTorch's own"""
    graphs: bool = True
    """record the step's kernels once and launch them together from then on"""


class FewShotSettings(Settings):
    """How a person is learned."""

    steps: int = pydantic.Field(250, ge=0)
    """steps of the generator; 0: feed-forward"""
    epochs: int = pydantic.Field(0, ge=0)
    """passes over the learning images instead of `steps`; the paper's are 40. 0: `steps` counts"""
    batch_size: int = pydantic.Field(8, ge=1)
    """images per step, drawn from the learning images without repetition until all were shown"""
    generator_rate: float = pydantic.Field(2e-4, gt=0)
    """learning rate of ψ and ψ'; the paper's is 5e-5"""
    discriminator_rate: float = pydantic.Field(2e-4, gt=0)
    """learning rate of θ, w' and b"""
    beta1: float = pydantic.Field(0.5, ge=0, lt=1)
    """decay of Adam's first moment"""
    beta2: float = pydantic.Field(0.999, ge=0, lt=1)
    """decay of Adam's second moment"""
    discriminator_steps: int = pydantic.Field(1, ge=1)
    """D steps for each step of the generator; the paper's are 2"""
    fall: float = pydantic.Field(0.5, ge=0, le=1)
    """share of the steps, the last ones, over which both rates fall to zero in a straight line; 0: rates stay"""
    flip: bool = False
    """learn from mirror images too; what is not symmetric (a parting, the background) blurs"""
    variants: int = pydantic.Field(0, ge=0)
    """slightly turned, enlarged and shifted copies of each image to learn from beside it"""
    hold_out: int = pydantic.Field(0, ge=0)
    """images kept aside to see when learning stops to help: the best state on them is kept; 0: none"""
    check_every: int = pydantic.Field(25, ge=1)
    """steps from one look at the images kept aside to the next"""
    patience: int = pydantic.Field(4, ge=1)
    """looks without a better result after which learning stops, also before rates have fallen"""
    seed: int = 0
    """seed of the order of the images, and of their variants"""

    def rate_at(self, step: int, total: int) -> float:
        """Share of the learning rates that step number `step`, from 0, of so many takes."""
        return _share_left(step, total, self.fall)

    def total_steps(self, images: int) -> int:
        """Steps of the generator for so many learning images."""
        if not self.epochs:
            return self.steps
        return -(-self.epochs * images // min(self.batch_size, images))


class GuardSettings(Settings):
    """When a run stops itself. Each test must fail for `patience` windows of `log_every` steps in a row."""

    patience: int = pydantic.Field(5, ge=1)
    """windows"""
    discriminator_loss: float = 1e-3
    """D is saturated when its hinge loss is below this: it tells all real from all generated frames"""
    contrast: float = 0.05
    """output is flat when its standard deviation is below this share of the real frames'"""
    embedding: float = 1e-3
    """the embedding is dead when its rms, before networks.embedding_scale, is below this"""
    spread: float = 5e-3
    """the embedding is the same for everybody when its spread between videos is below this share of its rms"""


class ValidationSettings(Settings):
    """Pictures and figures on people held out of training."""

    every: int = pydantic.Field(4000, ge=1)
    """episodes from one validation to the next"""
    people: int = pydantic.Field(8, ge=2)
    """people held out of training to look at, and as many of training beside them"""
    targets: int = pydantic.Field(4, ge=1)
    """frames reenacted per person"""


def _workers(value: Any) -> int | str:
    """A number, or the fewest and the most: '1-4', or [1, 4] in YAML."""
    words = value if isinstance(value, list | tuple) else str(value).split("-")
    numbers = [int(word) if str(word).strip().isdigit() else 0 for word in words]
    if len(numbers) not in (1, 2) or not 1 <= numbers[0] <= numbers[-1]:
        raise ValueError("give a number from 1 on, or a range like 1-4")
    return numbers[0] if numbers[0] == numbers[-1] else f"{numbers[0]}-{numbers[1]}"


class MetatrainSettings(JobSettings):
    """Meta-learning of E, G and D on clips of many people."""

    clips: str = "~/raytalk/clips"
    """where the clips are: a folder or s3://bucket/prefix"""
    output: str = "~/raytalk/runs"
    """where runs are kept: a folder or s3://bucket/prefix"""
    name: str = pydantic.Field("metatrain", pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")
    """the run: the same name again resumes it"""
    checkpoint: str = ""
    """start from the weights of another run's checkpoint, a URI, models:/name@alias or base; a run that resumes ignores
    it"""
    accept_detector: bool = False
    """go on from a checkpoint whose clips had their landmarks from another detector"""
    episodes: int = pydantic.Field(10_900_000, ge=1)
    """episodes to show in all (75 epochs of VoxCeleb2 are 10.9 million)"""
    batch_size: int = pydantic.Field(8, ge=1)
    """episodes per step over all workers, whatever their number is"""
    workers: Annotated[int | str, pydantic.BeforeValidator(_workers)] = 1
    """data-parallel workers; a range like 1-4: as many as the cluster has room for, also while the run goes on"""
    resize_every: float = pydantic.Field(60, gt=0)
    """seconds from one look for room for more workers to the next, where workers is a range; what was shown since the
    last checkpoint is shown again with the new number"""
    wait_for_nodes: float = pydantic.Field(0, ge=0)
    """seconds to wait for nodes that the cluster's autoscaler brings, until the fewest workers have room: GPUs with
    device=cuda, else CPUs"""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """auto: one GPU per worker where the cluster has GPUs"""
    gpus_per_worker: float = pydantic.Field(1.0, gt=0, le=1)
    """share of a GPU that a worker reserves, where there are GPUs; below 1 runs of one worker each share it"""
    cpus_per_worker: float = pydantic.Field(0, ge=0)
    """CPUs that each worker reserves; 0: one beside a GPU, else half of the cluster's over all workers"""
    precision: Literal["auto", "bf16", "float32"] = "auto"
    """of the arithmetic; weights are float32. auto: bf16 on GPUs that have it, else float32"""
    seed: int = 0
    """seed of initial weights and of the order and choice of episodes"""
    log_every: int = pydantic.Field(50, ge=1)
    """steps from one progress line to the next"""
    checkpoint_every: int = pydantic.Field(20_000, ge=1)
    """episodes from one checkpoint to the next; the last one is always kept"""
    keep_checkpoints: int = pydantic.Field(3, ge=1)
    """newest checkpoints kept"""
    max_failures: int = pydantic.Field(10, ge=0)
    """how often the run restarts by itself from the last checkpoint after a worker or node died"""
    networks: NetworkSettings = NetworkSettings()
    data: DataSettings = DataSettings()
    losses: LossSettings = LossSettings()
    perceptual: PerceptualSettings = PerceptualSettings()
    optimization: OptimizationSettings = OptimizationSettings()
    speed: SpeedSettings = SpeedSettings()
    guard: GuardSettings = GuardSettings()
    validation: ValidationSettings = ValidationSettings()
    tracking: TrackingSettings = TrackingSettings()

    presets: ClassVar[dict[str, dict[str, Any]]] = {
        "paper": {},
        "base": {
            "networks": {"resolution": 128, "min_channels": 48, "max_channels": 192},
            "perceptual": {"content": "hed", "identity": "none"},
            "optimization": {"generator_rate": 2e-4},
            "batch_size": 16,
            "episodes": 1_000_000,
        },
        "debug": {
            "networks": {
                "resolution": 64,
                "min_channels": 32,
                "max_channels": 64,
                "attention_down": 16,
                "attention_up": 32,
                "adain_blocks": 2,
            },
            "perceptual": {"content": "hed", "identity": "none"},
            "losses": {"content": 0.5, "feature_matching": 2.0},
            "optimization": {"generator_rate": 5e-4, "beta1": 0.5},
            "data": {"shots": 4},
            "validation": {"every": 2000},
            "episodes": 8000,
            "checkpoint_every": 2000,
        },
    }

    @pydantic.model_validator(mode="after")
    def _fits(self) -> Self:
        if self.batch_size < self.worker_range[1]:
            raise ValueError(f"batch_size={self.batch_size} cannot be shared by workers={self.workers}: lower workers")
        return self

    def rate_at(self, shown: int) -> float:
        """Share of the learning rates that a step takes after so many episodes."""
        return _share_left(shown, self.episodes, self.optimization.fall)

    @property
    def worker_range(self) -> tuple[int, int]:
        """The fewest and the most workers."""
        fewest, _, most = str(self.workers).partition("-")
        return int(fewest), int(most or fewest)
