"""What it costs that many workers agree: a step of tiny networks on N processes of one machine, its messages alone.

    python benchmarks/coordination.py workers=1,2,4,8
    nice -n 10 python benchmarks/coordination.py workers=1,2,4,8,16,32,64

Processes of `torch.distributed` (gloo) run `MetaLearner` as the workers of a run do, without Ray: averages of
gradients, rows of W, and at the end of a window the figures, `first_error` and rank 0's checkpoint. What goes over
their sockets is read from the kernel and compared with the formulas of `messages.py`. On a machine with fewer cores
than workers their arithmetic takes turns: look at what the messages take by themselves. Prints JSON.
"""

import gc
import json
import multiprocessing
import os
import socket
import struct
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from floor import machine
from messages import Sizes
from pydantic import Field
from torch import Tensor, nn

from raytalk.config import JobSettings, parse_command_line
from raytalk.learning.checkpoint import Snapshot, State
from raytalk.learning.health import Window
from raytalk.learning.meta import Episodes, MetaLearner, Metrics
from raytalk.learning.ranks import first_error, gather, total
from raytalk.learning.settings import MetatrainSettings

_TINY: dict[str, int] = {
    "resolution": 32,
    "min_channels": 8,
    "max_channels": 16,
    "attention_down": 16,
    "attention_up": 32,
    "adain_blocks": 1,
}
_TCP_INFO_BYTES_ACKED = 120
"""in the kernel's struct tcp_info; bytes received stand behind"""
_PAYLOAD = ("all_reduce", "all_gather")


class CoordinationSettings(JobSettings):
    """What to try."""

    workers: str = "1,2,4,8"
    """numbers of processes, one after the other"""
    episodes: int = Field(1, ge=1)
    """of each worker in a step"""
    steps: int = Field(10, ge=2)
    """counted and timed"""
    windows: int = Field(5, ge=1)
    """ends of windows that are timed"""
    videos: int = Field(1000, ge=1)
    """rows of W"""


class Features(nn.Module):
    """Stands in for the content network, whose weights have nothing to do with messages."""

    def __init__(self) -> None:
        super().__init__()
        self.convolutions = nn.ModuleList([nn.Conv2d(3, 4, 3, padding=1)]).requires_grad_(False)

    def forward(self, images: Tensor) -> list[Tensor]:
        """One map."""
        return [torch.relu(self.convolutions[0](images))]


def main(settings: CoordinationSettings) -> None:
    """Print JSON."""
    counts = [int(count) for count in settings.workers.split(",")]
    result: dict[str, Any] = {"machine": machine(torch.device("cpu")), "runs": []}
    for count in counts:
        result["runs"].append(run(settings, count))
        print(f"{count} workers: {result['runs'][-1]['step, ms']} ms a step", file=sys.stderr, flush=True)
    print(json.dumps(result, indent=2))


def run(settings: CoordinationSettings, count: int) -> dict[str, Any]:
    """Figures of so many workers: times are of rank 0, bytes the mean over all ranks."""
    # Children of a server that has imported everything share its memory.
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["raytalk.learning.checkpoint", "torch._dynamo"])
    pipes = [context.Pipe(duplex=False) for _ in range(count)]
    with tempfile.TemporaryDirectory(prefix="raytalk-coordination-") as folder:
        workers = [
            context.Process(target=work, args=(settings, rank, count, folder, sending), daemon=True)
            for rank, (_, sending) in enumerate(pipes)
        ]
        for worker in workers:
            worker.start()
        for _, sending in pipes:
            sending.close()
        reports: list[dict[str, Any]] = [receiving.recv() for receiving, _ in pipes]
        for worker in workers:
            worker.join()
    sizes = Sizes.of(_run_settings(settings, count))
    sent, window = (sum(each[name] for each in reports) / count for name in ("sent", "sent at window"))
    step, alone = reports[0]["step"], reports[0]["messages"]
    return {
        "workers": count,
        "step, ms": round(step * 1e3, 1),
        "messages of a step alone, ms": round(alone * 1e3, 2),
        "end of a window, ms": round(reports[0]["window"] * 1e3, 2),
        "checkpoint: copied by rank 0, ms": round(reports[0]["copied"] * 1e3, 1),
        "messages of a step": reports[0]["calls"],
        "bytes given to messages of a step": reports[0]["payload"],
        "by the formula": {"all_reduce": sizes.averaged(), "all_gather": sizes.gathered(settings.episodes)},
        "bytes sent by a rank in a step": round(sent),
        "by the formula, a ring": round(sizes.sent(count, settings.episodes)),
        "bytes sent by a rank at the end of a window": round(window),
        "by the formula, a ring, window": round(sizes.sent_at_window(count)),
        "W the same on every rank": len({each["rows"] for each in reports}) == 1,
        "memory of a worker, MB": round(max(each["proportional"] for each in reports) / 1e6, 1),
        "memory of all, MB": round(sum(each["proportional"] for each in reports) / 1e6),
    }


