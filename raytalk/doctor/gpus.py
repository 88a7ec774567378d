"""The GPUs of a machine: what torch sees of them, and whether they compute."""

import os
import time
from pathlib import Path

import torch

from raytalk.doctor.finding import Finding, mend, note, ok

_SIDE, _TIMES = 4096, 10
_TOLERANCE = 0.05
_MODULE, _DEVICES = Path("/proc/driver/nvidia/version"), Path("/dev")


def seen(promised: float) -> list[Finding]:
    """What is there. promised: GPUs that Ray counts on this machine."""
    if os.environ.get("CUDA_VISIBLE_DEVICES") == "":
        del os.environ["CUDA_VISIBLE_DEVICES"]  # Ray hides GPUs from tasks that ask for none
    # The driver's version can be read in every container of the machine, a device where it is given to this one.
    has_device = any(_DEVICES.glob("nvidia[0-9]*"))
    if not torch.cuda.is_available():
        if has_device or promised:
            why = "this torch has no CUDA" if torch.version.cuda is None else f"torch is for CUDA {torch.version.cuda}"
            return [
                mend(
                    "gpu",
                    f"{promised:g} GPUs are counted and torch sees none: {why}, and the driver is "
                    f"{_driver() or 'missing'}; install a torch that fits the driver, or a newer driver",
                )
            ]
        return [note("gpu", "none: everything runs on the CPU, training some hundred times slower")]
    names = [_described(index) for index in range(torch.cuda.device_count())]
    counted = {name: names.count(name) for name in names}
    text = ", ".join(f"{count} x {name}" for name, count in counted.items())
    text += f"; driver {_driver() or 'unknown'}, torch for CUDA {torch.version.cuda}"
    if promised and len(names) != promised:
        return [
            mend(
                "gpu",
                f"{text}: Ray counts {promised:g}, torch sees {len(names)}; start Ray with --num-gpus={len(names)}",
            )
        ]
    return [ok("gpu", text)]


def computes() -> list[Finding]:
    """A product of matrices on this process's GPU, checked and timed."""
    device = torch.device("cuda")
    torch.manual_seed(0)
    left, right = (torch.randn(_SIDE, _SIDE, device=device, dtype=torch.bfloat16) for _ in range(2))
    product = left @ right
    rows = left[:8].double() @ right.double()
    error = float(((product[:8].double() - rows).abs().max() / rows.abs().max()).cpu())
    torch.cuda.synchronize()
    start = time.perf_counter()
    for _ in range(_TIMES):
        torch.matmul(left, right, out=product)
    torch.cuda.synchronize()
    speed = 2 * _SIDE**3 * _TIMES / (time.perf_counter() - start) / 1e12
    free, total = torch.cuda.mem_get_info()
    memory = f"{free / 2**30:.0f} of {total / 2**30:.0f} GiB free"
    text = f"{torch.cuda.get_device_name()}: {speed:.0f} TFLOP/s in bfloat16, {memory}"
    if not error < _TOLERANCE:
        return [mend("gpu", f"{text}, and the product is wrong by {error:.2f}: replace this GPU")]
    if free < total / 2:
        return [note("gpu", f"{text}: other processes hold the rest")]
    return [ok("gpu", text)]


def _described(index: int) -> str:
    properties = torch.cuda.get_device_properties(index)
    return f"{properties.name} with {properties.total_memory / 2**30:.0f} GiB"


def _driver() -> str:
    try:
        words = _MODULE.read_text().split()
    except OSError:
        return ""
    return next((word for word in words if word.count(".") >= 1 and word[0].isdigit()), "")
