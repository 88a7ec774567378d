"""Joining a Ray cluster, or starting one on this machine for as long as the process lives."""

import contextlib
import importlib
import logging
import os
import secrets
import socket
import warnings
from typing import Any

from raytalk.errors import StorageError

_STORAGE_VARIABLES = (
    "AWS_ENDPOINT_URL_S3",
    "AWS_ENDPOINT_URL",
    "AWS_REGION",
    "AWS_DEFAULT_REGION",
    "AWS_ACCESS_KEY_ID",
    "AWS_SECRET_ACCESS_KEY",
    "AWS_SESSION_TOKEN",
)


def connect(logs: bool = False) -> None:
    """Be connected to Ray afterwards.

    Joins what `RAY_ADDRESS` names (a submitted job has it set), else a cluster started on this machine with
    `ray start --head`, else starts one here without a dashboard (`RAY_ADDRESS=local` asks for that). Does nothing but
    quieten Ray if the process is connected already. logs: show what workers print.

    Raises StorageError if the cluster named does not answer.
    """
    # Ray reads these when it is imported or when it starts.
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    os.environ.setdefault("RAY_DATA_DISABLE_PROGRESS_BARS", "1")
    import ray

    if not ray.is_initialized():
        address = os.environ.get("RAY_ADDRESS") or _cluster_here()
        if address in (None, "local"):
            _start(logs)
        else:
            try:
                ray.init(log_to_driver=logs, logging_level=logging.ERROR)
            except (ConnectionError, RuntimeError, ValueError) as error:
                raise StorageError(
                    f"cannot join the Ray cluster at {address}: {' '.join(str(error).split())[:200]} "
                    "(check RAY_ADDRESS, and RAY_AUTH_MODE=token if the cluster asks for a token)"
                ) from error
    _quieten()


def storage_environment() -> dict[str, str]:
    """What this process's environment says of S3: for actors of a cluster that was started without it."""
    return {name: os.environ[name] for name in _STORAGE_VARIABLES if name in os.environ}


def _start(logs: bool) -> None:
    import ray

    if "RAY_AUTH_MODE" not in os.environ:
        # Ray's ports listen on every interface, so the embedded cluster is locked with a token of its own. It is
        # given by the environment, because Ray's default would leave a token file in the home folder.
        os.environ["RAY_AUTH_MODE"] = "token"
        os.environ["RAY_AUTH_TOKEN"] = secrets.token_hex(32)
        # Ray has read its settings already when it was imported.
        internals: Any = importlib.import_module("ray._raylet")
        internals.Config.initialize("")
        internals.AuthenticationTokenLoader.instance().reset_cache()
    ray.init(
        address="local",
        include_dashboard=False,
        log_to_driver=logs,
        logging_level=logging.ERROR,
        _node_ip_address="127.0.0.1",
    )


def _cluster_here() -> str | None:
    """The address of the cluster that `ray start` left a note of, if it still answers."""
    from ray._private.utils import read_ray_address

    address: str | None = read_ray_address(None)
    if address:
        host, _, port = address.rpartition(":")
        with contextlib.suppress(OSError, ValueError), socket.create_connection((host.strip("[]"), int(port)), 2):
            return address
    return None


def _quieten() -> None:
    from ray.data import DataContext

    with warnings.catch_warnings():
        # Ray Data warns of its own deprecated defaults.
        warnings.simplefilter("ignore", DeprecationWarning)
        context = DataContext.get_current()
    context.enable_progress_bars = False
    context.print_on_execution_start = False
    for name in ("ray", "ray.data", "ray.data._internal"):
        logging.getLogger(name).setLevel(logging.ERROR)
