"""How a process that was a rank of a group ends."""

import os
from typing import NoReturn

import torch.distributed as dist


def leave() -> NoReturn:
    """Its work is done and kept; all ranks end together.

    Not by the interpreter's own end, which now and then destroys a thread of the group that still runs and so aborts a
    process that had done everything ("terminate called without an active exception").
    """
    dist.barrier()
    os._exit(0)