def work(settings: CoordinationSettings, rank: int, count: int, folder: str, report: Connection) -> None:
    """One worker: warm up, count and time steps, ends of windows and a checkpoint, then the messages alone."""
    gc.freeze()  # what came with the fork stays shared: looking through it would copy it
    torch.set_num_threads(1)
    os.environ.setdefault("GLOO_SOCKET_IFNAME", "lo")
    if count > 1:
        dist.init_process_group("gloo", init_method=f"file://{folder}/meet", rank=rank, world_size=count)
    learner = _learner(settings, count)
    metrics = [learner.step(_noise(settings, rank, step)) for step in range(2)][-1]
    calls, payload, shapes = _counted(lambda: learner.step(_noise(settings, rank, 2)))
    before = _sent()
    seconds = _timed(lambda step: learner.step(_noise(settings, rank, 3 + step)), settings.steps)
    sent = (_sent() - before) / settings.steps
    before = _sent()
    window = _timed(lambda _: _end_of_window(metrics), settings.windows)
    at_window = (_sent() - before) / settings.windows
    copied = _timed(lambda _: _checkpoint(learner, rank, folder), 1)
    alone = _timed(lambda _: _messages(shapes), settings.steps)
    result = {"step": seconds, "window": window, "copied": copied, "messages": alone, "sent": sent, "calls": calls}
    result |= {"payload": payload, "sent at window": at_window, "rows": float(learner.rows.rows.double().sum())}
    report.send(result | {"proportional": _memory()})
    report.close()
    if count > 1:
        dist.barrier()
        dist.destroy_process_group()


def _learner(settings: CoordinationSettings, count: int) -> MetaLearner:
    names = [str(number) for number in range(settings.videos)]
    features: Any = Features()
    return MetaLearner(_run_settings(settings, count), names, features, None, torch.device("cpu"))


def _run_settings(settings: CoordinationSettings, count: int) -> MetatrainSettings:
    return MetatrainSettings.resolve("debug", {"networks": _TINY, "batch_size": count * settings.episodes})


def _noise(settings: CoordinationSettings, rank: int, step: int) -> Episodes:
    random = torch.Generator().manual_seed(1000 * step + rank)
    shape = (settings.episodes, 2, _TINY["resolution"], _TINY["resolution"], 3)
    frames, drawings = (torch.randint(0, 256, shape, dtype=torch.uint8, generator=random) for _ in range(2))
    return Episodes(frames, drawings, torch.randint(0, settings.videos, (settings.episodes,), generator=random))


def _end_of_window(metrics: Metrics) -> None:
    """What a worker exchanges every `log_every` steps: figures, faults, and whether rank 0 has an error."""
    window = Window()
    window.add(metrics)
    window.reduce()
    total(torch.zeros((), dtype=torch.int64))
    first_error(None)


def _checkpoint(learner: MetaLearner, rank: int, folder: str) -> None:
    """Rank 0 copies and everybody waits for that; writing is a thread's work and not waited for in a run."""
    if rank == 0:
        state = State(1, 1.0, learner.steps, 0, "dlib", [])
        Snapshot.take(learner, state).write(_made(Path(folder) / "checkpoint"))
    first_error(None)


def _made(folder: Path) -> Path:
    folder.mkdir()
    return folder


def _messages(shapes: list[tuple[str, Tensor]]) -> None:
    """The messages of a step one after the other, without the arithmetic between them."""
    for kind, tensor in shapes:
        if kind == "all_reduce":
            dist.all_reduce(tensor)
        else:
            gather(tensor)


def _counted(action: Callable[[], object]) -> tuple[dict[str, int], dict[str, int], list[tuple[str, Tensor]]]:
    """How many messages, and of how many bytes, `action` gives to torch.distributed; and tensors of those sizes."""
    calls: Counter[str] = Counter(dict.fromkeys(_PAYLOAD, 0))
    payload: Counter[str] = Counter(dict.fromkeys(_PAYLOAD, 0))
    shapes: list[tuple[str, Tensor]] = []
    originals = {kind: getattr(dist, kind) for kind in _PAYLOAD}

    def wrapped(kind: str) -> Callable[..., Any]:
        def call(*arguments: Any, **options: Any) -> Any:
            given = arguments[0] if kind == "all_reduce" else arguments[1]
            calls[kind] += 1
            payload[kind] += given.nbytes
            shapes.append((kind, torch.zeros_like(given)))
            return originals[kind](*arguments, **options)

        return call

    for kind in _PAYLOAD:
        setattr(dist, kind, wrapped(kind))
    try:
        action()
    finally:
        for kind, original in originals.items():
            setattr(dist, kind, original)
    return dict(calls), dict(payload), shapes


def _timed(action: Callable[[int], object], times: int) -> float:
    """Seconds of one, everybody beginning and ending together."""
    _together()
    start = time.perf_counter()
    for index in range(times):
        action(index)
    _together()
    return (time.perf_counter() - start) / times


def _together() -> None:
    if dist.is_initialized():
        dist.barrier()


def _sent() -> int:
    """Bytes that this process has sent over TCP so far and that have arrived."""
    if not dist.is_initialized():
        return 0
    dist.barrier()
    time.sleep(0.2)  # acknowledgements are on their way
    total = 0
    for name in os.listdir("/proc/self/fd"):
        try:
            if not os.readlink(f"/proc/self/fd/{name}").startswith("socket:"):
                continue
            with socket.socket(fileno=os.dup(int(name))) as copy:
                if copy.family in (socket.AF_INET, socket.AF_INET6) and copy.type == socket.SOCK_STREAM:
                    info = copy.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 256)
                    total += struct.unpack_from("Q", info, _TCP_INFO_BYTES_ACKED)[0]
        except OSError:  # it was closed meanwhile
            continue
    return total


def _memory() -> int:
    """Bytes of this process, its share of what several have in common counted once."""
    lines = Path("/proc/self/smaps_rollup").read_text().splitlines()
    return next(int(line.split()[1]) << 10 for line in lines if line.startswith("Pss:"))


if __name__ == "__main__":
    main(parse_command_line(CoordinationSettings, sys.argv[1:], __doc__ or ""))
