"""Joining a Ray cluster, or starting one on this machine for as long as the process lives."""

import contextlib
import importlib
import logging
import os
import secrets
import socket
import threading
import warnings
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from raytalk.errors import RaytalkError, StorageError
from raytalk.storage_patience import OUTAGES, PATIENCE

_STORAGE_VARIABLES = (
    "AWS_ENDPOINT_URL_S3",
    "AWS_ENDPOINT_URL",
    "AWS_REGION",
    "AWS_DEFAULT_REGION",
    "AWS_ACCESS_KEY_ID",
    "AWS_SECRET_ACCESS_KEY",
    "AWS_SESSION_TOKEN",
    PATIENCE,
)

_CORE_NOISE = (b"has constructor arguments in the object store",)


def connect(logs: bool = False) -> bool:
    """Be connected to Ray afterwards. Returns False if the process was connected before.

    Joins what `RAY_ADDRESS` names (a submitted job has it set), else a cluster started on this machine with
    `ray start --head`, else starts one here without a dashboard (`RAY_ADDRESS=local` asks for that). Does nothing but
    quieten Ray if the process is connected already. logs: show what workers print.

    Raises StorageError if the cluster named does not answer.
    """
    # Ray reads these when it is imported or when it starts.
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    os.environ.setdefault("RAY_DATA_DISABLE_PROGRESS_BARS", "1")
    import ray

    ours = not ray.is_initialized()
    if ours:
        address = cluster_named()
        if address is None:
            _start(logs)
        else:
            # Ray takes up the token of a cluster of this machine only for "auto", which never starts one either.
            _join(address, os.environ.get("RAY_ADDRESS") or "auto", logs)
    _quieten()
    return ours


def cluster_named() -> str | None:
    """The address of the cluster that `connect` would join; None if it would start one."""
    address = os.environ.get("RAY_ADDRESS") or _cluster_here()
    return None if address == "local" else address


class StorageEnvironment:
    """Environment variables with the credentials of an object store, on their way to another process.

    say: where that process says that a store fails, and that it answers again; its log, if there is none.

    Not a dataclass: Ray Data takes those apart, field by field, for the metadata that it logs and exports.
    """

    def __init__(self, values: Mapping[str, str], say: Callable[[str], None] | None = None) -> None:
        self.values, self.say = dict(values), say

    def __repr__(self) -> str:
        return f"StorageEnvironment({', '.join(self.values)})"

    def apply(self) -> None:
        """Set the variables in this process, which need not find out whether the store is there at all."""
        os.environ.update(self.values)
        OUTAGES.vouch()
        if self.say is not None:
            OUTAGES.tell = self.say


def storage_environment(say: Callable[[str], None] | None = None) -> StorageEnvironment:
    """What this process's environment says of S3: for actors of a cluster that was started without it.

    say: see StorageEnvironment; `Console.say_once` for instance.
    """
    return StorageEnvironment({name: os.environ[name] for name in _STORAGE_VARIABLES if name in os.environ}, say)


@contextlib.contextmanager
def without_core_noise() -> Iterator[None]:
    """Keep a message of Ray's C++ core off stderr, which comes with every pool of Ray Data actors and helps nobody.

    The core writes to the file descriptor itself and has no setting for one message.
    """
    stderr = os.dup(2)
    reading, writing = os.pipe()

    def forward() -> None:
        with os.fdopen(reading, "rb") as lines:
            for line in lines:
                if not any(noise in line for noise in _CORE_NOISE):
                    os.write(stderr, line)

    thread = threading.Thread(target=forward, daemon=True)
    thread.start()
    os.dup2(writing, 2)
    os.close(writing)
    try:
        yield
    finally:
        os.dup2(stderr, 2)
        thread.join(timeout=2)
        if not thread.is_alive():
            os.close(stderr)


def _join(address: str, given: str, logs: bool) -> None:
    """given: what Ray is told, `address` or how it finds that."""
    import ray

    # Ray's core would end the whole process, after a while, without an exception.
    if not _answers(address):
        raise StorageError(
            f"cannot join the Ray cluster at {address}: nothing answers there; check RAY_ADDRESS, or unset it to "
            "start Ray on this machine"
        )
    try:
        ray.init(address=given, log_to_driver=logs, logging_level=logging.ERROR)
    except (ConnectionError, RuntimeError, ValueError) as error:
        raise StorageError(
            f"cannot join the Ray cluster at {address}: {' '.join(str(error).split())[:200]} "
            "(set RAY_AUTH_MODE=token and RAY_AUTH_TOKEN if the cluster asks for a token)"
        ) from error


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
    try:
        ray.init(
            address="local",
            include_dashboard=False,
            log_to_driver=logs,
            logging_level=logging.ERROR,
            _node_ip_address="127.0.0.1",
        )
    except Exception as error:
        # Ray has no class of its own for it.
        if "timed out during startup" not in str(error):
            raise
        raise RaytalkError(
            "Ray did not start on this machine in time: it is busy, or its memory or /tmp is full; "
            "give the same command again"
        ) from error


def _cluster_here() -> str | None:
    """The address of the cluster that `ray start` left a note of, if it still answers."""
    from ray._private.utils import read_ray_address

    address: str | None = read_ray_address(None)
    return address if address and _answers(address) else None


def _answers(address: str) -> bool:
    """Whether something listens at host:port; addresses of another form (ray://, auto) are left to Ray."""
    host, colon, port = address.rpartition(":")
    if "/" in address or not colon or not port.isdigit():
        return True
    with contextlib.suppress(OSError), socket.create_connection((host.strip("[]"), int(port)), timeout=5):
        return True
    return False


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
