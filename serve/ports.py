"""Whether somebody else answers at the port that the service is to have.

Ray's proxies share their port (SO_REUSEPORT): of two services on one port each would get half of the requests, and
neither would say a word.
"""

import os
import sys
import tempfile
from pathlib import Path
from typing import Any

import psutil  # type: ignore[import-untyped]
import ray
from ray.serve._private.constants import DEFAULT_HTTP_PORT
from ray.serve.context import _get_global_client

from raytalk.errors import SettingsError

_HERE = ("127.0.0.1", "0.0.0.0", "::")
"""whoever listens there is met at the service's address"""


def check_port() -> None:
    """Raises SettingsError if a process that is no part of this service's cluster listens at its port, here.

    Only what is surely another's counts: the proxy of this cluster may well be there already, as when a service is
    deployed again.
    """
    port = _port()
    for listener in _listeners(port):
        if _is_anothers(listener):
            who = "something else" if listener is None else f"process {listener.pid} ({listener.name()})"
            raise SettingsError(
                f"port {port} is taken: {who} listens there, and would get some of the service's requests. End it, or "
                "give another port, with `http_options: {port: ...}` in a YAML file as serve/service.yaml"
            )


def _port() -> int:
    """Of the proxies that run; else the one that `serve run` will take."""
    client = _get_global_client(raise_if_no_controller_running=False) if ray.is_initialized() else None
    return int(client.http_config.port) if client is not None else int(DEFAULT_HTTP_PORT)


def _listeners(port: int) -> list["psutil.Process | None"]:
    """Processes that listen at a port of this machine; None for one that this user may not look at."""
    try:
        found = {
            each.pid for each in psutil.net_connections("tcp") if each.status == psutil.CONN_LISTEN and _at(each, port)
        }
    except psutil.Error:
        return []
    listeners: list[psutil.Process | None] = []
    for pid in found:
        try:
            listeners.append(psutil.Process(pid) if pid else None)
        except psutil.NoSuchProcess:
            continue
    return listeners


def _at(connection: Any, port: int) -> bool:
    return bool(connection.laddr.port == port and connection.laddr.ip in _HERE)


def _is_anothers(listener: "psutil.Process | None") -> bool:
    own = _own_gcs_port()
    if listener is None:
        # Nothing of ours runs yet.
        return own == 0
    try:
        theirs = next(
            (gcs for parent in [listener, *listener.parents()] if (gcs := _gcs_port(parent)) is not None), None
        )
    except psutil.Error:
        return False
    return own is not None and theirs != own


def _own_gcs_port() -> int | None:
    """Names the cluster that the service will run on; 0 if it is still to be started, None if that is not known."""
    if ray.is_initialized():
        return _number(ray.get_runtime_context().gcs_address)
    if any(word.startswith(("-a", "--address")) for word in sys.argv[1:]):
        return None
    address = os.environ.get("RAY_ADDRESS", "auto")
    if address == "local":
        return 0
    if address == "auto":
        kept = Path(tempfile.gettempdir()) / "ray" / "ray_current_cluster"
        if not kept.exists():
            return 0
        address = kept.read_text()
    # The port of Ray's client server names no cluster.
    return None if "://" in address else _number(address)


def _gcs_port(process: "psutil.Process") -> int | None:
    """Of the cluster that a raylet, parent of all that runs on its node, belongs to."""
    words = process.cmdline()
    if not words or Path(words[0]).name != "raylet":
        return None
    return next((_number(word) for word in words if word.startswith("--gcs-address=")), None)


def _number(address: str) -> int | None:
    """The port, which tells clusters of one machine apart whatever the machine is called."""
    port = address.strip().rpartition(":")[2]
    return int(port) if port.isdigit() else None
